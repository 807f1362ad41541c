"""Finished runs that have a detector, by name: what there is, and the detector that a name or a run id stands for.

A run's name is ``<machine type>/<run name>``, as the folder of score tables has it. Several finished runs may share it
(trained again, with other parameters); it stands for the one that wrote the score table, or, where there is no table,
for the latest.
"""

import difflib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from asd.detection.detector import Detector, load_detector
from asd.errors import InputError
from asd.evaluation.cells import evaluate_scores, summarise
from asd.evaluation.score_table import read_table, table_path
from asd.tracking.facts import RUN_ID
from asd.tracking.mlflow_store import Store, has_store, store_uri
from asd.tracking.runs import ALL, DETECTOR

LISTED = 8  # names in a message


@dataclass(frozen=True)
class NamedRun:
    """A finished run.

    Attributes:
        machine_type, run_name, method, seed, settings, run_id: as in its score table and its tags; ``settings`` is
            ``debug`` for a run that only tried out a set-up.
        finished: when.
        named: whether its name stands for this run, and not for another one of the same name.
    """

    machine_type: str
    run_name: str
    method: str
    seed: str
    settings: str
    run_id: str
    finished: datetime
    named: bool

    @property
    def name(self) -> str:
        """The run's name, ``<machine type>/<run name>``."""
        return f"{self.machine_type}/{self.run_name}"


def finished_runs(output_root: Path) -> list[NamedRun]:
    """All finished runs of the store, by machine type and run name, the latest first; none if there is no store.

    A network for all machine types has no detector, and is left out.

    Raises:
        InputError: the store cannot be opened.
    """
    if not has_store(output_root):
        return []
    runs: list[NamedRun] = []
    seen: dict[str, str] = {}  # the run that a name stands for
    for stored in Store(output_root).search("tags.complete = 'true'"):  # latest first
        tags, ended = stored.data.tags, stored.info.end_time or stored.info.start_time
        if tags["machine_type"] == ALL:
            continue
        name = f"{tags['machine_type']}/{tags['run_name']}"
        if name not in seen:
            seen[name] = writer(table_path(output_root, tags["machine_type"], tags["run_name"])) or stored.info.run_id
        run = NamedRun(
            machine_type=tags["machine_type"],
            run_name=tags["run_name"],
            method=tags["method"],
            seed=stored.data.params.get("seed", ""),
            settings="debug" if tags.get("debug") == "True" else tags.get("settings", "unknown"),
            run_id=stored.info.run_id,
            finished=datetime.fromtimestamp(ended / 1000),
            named=seen[name] == stored.info.run_id,
        )
        runs.append(run)
    return sorted(runs, key=lambda run: run.name)  # stable: the latest first


def writer(path: Path) -> str:
    """The id of the run that wrote a score table; empty without a table, or if it was not written by a single run."""
    if not path.is_file():
        return ""
    ids = set(read_table(path)["run_id"])
    return ids.pop() if len(ids) == 1 else ""


def find_run(name: str, output_root: Path) -> NamedRun:
    """The finished run that a run id or ``<machine type>/<run name>`` stands for.

    Raises:
        InputError: there is no such run, with those that there are, the most similar first; or the score table of this
            name was written by no finished run.
    """
    runs = finished_runs(output_root)
    by_id = RUN_ID.fullmatch(name) is not None
    for run in runs:
        if name == (run.run_id if by_id else run.name) and (by_id or run.named):
            return run
    where = f"the store {store_uri(output_root)}"
    table = table_path(output_root, *name.split("/")) if name.count("/") == 1 else None
    if table is not None and table.is_file():
        raise InputError(f"{name!r}: {table} was not written by a finished run of {where}, so there is no detector")
    if not runs:
        raise InputError(f"{name!r} is no file, and {where} knows no finished runs; train one first, see `asd runs`")
    if by_id:
        known = {run.run_id: f"{run.run_id} ({run.name})" for run in runs}
    else:
        known = {run.name: run.name for run in runs if run.named}
    nearest = difflib.get_close_matches(name, known, n=LISTED, cutoff=0.0)
    more = f", … ({len(known)} in all: `asd runs`)" if len(known) > len(nearest) else ""
    allowed = ", ".join(known[n] for n in nearest)
    raise InputError(f"{name!r} is no file and no finished run with a detector in {where}; allowed: {allowed}{more}")


def detector_of(run: NamedRun, output_root: Path) -> Detector:
    """The detector of a finished run.

    Raises:
        InputError: the store cannot be opened, or the file is no detector.
    """
    return Store(output_root).read(run.run_id, DETECTOR, load_detector)


def official_scores(run: NamedRun, output_root: Path) -> Iterator[tuple[str, float]]:
    """Yield the part (dev, eval) and the official score of a run's labelled test clips; nothing without labels."""
    path = table_path(output_root, run.machine_type, run.run_name)
    if not (run.named and path.is_file()):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cells without labels
        means = summarise(evaluate_scores(read_table(path)))
    chosen = means[(means["machine_type"] == run.machine_type) & (means["mean"] == "harmonic mean")]
    for row in chosen.itertuples():
        if not pd.isna(row.official_score):
            yield row.part, float(row.official_score)
