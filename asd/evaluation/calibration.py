"""The one rule that decides about clips: in 06_evaluation, ``asd score``, the served model and the edge model.

A clip alarms if its conformal p-value (:mod:`asd.evaluation.conformal`) is at most the stated false-alarm rate. A
section with fewer than ``FEWEST_ALONE`` held-out clips is judged by those of all sections together, each section's
scores first standardised by mean and deviation of the scores of the clips *trained on*. (These see neither held-out nor
test clips, so exchangeability within a section stays intact.) The guarantee then no longer holds in each section but
only on average over them, and not exactly: for K sections with n clips in all, the mean rate is at most
(k + K − 1) / (n + K) with k = ⌊rate · (n + 1)⌋. That is the worst case, sections whose standardised scores do not
overlap; for sections that are alike, the rate is k / (n + 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from asd.errors import InputError
from asd.evaluation.conformal import TIE, check_rate, n_above, p_values, smallest_rate

FALSE_ALARM_RATE = 0.1  # stated where a user states none
FEWEST_ALONE = 20  # held-out clips with which a section is judged by its own: p-values in steps of less than 0.05


class Decisions(NamedTuple):
    """P-values (N,) of N scores, NaN without calibration scores, and whether each one alarms, (N,)."""

    p_value: np.ndarray
    anomalous: np.ndarray


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
