"""Where a notebook's time goes: imports, features, training, scoring, figures and the rest, by executed notebooks.

papermill notes how long each cell took. A cell is counted where its most expensive work belongs; "outside" is what no
cell took: starting the kernel, and papermill itself.

    make run METHODS="aux ccsa ae"
    python benchmarks/notebooks.py outputs/notebooks/fan/*.ipynb
"""

import argparse
import json
from pathlib import Path

import pandas as pd

# The first kind of which a cell's source contains one of the words
KINDS = {
    "training": ("in fit(", "train_toy("),
    "features": ("training_data(", "open_shard("),
    "scoring": ("score_table(", "evaluate("),
    "imports": ("import ",),
    "figures": ("figure", "plots.", "display("),
}


def kind_of(source: str) -> str:
    """What a cell mostly does."""
    return next((kind for kind, words in KINDS.items() if any(word in source for word in words)), "other")


def seconds_by_kind(path: Path) -> dict[str, float]:
    """Seconds of an executed notebook, by kind of cell."""
    notebook = json.loads(path.read_text())
    seconds = dict.fromkeys((*KINDS, "other"), 0.0)
    for cell in notebook["cells"]:
        duration = cell["metadata"].get("papermill", {}).get("duration")
        if cell["cell_type"] == "code" and duration:
            seconds[kind_of("".join(cell["source"]))] += duration
    total = notebook["metadata"]["papermill"]["duration"]
    return seconds | {"outside": total - sum(seconds.values()), "total": total}


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds of executed notebooks, by kind of cell")
    parser.add_argument("notebooks", nargs="+", type=Path)
    table = pd.DataFrame({path.stem: seconds_by_kind(path) for path in parser.parse_args().notebooks}).T
    print("seconds")
    print(table.round(1).to_string())


if __name__ == "__main__":
    main()
