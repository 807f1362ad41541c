"""Execute the committed notebooks at their defaults, in order, and store their outputs: `make notebooks`.

    python workflow/refresh.py                                  # all, then all solutions
    python workflow/refresh.py notebooks/03_aux.ipynb           # one, and those before it, on whose runs it stands
    python workflow/refresh.py notebooks/solutions/03_aux.ipynb # the same, then this solution
    python workflow/refresh.py --check                          # only tell which outputs are stale
    python workflow/refresh.py --normalise                      # only complete the metadata

Everything is written into a new folder of outputs, so that a reader sees trainings from their start. Nothing is stored
unless all notebooks ran without an error. Each notebook keeps a digest of the code cells that its outputs come from;
outputs are *stale* when the code has changed since, and a test fails on them. Cells for Colab (colab.py) are neither
executed nor part of the digest.

The metadata is what JupyterLab would make of it. Otherwise Lab completes it on opening, and a notebook that nobody has
touched counts as changed.
"""

import argparse
import base64
import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill
import PIL.Image
from ipykernel.ipkernel import IPythonKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
LESSONS, SOLUTIONS = sorted(NOTEBOOKS.glob("0*.ipynb")), sorted(NOTEBOOKS.glob("solutions/0*.ipynb"))
# further runs of 03_aux, which exercises 4 and 5 of 06_evaluation ask for
EXERCISES: list[dict[str, Any]] = [
    {"proxy_outliers": "none", "run_name": "aux_alone"},
    {"seed": 1, "run_name": "aux_1"},
    {"seed": 2, "run_name": "aux_2"},
]
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LARGE = 100_000  # characters of a picture in base64
COLAB = "colab"  # the tag of a cell that installs the package in Colab, see colab.py
KEPT = ("tags", "jupyter", "collapsed")  # of a cell's metadata; the rest tells when it was executed


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The cells that outputs come from."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and COLAB not in cell.metadata.get("tags", [])]


def code_digest(notebook: nbformat.NotebookNode) -> str:
    """Sixteen hex digits that change with the source of the code cells."""
    sources = [cell.source for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def is_stale(notebook: nbformat.NotebookNode) -> bool:
    """Whether the outputs come from other code, or from cells that were not executed in order."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    in_order = counts == list(range(1, len(counts) + 1))
    return not in_order or notebook.metadata.get("asd", {}).get("code") != code_digest(notebook)


def compress(output: nbformat.NotebookNode) -> None:
    """Reduce a large picture to 256 colours: spectrograms, with a colour map of no more, take a third of the room."""
    picture = output.get("data", {}).get("image/png", "")
    if len(picture) > LARGE:
        image = PIL.Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
        smaller = io.BytesIO()
        image.quantize(256, dither=PIL.Image.Dither.NONE).save(smaller, "png", optimize=True)
        output.data["image/png"] = base64.b64encode(smaller.getvalue()).decode()


def normal_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook's metadata with what JupyterLab writes into it when its kernel starts: all that the kernel tells.

    Python's version is part of it, so Lab leaves a notebook untouched if its kernel is of the version that is stored.
    """
    return {**metadata, "kernelspec": KERNEL, "language_info": dict(IPythonKernel.language_info)}


def normalise(path: Path) -> bool:
    """Complete the metadata of a notebook and leave the rest of the file as it is; tell whether anything changed."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    if notebook["metadata"] == normal_metadata(notebook["metadata"]):
        return False
    notebook["metadata"] = normal_metadata(notebook["metadata"])
    store(path, json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True))
    return True


def store(path: Path, text: str) -> None:
    """Write a notebook, which ends with one newline."""
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def execute(path: Path) -> nbformat.NotebookNode:
    """Run a notebook from top to bottom in its folder and return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=None, resources=resources, skip_cells_with_tag=COLAB).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            compress(output)
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in KEPT}
    notebook.metadata["asd"] = {"code": code_digest(notebook)}
    notebook.metadata = nbformat.from_dict(normal_metadata(notebook.metadata))
    return notebook


def needed(chosen: list[Path]) -> list[Path]:
    """The notebooks up to the last of those chosen, on whose runs it stands, then the solutions among those chosen."""
    last = max(path.name for path in chosen)
    return [path for path in LESSONS if path.name <= last] + [path for path in SOLUTIONS if path in chosen]


def refresh(paths: list[Path]) -> None:
    """Execute copies of the notebooks beside a new folder of outputs, then store them all."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "notebooks" / "solutions").mkdir(parents=True)
        os.environ["ASD_OUTPUT_ROOT"] = str(Path(name) / "outputs")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        executed = {}
        for path in paths:
            start = time.monotonic()
            copy = Path(shutil.copy(path, Path(name) / path.relative_to(NOTEBOOKS.parent)))
            if path == NOTEBOOKS / "solutions" / "06_evaluation.ipynb":
                do_exercises()
            executed[path] = execute(copy)
            print(f"{path.relative_to(NOTEBOOKS)}: {time.monotonic() - start:.0f} s", flush=True)
    for path, notebook in executed.items():
        store(path, nbformat.writes(notebook))
        print(f"{path.relative_to(NOTEBOOKS)}: {path.stat().st_size / 1e6:.2f} MB")


def do_exercises() -> None:
    """Train what the exercises of 06_evaluation ask for; of these notebooks, only the runs are kept."""
    for parameters in EXERCISES:
        papermill.execute_notebook(NOTEBOOKS / "03_aux.ipynb", None, parameters, progress_bar=False)


def main() -> int:
    """Refresh or check the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all and their solutions if left out")
    parser.add_argument("--check", action="store_true", help="tell which outputs are stale, and execute nothing")
    parser.add_argument("--normalise", action="store_true", help="complete the metadata, and execute nothing")
    given = parser.parse_args()
    chosen = [path.resolve() for path in given.notebooks] or LESSONS + SOLUTIONS
    if given.normalise:
        for path in chosen:
            print(f"{path.relative_to(NOTEBOOKS)}: {'completed' if normalise(path) else 'as it should be'}")
        return 0
    if given.check:
        stale = [path for path in chosen if is_stale(nbformat.read(path, as_version=4))]
        print(f"stale: {', '.join(str(path.relative_to(NOTEBOOKS)) for path in stale) or 'none'}")
        return bool(stale)
    try:
        refresh(needed(chosen))
    except (CellExecutionError, papermill.PapermillExecutionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
