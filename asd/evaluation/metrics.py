"""How well anomaly scores separate anomalous clips from normal ones.

Conventions
-----------
Labels are 0 (normal) or 1 (anomalous); a higher score means more anomalous; a decision of 1 says "anomalous". Functions
of arrays come first; ``evaluate_scores`` and ``summarise`` apply them to a score table. A *cell* is one machine type,
section and domain: the unit for which the challenge computes metrics. The domain ``mixed`` holds the clips of both
domains, as they come to a user with a single threshold; it is part of no mean but its own, and never of the official
score.
*dev* and *eval* sections (``part``) are never averaged together.

Metrics
-------
* AUC: probability that an anomalous clip scores higher than a normal one, ties counted half [1]_.
* pAUC: area under the ROC curve for false positive rates up to ``max_fpr`` = 0.1, standardised so that 0.5 is chance
  and 1 is perfect [2]_. The least there is, no anomalous clip above the highest 10% of the normal ones, is 0.474.
* Precision, recall, F1 of the decisions; 0 where their denominator is 0, as the official evaluator has it.
* Official score of the challenge [3]_: harmonic mean of all AUC and pAUC values, each floored at the float epsilon.

References
----------
.. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.
.. [2] D. K. McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9(3), 1989.
.. [3] Y. Kawaguchi et al., "Description and discussion on DCASE 2021 Challenge Task 2: Unsupervised anomalous sound
   detection for machine condition monitoring under domain shifted conditions", DCASE Workshop, 2021.
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from asd.errors import InputError

MAX_FPR = 0.1
MIN_PAUC = (1 - MAX_FPR / (2 - MAX_FPR)) / 2  # 0.474: no anomalous clip above the highest 10% of the normal ones
MIXED = "mixed"
ALL_MACHINES = "all machine types"
CELL = ["machine_type", "section", "domain", "part"]
METRICS = ["auc", "pauc", "precision", "recall", "f1"]


def validate(label: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Check labels (N,) against scores or decisions (N,) and return both as arrays.

    Raises:
        InputError: the shapes differ or are not one-dimensional, a label is not 0 or 1, a value is not finite.

    >>> validate([0, 1], ["0.5", 2])
    (array([0, 1]), array([0.5, 2. ]))
    """
    label, values = np.asarray(label), np.asarray(values, dtype=float)
    if label.ndim != 1 or label.shape != values.shape:
        raise InputError(f"labels have shape {label.shape}, scores {values.shape}; both must be (N,), one per clip")
    if not np.isin(label, (0, 1)).all():
        raise InputError(f"labels are {np.unique(label)}; allowed: 0 (normal) and 1 (anomalous)")
    if not np.isfinite(values).all():
        raise InputError(f"{np.sum(~np.isfinite(values))} of {values.size} scores or decisions are not finite")
    return label.astype(int), values


def weighted_areas(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and pAUC of many weightings of the same clips at once: the heart of ``auc``, ``pauc`` and the bootstrap.

    Args:
        label, score: (N,), both classes present.
        weight: (R, N), how often each clip counts; each class must have a positive sum in each row.

    Returns:
        AUC and standardised pAUC, (R,) each.

    Counted once each, and with the second clip twice:

    >>> label, score = np.array([0, 0, 1, 1]), np.array([1.0, 3.0, 2.0, 4.0])
    >>> area, partial = weighted_areas(label, score, np.array([[1, 1, 1, 1], [1, 2, 1, 1]]))
    >>> area.round(3)
    array([0.75 , 0.667])
    """
    order = np.argsort(-score, kind="stable")
    # Clips of equal score are one step of the ROC curve: a diagonal, which is what counts ties half.
    last_of_ties = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    anomalous = (label[order] == 1)[:, None]
    weight = weight.T[order].astype(float)  # (N, R): a step of all curves is one row of the array
    rates = []
    for weights in (weight * ~anomalous, weight * anomalous):
        steps = np.cumsum(weights, axis=0)[last_of_ties]
        rates.append(np.concatenate([np.zeros((1, steps.shape[1])), steps / steps[-1]]))
    fpr, tpr = rates
    width = np.diff(fpr, axis=0)
    area = np.einsum("sr,sr->r", width, tpr[1:] + tpr[:-1]) / 2

    end = int(np.argmax(np.all(fpr >= MAX_FPR, axis=1)))  # from here on no curve is left of max_fpr
    cut = np.clip(MAX_FPR - fpr[:end], 0, width[:end])  # the part of each step that is
    height = np.diff(tpr[: end + 1], axis=0)
    slope = np.divide(height, width[:end], out=np.zeros_like(height), where=width[:end] > 0)
    partial = np.einsum("sr,sr->r", cut, tpr[:end] + slope * cut / 2)
    chance = MAX_FPR**2 / 2
    standardised = (1 + (partial - chance) / (MAX_FPR - chance)) / 2
    return np.clip(area, 0, 1), np.clip(standardised, MIN_PAUC, 1)  # sums of many steps: rounding


def _areas(label: ArrayLike, score: ArrayLike) -> tuple[float, float]:
    label, score = validate(label, score)
    if np.unique(label).size < 2:
        warnings.warn(f"AUC of {label.size} clips of one class is undefined: NaN", stacklevel=3)
        return np.nan, np.nan
    area, partial = weighted_areas(label, score, np.ones((1, label.size)))
    return float(area[0]), float(partial[0])


def auc(label: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve of labels and scores (N,); NaN with a warning where one class is missing.

    Of four pairs of a normal and an anomalous clip, three are in the right order; a tie counts half:

    >>> auc([0, 0, 1, 1], [1, 3, 2, 4])
    0.75
    >>> auc([0, 1], [5, 5])
    0.5
    """
    return _areas(label, score)[0]


def pauc(label: ArrayLike, score: ArrayLike) -> float:
    """Standardised partial AUC up to a false positive rate of 0.1; NaN with a warning where one class is missing.

    With ten normal clips, only the highest counts:

    >>> label = [0] * 10 + [1, 1]
    >>> pauc(label, [*range(10), 20, 21])
    1.0
    >>> round(pauc(label, [*range(10), 8.5, 21]), 3)
    0.737
    >>> round(pauc(label, [*range(10), 8.5, 8.5]), 3)
    0.474
    """
    return _areas(label, score)[1]


def precision_recall_f1(label: ArrayLike, decision: ArrayLike) -> tuple[float, float, float]:
    """Precision, recall and F1 of decisions (N,) in {0, 1}; 0 where the denominator is 0.

    >>> precision_recall_f1(label=[0, 0, 1, 1], decision=[0, 1, 0, 1])
    (0.5, 0.5, 0.5)
    """
    label, decision = validate(label, decision)
    if not np.isin(decision, (0, 1)).all():
        raise InputError(f"decisions are {np.unique(decision)}; allowed: 0 (normal) and 1 (anomalous)")
    true_positives = int(np.sum((label == 1) & (decision == 1)))
    precision = true_positives / max(int(np.sum(decision == 1)), 1)
    recall = true_positives / max(int(np.sum(label == 1)), 1)
    return precision, recall, 2 * precision * recall / (precision + recall) if true_positives else 0.0


def arithmetic_mean(values: ArrayLike, axis: int = 0) -> np.ndarray:
    """Arithmetic mean along ``axis``; NaN if a value is NaN or there is none."""
    values = np.asarray(values, dtype=float)
    return np.mean(values, axis=axis) if values.shape[axis] else np.full(np.delete(values.shape, axis), np.nan)


def harmonic_mean(values: ArrayLike, axis: int = 0) -> np.ndarray:
    """Harmonic mean along ``axis`` of values floored at the float epsilon: a single 0 pulls it down to almost 0.

    >>> float(harmonic_mean([0.5, 1.0]).round(3)), float(harmonic_mean([0.0, 1.0]).round(3))
    (0.667, 0.0)
    """
    return 1 / arithmetic_mean(1 / np.maximum(np.asarray(values, dtype=float), np.finfo(float).eps), axis=axis)


def official_score(auc_values: ArrayLike, pauc_values: ArrayLike) -> float:
    """The challenge's score: harmonic mean of all AUC and pAUC values of the source and target cells, (C,) each.

    >>> round(official_score(auc_values=[0.8, 0.6], pauc_values=[0.6, 0.5]), 3)
    0.608
    """
    return float(harmonic_mean(np.concatenate([np.asarray(auc_values), np.asarray(pauc_values)])))


def part_of(clip: pd.Series, section: pd.Series) -> pd.Series:
    """The part of each clip: the folder ``dev_data`` or ``eval_data`` in its path, otherwise dev for sections 0 to 2.

    >>> part_of(pd.Series(["eval_data/fan/test/a.wav", "b.wav", "c.wav"]), pd.Series([0, 2, 3])).tolist()
    ['eval', 'dev', 'eval']
    """
    by_section = pd.Series(np.where(section <= 2, "dev", "eval"), index=section.index)
    return clip.str.extract(r"(?:^|/)(dev|eval)_data/", expand=False).fillna(by_section)


def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """Check a score table of one run (of any machine types) and return its test clips in a fixed order.

    Returns:
        The test clips, sorted by machine type, section, domain and clip, with the column ``part`` (see ``part_of``).

    Raises:
        InputError: a column is missing, a score of a train or test clip is not finite, a label or domain is
            not allowed, or a clip is listed twice.
    """
    missing = {"machine_type", "section", "domain", "split", "label", "clip", "score"} - set(table.columns)
    if missing:
        raise InputError(f"score table: columns {sorted(missing)} are missing; found {list(table.columns)}")
    invalid = table[~np.isfinite(table["score"].to_numpy(dtype=float))]
    if not invalid.empty:
        row = invalid.iloc[0]
        raise InputError(
            f"score table: {len(invalid)} scores are not finite, the first is {row['score']} of {row['clip']}"
        )
    duplicates = table[table.duplicated(["machine_type", "clip"])]
    if not duplicates.empty:
        raise InputError(
            f"score table: {duplicates.iloc[0]['clip']} is listed twice; give the table of one run at a time"
        )
    domain = table["domain"].astype(object).fillna("").astype(str)
    label = pd.to_numeric(table["label"]).astype("Int64")
    for name, mask, allowed in (
        ("domain", ~domain.isin(["source", "target", ""]), "source, target or empty"),
        ("label", label.notna() & ~label.isin([0, 1]), "0, 1 or empty"),
    ):
        if mask.any():
            row = table[mask.to_numpy(dtype=bool)].iloc[0]
            raise InputError(f"score table: {name} {str(row[name])!r} of {row['clip']}; allowed: {allowed}")
    checked = table.assign(domain=domain, label=label, part=part_of(table["clip"], table["section"]))
    return checked[checked["split"] == "test"].sort_values(["machine_type", "section", "domain", "clip"])


def cells(test: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Yield every cell of the checked test clips and its labelled clips; the last of each section is ``mixed``."""
    for (machine_type, part, section), clips in test.groupby(["machine_type", "part", "section"]):
        for domain in [name for name in ("source", "target") if name in set(clips["domain"])] + [MIXED]:
            chosen = clips if domain == MIXED else clips[clips["domain"] == domain]
            key = {"machine_type": machine_type, "section": section, "domain": domain, "part": part}
            yield key, chosen[chosen["label"].notna()]


def evaluate_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Metrics of every cell of a score table (one run, any machine types; see ``check_table`` for errors).

    Args:
        table: the score table; precision, recall and F1 need a column ``decision`` (0 or 1 for test clips).

    Returns:
        machine_type, section, domain (source, target, mixed), part (dev, eval), auc, pauc, precision, recall, f1,
        n_normal, n_anomalous. Metrics are NaN where a class has no labelled test clips; a warning names such cells,
        except those without any label.
    """
    rows, undefined = [], []
    for key, clips in cells(check_table(table)):
        label, score = clips["label"].to_numpy(dtype=int), clips["score"].to_numpy(dtype=float)
        n_anomalous = int(label.sum())
        row = {
            **key,
            **dict.fromkeys(METRICS, np.nan),
            "n_normal": label.size - n_anomalous,
            "n_anomalous": n_anomalous,
        }
        if row["n_normal"] and n_anomalous:
            row["auc"], row["pauc"] = _areas(label, score)
            if "decision" in clips:
                row["precision"], row["recall"], row["f1"] = precision_recall_f1(label, clips["decision"])
        elif label.size:
            lacking = "normal" if n_anomalous else "anomalous"
            undefined.append(
                f"{key['machine_type']} section {key['section']:02d} {key['domain']}: no {lacking} test clips"
            )
        rows.append(row)
    if undefined:
        warnings.warn("AUC and pAUC are undefined (NaN): " + "; ".join(undefined), stacklevel=2)
    return pd.DataFrame(rows, columns=[*CELL, *METRICS, "n_normal", "n_anomalous"])


MEANS: dict[str, tuple[Callable[..., np.ndarray], tuple[str, ...]]] = {
    "arithmetic mean": (arithmetic_mean, ("source", "target")),
    "harmonic mean": (harmonic_mean, ("source", "target")),
    "source harmonic mean": (harmonic_mean, ("source",)),
    "target harmonic mean": (harmonic_mean, ("target",)),
    "mixed harmonic mean": (harmonic_mean, (MIXED,)),
}


def mean_groups(results: pd.DataFrame) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Yield every reported mean and the mask of its cells: per machine type and over all, dev and eval separately."""
    for part in results["part"].unique():
        for machine_type in [*results["machine_type"].unique(), ALL_MACHINES]:
            in_group = (results["part"] == part) & (
                (results["machine_type"] == machine_type) | (machine_type == ALL_MACHINES)
            )
            for name, (_, domains) in MEANS.items():
                mask = (in_group & results["domain"].isin(domains)).to_numpy()
                if mask.any():
                    yield {"machine_type": machine_type, "part": part, "mean": name}, mask


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """The challenge's means over the cells of ``evaluate_scores``, per machine type and over all.

    Returns:
        machine_type (or "all machine types"), part, mean (its name), auc, pauc, precision, recall, f1, official_score,
        n_cells, n_undefined. ``official_score`` is the mean of all AUC and pAUC values together; the challenge's own is
        the harmonic mean over all machine types. Undefined cells are left out and counted in ``n_undefined``.
    """
    rows = []
    for key, mask in mean_groups(results):
        mean, chosen = MEANS[key["mean"]][0], results[mask]
        defined = chosen[chosen["auc"].notna()]
        values = {name: float(mean(defined[name])) for name in METRICS}
        values["official_score"] = float(mean(np.concatenate([defined["auc"], defined["pauc"]])))
        rows.append({**key, **values, "n_cells": len(defined), "n_undefined": len(chosen) - len(defined)})
    columns = ["machine_type", "part", "mean", *METRICS, "official_score", "n_cells", "n_undefined"]
    return pd.DataFrame(rows, columns=columns)
