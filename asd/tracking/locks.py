"""One process at a time works on a run: a file lock that the kernel releases when the process dies."""

import socket
from pathlib import Path

from filelock import FileLock, Timeout

from asd.tracking.mlflow_store import Store


def lock_of(output_root: Path, tags: dict[str, str]) -> FileLock:
    """The lock that a process holds while it works on a run.

    Args:
        output_root: folder of the locks.
        tags: the run's ``machine_type`` and ``identity``.
    """
    folder = output_root / "runs" / tags["machine_type"]
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{tags['identity']}.lock")


def acquire(lock: FileLock) -> None:
    """Lock a run, waiting for another process that works on it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("Another process is working on this run; waiting for it …", flush=True)
        lock.acquire()


def mark_dead_runs(store: Store, output_root: Path) -> None:
    """Mark runs as killed that are recorded as running, but whose process, on this host and output root, is gone."""
    for running in store.search("attributes.status = 'RUNNING'"):
        tags = running.data.tags
        if tags.get("output_root") == str(output_root) and tags.get("host") == socket.gethostname():
            try:
                with lock_of(output_root, tags).acquire(timeout=0):
                    if store.client.get_run(running.info.run_id).info.status == "RUNNING":  # it may just have finished
                        store.client.set_tag(running.info.run_id, "stopped", "the process was killed")
                        store.client.set_terminated(running.info.run_id, "KILLED")
            except Timeout:
                continue
