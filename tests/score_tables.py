"""Score tables of runs that never were, and evaluations of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from asd.data.features import FeatureSettings
from asd.evaluation.score_table import table_path, write_table
from asd.evaluation.tables import RunFacts, Tables, decided, measure
from asd.report.html import write_report


def run_table(clips: pd.DataFrame, run_name: str, seed: int = 0, gap: float = 1.0, **columns: object) -> pd.DataFrame:
    """Normal scores are standard normal, those of anomalous clips higher by ``gap``."""
    random = np.random.default_rng(seed)
    anomalous = clips["label"].fillna(0).to_numpy(dtype=float)
    run = {"method": "aux", "run_name": run_name, "run_id": f"id-{run_name}", "seed": seed, "held_out": False}
    table = clips.rename(columns={"path": "clip"}).assign(score=random.normal(size=len(clips)) + gap * anomalous)
    return table.assign(**(run | columns)).drop(columns="attribute", errors="ignore").reset_index(drop=True)


def write_scores(table: pd.DataFrame, output_root: Path) -> None:
    """Where a training would put it."""
    for machine_type, rows in table.groupby("machine_type"):
        write_table(rows, table_path(output_root, machine_type, rows["run_name"].iloc[0]))


def report_of(tables: Tables, data_root: Path, path: Path, remarks: Sequence[str] = ()) -> Path:
    """Evaluate the tables and write the report."""
    tables, limits, _ = decided(tables, 0.9, held_out=False)
    cells, means, notes = measure(tables, 100, 0)
    facts = {run_id: RunFacts() for table in tables.values() for run_id in table["run_id"].unique()}
    final = next(iter(tables))
    notes = [*notes, *remarks]
    return write_report(path, tables, limits, cells, means, facts, final, data_root, FeatureSettings(), notes)
