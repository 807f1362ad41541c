"""How often do 95% intervals contain the true value, and how wide are they? Ours beside four bootstrap intervals.

Scores are drawn from the binormal model (normal clips: standard normal, anomalous ones shifted), whose AUC and pAUC are
known exactly. Each test set is measured and resampled as in ``asd.evaluation.bootstrap``, and each kind of interval
is counted as right where it contains the true value. Means are official scores: harmonic means of AUC and pAUC over one
cell of each AUC (4 cells) or three (12 cells). Differences are those of two methods whose scores are correlated by 0.8,
measured on the same draws.

    python benchmarks/intervals.py

* shifted: the middle 95% of the draws, shifted so that their mean is what was measured (what we had before)
* percentile: the middle 95% of the draws
* BCa: bias-corrected and accelerated, with the jackknife's acceleration (Efron 1987)
* logit: ± 1.96 standard errors of the draws on the logit of the rescaled range
* ours: ``asd.evaluation.intervals``
"""

import time

import numpy as np
import pandas as pd
from scipy.integrate import quad
from scipy.special import ndtr, ndtri

from asd.evaluation.bootstrap import resampled
from asd.evaluation.intervals import (
    EPSILON,
    LEAST,
    Means,
    Z,
    cell_bounds,
    correlations,
    difference_bounds,
    mean_bounds,
    mean_values,
)
from asd.evaluation.metrics import MAX_FPR, weighted_areas

SIZES, AUCS = (8, 16, 100), (0.6, 0.75, 0.9, 0.98)
PAIRS = ((0.75, 0.75), (0.9, 0.8), (0.98, 0.98))
TEST_SETS, RESAMPLES, CORRELATION, SEED = 1000, 500, 0.8, 0


def truth(auc: float) -> np.ndarray:
    """AUC and pAUC of two normal distributions, (2,)."""
    chance = MAX_FPR**2 / 2
    area, _ = quad(lambda fpr: ndtr(np.sqrt(2) * ndtri(auc) + ndtri(fpr)), 0, MAX_FPR)
    return np.array([auc, (1 + (area - chance) / (MAX_FPR - chance)) / 2])


def measured(random: np.random.Generator, n: int, *aucs: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUC and pAUC of one test set or more methods: as is (K, 2), on the draws (K, 2, R), without a clip (K, 2, 2n)."""
    label = np.repeat([0, 1], n)
    common = random.normal(size=2 * n)
    draws = np.concatenate([resampled(random, n, RESAMPLES), resampled(random, n, RESAMPLES)], axis=1)
    weights = np.concatenate([np.ones((1, 2 * n)), draws, 1 - np.eye(2 * n)])
    areas = []
    for auc in aucs:
        noise = CORRELATION**0.5 * common + (1 - CORRELATION) ** 0.5 * random.normal(size=2 * n)
        areas.append(weighted_areas(label, noise + np.sqrt(2) * ndtri(auc) * label, weights))
    areas = np.array(areas)
    return areas[..., 0], areas[..., 1 : RESAMPLES + 1], areas[..., RESAMPLES + 1 :]


def simulated(n: int, *aucs: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``measured`` for all test sets: (S, K, 2), (S, K, 2, R), (S, K, 2, 2n)."""
    random = np.random.default_rng([SEED, n, *(round(100 * auc) for auc in aucs)])
    parts = zip(*(measured(random, n, *aucs) for _ in range(TEST_SETS)), strict=True)
    return tuple(np.array(part) for part in parts)


# ---------------------------------------------------------------------------------- the other kinds, of (S,) and (S, R)


def shifted(value: np.ndarray, drawn: np.ndarray, *_: object) -> np.ndarray:
    return np.percentile(drawn - drawn.mean(axis=1, keepdims=True) + value[:, None], [2.5, 97.5], axis=1)


def percentile(value: np.ndarray, drawn: np.ndarray, *_: object) -> np.ndarray:
    return np.percentile(drawn, [2.5, 97.5], axis=1)


def bca(value: np.ndarray, drawn: np.ndarray, jackknife: np.ndarray, *_: object) -> np.ndarray:
    below = np.mean(drawn < value[:, None], axis=1) / 2 + np.mean(drawn <= value[:, None], axis=1) / 2
    bias = ndtri(np.clip(below, 0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES))
    influence = jackknife.mean(axis=1, keepdims=True) - jackknife
    squares = (influence**2).sum(axis=1)
    acceleration = np.divide(
        (influence**3).sum(axis=1), 6 * squares**1.5, out=np.zeros(len(value)), where=squares > EPSILON
    )
    levels = [ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in (-Z, Z)]
    return np.array([[np.quantile(row, q) for row, q in zip(drawn, level, strict=True)] for level in levels])


def logit(value: np.ndarray, drawn: np.ndarray, _: np.ndarray, least: float) -> np.ndarray:
    share = np.clip((value - least) / (1 - least), EPSILON, 1 - EPSILON)
    slope = 1 / (share * (1 - share))
    error = drawn.std(axis=1) / (1 - least) * slope
    bounds = np.log(share / (1 - share)) + Z * error * np.array([[-1], [1]])
    return least + (1 - least) / (1 + np.exp(np.clip(-bounds, -700, 700)))


OTHERS = {"shifted": shifted, "percentile": percentile, "BCa": bca, "logit": logit}


def counted(kind: dict[str, np.ndarray], true: float) -> dict[str, str]:
    """Coverage and mean width of each kind of interval."""
    found = {}
    for name, (low, high) in kind.items():
        right = np.mean((low <= true + EPSILON) & (true <= high + EPSILON))
        found[name] = f"{right:.3f} ({np.mean(high - low):.3f})"
    return found


def cell_rows(n: int, auc: float, values: np.ndarray, drawn: np.ndarray, left_out: np.ndarray) -> list[dict]:
    """Intervals of AUC and pAUC of single cells: (S, 2), (S, 2, R), (S, 2, 2n)."""
    counts = np.full(TEST_SETS, n)
    ours = cell_bounds(values, drawn, counts, counts)
    rows = []
    for i, metric in enumerate(("AUC", "pAUC")):
        kinds = {k: f(values[:, i], drawn[:, i], left_out[:, i], LEAST[i]) for k, f in OTHERS.items()}
        kinds["ours"] = tuple(bound[:, i] for bound in ours)
        true = truth(auc)[i]
        rows.append({"clips": f"{n} + {n}", "metric": metric, "true": true} | counted(kinds, true))
    return rows


def blocks(groups: int, cells: int) -> Means:
    """Harmonic means of ``groups`` groups of ``cells`` cells each, in one matrix of weights."""
    weights = np.kron(np.eye(groups), np.full(cells, 1 / cells))
    return Means(pd.DataFrame(index=range(groups)), weights, np.ones(groups, dtype=bool))


def official(means: Means, values: np.ndarray) -> np.ndarray:
    return mean_values(means, values)[:, 2]


def our_means(means: Means, n: int, values: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the official score: of (C, 2) and (C, 2, R)."""
    counts = np.full(len(values), n)
    low, high = cell_bounds(values, drawn, counts, counts)
    correlation = correlations(drawn[:, 0], drawn[:, 1], undefined=1)
    return tuple(bound[:, 2] for bound in mean_bounds(means, values, low, high, correlation))


def mean_row(n: int, cells: int, values: np.ndarray, drawn: np.ndarray, left_out: np.ndarray) -> dict:
    """Intervals of official scores over cells of all AUCs: (C, 2), (C, 2, R), (C, 2, 2n), AUC changing fastest."""
    groups = len(values) // cells
    values, drawn, left_out = (x[: groups * cells] for x in (values, drawn, left_out))
    means = blocks(groups, cells)
    score, scores = official(means, values), official(means, drawn)
    # without one clip only its cell changes
    inverse = 1 / np.maximum(values, EPSILON)
    without = (1 / np.maximum(left_out, EPSILON) - inverse[..., None]).sum(axis=1).reshape(groups, -1) / (2 * cells)
    jackknife = 1 / (1 / score[:, None] + without)
    kinds = {name: kind(score, scores, jackknife, 0) for name, kind in OTHERS.items()}
    kinds["ours"] = our_means(means, n, values, drawn)
    true = 1 / np.mean([1 / truth(auc) for auc in AUCS])
    return {"clips": f"{n} + {n}", "metric": f"official, {cells} cells", "true": true} | counted(kinds, true)


def difference_rows(n: int, aucs: tuple[float, float]) -> list[dict]:
    """Intervals of the difference of two methods: AUC and pAUC of a cell, and official scores over four such cells."""
    values, drawn, _ = simulated(n, *aucs)
    counts, true = np.full(TEST_SETS, n), [truth(auc) for auc in aucs]
    parts = []
    bounds = [cell_bounds(values[:, k], drawn[:, k], counts, counts) for k in (0, 1)]
    for i, metric in enumerate(("AUC", "pAUC")):
        each = [(values[:, k, i], tuple(b[:, i] for b in bounds[k]), drawn[:, k, i]) for k in (0, 1)]
        parts.append((metric, each, true[0][i] - true[1][i]))
    means = blocks(TEST_SETS // 4, 4)
    each = [
        (official(means, values[:, k]), our_means(means, n, values[:, k], drawn[:, k]), official(means, drawn[:, k]))
        for k in (0, 1)
    ]
    parts.append(("official, 4 cells", each, 1 / np.mean(1 / true[0]) - 1 / np.mean(1 / true[1])))
    rows = []
    for metric, ((a, bounds_a, drawn_a), (b, bounds_b, drawn_b)), difference in parts:
        kinds = {name: OTHERS[name](a - b, drawn_a - drawn_b) for name in ("shifted", "percentile")}
        kinds["ours"] = difference_bounds(a, bounds_a, b, bounds_b, correlations(drawn_a, drawn_b, undefined=0))
        row = {"clips": f"{n} + {n}", "AUCs": f"{aucs[0]} − {aucs[1]}", "metric": metric, "true": difference}
        rows.append(row | counted(kinds, difference))
    return rows


def main() -> None:
    start = time.perf_counter()
    cells, means, differences = [], [], []
    for n in SIZES:
        by_auc = [tuple(part[:, 0] for part in simulated(n, auc)) for auc in AUCS]
        for auc, parts in zip(AUCS, by_auc, strict=True):
            cells += cell_rows(n, auc, *parts)
        mixed = [np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:]) for parts in zip(*by_auc, strict=True)]
        means += [mean_row(n, count, *mixed) for count in (4, 12)]
        for aucs in PAIRS:
            differences += difference_rows(n, aucs)
    print(f"Coverage of nominal 95% intervals (mean width); {TEST_SETS} test sets, {RESAMPLES} draws, seed {SEED}")
    for title, rows in (("Cells", cells), ("Means", means), ("Paired differences", differences)):
        print(f"\n{title}\n{pd.DataFrame(rows).round(3).to_string(index=False)}")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
