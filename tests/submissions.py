"""A team's submission in the challenge's layout, and its evaluation as the official evaluator describes it.

The evaluation here is independent of ``asd``: areas from scikit-learn, means from scipy, the text as published.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import hmean
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

MACHINES = ["ToyCar", "ToyTrain", "fan", "gearbox", "pump", "slider", "valve"]
SECTIONS, DOMAINS = (3, 4, 5), ("source", "target")
HEADER = ["AUC", "pAUC", "precision", "recall", "F1 score"]


def cells() -> Iterator[tuple[str, str, int]]:
    """Machine type, domain and section of the 42 files, in the order of the result."""
    return ((machine, domain, section) for machine in MACHINES for domain in DOMAINS for section in SECTIONS)


def file_name(kind: str, machine: str, domain: str, section: int) -> str:
    return f"{kind}_{machine}_section_{section:02d}_{domain}_test.csv"


def write_submission(root: Path) -> tuple[Path, Path, Path]:
    """Write a team, the ground truth and the result: their paths. Numbers of clips differ, rows are shuffled."""
    random = np.random.default_rng(2021)
    team, truth, result = root / "team", root / "ground_truth", root / "result.csv"
    team.mkdir()
    truth.mkdir()
    metrics = {}
    for cell in cells():
        n_normal, n_anomalous = random.integers(20, 40, size=2)
        label = random.permutation(np.repeat([0, 1], [n_normal, n_anomalous]))
        score = np.round(random.normal(size=len(label)) + random.uniform(0, 2) * label, 2)  # some are equal
        decision = (score > random.uniform(0, 2)).astype(int)
        for folder, kind, values in (
            (truth, "ground_truth", label),
            (team, "anomaly_score", score),
            (team, "decision_result", decision),
        ):
            names = [f"section_{cell[2]:02d}_{cell[1]}_test_{i:04d}.wav" for i in range(len(label))]
            rows = [f"{names[i]},{values[i]}\n" for i in random.permutation(len(label))]
            (folder / file_name(kind, *cell)).write_text("".join(rows))
        metrics[cell] = [
            roc_auc_score(label, score),
            roc_auc_score(label, score, max_fpr=0.1),
            *precision_recall_fscore_support(label, decision, average="binary", zero_division=0)[:3],
        ]
    with result.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(result_rows(metrics))
    return team, truth, result


def harmonic(rows: list[list[float]]) -> list[float]:
    return list(hmean(np.maximum(rows, sys.float_info.epsilon), axis=0))


def means(metrics: dict[tuple[str, str, int], list[float]], over: str) -> Iterator[list]:
    """The four rows of means, of all these cells."""
    yield [f"arithmetic mean{over}", "", *np.mean(list(metrics.values()), axis=0)]
    yield [f"harmonic mean{over}", "", *harmonic(list(metrics.values()))]
    for domain in DOMAINS:
        rows = [values for (_, of, _), values in metrics.items() if of == domain]
        yield [f"{domain} harmonic mean{over}", "", *harmonic(rows)]


def result_rows(metrics: dict[tuple[str, str, int], list[float]]) -> Iterator[list]:
    """The official result's rows."""
    for machine in MACHINES:
        own = {cell: values for cell, values in metrics.items() if cell[0] == machine}
        yield [machine]
        yield ["section", "domain", *HEADER]
        yield from ([f"{section:02d}", domain, *values] for (_, domain, section), values in own.items())
        yield from means(own, "")
        yield []
    yield ["", "", *HEADER]
    yield from means(metrics, " over all machine types, sections, and domains")
    yield []
    areas = [[values[i]] for values in metrics.values() for i in (0, 1)]
    yield ["official score", "", *harmonic(areas)]
    yield []
