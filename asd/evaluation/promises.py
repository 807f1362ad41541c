"""What does a threshold promise, and is it kept? Stated against realised false-alarm rates.

Rules that are compared (:mod:`asd.evaluation.decisions`):

* ``conformal``: p-values from held-out source clips; promises the stated rate in the source domain and nothing else;
* ``gamma``: the challenge's threshold, whose quantile is 1 − the rate that it is meant to have;
* ``target clips``: the remedy for clips that are *known* to be of the target domain, see :func:`target_p_values`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from asd.evaluation.conformal import TIE, binomial_interval, false_alarm_interval, p_values
from asd.evaluation.decisions import SECTION
from asd.evaluation.tables import BASELINE, Tables, run_ids

CONFORMAL, GAMMA, TARGET_CLIPS = "conformal", "gamma", "target clips"
SOURCE_ONLY = (
    BASELINE,
    "aux",
    "ae",
    "made",
    "maf",
)  # trained on source clips alone: target clips may calibrate
COUNTS = ["normal", "false_alarms", "anomalous", "found"]


def target_p_values(table: pd.DataFrame) -> pd.Series:
    """P-values of the target test clips of a score table from its few target train clips; NaN for all other clips.

    Three target clips per section tell where the section's target scores lie, but poorly: their mean is off by a good
    half of the scores' deviation. So that this uncertainty is part of the calibration, each target train clip is
    compared with the mean of the *others* of its section, as a test clip is with the mean of all; the differences of
    all sections together are the calibration scores (in the units of :class:`asd.evaluation.calibration.Calibration`).
    Each is relative to one clip fewer than a test clip's and therefore spreads a little more, which makes p-values
    larger, not smaller.

    It is a plausible rule, not a guarantee: the differences of a section depend on each other, and sections may differ
    in spread. It needs a model that has *not* been trained on target clips, and p is never below 1 / (n + 1), n being
    the number of target train clips of the machine type.

    Args:
        table: score table of one run, train clips included.
    """
    result = pd.Series(np.nan, index=table.index)
    train, target = table["split"] == "train", table["domain"] == "target"
    trained = table[train & ~target & ~table["held_out"].astype(bool)].groupby(SECTION)["score"]
    scale = trained.std(ddof=0).replace(0, 1.0)
    key = pd.MultiIndex.from_frame(table[SECTION])
    score = table["score"] / scale.reindex(key).to_numpy()
    known = score[train & target].groupby([table["machine_type"], table["section"]])
    mean, count = (known.agg(what).reindex(key).to_numpy() for what in ("mean", "size"))
    shifted = score - mean
    others = shifted * count / np.where(count > 1, count - 1, np.nan)  # relative to the mean of the others
    for _, rows in table.groupby("machine_type").groups.items():
        calibration = others.loc[rows][(train & target).loc[rows]].dropna()
        test = shifted.loc[rows][(~train & target).loc[rows]].dropna()
        if len(calibration) and len(test):
            result[test.index] = p_values(calibration, test - TIE)
    return result


def trains_on_target(tables: Tables, name: str) -> bool:
    """Whether a run, or any member of an ensemble, has or may have been trained on target clips."""
    ids = set(run_ids(tables[name]))
    members = [table for table in tables.values() if len(own := set(run_ids(table))) and own <= ids and _single(table)]
    covered = {run_id for table in members for run_id in run_ids(table)}
    return covered != ids or any(method not in SOURCE_ONLY for table in members for method in table["method"].unique())


def _single(table: pd.DataFrame) -> bool:
    return not table["run_id"].astype(str).str.contains("+", regex=False).any()


def realised(tables: Tables, limits: pd.DataFrame, false_alarm_rate: float) -> pd.DataFrame:
    """Count false alarms and anomalies found in every cell, for every rule.

    Args:
        tables, limits: of :func:`asd.evaluation.results.add_decisions`.
        false_alarm_rate: that was stated there.

    Returns:
        One row per run, machine type, section, domain and rule: run_name, method, machine_type, section, domain, rule;
        ``normal``, ``false_alarms``, ``anomalous``, ``found`` (counts of labelled test clips); ``n_calibration``
        (held-out clips); ``low``, ``high`` (false alarms that split conformal predicts, see
        :func:`asd.evaluation.conformal.false_alarm_interval`); ``attainable`` (whether there are held-out clips enough
        for the stated rate). Clips of unknown domain are left out.
    """
    rows = []
    for name, table in tables.items():
        columns = {CONFORMAL: table["decision"], GAMMA: table["gamma_decision"]}
        if not trains_on_target(tables, name):
            p_value = target_p_values(table)
            columns[TARGET_CLIPS] = (p_value <= false_alarm_rate).astype(float).where(p_value.notna())
        decisions = table.assign(**columns)[(table["split"] == "test") & table["label"].notna()]
        n_calibration = limits[limits["run_name"] == name].set_index(SECTION)["n_calibration"]
        for (machine_type, section, domain), clips in decisions.groupby([*SECTION, "domain"]):
            if domain not in ("source", "target"):
                continue
            n, normal = int(n_calibration[machine_type, section]), clips["label"] == 0
            low, high = false_alarm_interval(n, int(normal.sum()), false_alarm_rate)
            key = {"run_name": name, "method": table["method"].iloc[0], "machine_type": machine_type}
            key |= {"section": section, "domain": domain, "n_calibration": n, "low": low, "high": high}
            for rule in columns:
                alarms = clips[rule].dropna()
                if len(alarms):
                    counts = [normal.sum(), alarms[normal].sum(), (~normal).sum(), alarms[~normal].sum()]
                    rows.append(key | {"rule": rule} | dict(zip(COUNTS, map(int, counts), strict=True)))
    first = ["run_name", "method", *SECTION, "domain", "rule"]
    cells = pd.DataFrame(rows, columns=[*first, *COUNTS, "n_calibration", "low", "high"])
    return cells.assign(attainable=1 / (cells["n_calibration"] + 1) <= false_alarm_rate)


def summary(cells: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Realised rates over groups of cells.

    Args:
        cells: rows of :func:`realised`.
        by: columns that form the groups.

    Returns:
        One row per group: ``by``, the counts, ``rate`` (false alarms among normal clips) with its 95% interval
        ``rate_low``, ``rate_high`` (Clopper–Pearson: the clips are a sample, the threshold is given), ``recall``
        (anomalies found), ``cells``, and ``kept``: the share of attainable cells whose false alarms lie within the
        predicted interval.
    """
    inside = cells["false_alarms"].between(cells["low"], cells["high"])
    cells = cells.assign(kept=inside.astype(float).where(cells["attainable"]))
    groups = cells.groupby(list(by), sort=False)
    result = groups[COUNTS].sum()
    result["rate"] = result["false_alarms"] / result["normal"].where(result["normal"] > 0)
    bounds = [binomial_interval(row.false_alarms, row.normal) for row in result.itertuples()]
    result["rate_low"], result["rate_high"] = zip(*bounds, strict=True) if bounds else ((), ())
    result["recall"] = result["found"] / result["anomalous"].where(result["anomalous"] > 0)
    result["cells"], result["kept"] = groups.size(), groups["kept"].mean()
    return result.reset_index()


def broken_promises(cells: pd.DataFrame, false_alarm_rate: float) -> list[str]:
    """Runs and machine types with more false alarms among source clips than split conformal explains; a sentence each.

    More than it predicts in 999 of 1000 cases: then the normal test clips are not exchangeable with the held-out ones.
    For instance, clips of one recording were divided into trained-on and held-out ones, and test clips are of others.

    Args:
        cells: rows of :func:`realised`.
        false_alarm_rate: that was stated.
    """
    chosen = cells[(cells["rule"] == CONFORMAL) & (cells["domain"] == "source") & cells["attainable"]]
    sentences = []
    for (name, machine_type), rows in chosen.groupby(["run_name", "machine_type"], sort=False):
        alarms, normal = int(rows["false_alarms"].sum()), int(rows["normal"].sum())
        _, most = false_alarm_interval(int(rows["n_calibration"].min()), normal, false_alarm_rate, level=0.998)
        if alarms > most:
            sentences.append(
                f"{name}, {machine_type}: {alarms} of {normal} normal source clips alarm, at a stated rate of"
                f" {false_alarm_rate:g}: they are not like the held-out clips, and the rate is not kept"
            )
    return sentences
