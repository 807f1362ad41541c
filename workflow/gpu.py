"""A GPU for a process: a lease that ends with the process, however it ends.

A place on a GPU is a file, and whoever holds the lock on it has the place. The kernel takes a lock back when its holder
dies, SIGKILL included, so that nothing is ever left to clean up.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def devices() -> list[str]:
    """GPUs that may be used: those that ``CUDA_VISIBLE_DEVICES`` lists if it is set, else all of this machine."""
    preset = os.environ.get("CUDA_VISIBLE_DEVICES")
    if preset is not None:
        return [name.strip() for name in preset.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    told = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return told.stdout.split() if told.returncode == 0 else []


def default_folder() -> Path:
    """Where the locks lie: one place for all output roots, since the GPUs are the same."""
    return Path(tempfile.gettempdir()) / f"asd-gpus-{os.getuid()}"


@contextmanager
def lease(names: Sequence[str], jobs_per_gpu: int = 1, folder: Path | None = None) -> Iterator[str]:
    """Wait for a place on one of the GPUs, and yield that GPU's name; empty GPUs come first.

    Args:
        names: GPUs as ``CUDA_VISIBLE_DEVICES`` names them.
        jobs_per_gpu: places on each.
        folder: where the locks lie.
    """
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for place in range(jobs_per_gpu):
            for name in names:
                with open(folder / f"{name.replace('/', '_')}.{place}.lock", "a") as held:
                    try:
                        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    yield name
                    return
        time.sleep(0.5)
