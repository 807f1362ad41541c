"""From scores to decisions: above which score is a clip called anomalous?

There are no anomalous train clips to choose a threshold by, so normal ones have to do. There are two rules:

* **The one that people get**, in 06_evaluation, from ``asd score`` and from the served model: a false-alarm rate is
  stated, and a clip alarms where its conformal p-value is at most that rate (:mod:`asd.evaluation.conformal`).
  ``calibrate`` makes from a score table what a detector needs for it, ``decide`` applies it to a whole score table.
* **The challenge's**, for submissions and for comparison (``thresholds``): a gamma distribution is fitted to the train
  scores of a machine type and section; what lies above its 0.9 quantile is called anomalous. A tenth of the train clips
  does. Clips that the model was trained on score lower than new ones, so the share among new clips is usually larger.

The gamma distribution has three parameters, shape, location and scale, all fitted: scores may be negative (log odds
are), and without a location a gamma distribution knows positive numbers only. The maximum likelihood fit (scipy) fails
in two
ways, both met in practice: with few scores or with outliers it can put all its weight on the smallest score, and scores
with a tail to the left have no gamma distribution. Then, and with fewer than 10 scores, the threshold is the quantile
of the scores themselves, and a warning says so.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from asd.errors import InputError
from asd.evaluation.calibration import Calibration

FEWEST_FOR_GAMMA = 10
SECTION = ["machine_type", "section"]


class Threshold(NamedTuple):
    """A threshold, and the gamma distribution it comes from (NaN where ``fit`` is "empirical")."""

    threshold: float
    shape: float
    location: float
    scale: float
    n_scores: int
    fit: str  # "gamma" or "empirical"


def fit_threshold(scores: ArrayLike, quantile: float = 0.9) -> Threshold:
    """Fit a gamma distribution to train scores (N,) and return its ``quantile``.

    Args:
        scores: finite, N ≥ 1, all of normal clips.
        quantile: between 0 and 1, both excluded.

    Raises:
        InputError: no scores, scores that are not finite, or an impossible quantile.

    >>> fit_threshold([1.0, 2.0, 4.0], quantile=0.5)  # too few for a fit: their own quantile
    Threshold(threshold=2.0, shape=nan, location=nan, scale=nan, n_scores=3, fit='empirical')
    >>> scores = stats.gamma.rvs(3.0, loc=-40.0, scale=2.0, size=3000, random_state=0)
    >>> exact = stats.gamma.ppf(0.9, 3.0, loc=-40.0, scale=2.0)
    >>> bool(abs(fit_threshold(scores).threshold - exact) < 0.5)
    True
    """
    scores = np.asarray(scores, dtype=float)
    if not 0 < quantile < 1:
        raise InputError(f"quantile: {quantile}; allowed: between 0 and 1, both excluded")
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise InputError(f"threshold: scores of shape {scores.shape}; allowed: (N,), one or more, all finite")
    if scores.size >= FEWEST_FOR_GAMMA and np.ptp(scores) > 0:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # the optimiser's: its result is judged below
            try:
                shape, location, scale = (float(value) for value in stats.gamma.fit(scores))
            except stats.FitError:
                shape = location = scale = np.nan
            threshold = float(stats.gamma.ppf(quantile, shape, location, scale))
        if np.isfinite(threshold) and _plausible(float(np.sum(scores > threshold)), scores.size, 1 - quantile):
            return Threshold(threshold, shape, location, scale, scores.size, "gamma")
    return Threshold(float(np.quantile(scores, quantile)), np.nan, np.nan, np.nan, scores.size, "empirical")


def _plausible(above: float, n: int, promised: float) -> bool:
    """Whether ``above`` of ``n`` scores beyond the threshold fit the promised share, within a factor of 3 or chance."""
    expected, deviation = n * promised, np.sqrt(n * promised * (1 - promised))
    return expected / 3 <= above <= 3 * expected or abs(above - expected) <= 4 * deviation


def reference_scores(clips: pd.DataFrame, held_out: bool) -> tuple[np.ndarray, bool]:
    """Train scores of one machine type and section, from which gamma thresholds and z-scores are computed.

    Returns:
        The scores of the held-out train clips if ``held_out`` and there are any, else those of all train clips; and
        whether they are held out.

    Raises:
        InputError: there are no train clips.
    """
    train = clips[clips["split"] == "train"]
    if train.empty:
        first = clips.iloc[0]
        raise InputError(f"score table: no train clips of {first['machine_type']} section {first['section']:02d}")
    kept = train[train["held_out"].astype(bool)] if held_out else train.iloc[:0]
    chosen = train if kept.empty else kept
    return chosen["score"].to_numpy(dtype=float), not kept.empty


def thresholds(table: pd.DataFrame, quantile: float = 0.9, held_out: bool = True) -> pd.DataFrame:
    """The gamma threshold of every machine type and section of a score table (one run).

    Args:
        table: the score table, train clips included.
        quantile: of the gamma distribution.
        held_out: fit to the held-out train clips, else to all. A section without held-out clips takes all its train
            clips, with a warning.

    Returns:
        machine_type, section, the fields of ``Threshold``, and ``held_out`` (whether it comes from held-out clips). One
        warning names all sections without a gamma fit.

    Raises:
        InputError: a section without train clips, or see ``fit_threshold``.
    """
    rows, notes = [], []
    for (machine_type, section), clips in table.groupby(SECTION):
        scores, are_held_out = reference_scores(clips, held_out)
        fitted = fit_threshold(scores, quantile)
        rows.append({"machine_type": machine_type, "section": section, **fitted._asdict(), "held_out": are_held_out})
        if fitted.fit != "gamma":
            notes.append(f"{machine_type} section {section:02d}: quantile of the {len(scores)} scores, no gamma fit")
        if held_out and not are_held_out:
            notes.append(f"{machine_type} section {section:02d}: no held-out train clips, all train clips taken")
    if notes:
        warnings.warn("thresholds: " + "; ".join(notes), stacklevel=2)
    return pd.DataFrame(rows, columns=[*SECTION, *Threshold._fields, "held_out"])


def above_threshold(table: pd.DataFrame, limits: pd.DataFrame) -> pd.Series:
    """The challenge's decision for each row of a score table: 1 where the score is above its section's threshold, else
    0.

    Args:
        table: a score table (one run).
        limits: what ``thresholds`` returned.

    Raises:
        InputError: a machine type and section without a threshold.
    """
    known = limits.set_index(SECTION)["threshold"]
    limit = known.reindex(pd.MultiIndex.from_frame(table[SECTION])).to_numpy()
    if np.isnan(limit).any():
        row = table[np.isnan(limit)].iloc[0]
        raise InputError(f"decisions: no threshold for {row['machine_type']} section {row['section']:02d}")
    return (table["score"] > limit).astype(int)


def calibrate(table: pd.DataFrame) -> dict[int, dict[str, Any]]:
    """What a detector keeps of its train scores, by section number, for :mod:`asd.evaluation.calibration`.

    Args:
        table: score table of one run and one machine type, train clips included.

    Returns:
        ``held_out_scores``: of the held-out clips, sorted; ``trained_mean``, ``trained_std``: of the scores of the
        source clips that were trained on; ``mean``, ``std``, ``threshold`` (gamma, 0.9), ``n_clips``: of the held-out
        clips, of all train clips where there are none.

    Raises:
        InputError: a section without train clips.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few clips make no gamma distribution: it decides only where nothing else can
        gamma = thresholds(table).set_index("section")["threshold"]
    statistics = {}
    for section, clips in table.groupby("section"):
        scores, are_held_out = reference_scores(clips, held_out=True)
        train = clips[(clips["split"] == "train") & (clips["domain"] != "target")]
        trained = train["score"][~train["held_out"].astype(bool)].to_numpy(dtype=float)
        trained = trained if trained.size else scores
        statistics[int(section)] = {
            "mean": float(scores.mean()),
            "std": float(scores.std()),
            "threshold": float(gamma[section]),
            "n_clips": len(scores),
            "held_out_scores": sorted(scores.tolist()) if are_held_out else [],
            "trained_mean": float(trained.mean()),
            "trained_std": float(trained.std()),
        }
    return statistics


def decide(table: pd.DataFrame, false_alarm_rate: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Conformal decisions for a score table (one run, any machine types).

    Args:
        table: the score table, train clips included.
        false_alarm_rate: stated; see :class:`asd.evaluation.calibration.Calibration`.

    Returns:
        The table with the columns ``p_value`` (NaN without held-out clips) and ``decision`` (1 anomalous, 0 normal);
        and per machine type and section ``alarm_above`` (the score above which clips alarm), ``n_calibration``,
        ``pooled`` (over all sections) and ``shortfall`` (why the stated rate cannot be had, empty where it can).

    Raises:
        InputError: a section without train clips, or a rate that is not between 0 and 1.
    """
    p_value, decision, rows = np.full(len(table), np.nan), np.zeros(len(table), dtype=int), []
    scores = table["score"].to_numpy(dtype=float)
    calibrations = {name: Calibration(calibrate(clips)) for name, clips in table.groupby("machine_type")}
    for (machine_type, section), index in table.groupby(SECTION).indices.items():
        calibration = calibrations[machine_type]
        p_value[index], decision[index] = calibration.decide(section, scores[index], false_alarm_rate)
        row = {"machine_type": machine_type, "section": section}
        row |= {"alarm_above": calibration.threshold(section, false_alarm_rate)}
        row |= {"n_calibration": len(calibration.scores(section)), "pooled": calibration.pooled(section)}
        rows.append(row | {"shortfall": calibration.shortfall(section, false_alarm_rate)})
    columns = [*SECTION, "alarm_above", "n_calibration", "pooled", "shortfall"]
    return table.assign(p_value=p_value, decision=decision), pd.DataFrame(rows, columns=columns)
