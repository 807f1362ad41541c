"""Summarise a run of the graph: a table of results, what failed, and where to find the rest.

python workflow/summary.py fan pump
"""

import sys
from pathlib import Path

import pandas as pd

from asd.paths import default_output_root


def overview(results: pd.DataFrame) -> pd.DataFrame:
    """Mean AUC and pAUC in percent over the sections of each part (development, evaluation) by domain, one row per run.

    Args:
        results: ``results.csv`` of ``06_evaluation``, with one row per machine type, run, section and domain.
    """
    cells = results[results["domain"] != "mixed"].rename(
        columns={"machine_type": "machine type", "run_name": "run", "auc": "AUC", "pauc": "pAUC"}
    )
    means = 100 * cells.pivot_table(["AUC", "pAUC"], ["machine type", "run"], ["part", "domain"], sort=False)
    return means.reorder_levels([1, 2, 0], axis=1).sort_index(axis=1).sort_index(level=0, sort_remaining=False).round(1)


def display_path(path: Path) -> Path:
    """The path relative to the working folder if it is inside it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main(machine_types: set[str]) -> None:
    """Print everything that concerns these machine types, or all of them if the set is empty."""
    root = default_output_root()
    table = root / "evaluation" / "results.csv"
    results = pd.read_csv(table) if table.is_file() else pd.DataFrame({"machine_type": []})
    results = results[results["machine_type"].isin(machine_types or set(results["machine_type"]))]
    if len(results):
        print(f"\nMeans over sections in percent\n\n{overview(results).to_string(na_rep='–')}")
    outputs = display_path(root)
    print(f"\nnotebooks  {outputs}/notebooks/<machine type>/")
    print(f"scores     {outputs}/scores/<machine type>/")
    print(f"report     {outputs}/evaluation/report.html")
    print("MLflow     make ui")
    for failed in sorted(root.glob("notebooks/*/*.failed.ipynb")):
        if not machine_types or failed.parent.name in machine_types:
            print(f"FAILED     {display_path(failed)}")


if __name__ == "__main__":
    main(set(sys.argv[1:]) - {"all"})
