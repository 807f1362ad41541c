"""Score tables of runs that never were, and evaluations of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from asd.data.features import FeatureSettings
from asd.evaluation.results import evaluate
from asd.evaluation.score_table import table_path, write_table
from asd.evaluation.tables import RunFacts, Tables
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


def report_of(tables: Tables, data_root: Path, path: Path, remarks: Sequence[str] = (), **further: object) -> Path:
    """Evaluate the tables and write the report."""
    facts = {run_id: RunFacts() for table in tables.values() for run_id in table["run_id"].unique()}
    options = {"false_alarm_rate": 0.1, "quantile": 0.9, "held_out": False, "resamples": 100, "seed": 0}
    evaluation = evaluate(tables, facts, **options, notes=remarks)
    return write_report(path, evaluation, next(iter(tables)), data_root, FeatureSettings(), **further)
