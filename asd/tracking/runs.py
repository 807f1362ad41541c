"""The life of a run: started, resumed after an interruption, finished, and found again.

A run's *identity* is a digest of everything that its result depends on: training parameters, data, features and the
package's version (:mod:`asd.tracking.identity`). Only one process at a time works on an identity
(:mod:`asd.tracking.locks`). A run counts as finished only when it has the tag ``complete``, which is written last. Its
MLflow status alone proves nothing: a killed kernel leaves RUNNING behind.
"""

import atexit
import json
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

import asd
from asd.detection.detector import Detector, load_detector
from asd.errors import InputError, needs_extra
from asd.evaluation.score_table import read_table, table_path, write_table
from asd.files import replacing
from asd.tracking.descriptions import note, result_in_words
from asd.tracking.identity import code_digest, git_revision, identity_digest
from asd.tracking.locks import acquire, lock_of, mark_dead_runs
from asd.tracking.mlflow_store import MODEL, Store, StoredRun, save_servable
from asd.training.epochs import Epoch
from asd.weights import load_weights

with needs_extra("tracking"):
    from IPython import get_ipython

DETECTOR, SCORES, HISTORY, NETWORK = "detector.pt", "scores.csv", "history.csv", "network.pt"
NAMES = ("machine_type", "method", "run_name")  # by which a model is found among all others
ALL = "all"  # machine type of a run that trains a network for all of them, and scores none


class Run:
    """One training and its record in the store: a handle that a notebook passes from cell to cell.

    Attributes:
        run_id: MLflow's.
        finished: whether its results exist.
        resume: the file in which :func:`asd.training.loop.fit` keeps its state.
    """

    def __init__(self, store: Store, output_root: Path, tags: dict[str, str]):
        self.store, self.output_root, self.tags = store, output_root, tags
        self.lock = lock_of(output_root, tags)
        self.folder = Path(self.lock.lock_file).with_suffix("")
        self.resume = self.folder / "training.pt"
        self.run_id, self.finished, self.ended, self.logged_epochs = "", False, False, 0
        self.result = ""  # in words, for the run's description

    def log_epoch(self, epoch: Epoch) -> None:
        """Log an epoch's means, learning rate and duration, unless they were logged before the run was resumed."""
        if epoch.number >= self.logged_epochs:
            values = epoch.means | {"learning_rate": epoch.learning_rate, "seconds": epoch.seconds}
            self.store.log_metrics(self.run_id, values | {"epochs": epoch.number + 1}, epoch.number)
            self.logged_epochs = epoch.number + 1

    def log_results(self, detector: Detector, table: pd.DataFrame, history: list[Epoch]) -> None:
        """Store the detector (also as a servable model), the score table and the history of the training."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            detector.save(folder / DETECTOR)
            write_table(table, folder / SCORES)
            write_history(history, folder)
            save_servable(folder / DETECTOR, folder / MODEL, detector)
            self.store.log_model(self.run_id, folder / MODEL, {n: self.tags[n] for n in NAMES})
            shutil.rmtree(folder / MODEL)
            self.store.client.log_artifacts(self.run_id, str(folder))
        self.result = result_in_words(table)

    def log_network(self, network: nn.Module, history: list[Epoch]) -> None:
        """Store a network's weights and the history of its training: the results of a run of the machine type ALL."""
        with tempfile.TemporaryDirectory() as name:
            torch.save({key: value.cpu() for key, value in network.state_dict().items()}, Path(name) / NETWORK)
            write_history(history, Path(name))
            self.store.client.log_artifacts(self.run_id, name)

    def log_figure(self, figure: Any, name: str) -> None:
        """Store a matplotlib figure with the run; a finished run keeps those it has."""
        if not self.finished:
            self.store.client.log_figure(self.run_id, figure, f"figures/{name}.png")

    def log_csv(self, table: pd.DataFrame, name: str) -> None:
        """Store a table with the run; a finished run keeps those it has."""
        if not self.finished:
            self.store.client.log_text(self.run_id, table.to_csv(index=False), f"{name}.csv")

    def complete(self, command: str = "") -> None:
        """Describe the run, mark it as finished (the tag ``complete`` comes last), and publish its score table.

        Args:
            command: that repeats the run, for its description.
        """
        if not self.finished:
            self.store.client.set_tag(self.run_id, "mlflow.note.content", note(self.tags, self.result, command))
            self.store.client.set_terminated(self.run_id, "FINISHED")
            self.store.client.set_tag(self.run_id, "complete", "true")
            self.finished = True
            publish(self)
            shutil.rmtree(self.folder, ignore_errors=True)
            release(self)

    def end(self, status: str, reason: str) -> None:
        """Record that work stopped before the run was complete, and why; a later call resumes it."""
        if not self.finished and not self.ended:
            self.ended = True  # so that the end of the process does not hide the cell that failed before
            self.store.client.set_tag(self.run_id, "stopped", reason)
            self.store.client.set_terminated(self.run_id, status)

    def detector(self, device: str = "cpu") -> Detector:
        """The trained detector, as stored with the run."""
        return self.store.read(self.run_id, DETECTOR, lambda path: load_detector(path, device))

    def restore_network(self, network: nn.Module) -> None:
        """Load the weights that :meth:`log_network` has stored.

        Raises:
            InputError: they are missing, damaged, or of another network.
        """
        weights = self.store.read(self.run_id, NETWORK, load_weights)
        try:
            network.load_state_dict(weights)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"run {self.run_id}: its weights do not fit the network ({error})") from error

    def table(self) -> pd.DataFrame:
        """The score table, as stored with the run."""
        return self.store.read(self.run_id, SCORES, read_table)

    def history(self) -> pd.DataFrame:
        """The history of the training: one row per epoch, with the objective's terms and held-out metrics."""
        return pd.read_csv(self.store.artifact(self.run_id, HISTORY))


active_runs: list[Run] = []  # those that this process works on: at most one


def write_history(history: list[Epoch], folder: Path) -> None:
    """Write one row per epoch."""
    rows = [{"epoch": e.number, "learning_rate": e.learning_rate, "seconds": e.seconds} | e.means for e in history]
    pd.DataFrame(rows).to_csv(folder / HISTORY, index=False)


def release(run: Run) -> None:
    """Unlock the run, so that other processes can work on it."""
    run.lock.release()
    if run in active_runs:
        active_runs.remove(run)


def publish(run: Run) -> None:
    """Copy a finished run's score table to where evaluation looks, replacing any other of that run name."""
    if run.tags["machine_type"] == ALL:
        return
    path = table_path(run.output_root, run.tags["machine_type"], run.tags["run_name"])
    with replacing(path) as temporary:
        shutil.copyfile(run.store.artifact(run.run_id, SCORES), temporary)


def open_run(output_root: Path, tags: dict[str, str], identity: dict[str, Any], retrain: bool = False) -> Run:
    """Find the finished run of this identity, resume an unfinished one, or start a new one; print which.

    Args:
        output_root: folder of the locks, of unfinished work and, by default, of the store.
        tags: what the run can be found by: ``method``, ``machine_type``, ``run_name`` and more.
        identity: everything that the result depends on, JSON-serialisable: ``parameters``, ``data`` and more.
        retrain: start a new run even if a finished one exists.
    """
    tags = tags | {"identity": identity_digest(identity, tags), "output_root": str(output_root)}
    for other in active_runs[:]:
        if all(other.tags[name] == tags[name] for name in ("identity", "output_root")):
            if other.ended:  # by an error or an interrupt in another cell
                other.ended = False
                running_again(other)
            return other  # the notebook's cell was run again
        other.end("KILLED", "another run was opened in the same process")
        release(other)
    store = Store(output_root)
    mark_dead_runs(store, output_root)
    run = Run(store, output_root, tags)
    acquire(run.lock)
    active_runs.append(run)
    attempts = store.search(f"tags.identity = '{tags['identity']}'")  # latest first
    finished = [attempt for attempt in attempts if "complete" in attempt.data.tags]
    unfinished = [attempt for attempt in attempts if "complete" not in attempt.data.tags]
    if finished and not retrain:
        adopt(run, finished[0])
        return run
    if retrain:
        shutil.rmtree(run.folder, ignore_errors=True)
    if unfinished and run.resume.is_file():
        resume(run, unfinished[0])
    else:
        start(run, identity)
    run.folder.mkdir(parents=True, exist_ok=True)
    record_failures(run)
    return run


def adopt(run: Run, finished: StoredRun) -> None:
    """Use the results of a finished run, and publish its scores again."""
    run.run_id, run.finished = finished.info.run_id, True
    publish(run)
    shutil.rmtree(run.folder, ignore_errors=True)  # left over if the process was killed at the very end
    release(run)
    changed = "" if finished.data.tags.get("code") == code_digest() else " (the package's code has changed since)"
    print(f"Found the finished run {run.run_id}{changed} and loaded its results; `retrain` forces a new run.")


def resume(run: Run, unfinished: StoredRun) -> None:
    """Continue an interrupted run under its old id."""
    run.run_id = unfinished.info.run_id
    run.logged_epochs = int(unfinished.data.metrics.get("epochs", 0))
    running_again(run)


def running_again(run: Run) -> None:
    """Say so, here and in the store."""
    run.store.client.update_run(run.run_id, status="RUNNING")
    print(f"Resuming the unfinished run {run.run_id}.")


def start(run: Run, identity: dict[str, Any]) -> None:
    """Create a new run in the store."""
    origin = {"host": socket.gethostname(), "code": code_digest(), "git": git_revision()}
    origin |= {"data": json.dumps(identity["data"]), "package": asd.__version__}
    name = f"{run.tags['run_name']} {run.tags['machine_type']}"
    run.run_id = run.store.create_run(name, identity["parameters"], run.tags | origin)
    run.store.log_dataset(run.run_id, run.tags["machine_type"], identity["data"])
    print(f"Started run {run.run_id}.")


def record_failures(run: Run) -> None:
    """Record in the store when a cell fails or the process ends before the run is complete."""

    def after_cell(result: Any) -> None:
        error = result.error_before_exec or result.error_in_exec
        if error is not None and run in active_runs:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            run.end(status, f"{type(error).__name__}: {error}"[:500])

    def at_exit() -> None:
        if run in active_runs:
            run.end("KILLED", "the process ended")

    if (shell := get_ipython()) is not None:
        shell.events.register("post_run_cell", after_cell)
    atexit.register(at_exit)
