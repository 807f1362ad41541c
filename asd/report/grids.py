"""Results as the report's template takes them: column names and rows of texts, shares and scores in percent."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

PERCENT = "{:.1f}".format


def with_interval(bounded: Iterable[float], factor: float, text: Any) -> str:
    """A value with its bounds as ``value (low–high)``, empty where the value is undefined."""
    value, low, high = bounded
    return "" if np.isnan(value) else f"{text(factor * value)} ({text(factor * low)}–{text(factor * high)})"


def grid(frame: pd.DataFrame, texts: Mapping[str, Any]) -> dict[str, Any]:
    """A frame as the template takes it: column names and rows of texts; ``texts`` has formatters by column name."""

    def cell(column: str, value: Any) -> str:
        if not isinstance(value, str) and pd.isna(value):
            return "–"
        return texts[column](value) if column in texts else str(value)

    rows = [[cell(column, value) for column, value in zip(frame, row, strict=True)] for row in frame.to_numpy(object)]
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) or "interval" in column for column in frame]
    return {"columns": list(frame), "numeric": numeric, "rows": rows}


def board_grid(board: pd.DataFrame, part: str) -> dict[str, Any]:
    """The leaderboard's rows of one part; NaN is a dash. Columns that say nothing here are left out."""
    columns = ["system", "method", "settings", "official score", "spread", "source", "target", "mixed", "AUC", "pAUC"]
    rows = board.loc[board["part"] == part, [*columns, "runs", "machine types", "undefined cells"]]
    if (rows["runs"] == 1).all():
        rows = rows.drop(columns=["runs", "spread"])
    if (rows["undefined cells"] == 0).all():
        rows = rows.drop(columns="undefined cells")
    return grid(rows, dict.fromkeys(["official score", "spread", "source", "target", "mixed", "AUC", "pAUC"], PERCENT))


def means_grid(means: pd.DataFrame) -> dict[str, Any]:
    """Means of one machine type: one row per part and run; the official score, a harmonic mean, with its interval."""
    columns = ["official_score", "official_score_low", "official_score_high"]
    rows = []
    for (part, run_name), group in means.groupby(["part", "run_name"]):
        by_mean = group.set_index("mean")
        harmonic = by_mean.loc["harmonic mean"]
        row = {
            "part": part,
            "run": run_name,
            "official score (95% interval)": with_interval(harmonic[columns], 100, PERCENT),
        }
        row |= {"AUC": 100 * harmonic["auc"], "pAUC": 100 * harmonic["pauc"]}
        for mean in ("source harmonic mean", "target harmonic mean", "mixed harmonic mean", "arithmetic mean"):
            value = 100 * by_mean["official_score"].get(mean, np.nan)
            row[mean.replace(" harmonic mean", "")] = value
        rows.append(row | {"cells": int(harmonic["n_cells"])})
    frame = pd.DataFrame(rows)
    return grid(frame, dict.fromkeys(["AUC", "pAUC", "source", "target", "mixed", "arithmetic mean"], PERCENT))


def cells_grid(cells: pd.DataFrame) -> dict[str, Any]:
    """Cells of one run and machine type, AUC and pAUC with their intervals."""
    frame = cells[["part", "section", "domain"]].assign(section=cells["section"].map("{:02}".format))
    for metric, name in (("auc", "AUC"), ("pauc", "pAUC")):
        columns = [metric, f"{metric}_low", f"{metric}_high"]
        frame[f"{name} (95% interval)"] = [with_interval(row, 100, PERCENT) or "–" for row in cells[columns].to_numpy()]
    frame[["precision", "recall", "F1"]] = 100 * cells[["precision", "recall", "f1"]]
    frame[["normal clips", "anomalous clips"]] = cells[["n_normal", "n_anomalous"]]
    return grid(frame, dict.fromkeys(["precision", "recall", "F1"], PERCENT))
