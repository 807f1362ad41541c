"""The whole graph on this machine: one notebook at a time, two at once, and once more when nothing is to be done.

    python benchmarks/workflow.py [machine types] [--params FOLDER]

All seven machine types with all methods take about half an hour and more on two cores; nothing else should be at work.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def seconds(output_root: Path, *config: str) -> float:
    command = [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/local", "--config", *config]
    environment = os.environ | {"ASD_OUTPUT_ROOT": str(output_root)}
    start = time.perf_counter()
    subprocess.run(command, cwd=PROJECT, env=environment, check=True)
    return round(time.perf_counter() - start, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="*", default=["all"])
    parser.add_argument("--params", default="", help="folder with parameter files")
    given = parser.parse_args()
    config = [f"machines={' '.join(given.machines)}", *([f"params={given.params}"] if given.params else [])]
    measured: dict[str, float] = {"cores": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory() as folder:
        for jobs in (1, 2):
            root = Path(folder) / str(jobs)
            measured[f"jobs {jobs}, s"] = seconds(root, *config, f"jobs={jobs}")
            measured[f"jobs {jobs}, executed notebooks"] = len(list(root.glob("notebooks/*/[!.]*.ipynb")))
            measured[f"jobs {jobs}, again, s"] = seconds(root, *config, f"jobs={jobs}")
    measured["ratio"] = round(measured["jobs 2, s"] / measured["jobs 1, s"], 3)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
