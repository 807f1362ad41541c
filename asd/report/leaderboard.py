"""The leaderboard: all systems over all machine types, and beside them, where that is fair, what others have published.

A *system* is one run name, or several that differ only in the seed: these have a mean and a spread. Scores
are official scores (harmonic means of all AUC and pAUC values) in percent; dev and eval sections never mix. A result
may stand beside published ones only if it was reached with the reference's full settings (``dcase2021``) on all test
clips of the challenge's seven machine types: see ``published``.
"""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from asd.evaluation.cells import ALL_MACHINES, check_table
from asd.evaluation.metrics import harmonic_mean
from asd.evaluation.tables import ENSEMBLE, RunFacts, Tables, run_ids

CHALLENGE_CLIPS = {"dev": 8621, "eval": 8635}  # test clips of the seven machine types
FULL = "dcase2021"  # name of the reference's settings
MEAN_COLUMNS = {
    "harmonic mean": "official score",
    "source harmonic mean": "source",
    "target harmonic mean": "target",
    "mixed harmonic mean": "mixed",
}

ANCHORS = pd.DataFrame(
    [
        ("official AE baseline", "dev", 57.40, None),
        ("official MobileNetV2 baseline", "dev", 57.55, None),
        ("challenge baseline", "eval", 56.38, None),
        ("challenge winner", "eval", 66.80, None),
        ("ASDKit: AE, 4 seeds", "dev", 56.46, 0.24),
        ("ASDKit: AE, 4 seeds", "eval", 54.89, 0.29),
        ("ASDKit: best without pretraining (SCAC)", "dev", 69.80, 0.74),
        ("ASDKit: best without pretraining (SCAC)", "eval", 67.13, None),
        ("ASDKit: best without pretraining (FeatEx)", "eval", 67.41, None),
        ("ASDKit: best (BEATs + SCAC)", "dev", 73.06, 0.61),
        ("ASDKit: best (BEATs + SCAC)", "eval", 67.62, 0.14),
    ],
    columns=["system", "part", "official score", "spread"],
)

BASELINE = pd.DataFrame(  # of the official AE on the development sections, harmonic means in percent
    {
        "ToyCar": (62.49, 52.36),
        "ToyTrain": (61.71, 53.81),
        "fan": (63.24, 53.38),
        "gearbox": (65.97, 52.76),
        "pump": (61.92, 54.41),
        "slider": (66.74, 55.94),
        "valve": (53.41, 50.54),
    },
    index=["auc", "pauc"],
)
MACHINE_TYPES = list(BASELINE.columns)  # of the challenge


def systems(tables: Tables, facts: Mapping[str, RunFacts]) -> dict[str, str]:
    """The system of each run name: run names whose runs have equal parameters, except for the seed, share one.

    Two run names belong together if they have a machine type in common and the parameters agree on all of those. For a
    run that starts from another one, the parameters of the other count. A run whose parameters the store does not know
    is a system of its own.
    """
    parameters = {name: _parameters(table, facts) for name, table in tables.items()}
    groups: list[list[str]] = []
    for name, own in parameters.items():
        for group in groups:
            other = parameters[group[0]]
            common = set(own) & set(other)
            if common and all(own[m] and own[m] == other[m] for m in common):
                group.append(name)
                break
        else:
            groups.append([name])
    named: dict[str, str] = {}
    for group in groups:
        stem = re.sub(r"[_.-]*(seed|s)?[_.-]*\d+$", "", group[0]) if len(group) > 1 else group[0]
        taken = {*named.values(), *(parameters.keys() - set(group))}  # by another system, or by a run of another one
        label = stem if stem and stem not in taken else group[0]
        named |= dict.fromkeys(group, label)
    return named


def _parameters(table: pd.DataFrame, facts: Mapping[str, RunFacts]) -> dict[str, dict[str, Any]]:
    """Method and parameters except the seed, by machine type; empty where they are unknown, as for an ensemble."""
    found = {}
    for machine_type, rows in table.groupby("machine_type"):
        known = _without_seed(str(rows["run_id"].iloc[0]), facts)
        found[machine_type] = known | {"method": rows["method"].iloc[0]} if known else {}
    return found


def _without_seed(run_id: str, facts: Mapping[str, RunFacts]) -> dict[str, Any]:
    """A run's parameters except the seed; in place of the id of a run that it starts from, that run's parameters."""
    known = facts[run_id].parameters if run_id in facts else {}
    return {
        name: (value in facts and _without_seed(value, facts)) or value
        for name, value in known.items()
        if name != "seed"
    }


def settings_of(table: pd.DataFrame, facts: Mapping[str, RunFacts]) -> str:
    """Name of the settings that all runs of the table share, otherwise "mixed"."""
    names = {facts[run_id].settings if run_id in facts else "unknown" for run_id in run_ids(table)}
    return names.pop() if len(names) == 1 else "mixed"


def leaderboard(tables: Tables, means: pd.DataFrame, facts: Mapping[str, RunFacts]) -> pd.DataFrame:
    """One row per system and part, in percent: those with the most machine types first, then by official score.

    Args:
        tables: of all runs and ensembles.
        means: their means, see :func:`asd.evaluation.results.measure`.
        facts: what the store knows of the runs.

    Returns:
        system, method, settings, part, official score, spread (standard deviation over runs that differ in the seed,
        NaN for a single one), source, target, mixed (harmonic means of AUC and pAUC), AUC, pAUC (harmonic means),
        runs, machine types, undefined cells, test clips (labelled).
    """
    named = systems(tables, facts)
    overall = means[means["machine_type"] == ALL_MACHINES]
    rows = []
    for (name, part), run_means in overall.groupby(["run_name", "part"]):
        by_mean = run_means.set_index("mean")
        test = check_table(tables[name])
        test = test[(test["part"] == part) & test["label"].notna()]
        row = {column: 100 * by_mean["official_score"].get(mean, float("nan")) for mean, column in MEAN_COLUMNS.items()}
        harmonic = by_mean.loc["harmonic mean"]
        row |= {"AUC": 100 * harmonic["auc"], "pAUC": 100 * harmonic["pauc"]}
        row |= {"undefined cells": harmonic["n_undefined"], "test clips": len(test)}
        row |= {"machine types": tables[name]["machine_type"].nunique(), "part": part, "system": named[name]}
        row |= {"method": tables[name]["method"].iloc[0], "settings": settings_of(tables[name], facts)}
        rows.append(row)
    runs = pd.DataFrame(rows)
    groups = runs.groupby(["system", "method", "settings", "part"], sort=False)
    numbers = ["official score", "source", "target", "mixed", "AUC", "pAUC"]
    board = groups[numbers].mean()
    board.insert(1, "spread", groups["official score"].std())
    board["runs"] = groups.size()
    board[["machine types", "test clips"]] = groups[["machine types", "test clips"]].min()
    board["undefined cells"] = groups["undefined cells"].max()
    order = ["part", "machine types", "official score"]
    return board.reset_index().sort_values(order, ascending=[True, False, False], ignore_index=True)


def by_machine_type(tables: Tables, means: pd.DataFrame, facts: Mapping[str, RunFacts], part: str) -> pd.DataFrame:
    """Official score of each system (rows) on each machine type (columns) in percent, mean over seeds; best first."""
    named = systems(tables, facts)
    scores = means[(means["part"] == part) & (means["mean"] == "harmonic mean")]
    scores = scores[scores["machine_type"] != ALL_MACHINES]
    scores = scores.assign(system=scores["run_name"].map(named), score=100 * scores["official_score"])
    values = scores.dropna(subset="score").pivot_table(
        index="system", columns="machine_type", values="score", aggfunc="mean"
    )
    return values.loc[values.mean(axis=1).sort_values(ascending=False).index]


def comparable(board: pd.DataFrame) -> pd.DataFrame:
    """The rows of the leaderboard that may stand beside published results."""
    complete = board["test clips"] == board["part"].map(CHALLENGE_CLIPS)
    return board[(board["settings"] == FULL) & complete & (board["machine types"] == len(MACHINE_TYPES))]


def published(board: pd.DataFrame) -> pd.DataFrame:
    """The published anchors and our comparable systems, sorted: part, system, official score, spread, whose."""
    ours = comparable(board)[ANCHORS.columns].assign(whose="ours")
    both = pd.concat([ours, ANCHORS.assign(whose="published")]) if len(ours) else ANCHORS.assign(whose="published")
    return both.sort_values(["part", "official score"], ascending=[True, False], ignore_index=True)


def beside_baseline(board: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Our comparable systems by machine type beside the published AE baseline, dev sections, in percent.

    Args:
        board: see :func:`leaderboard`.
        values: :func:`by_machine_type` of the dev sections.

    Returns:
        As ``values``, with the baseline first; no rows if no system is comparable.
    """
    ours = comparable(board)
    names = sorted(set(ours.loc[ours["part"] == "dev", "system"]))
    baseline = pd.DataFrame([harmonic_mean(BASELINE.to_numpy())], columns=MACHINE_TYPES, index=["AE (published)"])
    return pd.concat([baseline, values.loc[names, MACHINE_TYPES]]) if names else values.iloc[:0]


def normalisation_table(means: pd.DataFrame, machine_type: str) -> pd.DataFrame:
    """What score normalisations bring: harmonic mean AUC in percent, one row per run, part and normalisation.

    Args:
        means: what :func:`asd.evaluation.results.measure` says of tables that are named ``run | normalisation``.
        machine_type: to look at.
    """
    chosen = means[(means["machine_type"] == machine_type) & means["mean"].isin(MEAN_COLUMNS)]
    named = chosen["run_name"].str.split(" | ", regex=False, expand=True).set_axis(["run", "normalisation"], axis=1)
    chosen = chosen.assign(mean=chosen["mean"].map(MEAN_COLUMNS), auc=100 * chosen["auc"]).join(named)
    wide = chosen.pivot(index=["part", "run", "normalisation"], columns="mean", values="auc")
    order = chosen[["part", "run", "normalisation"]].drop_duplicates().sort_values(["part", "run"], kind="stable")
    wide = wide.reindex(pd.MultiIndex.from_frame(order)).rename(columns={"official score": "both"})
    return wide.reindex(columns=["source", "target", "both", "mixed"]).rename_axis(columns="AUC (%)").round(1)


def missing(tables: Tables) -> list[str]:
    """Which runs lack which of the machine types that any run has, one sentence per run."""
    machine_types = sorted({m for table in tables.values() for m in table["machine_type"].unique()})
    notes = []
    for name, table in tables.items():
        if name != ENSEMBLE and (lacking := sorted(set(machine_types) - set(table["machine_type"]))):
            notes.append(f"{name} has no scores of {', '.join(lacking)}")
    return notes
