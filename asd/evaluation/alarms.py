"""From the false-alarm rate of a clip to alarms per day, and to rules over many clips that a factory can live with.

A microphone that never sleeps delivers 8640 clips of 10 s per day, of which a false-alarm rate of 0.1 turns 864 into
alarms. The remedy is as old as redundancy: alarm only if at least k of n clips do. Where clips alarm independently of
each other, with probability q, the number of alarms among n clips is binomial, and the rule alarms with probability
P(Bin(n, q) ≥ k).

Independence is the assumption that fails first. Clips of one machine on one day share its condition, its load and the
hall around it: a fault that is missed in one clip tends to be missed in the next one, and a normal machine that sounds
unusual does so all day. At the other end, where all n clips are alike, k of n is worth no more than a single clip. The
truth lies between, and only a trial in the factory tells where.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from asd.evaluation.conformal import binomial_interval

DAY = 24 * 3600  # seconds


def k_of_n(rate: float, k: int | np.ndarray, n: int) -> np.ndarray:
    """Probability that at least ``k`` of ``n`` clips alarm, each one with probability ``rate``, independently.

    >>> k_of_n(0.1, np.array([1, 2, 3]), 3).round(3)
    array([0.271, 0.028, 0.001])
    """
    return stats.binom.sf(np.asarray(k) - 1, n, rate)


def alarms_per_day(rate: float, seconds: float, k: int | np.ndarray = 1, n: int = 1) -> np.ndarray:
    """Alarms to expect per day, if each ``n`` consecutive clips of ``seconds`` are judged by ``k_of_n``.

    >>> float(alarms_per_day(0.1, 10)), float(alarms_per_day(0.1, 10, k=3, n=3).round(2))
    (864.0, 2.88)
    """
    return DAY / (n * seconds) * k_of_n(rate, k, n)


def smallest_k(rate: float, seconds: float, n: int, per_day: float) -> int:
    """The smallest k with which k of n clips cause at most ``per_day`` alarms; n + 1, which never alarms, if none does.

    >>> smallest_k(0.1, 10, n=60, per_day=1), smallest_k(0.1, 10, n=2, per_day=1)
    (13, 3)
    """
    possible = np.arange(1, n + 1)
    few = alarms_per_day(rate, seconds, possible, n) <= per_day
    return int(possible[few][0]) if few.any() else n + 1


def plan(
    rates: pd.DataFrame, seconds: float, n: Sequence[int] = (1, 6, 30, 60, 360), per_day: float = 1.0
) -> pd.DataFrame:
    """What windows of different lengths achieve, if a healthy machine may cause ``per_day`` alarms.

    Args:
        rates: rows of :func:`asd.evaluation.promises.summary` by domain.
        seconds: length of a clip.
        n: clips per window.
        per_day: alarms.

    Returns:
        domain, minutes (of a window), n, k, ``false alarms per day`` and ``faults found`` (share of the windows, for
        faults like those of the test clips). k is chosen, and false alarms are computed, by the upper bound of the
        realised rate.
    """
    rows = []
    for row in rates.dropna(subset=["rate_high", "recall"]).itertuples():
        for clips in n:
            k = smallest_k(row.rate_high, seconds, clips, per_day)
            rows.append(
                {
                    "domain": row.domain,
                    "minutes": round(clips * seconds / 60, 2),
                    "n": clips,
                    "k": k,
                    "false alarms per day": float(alarms_per_day(row.rate_high, seconds, k, clips)),
                    "faults found": float(k_of_n(row.recall, k, clips)),
                }
            )
    return pd.DataFrame(rows, columns=["domain", "minutes", "n", "k", "false alarms per day", "faults found"])


def in_words(rates: pd.DataFrame, seconds: float, stated: float, n: int = 60, per_day: float = 1.0) -> list[str]:
    """What one would live with: alarms per day clip by clip, and by the rule k of ``n``; sentences.

    Args:
        rates, seconds, per_day: see :func:`plan`.
        stated: false-alarm rate per clip.
        n: clips per window.
    """
    stated_per_day = alarms_per_day(stated, seconds)
    sentences = [
        f"Clip by clip: {DAY / seconds:.0f} clips of {seconds:.3g} s per day, and a stated rate of {stated:g} means"
        f" {stated_per_day:.0f} false alarms per day, {stated_per_day / 3:.0f} per shift."
    ]
    for row in rates.dropna(subset=["rate_high", "recall"]).itertuples():
        k = smallest_k(row.rate_high, seconds, n, per_day)
        false, at_most, found = (f"{100 * share:.0f} %" for share in (row.rate, row.rate_high, row.recall))
        sentences.append(
            f"{row.domain} clips: {false} false alarms (up to {at_most} is possible), {found} of the anomalies found."
        )
        rule = f"{k} of {n} clips ({n * seconds / 60:.3g} min)"
        few = f"at most {per_day:g} false alarm{'s' if per_day != 1 else ''} per day"
        sentences.append(
            f"  No rule k of {n} is silent enough."
            if k > n
            else f"  {rule}: {few}, and {100 * k_of_n(row.recall, k, n):.0f} % of the windows with a fault found."
        )
    return sentences


def by_fault(table: pd.DataFrame, regions: pd.DataFrame) -> pd.DataFrame:
    """Which faults are found, where it is known what is broken: the worst first.

    Args:
        table: a run's score table with the column ``decision``.
        regions: what :func:`asd.data.regions.fault_regions` returned.

    Returns:
        fault, clips (anomalous test clips), found (those that alarm), share, low, high (its 95% interval).
    """
    fault = regions.drop_duplicates("path").set_index("path")["fault"]
    test = table[(table["split"] == "test") & (table["label"] == 1)]
    groups = test.assign(fault=test["clip"].map(fault)).groupby("fault")["decision"]
    rows = []
    for name, decisions in groups:
        found, clips = int(decisions.sum()), len(decisions)
        low, high = binomial_interval(found, clips)
        rows.append({"fault": name, "clips": clips, "found": found, "share": found / clips, "low": low, "high": high})
    columns = ["fault", "clips", "found", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns).sort_values(["share", "fault"], ignore_index=True)
