"""From the score tables of all runs to what can be said about them: found, labelled, combined, measured, submitted.

``06_evaluation`` tells the story; here is what would be too long for it. All functions take ``{run name: table}``,
where a table holds a run's scores of all machine types that it was trained for. What a user should know but need not
stop for (a cell without anomalous clips, a run that cannot be combined) is returned as notes, one sentence each.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from asd.errors import InputError
from asd.evaluation.bootstrap import compare, confidence_intervals
from asd.evaluation.decisions import decide, thresholds
from asd.evaluation.ensembles import ensemble
from asd.evaluation.score_table import read_table

Tables = dict[str, pd.DataFrame]
ENSEMBLE = "ensemble"


class RunFacts(NamedTuple):
    """What the store knows of a run: the name of its settings, whether it is a debug run, and its parameters."""

    settings: str = "unknown"
    debug: bool = False
    parameters: Mapping[str, str] = {}


def noted(function: Callable, *arguments: Any, **options: Any) -> tuple[Any, list[str]]:
    """Call a function; return its result and the texts of its warnings, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*arguments, **options)
    return result, list(dict.fromkeys(str(one.message) for one in caught))


def tell(notes: Iterable[str]) -> list[str]:
    """Print notes, one a line, and return them."""
    notes = list(notes)
    for note in notes:
        print(note)
    return notes


def read_scores(output_root: Path | str, machine_type: str) -> Tables:
    """Read all score tables below ``<output_root>/scores``; ``machine_type`` must be among them.

    Raises:
        InputError: there are none, none of ``machine_type``, or one cannot be read; it says what to run first.
    """
    folder = Path(output_root) / "scores"
    paths = sorted(folder.glob("*/*.csv"))
    machine_types = sorted({path.parent.name for path in paths})
    if machine_type not in machine_types:
        found = f"scores of {machine_types}, none of {machine_type!r}" if paths else "no score tables"
        raise InputError(
            f"machine_type, output_root: {found} in {folder}; run 03_aux (or 04_ccsa, 05_density) with the same "
            f"output_root first: papermill notebooks/03_aux.ipynb out.ipynb -p machine_type {machine_type}"
        )
    parts: dict[str, list[pd.DataFrame]] = {}
    for path in paths:
        if path.stem == ENSEMBLE:
            raise InputError(f"{path}: the name {ENSEMBLE!r} is taken by 06_evaluation; give the run another run_name")
        table = read_table(path)
        if table.empty:
            raise InputError(f"{path}: holds no scores; remove it, or train again")
        parts.setdefault(path.stem, []).append(table.assign(machine_type=path.parent.name, run_name=path.stem))
    return {name: pd.concat(some, ignore_index=True) for name, some in parts.items()}


def with_labels(tables: Tables, clips: pd.DataFrame, machine_type: str) -> Tables:
    """Take the labels from the clips table as it is now: ground truth may have come after the scores.

    Raises:
        InputError: scores of ``machine_type`` for clips that are not there. (Those of other machine types may be of
            another data set, and keep their labels.)
    """
    known = clips.set_index(["machine_type", "path"])["label"]
    labelled = {}
    for name, table in tables.items():
        key = pd.MultiIndex.from_frame(table[["machine_type", "clip"]])
        there = key.isin(known.index)
        lost = table[(table["machine_type"] == machine_type) & ~there]
        if not lost.empty:
            raise InputError(
                f"data_root: {lost['clip'].iloc[0]}, which run {name!r} has scored, is not there ({len(lost)} such "
                f"clips of {machine_type}): give the data_root that it was scored on, or run 03_aux (04_ccsa, "
                f"05_density) on this one first"
            )
        label = known.reindex(key).astype("Int64").set_axis(table.index)
        labelled[name] = table.assign(label=label.where(there, table["label"]))
    return labelled


def of_machine(tables: Tables, machine_type: str) -> Tables:
    """The tables of the runs for this machine type, restricted to it."""
    chosen = {name: table[table["machine_type"] == machine_type] for name, table in tables.items()}
    return {name: table.reset_index(drop=True) for name, table in chosen.items() if not table.empty}


def run_ids(table: pd.DataFrame) -> list[str]:
    """The ids of all runs whose scores are in the table: several for an ensemble or several machine types."""
    return sorted({part for joined in table["run_id"].unique() for part in str(joined).split("+")})


def without_debug_runs(tables: Tables, facts: Mapping[str, RunFacts], machine_type: str) -> tuple[Tables, list[str]]:
    """Leave out the scores of runs that only tried out a set-up.

    Raises:
        InputError: nothing is left of ``machine_type``.
    """
    kept, notes = {}, []
    for name, table in tables.items():
        debug = table["run_id"].map(lambda run_id: facts[run_id].debug)
        if debug.any():
            notes.append(f"{name}: debug runs are left out ({', '.join(sorted(set(table['machine_type'][debug])))})")
        if not debug.all():
            kept[name] = table[~debug].reset_index(drop=True)
    if not of_machine(kept, machine_type):
        raise InputError(f"machine_type: {machine_type} has scores of debug runs only; train without `debug` first")
    return kept, notes


def combine(
    tables: Tables, members: Sequence[str] | Mapping[str, Sequence[str]], held_out: bool
) -> tuple[pd.DataFrame | None, list[str]]:
    """The ensemble (:func:`asd.evaluation.ensembles.ensemble`) of the named runs for every machine type that has them.

    Args:
        tables: of all runs; an ensemble among them is not taken.
        members: run names, or run names for each domain; empty: all runs that have scored the same clips.
        held_out: whether z-scores are made from held-out train clips.

    Returns:
        The ensemble's score table, None if no machine type has two runs or the named ones; and notes.

    Raises:
        InputError: a name that no run has, or named runs of different clips.
    """
    tables = {name: table for name, table in tables.items() if name != ENSEMBLE}
    named = {n for names in members.values() for n in names} if isinstance(members, Mapping) else set(members)
    if unknown := sorted(named - set(tables)):
        raise InputError(f"ensemble: there is no run {unknown[0]!r}; allowed: {', '.join(sorted(tables))}")
    parts, notes = [], []
    for machine_type in sorted({m for table in tables.values() for m in table["machine_type"].unique()}):
        here = of_machine(tables, machine_type)
        if missing := sorted(named - set(here)):
            notes.append(f"no ensemble for {machine_type}: no scores of {', '.join(missing)}")
            continue
        chosen = members or _alike(here)
        if not named and len(chosen) < 2:
            notes.append(f"no ensemble for {machine_type}: it takes two runs of the same clips, there is {len(chosen)}")
            continue
        if not named and len(chosen) < len(here):
            notes.append(f"ensemble for {machine_type}: {sorted(set(here) - set(chosen))} left out, other clips")
        if isinstance(chosen, Mapping):
            runs = {domain: [here[name] for name in names] for domain, names in chosen.items()}
        else:
            runs = [here[name] for name in chosen]
        parts.append(ensemble(runs, held_out, ENSEMBLE))
    return (pd.concat(parts, ignore_index=True) if parts else None), notes


def _alike(tables: Tables) -> list[str]:
    """Names of the runs that have scored the same clips: those of the most clips."""
    clips = {name: frozenset(table["clip"]) for name, table in tables.items()}
    most = max(clips.values(), key=len)
    return [name for name in tables if clips[name] == most]


def decided(tables: Tables, percentile: float, held_out: bool) -> tuple[Tables, pd.DataFrame, list[str]]:
    """Thresholds and decisions of all runs (see :mod:`asd.evaluation.decisions`).

    Returns:
        The tables with a column ``decision``; the thresholds with a column ``run_name``; notes.
    """
    results, limits, notes = {}, [], []
    for name, table in tables.items():
        limit, told = noted(thresholds, table, percentile, held_out)
        results[name] = decide(table, limit)
        limits.append(limit.assign(run_name=name))
        notes += [f"{name}: {note}" for note in told]
    return results, pd.concat(limits, ignore_index=True), notes


def measure(tables: Tables, resamples: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Metrics of all runs with 95% intervals: cells and means (:mod:`asd.evaluation.metrics`) by run, and notes."""
    cells, means, notes = [], [], []
    for name, table in tables.items():
        (cell, mean), told = noted(confidence_intervals, table, resamples, seed)
        cells.append(cell.assign(run_name=name, method=table["method"].iloc[0]))
        means.append(mean.assign(run_name=name))
        notes += [f"{name}: {note}" for note in told]
    first = ["run_name", "machine_type", "section", "domain", "auc", "pauc"]
    cells, means = pd.concat(cells, ignore_index=True), pd.concat(means, ignore_index=True)
    rest = [column for column in cells if column not in first]
    return cells[first + rest], means[["run_name", *means.columns.drop("run_name")]], notes


def compare_with_best(tables: Tables, means: pd.DataFrame, resamples: int, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Is the best run better than each of the others? Paired differences of the official score, dev and eval apart.

    Args:
        tables: two runs or more of one machine type.
        means: what ``measure`` said of them.

    Returns:
        Rows of :func:`asd.evaluation.bootstrap.compare` for the harmonic mean, with ``best`` and ``other`` (run names);
        and notes.
    """
    rows, notes = [], []
    harmonic = means[(means["mean"] == "harmonic mean") & means["run_name"].isin(tables)]
    machine_types = {m for table in tables.values() for m in table["machine_type"]}
    harmonic = harmonic[harmonic["machine_type"].isin(machine_types)].dropna(subset="official_score")
    for part, some in harmonic.groupby("part"):
        best = some.loc[some["official_score"].idxmax(), "run_name"]
        for other in some["run_name"]:
            if other == best:
                continue
            try:
                difference, _ = noted(compare, tables[best], tables[other], resamples, seed)
            except InputError as error:
                notes.append(f"{best} and {other}: {error}")
                continue
            chosen = difference[(difference["part"] == part) & (difference["mean"] == "harmonic mean")]
            chosen = chosen[(chosen["metric"] == "official_score") & chosen["machine_type"].isin(machine_types)]
            rows.append(chosen.assign(best=best, other=other))
    columns = ["part", "best", "other", "difference", "low", "high", "p_value"]
    return (pd.concat(rows)[columns] if rows else pd.DataFrame(columns=columns)).reset_index(drop=True), notes
