"""How well anomaly scores separate anomalous clips from normal ones.

Labels are 0 (normal) or 1 (anomalous); a higher score means more anomalous; a decision of 1 says "anomalous". All are
functions of arrays; :mod:`asd.evaluation.cells` applies them to a score table.

* AUC: probability that an anomalous clip scores higher than a normal one, ties counted half (Fawcett 2006).
* pAUC: area under the ROC curve for false positive rates up to ``max_fpr`` = 0.1, standardised so that 0.5 is chance
  and 1 is perfect (McClish 1989). The least there is, no anomalous clip above the highest 10% of the normal ones, is
  0.474.
* Precision, recall, F1 of the decisions; 0 where their denominator is 0, as the official evaluator has it.
* Official score of the challenge (Kawaguchi et al. 2021): harmonic mean of all AUC and pAUC values, each floored at
  the float epsilon.

References:
    T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27(8), 2006.

    D. K. McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9(3), 1989.

    Y. Kawaguchi et al., "Description and discussion on DCASE 2021 Challenge Task 2: Unsupervised anomalous sound
    detection for machine condition monitoring under domain shifted conditions", DCASE Workshop, 2021.
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike

from asd.errors import InputError

MAX_FPR = 0.1
MIN_PAUC = (1 - MAX_FPR / (2 - MAX_FPR)) / 2  # 0.474: no anomalous clip above the highest 10% of the normal ones


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
