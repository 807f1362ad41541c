"""Figures of fine-tuning for the target domain: embeddings and their distances, AUC before and after."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from asd.evaluation.cells import MIXED
from asd.plots.common import DOMAIN_COLORS
from asd.training.adaptation import PAIRS

MARKERS = "osD^vPX*<>"  # one per section, by the section's number
PAIR_COLORS = dict(zip(PAIRS, ("#555555", "#cc79a7"), strict=True))


def plane(ax: Axes, points: ArrayLike, section: ArrayLike, domain: str, seen: bool = True, **style: Any) -> None:
    """Draw points (N, 2) of one domain, whose colour they have; their shape shows the section.

    Args:
        ax: where to draw.
        points: positions, (N, 2).
        section: each point's section as an index from 0, (N,). It determines the marker, so that a section looks the
            same in every group and panel.
        domain: ``source`` or ``target``.
        seen: whether the points were trained on; the others are hollow.
        style: further arguments of ``ax.scatter``.
    """
    points, section = np.asarray(points), np.asarray(section)
    color = DOMAIN_COLORS[domain]
    face, edge = (color, "black") if seen else ("none", color)
    look: dict[str, Any] = {"s": 28, "linewidth": 0.5 if seen else 1.2} | style
    for index in np.unique(section):
        marker = MARKERS[index % len(MARKERS)]
        ax.scatter(*points[section == index].T, marker=marker, facecolor=face, edgecolor=edge, **look)


def plane_legend(ax: Axes, unseen: bool) -> None:
    """Add a legend of colours and hollow points beside a plane."""
    looks = {"source": ("source", True), "target": ("target, trained on", True), "unseen": ("target, unseen", False)}
    for name, (label, seen) in looks.items():
        if name != "unseen" or unseen:
            color = DOMAIN_COLORS["source" if name == "source" else "target"]
            face, edge = (color, "black") if seen else ("none", color)
            ax.scatter([], [], facecolor=face, edgecolor=edge, s=40, label=label)
    ax.legend(title="one shape per section", loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")


def pair_histograms(distances: Mapping[str, Mapping[str, pd.DataFrame]], margin: float) -> Figure:
    """Draw the distances of pairs of the same and of different sections; the line marks the margin.

    Args:
        distances: for each row of the figure, by name, the tables of its panels
            (from :func:`asd.training.adaptation.pair_distances`).
        margin: CCSA's margin.
    """
    rows, columns = len(distances), max(len(tables) for tables in distances.values())
    figure, axes = plt.subplots(rows, columns, figsize=(3.9 * columns + 1.6, 2.6 * rows), sharex=True, squeeze=False)
    top = max(table["distance"].max() for tables in distances.values() for table in tables.values())
    for row, (when, tables) in zip(axes, distances.items(), strict=True):
        for ax, (clips, table) in zip(row, tables.items(), strict=False):
            last = ax is axes[0, len(tables) - 1]
            sns.histplot(
                table, x="distance", hue="pair", hue_order=PAIRS, palette=PAIR_COLORS, bins=40, binrange=(0, top),
                stat="density", common_norm=False, element="step", ax=ax, legend=last,
            )  # fmt: skip
            if last:
                sns.move_legend(ax, "upper left", bbox_to_anchor=(1, 1), title="pairs of", fontsize="small")
            ax.axvline(margin, color="black", linestyle="--", linewidth=1)
            ax.annotate("margin ", (margin, 0.96), xycoords=("data", "axes fraction"), ha="right", va="top", fontsize=9)
            ax.set(
                title=f"{when}: target clips {clips}", xlabel="distance of two embeddings", ylabel="density of pairs"
            )
    return figure


def training_curves(history: pd.DataFrame) -> Figure:
    """Draw, over the epochs, the cross entropies, CCSA's two terms, and each loss term's gradient at the embedding."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 3.2))
    pulls = [name for name in history if name.startswith("gradient_")]
    panels = {
        "cross entropy": ["source", "target", "validation_loss"],
        "CCSA's terms": ["semantic", "contrastive"],
        "norm of the gradient at the embedding": pulls,
    }
    for ax, (title, names) in zip(axes, panels.items(), strict=True):
        available = [name for name in names if name in history]  # without held-out clips, there is no validation loss
        for name, style in zip(available, ("-", "--", ":", "-."), strict=False):
            label = name.removeprefix("gradient_").replace("_", " ")
            ax.plot(history["epoch"] + 1, history[name], style, marker=".", label=label)
        ax.set(xlabel="epoch", title=title)
        ax.set_ylim(0, 1.4 * ax.get_ylim()[1])  # room for the legend
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(loc="upper right", ncols=2, fontsize="small")
    return figure


def before_and_after(before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Draw the change in AUC with one line per section and one panel per domain; the grey line is guessing.

    Args:
        before, after: what :func:`asd.evaluation.cells.evaluate_scores` returned. Where no domain is known, there is a
            panel of all clips; where there is no AUC, it is empty.
    """
    both = before.merge(after, on=["section", "domain"], suffixes=("_before", "_after")).dropna(
        subset=["auc_before", "auc_after"]
    )
    domains = [domain for domain in ("source", "target") if domain in set(both["domain"])] or [MIXED]
    figure, axes = plt.subplots(1, len(domains), figsize=(4.5 * len(domains), 3.2), sharey=True, squeeze=False)
    for ax, domain in zip(axes[0], domains, strict=True):
        cells = both[both["domain"] == domain].sort_values("section")
        x, color = np.arange(len(cells)), DOMAIN_COLORS[domain]
        ax.vlines(x, cells["auc_before"], cells["auc_after"], color=color, linewidth=2)
        ax.plot(x, cells["auc_before"], "o", color="white", markeredgecolor=color, markersize=8, label="before")
        ax.plot(x, cells["auc_after"], "o", color=color, markersize=8, label="after")
        ax.axhline(0.5, color="grey", linestyle="--", linewidth=1)
        means = f"mean {cells['auc_before'].mean():.3f} → {cells['auc_after'].mean():.3f}" if len(cells) else "no AUC"
        ax.set_xticks(x, cells["section"].map("{:02}".format))
        ax.set(title=f"{domain}: {means}", xlabel="section", ylabel="AUC", xlim=(-0.5, max(1, len(cells)) - 0.5))
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def gains(changes: pd.DataFrame) -> Figure:
    """Draw by how much fine-tuning changes the AUC of each machine type: dots, and bars of one standard deviation.

    Args:
        changes: one row per machine type with ``gain`` and ``deviation`` of the target domain, in points, and
            ``source gain`` and ``source deviation``.
    """
    figure, ax = plt.subplots(figsize=(7.5, 0.4 * len(changes) + 1))
    y = np.arange(len(changes))
    for domain, prefix, shift in (("target", "", -0.12), ("source", "source ", 0.12)):
        mean, deviation = changes[f"{prefix}gain"], changes[f"{prefix}deviation"]
        marker = "o" if domain == "target" else "s"
        ax.errorbar(mean, y + shift, xerr=deviation, fmt=marker, color=DOMAIN_COLORS[domain], label=domain, capsize=3)
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(y, changes.index)
    ax.invert_yaxis()
    ax.set(xlabel="change of the AUC by fine-tuning (points; mean ± standard deviation of the seeds)")
    ax.legend(loc="lower right")
    return figure


def variants(changes: pd.DataFrame) -> Figure:
    """Draw the changes that parts of the method bring: a dot per machine type, a line at their mean.

    Args:
        changes: one row per machine type and one column per part, in points of AUC.
    """
    figure, ax = plt.subplots(figsize=(7.5, 0.5 * changes.shape[1] + 1))
    for y, name in enumerate(changes):
        spread = np.linspace(-0.15, 0.15, len(changes))
        ax.plot(changes[name], y + spread, "o", color=DOMAIN_COLORS["target"], markersize=5)
        ax.vlines(changes[name].mean(), y - 0.32, y + 0.32, color="black", linewidth=2)
        ax.annotate(f"{changes[name].mean():+.1f}", (1.01, y), xycoords=("axes fraction", "data"), va="center")
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(range(changes.shape[1]), changes.columns)
    ax.invert_yaxis()
    ax.set(xlabel="change of the target AUC (points; one dot per machine type, the line is their mean)")
    return figure
