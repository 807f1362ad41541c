"""Conformal p-values: how unusual is a score among those of normal clips that the model has never seen?

The *held-out clips*, normal train clips of the source domain that were kept out of training, calibrate a detector. The
p-value of a score is the share of calibration scores that are at least as high, the new one counted in::

    p = (1 + #{held-out score ≥ score}) / (n + 1)

A user states a *false-alarm rate*, and a clip alarms where p is at most that rate. If a normal clip and the n held-out
ones are exchangeable (any order of their scores is equally likely), then P(p ≤ rate) ≤ rate: for every n, every model
and every distribution of scores. The probability is over clips to come *and* over the draw of the held-out clips. For
given held-out clips the realised rate differs, the more the fewer they are; :func:`false_alarm_interval` says by how
much.

What is left of this guarantee where its conditions do not hold:

* **Few held-out clips.** p is never below 1 / (n + 1): with 6 clips no rate below 0.14 can be had. Sections with few of
  them are therefore judged together (:mod:`asd.evaluation.calibration`); the guarantee then holds on average over them.
* **The target domain.** Its clips are not exchangeable with held-out clips of the source domain. Nothing is promised.
* **Clips of one recording.** A held-out clip that was cut from the same recording as clips trained on, or directly
  after one, scores like these. It is not exchangeable with clips of other recordings, and the realised rate may be
  anything. Hold out whole recordings; 06_evaluation names machine types whose rate is not kept.
* **Scores of clips that the model was trained on** are lower than those of new clips. They are never used as
  calibration scores.

References: V. Vovk, A. Gammerman, G. Shafer, *Algorithmic learning in a random world*, Springer 2005; V. Vovk,
*Conditional validity of inductive conformal predictors*, ACML 2012; S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia,
*Testing for outliers with conformal p-values*, Annals of Statistics 51(1), 2023.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from asd.errors import InputError

TIE = 1e-4  # in standard deviations: two scores of one clip, computed in different batches, differ by less


def p_values(calibration: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Conformal p-values of ``scores`` (N,) given the scores (n,) of held-out normal clips: (N,), in steps of
    1 / (n + 1).

    Equal scores count as higher ones, so that ties make p larger and never break the guarantee.

    Raises:
        InputError: scores that are not finite.

    >>> p_values([1.0, 2.0, 3.0, 4.0], [0.5, 2.5, 9.0])
    array([1. , 0.6, 0.2])
    >>> p_values([2.0, 2.0, 2.0], [2.0])  # a tie with all of them
    array([1.])
    >>> p_values([7.0], [8.0])  # one held-out clip can say little
    array([0.5])
    """
    calibration, scores = (np.asarray(values, dtype=float) for values in (calibration, scores))
    if not (np.isfinite(calibration).all() and np.isfinite(scores).all()):
        raise InputError("p-values: a score is not finite")
    below = np.searchsorted(np.sort(calibration), scores, side="left")
    return (1 + calibration.size - below) / (calibration.size + 1)


def smallest_rate(n: int) -> float:
    """The smallest false-alarm rate that ``n`` held-out clips allow.

    >>> smallest_rate(9), smallest_rate(0)
    (0.1, 1.0)
    """
    return 1 / (n + 1)


def n_above(n: int, rate: float) -> int:
    """k = ⌊rate · (n + 1)⌋: a clip alarms if fewer than k of ``n`` held-out scores are at least as high.

    >>> n_above(36, 0.1), n_above(99, 0.29), n_above(6, 0.1)
    (3, 29, 0)
    """
    return int(np.floor(rate * (n + 1) * (1 + 1e-12)))


def false_alarm_interval(n: int, m: int, rate: float, level: float = 0.95) -> tuple[int, int]:
    """False alarms to expect among ``m`` normal clips, given ``n`` held-out ones: a central interval.

    For continuous scores the realised rate has the distribution Beta(k, n + 1 − k) over draws of the held-out clips,
    with k = ⌊rate · (n + 1)⌋, and the number of false alarms therefore a beta-binomial one (Vovk 2012; Bates et al.
    2023).

    >>> false_alarm_interval(36, 16, 0.1)
    (0, 4)
    >>> false_alarm_interval(1000, 1000, 0.1)
    (75, 127)
    >>> false_alarm_interval(6, 16, 0.1)  # no clip can alarm
    (0, 0)
    """
    if (k := n_above(n, rate)) == 0:
        return 0, 0
    if k > n:
        return m, m
    low, high = stats.betabinom(m, k, n + 1 - k).interval(level)
    return int(low), int(high)


def binomial_interval(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share of which ``hits`` of ``trials`` were counted (Clopper and Pearson 1934), NaN without trials.

    >>> low, high = binomial_interval(0, 10)
    >>> f"{low:.2f} to {high:.2f}"
    '0.00 to 0.31'
    """
    if trials == 0:
        return float("nan"), float("nan")
    interval = stats.binomtest(hits, trials).proportion_ci(level)
    return float(interval.low), float(interval.high)


def discoveries(p_value: ArrayLike, fdr: float) -> np.ndarray:
    """Which of a batch of p-values (N,) alarm, such that at most a share ``fdr`` of the alarms is expected to be false.

    Benjamini and Hochberg's procedure (1995). It stays valid for conformal p-values although these share their
    calibration scores (Bates et al. 2023). A single anomaly among N clips is found only if its p-value is at most fdr /
    N: that takes N / fdr held-out clips.

    >>> discoveries([0.01, 0.02, 0.04, 0.6], fdr=0.1)
    array([ True,  True,  True, False])
    >>> discoveries([0.04, 0.5, 0.6, 0.7], fdr=0.1)  # alone among four it is no longer remarkable
    array([False, False, False, False])

    Raises:
        InputError: p-values that are not in 0–1, or an impossible rate.
    """
    p_value = np.asarray(p_value, dtype=float)
    check_rate("fdr", fdr)
    if not ((p_value >= 0) & (p_value <= 1)).all():
        raise InputError("fdr: needs a p-value for each clip; this detector has no calibration scores")
    return stats.false_discovery_control(p_value, method="bh") <= fdr if p_value.size else np.zeros(0, bool)


def check_rate(name: str, rate: float) -> None:
    """Raise an InputError that names the parameter unless ``rate`` is a number between 0 and 1, both excluded."""
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.number) or not 0 < rate < 1:
        raise InputError(f"{name}: {rate!r}; allowed: a number between 0 and 1, both excluded")
