"""Runs the cells of a notebook in a plain process that may be killed at a chosen moment; see test_runs.py.

Arguments: notebook, parameters as JSON, then the moment and the signal that the process sends to itself then.
"""

import json
import os
import signal
import sys
from pathlib import Path

import nbformat

notebook, parameters, moment, name = sys.argv[1:5]


def die() -> None:
    os.kill(os.getpid(), signal.Signals[name])
    signal.pause()  # a signal with a handler comes a moment later


def dying(module, function: str, when=lambda *args, **kwargs: True) -> None:
    """Have ``function`` die instead of doing its work, when ``when`` says so of its arguments."""
    original = getattr(module, function)

    def replaced(*args, **kwargs):
        if when(*args, **kwargs):
            die()
        return original(*args, **kwargs)

    setattr(module, function, replaced)


import asd.batches
import asd.runs
import asd.scoring
import asd.tracking

if moment.startswith("epoch"):
    original = asd.batches.section_batches

    def batches(*args, **kwargs):
        for i, batch in enumerate(original(*args, **kwargs)):
            if kwargs["epoch"] == int(moment.split()[1]) and i == 1:
                die()
            yield batch

    asd.batches.section_batches = batches
elif moment == "scoring":
    dying(asd.scoring, "score_clips")
elif moment == "writing":
    dying(asd.runs, "save_servable")
elif moment == "declaring":
    dying(asd.tracking.MlflowClient, "set_tag", lambda client, run_id, key, value: key == "complete")
elif moment == "publishing":
    dying(asd.runs, "publish")

namespace = {"__name__": "__main__"}
for cell in nbformat.read(notebook, as_version=4).cells:
    if cell.cell_type == "code":
        exec(compile(cell.source, f"{Path(notebook).name} {cell.id}", "exec"), namespace)
        if "parameters" in cell.metadata.get("tags", []):
            namespace |= json.loads(parameters)
