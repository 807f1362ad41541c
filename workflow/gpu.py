"""Lease a GPU to a process until the process ends, however it ends.

A slot on a GPU is a file, and the process that holds its lock owns the slot. The kernel releases the lock when its
holder dies, even by SIGKILL, so that there is never anything to clean up.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def devices() -> list[str]:
    """The GPUs that may be used: those listed in ``CUDA_VISIBLE_DEVICES`` if it is set, otherwise all.

    Of a GPU that is divided into instances (NVIDIA's MIG), each instance: by the GPU's number, CUDA would always take
    the first one.
    """
    preset = os.environ.get("CUDA_VISIBLE_DEVICES")
    if preset is not None:
        return [name.strip() for name in preset.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    query = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    found: dict[str, list[str]] = {}  # the instances of each GPU
    for line in query.stdout.splitlines() if query.returncode == 0 else []:
        if gpu := re.match(r"GPU (\d+):", line):
            found[gpu[1]] = []
        elif instance := re.search(r"\(UUID: (MIG-[^)]+)\)", line):
            found[list(found)[-1]].append(instance[1])
    return [name for gpu, instances in found.items() for name in instances or [gpu]]


def default_folder() -> Path:
    """The folder of the locks: the same for all output roots, since the GPUs are the same."""
    return Path(tempfile.gettempdir()) / f"asd-gpus-{os.getuid()}"


@contextmanager
def lease(names: Sequence[str], jobs_per_gpu: int = 1, folder: Path | None = None) -> Iterator[str]:
    """Wait for a slot on one of the GPUs, and yield that GPU's name; idle GPUs come first.

    Args:
        names: names of the GPUs, as in ``CUDA_VISIBLE_DEVICES``.
        jobs_per_gpu: number of slots on each.
        folder: folder of the locks.
    """
    folder = folder or default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for slot in range(jobs_per_gpu):
            for name in names:
                with open(folder / f"{name.replace('/', '_')}.{slot}.lock", "a") as lock:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    yield name
                    return
        time.sleep(0.5)
