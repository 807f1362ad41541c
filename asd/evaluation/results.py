"""From score tables to results: decisions, metrics with intervals, comparisons; of all runs at once.

``evaluate`` returns them as one :class:`Evaluation`, which the notebook shows and the report is written from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from asd.errors import InputError
from asd.evaluation.bootstrap import compare, confidence_intervals
from asd.evaluation.decisions import SECTION, above_threshold, decide, thresholds
from asd.evaluation.tables import RunFacts, Tables, noted, of_machine


@dataclass
class Evaluation:
    """What was found out about all runs of an output root.

    Attributes:
        tables: score tables by run name, with the columns of :func:`add_decisions`.
        facts: what the store knows of the runs, by their id.
        limits: thresholds, see :func:`add_decisions`.
        cells, means: metrics with intervals, see :func:`measure`.
        false_alarm_rate: stated.
        notes: what is missing or unusual, one sentence each.
    """

    tables: Tables
    facts: Mapping[str, RunFacts]
    limits: pd.DataFrame
    cells: pd.DataFrame
    means: pd.DataFrame
    false_alarm_rate: float
    notes: list[str] = field(default_factory=list)

    def of(self, machine_type: str) -> Tables:
        """The score tables of one machine type."""
        return of_machine(self.tables, machine_type)

    def limits_of(self, machine_type: str, run_name: str) -> pd.DataFrame:
        """The thresholds of one run for one machine type, one row per section."""
        chosen = (self.limits["machine_type"] == machine_type) & (self.limits["run_name"] == run_name)
        return self.limits[chosen]

    def cells_of(self, machine_type: str, run_name: str | None = None) -> pd.DataFrame:
        """The metrics of one machine type, of one run if it is named; one row per run, section and domain."""
        cells = self.cells[self.cells["machine_type"] == machine_type]
        return cells if run_name is None else cells[cells["run_name"] == run_name]


def evaluate(
    tables: Tables,
    facts: Mapping[str, RunFacts],
    *,
    false_alarm_rate: float,
    quantile: float,
    held_out: bool,
    resamples: int,
    seed: int,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Decide about all clips and measure all runs.

    Args:
        tables: score tables by run name.
        facts: what the store knows of the runs.
        false_alarm_rate, quantile, held_out: see :func:`add_decisions`.
        resamples, seed: of the bootstrap.
        notes: what is known already; more are appended.
    """
    tables, limits, decision_notes = add_decisions(tables, false_alarm_rate, quantile, held_out)
    cells, means, metric_notes = measure(tables, resamples, seed)
    notes = [*notes, *decision_notes, *metric_notes]
    return Evaluation(tables, facts, limits, cells, means, false_alarm_rate, notes)


def add_decisions(
    tables: Tables, false_alarm_rate: float, quantile: float, held_out: bool
) -> tuple[Tables, pd.DataFrame, list[str]]:
    """Decisions of all runs by both rules of :mod:`asd.evaluation.decisions`.

    Args:
        tables: score tables by run name.
        false_alarm_rate: stated, for the conformal rule.
        quantile: of the gamma distribution.
        held_out: whether that is fitted to held-out train clips, or to all.

    Returns:
        The tables with the columns ``p_value``, ``decision`` (conformal) and ``gamma_decision``; per run, machine type
        and section the columns of :func:`asd.evaluation.decisions.thresholds` and
        :func:`asd.evaluation.decisions.decide`; and notes.
    """
    decided, limits, notes = {}, [], []
    for name, table in tables.items():
        gamma, warned = noted(thresholds, table, quantile, held_out)
        with_p_values, conformal = decide(table, false_alarm_rate)
        decided[name] = with_p_values.assign(gamma_decision=above_threshold(table, gamma))
        limits.append(gamma.merge(conformal, on=SECTION).assign(run_name=name))
        notes += [f"{name}: {note}" for note in warned]
        for shortfall, rows in conformal[conformal["shortfall"] != ""].groupby("shortfall"):
            machine_types = ", ".join(sorted(set(rows["machine_type"])))
            notes.append(f"{name}, {machine_types} ({len(rows)} sections): {shortfall}")
    return decided, pd.concat(limits, ignore_index=True), notes


def measure(tables: Tables, resamples: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Metrics of all runs with 95% intervals: cells and means (:mod:`asd.evaluation.metrics`) by run, and notes."""
    cells, means, notes = [], [], []
    for name, table in tables.items():
        (cell, mean), warned = noted(confidence_intervals, table, resamples, seed)
        cells.append(cell.assign(run_name=name, method=table["method"].iloc[0]))
        means.append(mean.assign(run_name=name))
        notes += [f"{name}: {note}" for note in warned]
    first = ["run_name", "machine_type", "section", "domain", "auc", "pauc"]
    cells, means = pd.concat(cells, ignore_index=True), pd.concat(means, ignore_index=True)
    rest = [column for column in cells if column not in first]
    return cells[first + rest], means[["run_name", *means.columns.drop("run_name")]], notes


def compare_with_best(tables: Tables, means: pd.DataFrame, resamples: int, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Is the best run better than each of the others? Paired differences of the official score, dev and eval apart.

    Args:
        tables: of two or more runs, all of one machine type.
        means: what ``measure`` returned for them.

    Returns:
        Rows of :func:`asd.evaluation.bootstrap.compare` for the harmonic mean, with ``best`` and ``other`` (run names);
        and notes.
    """
    rows, notes = [], []
    harmonic = means[(means["mean"] == "harmonic mean") & means["run_name"].isin(tables)]
    machine_types = {m for table in tables.values() for m in table["machine_type"]}
    harmonic = harmonic[harmonic["machine_type"].isin(machine_types)].dropna(subset="official_score")
    for part, scores in harmonic.groupby("part"):
        best = scores.loc[scores["official_score"].idxmax(), "run_name"]
        for other in scores["run_name"]:
            if other == best:
                continue
            try:
                difference, _ = noted(compare, tables[best], tables[other], resamples, seed)
            except InputError as error:
                notes.append(f"{best} and {other}: {error}")
                continue
            chosen = difference[(difference["part"] == part) & (difference["mean"] == "harmonic mean")]
            chosen = chosen[(chosen["metric"] == "official_score") & chosen["machine_type"].isin(machine_types)]
            rows.append(chosen.assign(best=best, other=other))
    columns = ["part", "best", "other", "difference", "low", "high", "p_value"]
    return (pd.concat(rows)[columns] if rows else pd.DataFrame(columns=columns)).reset_index(drop=True), notes
