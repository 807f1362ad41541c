"""Run the cells of a notebook in a plain process that can be killed at a chosen moment; see test_runs.py.

The processes are forked from one that has imported what notebooks import, and done nothing else.
"""

import atexit
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["asd.tracking.runs", "asd.training.batches", "asd.plots.common", "asd.notebook.parameters", "asd.training.data"]
)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "MPLBACKEND": "agg"}


class NotebookProcess:
    """A process that executes a notebook with the given parameters.

    Args:
        notebook: its path.
        parameters: values that replace the notebook's own.
        home: the process's HOME, and folder of the files that it prints to.
        moment: when the process sends the signal ``name`` to itself: ``epoch N``, ``scoring``, ``writing``,
            ``declaring``, ``publishing`` or ``never``.
    """

    def __init__(self, notebook: Path, parameters: dict, home: Path, moment: str, name: str):
        home.mkdir(parents=True, exist_ok=True)
        self.printed = {stream: home / f"{stream}-{id(self)}.txt" for stream in ("stdout", "stderr")}
        arguments = (notebook, json.dumps(parameters), home, moment, name, *self.printed.values())
        self.process = SERVER.Process(target=execute, args=arguments)
        self.process.start()

    def wait(self) -> tuple[int, str, str]:
        """Exit code (the negative number of the signal that ended it, if any), stdout and stderr."""
        self.process.join(timeout=300)
        if self.process.exitcode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired("a notebook", 300)
        out, err = (path.read_text() for path in self.printed.values())
        return self.process.exitcode, out, err


def execute(notebook: Path, parameters: str, home: Path, moment: str, name: str, stdout: Path, stderr: Path) -> None:
    """What the process executes."""
    for path, stream in ((stdout, sys.stdout), (stderr, sys.stderr)):
        with path.open("w") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ.update(ENVIRONMENT | {"HOME": str(home)})
    # imported here, since the test process itself does not need them
    import nbformat
    import torch

    import asd.detection.scoring
    import asd.tracking.mlflow_store
    import asd.tracking.runs
    import asd.training.angular
    import asd.training.batches

    torch.set_num_threads(1)
    if moment.startswith("epoch"):
        for module, function in (
            (asd.training.batches, "section_batches"),
            (asd.training.angular, "angular_batches"),
        ):
            original = getattr(module, function)

            def batches(*args, original=original, **kwargs):
                for i, batch in enumerate(original(*args, **kwargs)):
                    if kwargs["epoch"] == int(moment.split()[1]) and i == 1:
                        die(name)
                    yield batch

            setattr(module, function, batches)
    elif moment == "scoring":
        dying(name, asd.detection.scoring, "score_clips")
    elif moment == "writing":
        dying(name, asd.tracking.runs, "save_servable")
    elif moment == "declaring":
        dying(
            name,
            asd.tracking.mlflow_store.MlflowClient,
            "set_tag",
            lambda client, run_id, key, value: key == "complete",
        )
    elif moment == "publishing":
        dying(name, asd.tracking.runs, "publish")

    namespace = {"__name__": "__main__"}
    try:
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{notebook.name} {cell.id}", "exec"), namespace)
                if "parameters" in cell.metadata.get("tags", []):
                    namespace |= json.loads(parameters)
    finally:
        atexit._run_exitfuncs()  # multiprocessing skips them at the end of a process


def die(name: str) -> None:
    os.kill(os.getpid(), signal.Signals[name])
    signal.pause()  # a signal with a handler arrives a moment later


def dying(name: str, module: ModuleType | type, function: str, when: Callable = lambda *args, **kwargs: True) -> None:
    """Make ``function`` kill the process when it is called with arguments for which ``when`` is true."""
    original = getattr(module, function)

    def replaced(*args, **kwargs):
        if when(*args, **kwargs):
            die(name)
        return original(*args, **kwargs)

    setattr(module, function, replaced)
