"""The course's results so far: one row per run of a machine type, as every method's notebook ends with."""

from pathlib import Path

import pandas as pd

from asd.errors import InputError
from asd.evaluation.bootstrap import confidence_intervals
from asd.evaluation.score_table import read_table
from asd.evaluation.tables import BASELINE, noted

COURSE = (BASELINE, "aux", "ccsa", "ae", "made", "maf", "angular")  # methods in the order of the notebooks
MEASURES = {"AUC source": "source", "AUC target": "target", "official score": ""}  # and the domain of each


def results_so_far(output_root: Path | str, machine_type: str, resamples: int = 500) -> pd.DataFrame:
    """What the runs of a machine type have reached, in percent, with 95% intervals; in the order of the course.

    Args:
        output_root: folder of the score tables.
        machine_type: to look at.
        resamples: draws of the bootstrap, see :mod:`asd.evaluation.intervals`.

    Returns:
        One row per run name, such as ``67.3 (61–73)``. ``AUC source`` and ``AUC target`` are means over the sections;
        ``official score`` is the harmonic mean of all AUC and pAUC values. Development and evaluation sections stand
        apart, below ``dev`` and ``eval``.

    Raises:
        InputError: there are no score tables, or one of them cannot be read.
    """
    paths = sorted((Path(output_root) / "scores" / machine_type).glob("*.csv"))
    if not paths:
        raise InputError(f"no score tables of {machine_type!r} in {output_root}/scores; run a method's notebook first")
    tables = {path.stem: read_table(path) for path in paths}
    order = {name: _place(table["method"].iloc[0]) for name, table in tables.items() if len(table)}
    rows = {name: _row(tables[name], resamples) for name in sorted(order, key=lambda name: (order[name], name))}
    columns = pd.MultiIndex.from_product([("dev", "eval"), MEASURES], names=["sections", "in %"])
    found = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns)
    return found.dropna(axis="columns", how="all").fillna("–").rename_axis("run")


def _place(method: str) -> int:
    """A method's place in the course; after all others if it has none."""
    return COURSE.index(method) if method in COURSE else len(COURSE)


def _row(table: pd.DataFrame, resamples: int) -> dict[tuple[str, str], str]:
    """A run's cells of the table, by part and measure."""
    row = {}
    for measure, domain in MEASURES.items():
        clips = table[(table["domain"] == domain) | (not domain)]
        (_, means), _ = noted(confidence_intervals, clips, resamples)
        column, mean = ("auc", "arithmetic mean") if domain else ("official_score", "harmonic mean")
        # over all machine types means over this one: the table has no other
        chosen = means[(means["mean"] == mean) & (means["machine_type"] == table["machine_type"].iloc[0])]
        for _, values in chosen.dropna(subset=column).iterrows():
            value, low, high = (100 * values[f"{column}{end}"] for end in ("", "_low", "_high"))
            row[values["part"], measure] = f"{value:.1f} ({low:.0f}–{high:.0f})"
    return row
