"""Let the notebooks be opened in Colab, once the project has an address on GitHub.

    python workflow/colab.py https://github.com/OWNER/REPOSITORY        # of the branch main, or: --branch NAME
    python workflow/colab.py --remove

Each notebook, solutions included, gets a link at the end of its first cell, and before its parameters a cell that
fetches the project and installs it; elsewhere, the cell does nothing. It fetches the whole project because solutions
need more of it than the package, and because the commands that notebooks print then work in Colab as well, with an
exclamation mark before them. Colab keeps its own versions of torch, numpy and others, so constraints.txt is not used.
"""

import argparse
import json
import re
from pathlib import Path

from refresh import COLAB, LESSONS, NOTEBOOKS, SOLUTIONS, store

ADDRESS = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<repository>[\w.-]+?)(\.git)?/?")
LINK = re.compile(r"\n\n\[Open in Colab\]\([^)]*\)$")
CELL = """\
# Only in Colab: fetch the project and install what its notebooks need
import sys

if "google.colab" in sys.modules:
    import os
    from subprocess import run

    address = "{address}"
    project = "/content/{repository}"
    if not os.path.isdir(project):
        run(["git", "clone", "--quiet", "--depth=1", "--branch={branch}", address, project], check=True)
    os.chdir(project)
    run([sys.executable, "-m", "pip", "install", "--quiet", "--editable", ".[course]"], check=True)
    sys.path.insert(0, project)"""


def take_out(cells: list[dict]) -> None:
    """Remove link and cell, if they are there."""
    cells[:] = [cell for cell in cells if COLAB not in cell["metadata"].get("tags", [])]
    cells[0]["source"] = LINK.sub("", "".join(cells[0]["source"])).splitlines(keepends=True)


def put_in(cells: list[dict], path: Path, owner: str, repository: str, branch: str) -> None:
    """Add link and cell to the cells of a notebook with the given path in the repository."""
    place = f"https://colab.research.google.com/github/{owner}/{repository}/blob/{branch}/{path.as_posix()}"
    head = "".join(cells[0]["source"])
    cells[0]["source"] = f"{head}\n\n[Open in Colab]({place})".splitlines(keepends=True)
    source = CELL.format(address=f"https://github.com/{owner}/{repository}", repository=repository, branch=branch)
    metadata = {"tags": [COLAB, "remove-cell"]}  # the second keeps it out of the book
    cell: dict = {"cell_type": "code", "execution_count": None, "id": COLAB, "metadata": metadata, "outputs": []}
    parameters = next(i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", []))
    cells.insert(parameters, cell | {"source": source.splitlines(keepends=True)})


def main(arguments: list[str] | None = None, folder: Path = NOTEBOOKS) -> None:
    """Write the address that the command line names into all notebooks, or remove it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("address", nargs="?", help="such as https://github.com/OWNER/REPOSITORY")
    parser.add_argument("--branch", default="main", help="which the notebooks are opened from, and the project fetched")
    parser.add_argument("--remove", action="store_true", help="take links and cells out again")
    given = parser.parse_args(arguments)
    found = ADDRESS.fullmatch(given.address or "")
    if given.remove == bool(given.address) or not (given.remove or found):
        parser.error("give either an address such as https://github.com/OWNER/REPOSITORY, or --remove")
    for path in (folder / source.relative_to(NOTEBOOKS) for source in LESSONS + SOLUTIONS):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        take_out(notebook["cells"])
        if found:
            inside = Path("notebooks") / path.relative_to(folder)
            put_in(notebook["cells"], inside, found["owner"], found["repository"], given.branch)
        store(path, json.dumps(notebook, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
