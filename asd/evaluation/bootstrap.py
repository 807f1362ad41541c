"""How sure the metrics are: 95% confidence intervals, and whether one method is really better than another.

The bootstrap over test clips (Efron and Tibshirani, "An introduction to the bootstrap", 1993) tells how much a metric
varies with the choice of clips: draw as many clips as there are, with replacement, measure, repeat. Draws are
stratified: normal and anomalous clips of a section and domain are drawn separately, so that every draw has both classes
and as many of each as the test set. ``intervals.py`` makes confidence intervals of what the draws tell.

The draws depend on nothing but the seed and the names of the cell and its clips. Two methods are therefore measured on
the same draws, and the difference of two methods is *paired*: what is easy or hard about a draw cancels out. All this
says how much depends on the choice of test clips; how much depends on the seed of the training, only more trainings
can say.
"""

import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from asd.errors import InputError
from asd.evaluation.cells import CELL, MEANS, cells, check_table, evaluate_scores, mean_groups, summarise
from asd.evaluation.intervals import (
    Means,
    cell_bounds,
    correlations,
    difference_bounds,
    mean_bounds,
    mean_values,
    p_values,
)
from asd.evaluation.metrics import harmonic_mean, weighted_areas

METRICS = ["auc", "pauc", "official_score"]


class Replicates(NamedTuple):
    """AUC and pAUC of every cell on every draw: ``cells`` has C rows (see ``cells.CELL``), the arrays are (C, R).

    Rows of cells that lack a class are NaN.
    """

    cells: pd.DataFrame
    auc: np.ndarray
    pauc: np.ndarray


class Measured(NamedTuple):
    """Metrics of one run.

    Attributes:
        results, summary: of ``cells.evaluate_scores`` (C cells) and ``cells.summarise`` (M means).
        areas: (C, 2), AUC and pAUC of the cells; NaN where undefined.
        drawn: (C, 2, R), the same on every draw.
        means: which cells each mean is made of.
    """

    results: pd.DataFrame
    summary: pd.DataFrame
    areas: np.ndarray
    drawn: np.ndarray
    means: Means


def _draws(clips: pd.DataFrame, resamples: int, seed: int) -> np.ndarray:
    """How often each clip is drawn, (R, N): each stratum of domain and label by itself, with its own stream."""
    weight = np.empty((resamples, len(clips)), dtype=np.int32)
    for (machine_type, section, domain, label), rows in clips.groupby(
        ["machine_type", "section", "domain", "label"]
    ).indices.items():
        stream = zlib.crc32(f"{machine_type}/{section}/{domain}/{label}".encode())
        weight[:, rows] = resampled(np.random.default_rng([seed, stream]), len(rows), resamples)
    return weight


def resampled(random: np.random.Generator, n: int, resamples: int) -> np.ndarray:
    """How often each of ``n`` clips is drawn when ``n`` are drawn with replacement, (resamples, n).

    >>> resampled(np.random.default_rng(0), 4, resamples=2)
    array([[0, 1, 2, 1],
           [3, 1, 0, 0]])
    """
    drawn = random.integers(n, size=(resamples, n))
    flat = drawn + n * np.arange(resamples)[:, None]  # one histogram per draw, all of them in one pass
    return np.bincount(flat.ravel(), minlength=resamples * n).reshape(resamples, n)


def replicates(table: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> Replicates:
    """Measure every cell of a score table (one run) on ``resamples`` draws of its test clips."""
    keys, areas = [], []
    for key, clips in cells(check_table(table)):
        keys.append(key)
        if clips["label"].nunique() < 2:
            areas.append(np.full((2, resamples), np.nan))
            continue
        label, score = clips["label"].to_numpy(dtype=int), clips["score"].to_numpy(dtype=float)
        areas.append(np.stack(weighted_areas(label, score, _draws(clips, resamples, seed))))
    stacked = np.stack(areas) if areas else np.empty((0, 2, resamples))
    return Replicates(pd.DataFrame(keys, columns=CELL), stacked[:, 0], stacked[:, 1])


def _measure(table: pd.DataFrame, resamples: int, seed: int) -> Measured:
    results = evaluate_scores(table)
    areas = results[["auc", "pauc"]].to_numpy(dtype=float)
    drawn = replicates(table, resamples, seed)
    keys, weights, harmonic = [], [], []
    for key, mask in mean_groups(results):
        chosen = mask & ~np.isnan(areas[:, 0])
        keys.append(key)
        weights.append(chosen / chosen.sum() if chosen.any() else np.full(len(chosen), np.nan))
        harmonic.append(MEANS[key["mean"]][0] is harmonic_mean)
    keys = pd.DataFrame(keys, columns=["machine_type", "part", "mean"])
    means = Means(keys, np.reshape(weights, (len(keys), len(results))), np.array(harmonic, dtype=bool))
    return Measured(results, summarise(results), areas, np.stack([drawn.auc, drawn.pauc], axis=1), means)


def _bounds(measured: Measured) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper bounds of the cells, (C, 2) each, and of the means, (M, 3) each."""
    counts = (measured.results[name].to_numpy(dtype=float) for name in ("n_normal", "n_anomalous"))
    low, high = cell_bounds(measured.areas, measured.drawn, *counts)
    correlation = correlations(measured.drawn[:, 0], measured.drawn[:, 1], undefined=1)  # unknown: the worst
    mean_low, mean_high = mean_bounds(measured.means, measured.areas, low, high, correlation)
    value = measured.summary[METRICS].to_numpy(dtype=float)  # equal up to rounding: keep it inside
    return low, high, np.minimum(mean_low, value), np.maximum(mean_high, value)


def confidence_intervals(
    table: pd.DataFrame, resamples: int = 1000, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics of a score table (one run) with their 95% confidence intervals.

    Returns:
        The tables of ``cells.evaluate_scores`` (cells) and ``cells.summarise`` (means), each with the columns
        ``auc_low``, ``auc_high``, ``pauc_low``, ``pauc_high``; the means also ``official_score_low`` and ``_high``.

    Raises:
        InputError: see ``cells.check_table``.

    >>> table = pd.DataFrame({"machine_type": "fan", "section": 0, "domain": "source", "split": "test"}, index=range(8))
    >>> table = table.assign(label=[0, 0, 0, 0, 1, 1, 1, 1], clip=list("abcdefgh"), score=[1, 2, 3, 5, 4, 6, 7, 8])
    >>> cells, means = confidence_intervals(table)
    >>> cells.loc[cells["domain"] == "source", ["auc", "auc_low", "auc_high"]].round(2)
        auc  auc_low  auc_high
    0  0.94     0.55      0.99
    """
    measured = _measure(table, resamples, seed)
    low, high, mean_low, mean_high = _bounds(measured)
    for frame, names, bounds in (
        (measured.results, METRICS[:2], (low, high)),
        (measured.summary, METRICS, (mean_low, mean_high)),
    ):
        for column, name in enumerate(names):
            frame[f"{name}_low"], frame[f"{name}_high"] = (bound[:, column] for bound in bounds)
    return measured.results, measured.summary


def compare(a: pd.DataFrame, b: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Is method ``a`` better than ``b``? The paired difference of their means on the same draws of the same clips.

    Args:
        a, b: score tables of one run each, with the same labelled test clips.

    Returns:
        One row per mean and metric: machine_type, part, mean, metric (auc, pauc, official_score), a, b, difference
        (a − b), low, high (its 95% confidence interval), p_value (two-sided; below 0.05 where the interval excludes 0).

    Raises:
        InputError: the tables have different test clips; it names one.
    """
    # unlabelled clips, which only one of the tables may have, would add undefined means to its rows
    labelled = [check_table(table).dropna(subset="label") for table in (a, b)]
    key = ["machine_type", "clip", "label"]
    merged = labelled[0][key].merge(labelled[1][key], how="outer", on=key, indicator="where")
    unmatched = merged[merged["where"] != "both"]
    if not unmatched.empty:
        raise InputError(
            f"methods can only be compared on the same labelled test clips; {len(unmatched)} are in only one of the "
            f"tables, the first is {unmatched.iloc[0]['clip']} ({unmatched.iloc[0]['machine_type']})"
        )
    measured = [_measure(table, resamples, seed) for table in labelled]
    values = [run.summary[METRICS].to_numpy(dtype=float) for run in measured]
    bounds = [_bounds(run)[2:] for run in measured]
    drawn = [mean_values(run.means, run.drawn) for run in measured]
    correlation = correlations(drawn[0], drawn[1], undefined=0)
    low, high = difference_bounds(values[0], bounds[0], values[1], bounds[1], correlation)
    difference = values[0] - values[1]
    # two methods that rank all clips alike do not differ; but two perfect ones may, on clips that are harder
    alike = np.isclose(drawn[0], drawn[1], rtol=0, atol=1e-12).all(axis=-1) & (correlation > 0)
    low, high = np.where(alike, difference, low), np.where(alike, difference, high)
    p_value = np.where(alike, 1.0, p_values(difference, low, high))
    frames = []
    for column, metric in enumerate(METRICS):
        columns = {
            "a": values[0],
            "b": values[1],
            "difference": difference,
            "low": low,
            "high": high,
            "p_value": p_value,
        }
        frame = measured[0].means.keys.assign(metric=metric)
        frames.append(frame.assign(**{name: array[:, column] for name, array in columns.items()}))
    return pd.concat(frames, ignore_index=True)
