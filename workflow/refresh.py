"""Execute the committed notebooks at their defaults, in order, and store their outputs: `make notebooks`.

    python workflow/refresh.py                                  # all
    python workflow/refresh.py notebooks/03_aux.ipynb           # one, and those before it, on whose runs it stands
    python workflow/refresh.py --check                          # only tell which outputs are stale

Everything is written into a new folder of outputs, so that a reader sees trainings from their start. Nothing is stored
unless all notebooks ran without an error. Each notebook keeps a digest of the code cells that its outputs come from;
outputs are *stale* when the code has changed since, and a test fails on them.
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
from pathlib import Path

import nbformat
import PIL.Image
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
LARGE = 100_000  # characters of a picture in base64
KEPT = ("tags", "jupyter", "collapsed")  # of a cell's metadata; the rest tells when it was executed


def code_digest(notebook: nbformat.NotebookNode) -> str:
    """Sixteen hex digits that change with the source of the code cells."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def is_stale(notebook: nbformat.NotebookNode) -> bool:
    """Whether the outputs come from other code, or from cells that were not executed in order."""
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
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


def execute(path: Path) -> nbformat.NotebookNode:
    """Run a notebook from top to bottom in its folder and return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            compress(output)
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in KEPT}
    notebook.metadata["asd"] = {"code": code_digest(notebook)}
    notebook.metadata["language_info"] = {"name": "python"}  # without the version: it would change with the machine
    return notebook


def refresh(paths: list[Path]) -> None:
    """Execute copies of the notebooks beside a new folder of outputs, then store them all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "notebooks"
        folder.mkdir()
        os.environ["ASD_OUTPUT_ROOT"] = str(Path(name) / "outputs")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        executed = {}
        for path in paths:
            start = time.monotonic()
            executed[path] = execute(Path(shutil.copy(path, folder)))
            print(f"{path.name}: {time.monotonic() - start:.0f} s", flush=True)
    for path, notebook in executed.items():
        text = nbformat.writes(notebook).rstrip("\n") + "\n"
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {len(text.encode()) / 1e6:.2f} MB")


def main() -> int:
    """Refresh or check the notebooks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all if left out")
    parser.add_argument("--check", action="store_true", help="tell which outputs are stale, and execute nothing")
    given = parser.parse_args()
    available = sorted(NOTEBOOKS.glob("0*.ipynb"))
    chosen = [path.resolve() for path in given.notebooks] or available
    if given.check:
        stale = [path.name for path in chosen if is_stale(nbformat.read(path, as_version=4))]
        print(f"stale: {', '.join(stale) or 'none'}")
        return bool(stale)
    try:
        refresh([path for path in available if path <= max(chosen)])
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
