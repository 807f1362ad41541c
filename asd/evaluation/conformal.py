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

* **Few held-out clips.** p is never below 1 / (n + 1): with 6 clips no rate below 0.14 can be had. A section with fewer
  than ``FEWEST_ALONE`` held-out clips is therefore judged by those of all sections together, each section's scores
  first standardised by mean and deviation of the scores of the clips *trained on*. (These see neither held-out nor test
  clips, so exchangeability within a section stays intact.) The guarantee then no longer holds in each section but only
  on average
  over them, and not exactly: for K sections with n clips in all, the mean rate is at most (k + K − 1) / (n + K) with
  k = ⌊rate · (n + 1)⌋. That is the worst case, sections whose standardised scores do not overlap; for sections that are
  alike, the rate is k / (n + 1).
* **The target domain.** Its clips are not exchangeable with held-out clips of the source domain. Nothing is promised.
* **Clips of one recording.** A held-out clip that was cut from the same recording as clips trained on, or directly
  after one, scores like these. It is not exchangeable with clips of other recordings, and the realised rate may be
  anything. Hold out whole recordings; 06_evaluation names machine types whose rate is not kept.
* **Scores of clips that the model was trained on** are lower than those of new clips. They are never used as
  calibration scores.

References: V. Vovk, A. Gammerman, G. Shafer, *Algorithmic learning in a random world*, Springer 2005; V. Vovk,
*Conditional validity of inductive conformal predictors*, ACML 2012; S. Bates, E. Candès,
L. Lei, Y. Romano, M. Sesia, *Testing for outliers with conformal p-values*, Annals of Statistics 51(1), 2023.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from asd.errors import InputError

FALSE_ALARM_RATE = 0.1  # stated where a user states none
FEWEST_ALONE = 20  # held-out clips with which a section is judged by its own: p-values in steps of less than 0.05
TIE = 1e-4  # in standard deviations: two scores of one clip, computed in different batches, differ by less


class Decisions(NamedTuple):
    """P-values (N,) of N scores, NaN without calibration scores, and whether each one alarms, (N,)."""

    p_value: np.ndarray
    anomalous: np.ndarray


def p_values(calibration: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """Conformal p-values of ``scores`` (N,) given the scores (n,) of held-out normal clips: (N,), in steps of 1/(n +
    1).

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


@dataclass(frozen=True)
class Calibration:
    """What decides about the clips of one detector: the one rule of 06_evaluation, ``asd score`` and the served model.

    Args:
        statistics: by section number, see :func:`asd.evaluation.decisions.calibrate`. Without the keys
            ``held_out_scores``, ``trained_mean`` and ``trained_std`` (detectors of earlier versions), or with no
            held-out clip in any section, there are no p-values, and the gamma ``threshold`` decides.

    >>> one = {"held_out_scores": [0.0, 1.0, 2.0], "trained_mean": 0.0, "trained_std": 1.0, "threshold": 1.5}
    >>> other = {"held_out_scores": [70.0, 80.0], "trained_mean": 50.0, "trained_std": 10.0, "threshold": 90.0}
    >>> calibration = Calibration({0: one, 1: other})
    >>> calibration.scores(1)  # of both sections, in standard deviations of the clips trained on
    array([0., 1., 2., 2., 3.])
    >>> calibration.decide(1, [65.0, 85.0], false_alarm_rate=0.2).p_value.round(2)
    array([0.67, 0.17])
    >>> float(calibration.threshold(1, 0.2))  # what is above alarms
    80.001
    >>> calibration.shortfall(1, 0.1)
    'a false-alarm rate of 0.1 cannot be had from 5 held-out clips, the smallest is 0.167, so no clip alarms'
    """

    statistics: Mapping[int, Mapping]

    def pooled(self, section: int) -> bool:
        """Whether the section is judged by the held-out clips of all sections together."""
        return len(self._own(section)) < FEWEST_ALONE

    def scores(self, section: int) -> np.ndarray:
        """Calibration scores of the section (n,), sorted, in standard deviations of the clips trained on."""
        sections = list(self.statistics) if self.pooled(section) else [section]
        return np.sort(np.concatenate([self._standardised(other, self._own(other)) for other in sections]))

    def decide(self, section: int, scores: ArrayLike, false_alarm_rate: float | None = None) -> Decisions:
        """P-values and decisions of scores (N,) of clips of one section.

        Args:
            section: of the clips.
            scores: finite, (N,).
            false_alarm_rate: stated; None: see :meth:`rate`.

        Raises:
            InputError: an unknown section, an impossible rate, scores that are not finite.
        """
        rate = self.rate(section) if false_alarm_rate is None else false_alarm_rate
        check_rate("false_alarm_rate", rate)
        scores, calibration = np.asarray(scores, dtype=float), self.scores(section)
        if not calibration.size:
            return Decisions(np.full(scores.shape, np.nan), scores > self.statistics[section]["threshold"])
        p_value = p_values(calibration, self._standardised(section, scores) - TIE)
        return Decisions(p_value, p_value <= rate)

    def threshold(self, section: int, false_alarm_rate: float) -> float:
        """The score above which clips of the section alarm; infinite where none can."""
        calibration = self.scores(section)
        if not calibration.size:
            return float(self.statistics[section]["threshold"])
        k = n_above(calibration.size, false_alarm_rate)
        if k == 0:
            return float("inf")
        limit = calibration[-k] if k <= calibration.size else float("-inf")
        mean, std = self.scale(section)
        return mean + std * (limit + TIE)

    def rate(self, section: int) -> float:
        """The rate where none is stated: ``FALSE_ALARM_RATE``, or the smallest that can be had where that is larger."""
        n = len(self.scores(section))
        return max(FALSE_ALARM_RATE, smallest_rate(n)) if n else FALSE_ALARM_RATE

    def shortfall(self, section: int, false_alarm_rate: float | None = None) -> str:
        """Why the section's decisions are not what was asked for, half a sentence; empty where they are."""
        n = len(self.scores(section))
        if n == 0:
            return (
                "no scores of held-out clips: decided by the gamma threshold, without p-values, whatever rate is stated"
            )
        if smallest_rate(n) > (FALSE_ALARM_RATE if false_alarm_rate is None else false_alarm_rate):
            asked = (
                f"a false-alarm rate of {false_alarm_rate or FALSE_ALARM_RATE:g} cannot be had from {n} held-out clips"
            )
            end = "which is used" if false_alarm_rate is None else "so no clip alarms"
            return f"{asked}, the smallest is {smallest_rate(n):.3g}, {end}"
        return ""

    def scale(self, section: int) -> tuple[float, float]:
        """Location and scale of the section's scores: mean and deviation over the clips trained on."""
        known = self.statistics[section]
        return known.get("trained_mean", 0.0), known.get("trained_std", 0.0) or 1.0

    def _own(self, section: int) -> np.ndarray:
        if section not in self.statistics:
            raise InputError(f"section {section}: no calibration; allowed: {sorted(self.statistics)}")
        return np.asarray(self.statistics[section].get("held_out_scores", ()), dtype=float)

    def _standardised(self, section: int, scores: np.ndarray) -> np.ndarray:
        mean, std = self.scale(section)
        return (scores - mean) / std
