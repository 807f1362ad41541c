"""The figures of the fine-tuning to the target domain: embeddings and their distances, AUC before and after."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from asd.adaptation import PAIRS
from asd.plots import DOMAIN_COLORS

MARKERS = "osD^vPX*<>"  # of sections
PAIR_COLORS = dict(zip(PAIRS, ("#555555", "#cc79a7"), strict=True))


def plane(ax: Axes, points: ArrayLike, section: ArrayLike, domain: str, seen: bool = True, **style: object) -> None:
    """Draw points (N, 2): the colour tells the domain, the shape the section (N,); hollow ones were not trained on."""
    points, section = np.asarray(points), np.asarray(section)
    color = DOMAIN_COLORS[domain]
    face, edge = (color, "black") if seen else ("none", color)
    for i, one in enumerate(np.unique(section)):
        mine = points[section == one]
        look = {"s": 28, "linewidth": 0.5 if seen else 1.2} | style
        ax.scatter(*mine.T, marker=MARKERS[i % len(MARKERS)], facecolor=face, edgecolor=edge, **look)


def pair_histograms(distances: Mapping[str, pd.DataFrame], margin: float) -> Figure:
    """Draw distances of same- and different-section pairs, a panel for each table; the line is the margin."""
    figure, axes = plt.subplots(1, len(distances), figsize=(4.2 * len(distances), 3), sharex=True, squeeze=False)
    for ax, (title, table) in zip(axes[0], distances.items(), strict=True):
        sns.histplot(
            table, x="distance", hue="pair", hue_order=PAIRS, palette=PAIR_COLORS, bins=30, stat="density",
            common_norm=False, element="step", ax=ax, legend=ax is axes[0, 0],
        )  # fmt: skip
        ax.axvline(margin, color="black", linestyle="--", linewidth=1)
        ax.annotate(" margin", (margin, 0.97), xycoords=("data", "axes fraction"), va="top", fontsize="small")
        ax.set(title=title, xlabel="distance of two embeddings", ylabel="density of pairs")
        ax.set_xlim(left=0)
    return figure


def training_curves(history: pd.DataFrame) -> Figure:
    """Draw CCSA's two terms and how hard each part of the loss pulls at the embedding, over the epochs."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 3.2))
    pulls = [name for name in history if name.startswith("gradient_")]
    panels = {
        "cross entropy": ["source", "target", "validation_loss"],
        "CCSA's terms": ["semantic", "contrastive"],
        "norm of the gradient at the embedding": pulls,
    }
    for ax, (title, names) in zip(axes, panels.items(), strict=True):
        for name, style in zip(names, ("-", "--", ":", "-."), strict=False):
            label = name.removeprefix("gradient_").replace("_", " ")
            ax.plot(history["epoch"] + 1, history[name], style, marker=".", label=label)
        ax.set(xlabel="epoch", title=title)
        ax.set_ylim(bottom=0)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize="small")
    return figure


def before_and_after(before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Draw how the AUC of every section has changed, an arrow a section, a panel a domain; grey: guessing."""
    both = before.merge(after, on=["section", "domain"], suffixes=("_before", "_after")).dropna(
        subset=["auc_before", "auc_after"]
    )
    domains = [domain for domain in ("source", "target") if domain in set(both["domain"])]
    figure, axes = plt.subplots(1, len(domains), figsize=(4.5 * len(domains), 3.2), sharey=True, squeeze=False)
    for ax, domain in zip(axes[0], domains, strict=True):
        some = both[both["domain"] == domain].sort_values("section")
        x, color = np.arange(len(some)), DOMAIN_COLORS[domain]
        ax.vlines(x, some["auc_before"], some["auc_after"], color=color, linewidth=2)
        ax.plot(x, some["auc_before"], "o", color="white", markeredgecolor=color, markersize=8, label="before")
        ax.plot(x, some["auc_after"], "o", color=color, markersize=8, label="after")
        ax.axhline(0.5, color="grey", linestyle="--", linewidth=1)
        means = f"{some['auc_before'].mean():.3f} → {some['auc_after'].mean():.3f}"
        ax.set_xticks(x, some["section"].map("{:02}".format))
        ax.set(title=f"{domain}: mean {means}", xlabel="section", ylabel="AUC", xlim=(-0.5, len(some) - 0.5))
        ax.legend(loc="lower right")
    return figure
