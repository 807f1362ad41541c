"""The score tables of all runs: found, labelled, restricted to runs that count, combined to an ensemble.

``06_evaluation`` tells the story; :mod:`asd.evaluation.results` measures. All functions take ``{run name: table}``,
where a table holds a run's scores of all machine types that it was trained for. What a user should know but need not
stop for (a run that cannot be combined, a cell without anomalous clips) is returned as notes, one sentence each.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from asd.errors import InputError
from asd.evaluation.ensembles import ensemble
from asd.evaluation.score_table import read_table

Tables = dict[str, pd.DataFrame]
ENSEMBLE = "ensemble"
BASELINE = "mahalanobis"  # the method of 01_exploration, which learns nothing


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
    return result, list(dict.fromkeys(str(warning.message) for warning in caught))


def print_notes(notes: Iterable[str]) -> list[str]:
    """Print notes, one per line, and return them."""
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
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}


def with_labels(tables: Tables, clips: pd.DataFrame, machine_type: str) -> Tables:
    """Take the labels from the clips table as it is now: ground truth may have come after the scores.

    Raises:
        InputError: ``machine_type`` has scores of clips that the clips table does not list, or of no test clips. (Those
            of other machine types may be of another data set, and keep their labels.)
    """
    known = clips.set_index(["machine_type", "path"])["label"]
    labelled = {}
    for name, table in tables.items():
        key = pd.MultiIndex.from_frame(table[["machine_type", "clip"]])
        listed = key.isin(known.index)
        missing = table[(table["machine_type"] == machine_type) & ~listed]
        if not missing.empty:
            raise InputError(
                f"data_root: {missing['clip'].iloc[0]}, which run {name!r} has scored, is missing ({len(missing)} such "
                f"clips of {machine_type}): give the data_root that it was scored on, or run 03_aux (04_ccsa, "
                f"05_density) on this one first"
            )
        label = known.reindex(key).astype("Int64").set_axis(table.index)
        labelled[name] = table.assign(label=label.where(listed, table["label"]))
    if not any((table["split"] == "test").any() for table in of_machine(labelled, machine_type).values()):
        raise InputError(
            f"machine_type: {machine_type} has no test clips, so there is nothing to evaluate; `asd score` judges other"
            " recordings by its detectors"
        )
    return labelled


def of_machine(tables: Tables, machine_type: str) -> Tables:
    """The tables of the runs for this machine type, restricted to it."""
    chosen = {name: table[table["machine_type"] == machine_type] for name, table in tables.items()}
    return {name: table.reset_index(drop=True) for name, table in chosen.items() if not table.empty}


def run_ids(table: pd.DataFrame) -> list[str]:
    """The ids of all runs whose scores are in the table: several for an ensemble or several machine types."""
    return sorted({part for joined in table["run_id"].unique() for part in str(joined).split("+")})


def without_debug_runs(tables: Tables, facts: Mapping[str, RunFacts], machine_type: str) -> tuple[Tables, list[str]]:
    """Leave out the scores of debug runs, which only tried out a set-up, and of ensembles that contain one.

    Raises:
        InputError: nothing is left of ``machine_type``.
    """
    kept, notes = {}, []
    for name, table in tables.items():
        debug = table["run_id"].map(
            lambda ids: any(facts[run_id].debug for run_id in str(ids).split("+") if run_id in facts)
        )
        if debug.any():
            notes.append(f"{name}: debug runs are left out ({', '.join(sorted(set(table['machine_type'][debug])))})")
        if not debug.all():
            kept[name] = table[~debug].reset_index(drop=True)
    if not of_machine(kept, machine_type):
        raise InputError(f"machine_type: {machine_type} has scores of debug runs only; train without `debug` first")
    return kept, notes


def combine(
    tables: Tables, members: Sequence[str] | Mapping[str, Sequence[str]], held_out: bool, rule: str = "mean"
) -> tuple[pd.DataFrame | None, list[str]]:
    """The ensemble (:func:`asd.evaluation.ensembles.ensemble`) of the named runs for every machine type that has them.

    Args:
        tables: of all runs; an ensemble among them is left out.
        members: run names, or run names for each domain; empty: all runs that have scored the same clips, except the
            baseline of 01_exploration.
        held_out: whether z-scores are made from held-out train clips.
        rule: how they are combined, ``mean`` or ``min``.

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
        available = of_machine(tables, machine_type)
        if missing := sorted(named - set(available)):
            notes.append(f"no ensemble for {machine_type}: no scores of {', '.join(missing)}")
            continue
        if not named:
            available = {name: table for name, table in available.items() if table["method"].iloc[0] != BASELINE}
        chosen = members or _alike(available)
        if not named and len(chosen) < 2:
            notes.append(
                f"no ensemble for {machine_type}: it takes two runs of the same clips, and there is {len(chosen)}"
            )
            continue
        if not named and len(chosen) < len(available):
            notes.append(f"ensemble for {machine_type}: {sorted(set(available) - set(chosen))} left out, other clips")
        runs: list[pd.DataFrame] | dict[str, list[pd.DataFrame]]
        if isinstance(chosen, Mapping):
            runs = {domain: [available[name] for name in names] for domain, names in chosen.items()}
        else:
            runs = [available[name] for name in chosen]
        parts.append(ensemble(runs, held_out, rule, ENSEMBLE))
    return (pd.concat(parts, ignore_index=True) if parts else None), notes


def _alike(tables: Tables) -> list[str]:
    """Names of the runs that have scored the same clips: those of the most clips."""
    clips = {name: frozenset(table["clip"]) for name, table in tables.items()}
    most = max(clips.values(), key=len, default=frozenset())
    return [name for name in tables if clips[name] == most]
