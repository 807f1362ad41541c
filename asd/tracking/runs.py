"""The life of a run: begun, gone on with after an interruption, finished, and found again.

A run's *identity* is a digest of all that its result depends on: training parameters, data, features, the package's
version. One process at a time works on an identity; a file lock that dies with its process sees to that. A run counts
as finished when its tag ``complete`` is there, which is written last; its MLflow status alone tells nothing, since a
kernel that is killed leaves RUNNING behind.
"""

import atexit
import hashlib
import json
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from IPython import get_ipython

import asd
from asd.detection.detector import Detector, load_detector
from asd.evaluation.score_table import read_table, table_path, write_table
from asd.files import replacing
from asd.paths import PROJECT
from asd.tracking.mlflow_store import Store, save_servable
from asd.training.loop import Epoch

DETECTOR, SCORES, HISTORY = "detector.pt", "scores.csv", "history.csv"


def digest(content: Any) -> str:
    """Sixteen hex digits of anything JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def code_digest() -> str:
    """Changes with every change of the package's code."""
    files = sorted(Path(asd.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def git_revision() -> str:
    """The commit of the project, with ``+`` behind it where files have changed since; empty outside a repository."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


class Run:
    """One training and its place in the store: a handle that a notebook carries from cell to cell.

    Attributes:
        run_id: MLflow's.
        finished: whether its results are there.
        resume: file for :func:`asd.training.loop.fit` to keep its state in.
    """

    def __init__(self, store: Store, output_root: Path, tags: dict[str, str]):
        self.store, self.output_root, self.tags = store, output_root, tags
        self.lock = lock_of(output_root, tags)
        self.folder = Path(self.lock.lock_file).with_suffix("")
        self.resume = self.folder / "training.pt"
        self.run_id, self.finished, self.ended, self.logged_epochs = "", False, False, 0

    def log_epoch(self, epoch: Epoch) -> None:
        """Log an epoch's means, learning rate and seconds, unless they were logged before the run was resumed."""
        if epoch.number >= self.logged_epochs:
            values = epoch.means | {"learning_rate": epoch.learning_rate, "seconds": epoch.seconds}
            self.store.log_metrics(self.run_id, values | {"epochs": epoch.number + 1}, epoch.number)
            self.logged_epochs = epoch.number + 1

    def log_results(self, detector: Detector, table: pd.DataFrame, history: list[Epoch]) -> None:
        """Keep the detector, also as a servable model, the score table and the course of the training."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            detector.save(folder / DETECTOR)
            write_table(table, folder / SCORES)
            rows = [
                {"epoch": e.number, "learning_rate": e.learning_rate, "seconds": e.seconds} | e.means for e in history
            ]
            pd.DataFrame(rows).to_csv(folder / HISTORY, index=False)
            save_servable(folder / DETECTOR, folder / "model", detector)
            self.store.client.log_artifacts(self.run_id, str(folder))

    def log_figure(self, figure: Any, name: str) -> None:
        """Keep a matplotlib figure with the run; a finished run keeps those that it has."""
        if not self.finished:
            self.store.client.log_figure(self.run_id, figure, f"figures/{name}.png")

    def log_csv(self, table: pd.DataFrame, name: str) -> None:
        """Keep a table with the run; a finished run keeps those that it has."""
        if not self.finished:
            self.store.client.log_text(self.run_id, table.to_csv(index=False), f"{name}.csv")

    def complete(self) -> None:
        """Declare the run finished, with the tag ``complete`` last, and publish its score table."""
        if not self.finished:
            self.store.client.set_terminated(self.run_id, "FINISHED")
            self.store.client.set_tag(self.run_id, "complete", "true")
            self.finished = True
            publish(self)
            shutil.rmtree(self.folder, ignore_errors=True)
            release(self)

    def end(self, status: str, reason: str) -> None:
        """Record that work has stopped before the run was complete, and why; a later call goes on with it."""
        if not self.finished and not self.ended:
            self.ended = True  # the end of the process does not hide the cell that failed before
            self.store.client.set_tag(self.run_id, "stopped", reason)
            self.store.client.set_terminated(self.run_id, status)

    def detector(self, device: str = "cpu") -> Detector:
        """The trained detector as the run keeps it."""
        return self.store.read(self.run_id, DETECTOR, lambda path: load_detector(path, device))

    def table(self) -> pd.DataFrame:
        """The score table as the run keeps it."""
        return self.store.read(self.run_id, SCORES, read_table)

    def history(self) -> pd.DataFrame:
        """The course of the training: a row an epoch, with the objective's terms and the validation's measures."""
        return pd.read_csv(self.store.artifact(self.run_id, HISTORY))


active_runs: list[Run] = []  # what this process works on: one run at most


def lock_of(output_root: Path, tags: dict[str, str]) -> FileLock:
    """The lock that a process holds while it works on a run."""
    folder = output_root / "runs" / tags["machine_type"]
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{tags['identity']}.lock")


def release(run: Run) -> None:
    """Let other processes have the run."""
    run.lock.release()
    if run in active_runs:
        active_runs.remove(run)


def publish(run: Run) -> None:
    """Put a finished run's score table where evaluation looks; it takes the place of another run's of that name."""
    path = table_path(run.output_root, run.tags["machine_type"], run.tags["run_name"])
    with replacing(path) as temporary:
        shutil.copyfile(run.store.artifact(run.run_id, SCORES), temporary)


def open_run(output_root: Path, tags: dict[str, str], identity: dict[str, Any], retrain: bool = False) -> Run:
    """Find the finished run of this identity, or go on with an unfinished one, or begin; it prints which.

    Args:
        output_root: where locks, half-done work and, by default, the store lie.
        tags: what the run is found by: ``method``, ``machine_type``, ``run_name`` and more.
        identity: all that the result depends on: ``parameters``, ``data`` and more, as JSON can say it.
        retrain: begin anew even if there is a finished run.
    """
    content = identity | {name: tags[name] for name in ("method", "machine_type", "run_name")}
    tags = tags | {"identity": digest(content | {"package": asd.__version__}), "output_root": str(output_root)}
    for other in active_runs[:]:
        if all(other.tags[name] == tags[name] for name in ("identity", "output_root")):
            return other  # the notebook's cell was run again
        other.end("KILLED", "another run was opened in the same process")
        release(other)
    store = Store(output_root)
    mark_dead_runs(store, output_root)
    run = Run(store, output_root, tags)
    try:
        run.lock.acquire(timeout=0)
    except Timeout:
        print("Another process works on this very run; waiting for it …", flush=True)
        run.lock.acquire()
    active_runs.append(run)
    found = store.search(f"tags.identity = '{tags['identity']}'")
    finished = [one for one in found if "complete" in one.data.tags]
    if finished and not retrain:
        run.run_id, run.finished = finished[0].info.run_id, True
        publish(run)
        shutil.rmtree(run.folder, ignore_errors=True)  # if it was killed at the very end
        release(run)
        changed = (
            "" if finished[0].data.tags.get("code") == code_digest() else " (the package's code has changed since)"
        )
        print(f"Found the finished run {run.run_id}{changed}: its results are loaded. `retrain` trains anew.")
        return run
    unfinished = [one for one in found if "complete" not in one.data.tags]
    if retrain:
        shutil.rmtree(run.folder, ignore_errors=True)
    if unfinished and run.resume.is_file():
        run.run_id = unfinished[0].info.run_id
        run.logged_epochs = int(unfinished[0].data.metrics.get("epochs", 0))
        store.client.update_run(run.run_id, status="RUNNING")
        print(f"Going on with the unfinished run {run.run_id}.")
    else:
        tags = tags | {"host": socket.gethostname(), "code": code_digest(), "git": git_revision()}
        tags |= {"data": json.dumps(identity["data"]), "package": asd.__version__}
        run.run_id = store.create_run(f"{tags['run_name']} {tags['machine_type']}", identity["parameters"], tags)
        print(f"Began the run {run.run_id}.")
    run.folder.mkdir(parents=True, exist_ok=True)
    record_failures(run)
    return run


def record_failures(run: Run) -> None:
    """Have a failing cell and the end of the process recorded."""

    def after_cell(result: Any) -> None:
        error = result.error_before_exec or result.error_in_exec
        if error is not None and run in active_runs:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            run.end(status, f"{type(error).__name__}: {error}"[:500])

    if (shell := get_ipython()) is not None:
        shell.events.register("post_run_cell", after_cell)
    atexit.register(lambda: run in active_runs and run.end("KILLED", "the process ended"))


def mark_dead_runs(store: Store, output_root: Path) -> None:
    """Mark runs that seem to be running although their process, of this machine and output root, is gone."""
    for one in store.search("attributes.status = 'RUNNING'"):
        tags = one.data.tags
        if tags.get("output_root") == str(output_root) and tags.get("host") == socket.gethostname():
            try:
                with lock_of(output_root, tags).acquire(timeout=0):
                    store.client.set_tag(one.info.run_id, "stopped", "the process was killed")
                    store.client.set_terminated(one.info.run_id, "KILLED")
            except Timeout:
                continue
