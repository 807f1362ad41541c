"""The figures of decisions: where the thresholds lie, and what they keep of what they promise."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from asd.evaluation.alarms import alarms_per_day, k_of_n, smallest_k
from asd.evaluation.promises import CONFORMAL, GAMMA, TARGET_CLIPS
from asd.plots.common import DOMAIN_COLORS, LABEL_COLORS, label_names, shared_legend
from asd.plots.evaluation import DENSITY_COLOR, in_percent, labelled, panels

RULES = {CONFORMAL: ("o", "black"), GAMMA: ("s", DENSITY_COLOR), TARGET_CLIPS: ("^", "#f2a33a")}


def thresholds(table: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """Draw above which score the clips of each section alarm, and the challenge's gamma threshold beside it.

    Above the zero line are the train scores that the gamma distribution was fitted to; below it one lane each for the
    held-out clips and for the test clips by domain and label.

    Args:
        table: a run's score table, one machine type.
        limits: its rows of ``asd.evaluation.results.add_decisions``.
    """
    sections = sorted(set(table["section"]))
    figure, axes = panels(sections, 4.2, 3.0)
    for ax, section in zip(axes, sections, strict=False):
        _threshold_panel(ax, table[table["section"] == section], limits[limits["section"] == section].iloc[0])
        ax.set(title=f"section {section:02}", xlabel="anomaly score")
    shared_legend(figure, axes[0])
    return figure


def _threshold_panel(ax: Axes, clips: pd.DataFrame, limit: pd.Series) -> None:
    """One section's panel of :func:`thresholds`."""
    train = clips[clips["split"] == "train"]
    fitted = train[train["held_out"].astype(bool)] if limit["held_out"] else train
    low, high = clips["score"].min(), clips["score"].max()
    margin = 0.05 * (high - low) or 0.5  # equal scores have none
    grid = np.linspace(low - margin, high + margin, 400)
    edges = np.linspace(grid[0], grid[-1], 26).tolist()
    ax.hist(fitted["score"], edges, density=True, color="0.8", label="train clips, fitted")
    peak = ax.get_ylim()[1]
    density = np.full_like(grid, np.nan)  # drawn all the same: the legend is that of the first panel
    if limit["fit"] == "gamma":
        density = stats.gamma.pdf(grid, limit["shape"], limit["location"], limit["scale"])
    ax.plot(grid, np.minimum(density, 1.5 * peak), color=DENSITY_COLOR, linewidth=1.5, label="gamma density")
    ax.axvline(limit["threshold"], color=DENSITY_COLOR, linestyle="--", linewidth=1.5, label="gamma threshold")
    limited = limit["alarm_above"] if np.isfinite(limit["alarm_above"]) else np.nan
    ax.axvline(limited, color="black", linewidth=1.5, label="alarm threshold")
    top = ax.get_ylim()[1]
    test = clips[clips["split"] == "test"].assign(label=lambda t: label_names(t["label"]))
    lanes = {"held out": (train["score"][train["held_out"].astype(bool)], "white")}
    for domain in ("source", "target", ""):
        for name, color in LABEL_COLORS.items():
            lanes[f"{domain} {name}".strip()] = (
                test["score"][(test["domain"] == domain) & (test["label"] == name)],
                color,
            )
    lanes = {name: lane for name, lane in lanes.items() if len(lane[0])}
    heights = [-top * (0.1 + 0.11 * i) for i in range(len(lanes))]
    for y, (scores, color) in zip(heights, lanes.values(), strict=True):
        ax.scatter(scores, np.full(len(scores), y), s=14, color=color, edgecolor="black", linewidth=0.3, alpha=0.8)
    ticks = [t for t in ax.get_yticks() if 0 <= t <= top]
    ticks = [ticks[0], ticks[-1]]
    ax.set_yticks([*heights, *ticks], [*lanes, *(f"{t:.2g}" for t in ticks)])
    ax.tick_params(axis="y", labelsize="x-small")
    ax.set_ylim(-top * (0.1 + 0.11 * len(lanes)), top)
    ax.grid(axis="y", visible=False)


def realised_rates(rates: np.ndarray, n: int, k: int, stated: float) -> Figure:
    """Draw a histogram of simulated false-alarm rates and their distribution in theory, Beta(k, n + 1 − k)."""
    figure, ax = plt.subplots(figsize=(6, 2.8))
    ax.hist(rates, 30, density=True, color="0.8", label="simulated")
    grid = np.linspace(0, max(rates), 300)
    ax.plot(grid, stats.beta.pdf(grid, k, n + 1 - k), color=DENSITY_COLOR, label=f"Beta({k}, {n + 1 - k})")
    ax.axvline(stated, color="black", linestyle="--", label="stated")
    ax.set(xlabel=f"realised false-alarm rate with {n} held-out clips", ylabel="density")
    ax.legend(fontsize="small")
    return figure


def promises(rates: pd.DataFrame, stated: float) -> Figure:
    """Draw realised false-alarm rates with their 95% intervals, and below them the share of anomalies found.

    Args:
        rates: rows of :func:`asd.evaluation.promises.summary` by domain, rule and run_name.
        stated: false-alarm rate, a dashed line.
    """
    names = list(dict.fromkeys(rates["run_name"]))
    domains = [domain for domain in ("source", "target") if domain in set(rates["domain"])] or ["source"]
    size = (4.6 * len(domains), 2 * (1.1 + 0.45 * len(names)))
    figure, axes = plt.subplots(2, len(domains), figsize=size, squeeze=False, sharex=True, sharey=True)
    shifts = dict(zip(RULES, (-0.22, 0, 0.22), strict=True))
    for column, domain in enumerate(domains):
        upper, lower = axes[:, column]
        for rule, (marker, color) in RULES.items():
            chosen = rates[(rates["domain"] == domain) & (rates["rule"] == rule)].set_index("run_name").reindex(names)
            y = np.arange(len(names)) + shifts[rule]
            bounds = np.abs(chosen[["rate_low", "rate_high"]].to_numpy().T - chosen["rate"].to_numpy())
            upper.errorbar(chosen["rate"], y, xerr=bounds, fmt=marker, color=color, capsize=3, markersize=5, label=rule)
            lower.plot(chosen["recall"], y, marker, color=color, markersize=5)
        upper.axvline(stated, color="black", linewidth=1, linestyle="--")
        upper.set(title=f"{domain}: false alarms among normal clips")
        lower.set(title=f"{domain}: anomalies found", xlabel="share of clips", xlim=(-0.03, 1.03))
        in_percent(upper, lower, y=False)
    axes[0, 0].set_yticks(range(len(names)), labelled(names))
    axes[0, 0].set_ylim(max(1, len(names)) - 0.5, -0.5)
    shared_legend(figure, axes[0, 0])
    return figure


def alarm_rules(rates: pd.DataFrame, seconds: float, n: int = 60, per_day: float = 1.0) -> Figure:
    """Draw what the rule "k of n clips" costs and finds, for every k, in each domain: see :mod:`asd.evaluation.alarms`.

    Args:
        rates: rows of :func:`asd.evaluation.promises.summary` by domain; the band is that of the rate's interval.
        seconds: length of a clip.
        n: clips per window.
        per_day: false alarms that are acceptable, a dashed line.
    """
    figure, (alarms, faults) = plt.subplots(1, 2, figsize=(10, 3.8))
    k = np.arange(1, n + 1)
    for row in rates.dropna(subset=["rate_high", "recall"]).itertuples():
        color, style = DOMAIN_COLORS[row.domain], "-" if row.domain == "source" else "--"
        low, middle, high = (alarms_per_day(q, seconds, k, n) for q in (row.rate_low, row.rate, row.rate_high))
        alarms.fill_between(k, low, high, color=color, alpha=0.25, linewidth=0)
        alarms.plot(k, middle, style, color=color, label=f"{row.domain} clips")
        faults.plot(k, k_of_n(row.recall, k, n), style, color=color)
        if (chosen := smallest_k(row.rate_high, seconds, n, per_day)) <= n:
            faults.plot(chosen, k_of_n(row.recall, chosen, n), "D", color=color)
            alarms.plot(chosen, alarms_per_day(row.rate_high, seconds, chosen, n), "D", color=color)
    alarms.axhline(per_day, color="black", linewidth=1, linestyle="--")
    alarms.set(yscale="log", ylim=(1e-3, 1.5 * alarms_per_day(1.0, seconds, 1, n)), ylabel="false alarms per day")
    faults.set(ylim=(-0.03, 1.03), ylabel="share of faulty windows found")
    for ax in (alarms, faults):
        ax.set(xlabel=f"k: clips of {n} that must alarm ({n * seconds / 60:.3g} min)", xlim=(0, n + 1))
    in_percent(faults, x=False)
    shared_legend(figure, alarms)
    return figure


def faults_found(shares: pd.DataFrame) -> Figure:
    """Draw which share of the clips with each fault alarms, with 95% intervals.

    Args:
        shares: what :func:`asd.evaluation.alarms.by_fault` returned.
    """
    figure, ax = plt.subplots(figsize=(6.5, 1.0 + 0.34 * len(shares)))
    y = np.arange(len(shares))
    bounds = np.abs(shares[["low", "high"]].to_numpy().T - shares["share"].to_numpy())
    ax.errorbar(shares["share"], y, xerr=bounds, fmt="o", color=DENSITY_COLOR, capsize=3)
    ax.set_yticks(y, [f"{row.fault} ({row.found} of {row.clips})" for row in shares.itertuples()])
    ax.set(xlabel="share of the clips that alarm", xlim=(-0.03, 1.03), ylim=(len(shares) - 0.5, -0.5))
    in_percent(ax, y=False)
    return figure
