"""From scores to decisions: above which score is a clip called anomalous?

There are no anomalous train clips to choose a threshold by. So the scores of normal clips are described by a gamma
distribution, per machine type and section, and the threshold is one of its percentiles: at 0.9, a tenth of the normal
clips is flagged, if the test clips are like the train clips. (Target clips are not: look at them in the notebook.)

The distribution has three parameters, shape, location and scale, all fitted: scores may be negative (log odds are), and
without a location a gamma distribution knows positive numbers only. The maximum likelihood fit (scipy) fails in two
ways, both met in practice: with few scores or with outliers it can put all its weight on the smallest score, and scores
with a tail to the left have no gamma distribution. Then, and with fewer than 10 scores, the threshold is the percentile
of the scores themselves, and a warning says so.

Scores of clips that the model was trained on are too low. The default is therefore the held-out train clips; the
reference took all train clips, which is an option.
"""

import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from asd.errors import InputError

FEWEST_FOR_GAMMA = 10


class Threshold(NamedTuple):
    """A threshold, and the gamma distribution it comes from (NaN where ``fit`` is "empirical")."""

    threshold: float
    shape: float
    location: float
    scale: float
    n_scores: int
    fit: str  # "gamma" or "empirical"


def fit_threshold(scores: ArrayLike, percentile: float = 0.9) -> Threshold:
    """Fit a gamma distribution to train scores (N,) and return its ``percentile``.

    Args:
        scores: finite, N ≥ 1, all of normal clips.
        percentile: between 0 and 1, ends excluded.

    Raises:
        InputError: no scores, scores that are not finite, an impossible percentile.
    """
    scores = np.asarray(scores, dtype=float)
    if not 0 < percentile < 1:
        raise InputError(f"percentile: {percentile}; allowed: between 0 and 1, ends excluded")
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise InputError(f"threshold: scores of shape {scores.shape}; allowed: (N,), one or more, all finite")
    if scores.size >= FEWEST_FOR_GAMMA and np.ptp(scores) > 0:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of the optimiser: its result is judged below
            try:
                shape, location, scale = (float(value) for value in stats.gamma.fit(scores))
            except stats.FitError:
                shape = location = scale = np.nan
            threshold = float(stats.gamma.ppf(percentile, shape, location, scale))
        if np.isfinite(threshold) and _plausible(float(np.sum(scores > threshold)), scores.size, 1 - percentile):
            return Threshold(threshold, shape, location, scale, scores.size, "gamma")
    return Threshold(float(np.quantile(scores, percentile)), np.nan, np.nan, np.nan, scores.size, "empirical")


def _plausible(above: float, n: int, promised: float) -> bool:
    """Whether ``above`` of ``n`` scores beyond the threshold fit the promised share: within 3 times, or by accident."""
    expected, deviation = n * promised, np.sqrt(n * promised * (1 - promised))
    return expected / 3 <= above <= 3 * expected or abs(above - expected) <= 4 * deviation


def reference_scores(clips: pd.DataFrame, held_out: bool) -> tuple[np.ndarray, bool]:
    """Train scores of one machine type and section: what thresholds and z-scores are made from.

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


def thresholds(table: pd.DataFrame, percentile: float = 0.9, held_out: bool = True) -> pd.DataFrame:
    """The threshold of every machine type and section of a score table (one run).

    Args:
        table: the score table, with train clips.
        percentile: of the gamma distribution.
        held_out: fit to the held-out train clips, else to all. A section without held-out clips takes all its train
            clips, with a warning.

    Returns:
        machine_type, section and the fields of ``Threshold``. One warning names all sections without a gamma fit.

    Raises:
        InputError: a section without train clips, or see ``fit_threshold``.
    """
    rows, notes = [], []
    for (machine_type, section), clips in table.groupby(["machine_type", "section"]):
        scores, apart = reference_scores(clips, held_out)
        fitted = fit_threshold(scores, percentile)
        rows.append({"machine_type": machine_type, "section": section, **fitted._asdict()})
        if fitted.fit != "gamma":
            notes.append(f"{machine_type} section {section:02d}: percentile of the {len(scores)} scores, no gamma fit")
        if held_out and not apart:
            notes.append(f"{machine_type} section {section:02d}: no held-out train clips, all train clips taken")
    if notes:
        warnings.warn("thresholds: " + "; ".join(notes), stacklevel=2)
    return pd.DataFrame(rows, columns=["machine_type", "section", *Threshold._fields])


def decide(table: pd.DataFrame, limits: pd.DataFrame) -> pd.DataFrame:
    """The score table with the column ``decision``: 1 (anomalous) where the score is above its section's threshold.

    Args:
        table: a score table (one run).
        limits: what ``thresholds`` returned.

    Raises:
        InputError: a machine type and section without a threshold.
    """
    known = limits.set_index(["machine_type", "section"])["threshold"]
    limit = known.reindex(pd.MultiIndex.from_frame(table[["machine_type", "section"]])).to_numpy()
    if np.isnan(limit).any():
        row = table[np.isnan(limit)].iloc[0]
        raise InputError(f"decisions: no threshold for {row['machine_type']} section {row['section']:02d}")
    return table.assign(decision=(table["score"].to_numpy() > limit).astype(int))
