"""How sure the metrics are: 95% confidence intervals, and whether one method is really better than another.

Bootstrap over test clips (Efron and Tibshirani, "An introduction to the bootstrap", 1993): draw as many clips as there
are, with replacement, measure, repeat; the middle 95% of the values is the interval. Draws are stratified: normal and
anomalous clips of a section and domain are drawn apart, so that every draw has both classes and as many of each as the
test set. pAUC rests on the few highest normal scores, and draws with clips in them twice make it larger by about 0.005
at 100 clips: little for one cell, but as much as the interval of a mean over 42. So values are shifted by their bias.

The draws depend on nothing but the seed and the names of the cell and its clips. Two methods are therefore measured on
the same draws, and the difference of two methods is *paired*: what is easy or hard about a draw cancels out. All this
says how much depends on the choice of test clips; how much on the training's seed, only more trainings can say.
"""

import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from asd.errors import InputError
from asd.evaluation.metrics import (
    CELL,
    MEANS,
    cells,
    check_table,
    evaluate_scores,
    mean_groups,
    summarise,
    weighted_areas,
)

METRICS = ["auc", "pauc", "official_score"]


class Replicates(NamedTuple):
    """AUC and pAUC of every cell on every draw: ``cells`` has C rows (see ``metrics.CELL``), the arrays are (C, R).

    Rows of cells that lack a class are NaN.
    """

    cells: pd.DataFrame
    auc: np.ndarray
    pauc: np.ndarray


def _draws(clips: pd.DataFrame, resamples: int, seed: int) -> np.ndarray:
    """How often each clip is drawn, (R, N): each stratum of domain and label by itself, with its own stream."""
    weight = np.empty((resamples, len(clips)), dtype=np.int32)
    for (machine_type, section, domain, label), rows in clips.groupby(
        ["machine_type", "section", "domain", "label"]
    ).indices.items():
        stream = zlib.crc32(f"{machine_type}/{section}/{domain}/{label}".encode())
        drawn = np.random.default_rng([seed, stream]).integers(len(rows), size=(resamples, len(rows)))
        flat = drawn + len(rows) * np.arange(resamples)[:, None]  # one histogram a draw, all of them in one pass
        weight[:, rows] = np.bincount(flat.ravel(), minlength=resamples * len(rows)).reshape(resamples, -1)
    return weight


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


def _means(drawn: Replicates) -> tuple[pd.DataFrame, np.ndarray]:
    """The reported means on every draw: their keys (M rows) and an array (M, 3, R) in the order of ``METRICS``."""
    keys, values = [], []
    defined = ~np.isnan(drawn.auc[:, 0])
    for key, mask in mean_groups(drawn.cells):
        mean = MEANS[key["mean"]][0]
        auc, pauc = drawn.auc[mask & defined], drawn.pauc[mask & defined]
        resamples = drawn.auc.shape[1]
        both = np.concatenate([auc, pauc])
        values.append([mean(x) if len(x) else np.full(resamples, np.nan) for x in (auc, pauc, both)])
        keys.append(key)
    return pd.DataFrame(keys, columns=["machine_type", "part", "mean"]), np.array(values).reshape(
        len(keys), 3, drawn.auc.shape[1]
    )


def _unbiased(values: np.ndarray, estimate: pd.Series) -> np.ndarray:
    """Values on the draws (M, R), shifted so that their mean is what was measured on the test set (M,)."""
    return values - values.mean(axis=-1, keepdims=True) + estimate.to_numpy()[:, None]


def _bounds(values: np.ndarray) -> np.ndarray:
    return np.percentile(values, [2.5, 97.5], axis=-1)


def confidence_intervals(
    table: pd.DataFrame, resamples: int = 1000, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics of a score table (one run) with their 95% confidence intervals.

    Returns:
        The tables of ``metrics.evaluate_scores`` (cells) and ``metrics.summarise`` (means), each with the columns
        ``auc_low``, ``auc_high``, ``pauc_low``, ``pauc_high``; the means also ``official_score_low`` and ``_high``.

    Raises:
        InputError: see ``metrics.check_table``.
    """
    results = evaluate_scores(table)
    summary = summarise(results)
    drawn = replicates(table, resamples, seed)
    for name in ("auc", "pauc"):
        results[f"{name}_low"], results[f"{name}_high"] = _bounds(_unbiased(getattr(drawn, name), results[name]))
    _, values = _means(drawn)
    for column, name in enumerate(METRICS):
        summary[f"{name}_low"], summary[f"{name}_high"] = _bounds(_unbiased(values[:, column], summary[name]))
    return results, summary


def compare(a: pd.DataFrame, b: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Is method ``a`` better than ``b``? The paired difference of their means on the same draws of the same clips.

    Args:
        a, b: score tables of one run each, with the same labelled test clips.

    Returns:
        One row a mean and metric: machine_type, part, mean, metric (auc, pauc, official_score), a, b, difference
        (a − b), low, high (its 95% confidence interval), p_value (two-sided: how often a draw puts the two in the
        other order, or in none; at least 2 / (resamples + 1)).

    Raises:
        InputError: the tables have different test clips; it names one.
    """
    labelled = [check_table(table).dropna(subset="label")[["machine_type", "clip", "label"]] for table in (a, b)]
    merged = labelled[0].merge(labelled[1], how="outer", on=["machine_type", "clip", "label"], indicator="where")
    alone = merged[merged["where"] != "both"]
    if not alone.empty:
        raise InputError(
            f"methods can only be compared on the same labelled test clips; {len(alone)} are in one table alone, the "
            f"first is {alone.iloc[0]['clip']} ({alone.iloc[0]['machine_type']})"
        )
    keys, values_a = _means(replicates(a, resamples, seed))
    _, values_b = _means(replicates(b, resamples, seed))
    summaries = [summarise(evaluate_scores(table)) for table in (a, b)]
    frames = []
    for column, metric in enumerate(METRICS):
        frame = keys.assign(metric=metric, a=summaries[0][metric], b=summaries[1][metric])
        frame["difference"] = frame["a"] - frame["b"]
        drawn = _unbiased(values_a[:, column] - values_b[:, column], frame["difference"])
        frame["low"], frame["high"] = _bounds(drawn)
        rarer = np.minimum(np.sum(drawn <= 0, axis=1), np.sum(drawn >= 0, axis=1))
        p_value = np.minimum(2 * (rarer + 1) / (resamples + 1), 1)
        frame["p_value"] = np.where(frame["difference"].isna(), np.nan, p_value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
