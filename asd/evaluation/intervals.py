"""95% confidence intervals of AUC, pAUC and their means, from what the bootstrap tells of their variance.

The obvious interval, the middle 95% of the values on the draws, is a poor one here: a detector that separates 8 normal
clips from 8 anomalous ones without a mistake has AUC 1 on *every* draw, and nobody is that sure. So the draws give only
the variance, and the bounds come from formulas that know the range of the metric:

* A cell: Wilson's interval for a proportion (1927) on the metric's range, [0, 1] for AUC and [0.474, 1] for pAUC, with
  the number of clips at which a proportion would vary as much as the metric does on the draws. That number is limited
  to what Hanley and McNeil's variance (1982) gives for an AUC near 1: 4mn / (m + n + 2) for m anomalous and n normal
  clips. pAUC rests on the highest 10% of the normal scores, so only they count. A perfect cell therefore has the upper
  bound 1, and a lower bound that depends on how many clips it has been perfect on.
* A mean over cells, and the difference of two methods: combined from the bounds of the parts (MOVER: Zou and Donner
  2008), harmonic means on the scale of 1 / value. The draws give the correlations: of AUC and pAUC, and of the two
  methods.

Such intervals contain what was measured and never leave what is attainable. By ``benchmarks/intervals.py`` (8 + 8,
16 + 16 and 100 + 100 clips, true AUC 0.6 to 0.98) they contain the true AUC of a cell in 94 to 98% of test sets, the
pAUC in 90 to 100%, means in 96 to 98% and differences in 94 to 100%. The middle 95% of the draws does so in 46 to 95%
of test sets (AUC), 46 to 95% (pAUC) and 91 to 95% (means), Efron's BCa in 46 to 97%, 46 to 96% and 94 to 98%. Ours are
too rarely right only for a low pAUC of 8 + 8 clips, which is measured too high on average, and too wide near 1.

References:
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22(158), 1927. For
    the AUC: R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic.
    Part 2", Statistics in Medicine 25(4), 2006.

    J. A. Hanley, B. J. McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC)
    curve", Radiology 143(1), 1982.

    G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures: a general approach", Statistics
    in Medicine 27(10), 2008.

    D. G. Altman, J. M. Bland, "How to obtain the P value from a confidence interval", BMJ 343, 2011.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from asd.evaluation.metrics import MAX_FPR, MIN_PAUC

Z = float(ndtri(0.975))  # half of a 95% interval, in standard errors
LEAST = np.array([0, MIN_PAUC])  # of AUC and pAUC
EPSILON = np.finfo(float).eps


class Means(NamedTuple):
    """The reported means: their keys (M rows), the weights of the cells (M, C), and which ones are harmonic (M,)."""

    keys: pd.DataFrame
    weights: np.ndarray
    harmonic: np.ndarray


def cell_bounds(
    areas: np.ndarray, drawn: np.ndarray, n_normal: np.ndarray, n_anomalous: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of AUC and pAUC: Wilson's, with the variance of the draws (see the top of this module).

    Args:
        areas: (C, 2), AUC and pAUC of each cell; NaN where undefined.
        drawn: (C, 2, R), the same on every draw.
        n_normal, n_anomalous: (C,), clips of each cell.

    Returns:
        Lower and upper bounds, (C, 2) each, in [0, 1] for AUC and in [0.474, 1] for pAUC.

    A perfect detector is perfect on all draws. What is known of it depends on the number of clips:

    >>> areas, drawn = np.ones((2, 2)), np.ones((2, 2, 1000))
    >>> low, high = cell_bounds(areas, drawn, n_normal=np.array([8, 100]), n_anomalous=np.array([8, 100]))
    >>> low.round(2)
    array([[0.79, 0.7 ],
           [0.98, 0.95]])
    >>> high
    array([[1., 1.],
           [1., 1.]])
    """
    share, drawn_share = (areas - LEAST) / (1 - LEAST), (drawn - LEAST[:, None]) / (1 - LEAST[:, None])
    rests_on = np.stack([n_normal, np.maximum(MAX_FPR * n_normal, 1)], axis=1)  # normal clips
    limit = np.maximum(4 * n_anomalous[:, None] * rests_on / (n_anomalous[:, None] + rests_on + 2), 1)
    mean, variance = drawn_share.mean(axis=-1), drawn_share.var(axis=-1)
    n = np.divide(mean * (1 - mean), variance, out=limit.copy(), where=variance > EPSILON)
    n = np.minimum(n, limit)
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2)
    low, high = (LEAST + (1 - LEAST) * bound for bound in (centre - half, centre + half))
    return np.clip(low, LEAST, areas), np.clip(high, areas, 1)


def mean_values(means: Means, areas: np.ndarray) -> np.ndarray:
    """Means of AUC, of pAUC, and of both together (the official score): (C, 2, …) → (M, 3, …)."""

    def weighted(values: np.ndarray) -> np.ndarray:
        each = np.tensordot(means.weights, np.nan_to_num(values), axes=1)
        return np.concatenate([each, each.mean(axis=1, keepdims=True)], axis=1)

    harmonic = means.harmonic.reshape(-1, *[1] * (areas.ndim - 1))
    return np.where(harmonic, 1 / weighted(1 / np.maximum(areas, EPSILON)), weighted(areas))


def mean_bounds(
    means: Means, areas: np.ndarray, low: np.ndarray, high: np.ndarray, correlation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of means from those of their cells, which are independent of each other (MOVER).

    Args:
        means: M means of C cells.
        areas, low, high: (C, 2), AUC and pAUC of the cells and their bounds.
        correlation: (C,), of AUC and pAUC of a cell.

    Returns:
        Lower and upper bounds of the means of AUC, of pAUC and of both together, (M, 3) each.

    >>> one_mean = Means(pd.DataFrame(index=[0]), np.array([[0.5, 0.5]]), np.array([False]))
    >>> areas = np.array([[0.7, 0.6], [0.9, 0.8]])
    >>> low, high = mean_bounds(one_mean, areas, areas - 0.1, areas + 0.1, correlation=np.zeros(2))
    >>> low.round(3)  # half-widths 0.1 / √2 and 0.1 / √4: four values that vary independently
    array([[0.729, 0.629, 0.7  ]])
    """

    def combined(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre, lowest, highest = (mean_values(arithmetic, x) for x in (value, low, high))

        def distance(d: np.ndarray) -> np.ndarray:
            squares = means.weights**2 @ np.nan_to_num(d**2)
            product = means.weights**2 @ np.nan_to_num(correlation * d[:, 0] * d[:, 1])
            both = (squares.sum(axis=1) + 2 * product) / 4
            return np.sqrt(np.column_stack([squares, np.maximum(both, 0)]))

        # the clip only takes away errors of rounding, which are large where 1 / value is
        bounds = centre - distance(value - low), centre + distance(high - value)
        return np.clip(bounds[0], lowest, centre), np.clip(bounds[1], centre, highest)

    arithmetic = means._replace(harmonic=np.zeros_like(means.harmonic))
    inverse = combined(*(1 / np.maximum(x, EPSILON) for x in (areas, high, low)))
    plain, harmonic = combined(areas, low, high), means.harmonic[:, None]
    return np.where(harmonic, 1 / inverse[1], plain[0]), np.where(harmonic, 1 / inverse[0], plain[1])


def correlations(a: np.ndarray, b: np.ndarray, undefined: float) -> np.ndarray:
    """Correlation of draws (…, R) with others of the same clips; ``undefined`` where one of them does not vary.

    >>> auc = np.array([[0.7, 0.8, 0.9], [1.0, 1.0, 1.0]])
    >>> pauc = np.array([[0.6, 0.7, 0.8], [0.9, 1.0, 0.9]])
    >>> correlations(auc, pauc, undefined=0).round(3)
    array([1., 0.])
    """
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (a, b))
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    product = np.asarray((a * b).sum(axis=-1))
    return np.divide(product, scale, out=np.full(product.shape, float(undefined)), where=scale > EPSILON)


def difference_bounds(
    a: np.ndarray, bounds_a: tuple, b: np.ndarray, bounds_b: tuple, correlation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the difference a − b of values of any shape, from the (lower, upper) bounds of both (MOVER).

    Two methods of 0.8 ± 0.1 and 0.7 ± 0.1; if they find the same clips hard, their difference is surer:

    >>> bounds_a, bounds_b = (0.7, 0.9), (0.6, 0.8)
    >>> low, high = difference_bounds(0.8, bounds_a, 0.7, bounds_b, correlation=np.array([0, 0.5, 0.9]))
    >>> (high - low).round(3)
    array([0.283, 0.2  , 0.089])
    """
    (low_a, high_a), (low_b, high_b) = bounds_a, bounds_b

    def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(first**2 + second**2 - 2 * correlation * first * second, 0))

    return a - b - distance(a - low_a, high_b - b), a - b + distance(high_a - a, b - low_b)


def p_values(difference: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Two-sided p-values of no difference, from the 95% intervals: below 0.05 exactly where they exclude 0.

    (Altman and Bland 2011.)

    >>> p_values(np.array([0.1, 0.1, 0.0]), low=np.array([0.0, 0.04, 0.0]), high=np.array([0.3, 0.3, 0.0])).round(3)
    array([0.05 , 0.001, 1.   ])
    """
    towards_zero = np.where(difference > 0, difference - low, high - difference)
    errors = np.divide(np.abs(difference), towards_zero, out=np.zeros_like(towards_zero), where=towards_zero > 0)
    return np.where(np.isnan(difference), np.nan, 2 * ndtr(-Z * errors))
