"""The figures of evaluation: what the metrics leave out, in the look of :mod:`asd.plots.common`."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from asd.evaluation.cells import MIXED
from asd.evaluation.metrics import MAX_FPR
from asd.evaluation.tables import BASELINE
from asd.plots.common import DOMAIN_COLORS, shared_legend

DOMAIN_STYLE = {"source": "-", "target": "--", MIXED: ":"}
DENSITY_COLOR = "#31708e"


def panels(sections: Sequence[int], width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """One panel per section, three in a row; panels that are left over stay empty."""
    columns = min(3, max(1, len(sections)))
    rows = -(-len(sections) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, **options)
    for ax in axes.flat[len(sections) :]:
        ax.axis("off")
    return figure, list(axes.flat)


def in_percent(*axes: Axes, x: bool = True, y: bool = True) -> None:
    """Label the axes of shares in percent."""
    for ax in axes:
        for axis in [ax.xaxis] * x + [ax.yaxis] * y:
            axis.set_major_formatter(PercentFormatter(1))


def labelled(names: Iterable[str]) -> list[str]:
    """Run names as labels of an axis: the baseline's says that it learns nothing.

    >>> labelled(["aux", "mahalanobis"])
    ['aux', 'mahalanobis\\n(learns nothing)']
    """
    return [f"{name}\n(learns nothing)" if name == BASELINE else str(name) for name in names]


def intervals(cells: pd.DataFrame) -> Figure:
    """Draw the AUC of the cells of one machine type with its 95% interval: one panel per run, one group per section.

    Args:
        cells: rows of ``asd.evaluation.results.measure`` of one machine type.
    """
    names = list(dict.fromkeys(cells["run_name"]))
    sections = sorted(set(cells["section"]))
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    size = (max(4.5, 1.0 * len(sections)) * columns, 2.8 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True)
    lowest = min(0.4, cells["auc_low"].min(skipna=True)) if cells["auc_low"].notna().any() else 0.4
    for ax, name in zip(axes.flat, names, strict=False):
        defined = cells[(cells["run_name"] == name) & cells["auc"].notna()]
        for shift, marker, domain in ((-0.22, "o", "source"), (0, "s", "target"), (0.22, "^", MIXED)):
            here = defined[defined["domain"] == domain]
            x = np.array([sections.index(section) for section in here["section"]]) + shift
            bounds = np.abs(here[["auc_low", "auc_high"]].to_numpy().T - here["auc"].to_numpy())
            color = DOMAIN_COLORS[domain]
            ax.errorbar(x, here["auc"], bounds, fmt=marker, color=color, capsize=3, label=domain)
        ax.axhline(0.5, color="black", linewidth=1, linestyle="--")
        ax.set(title=labelled([name])[0].replace("\n", " "), ylim=(lowest - 0.03, 1.03), xlabel="section")
        ax.set_xticks(range(len(sections)), [f"{section:02}" for section in sections])
        in_percent(ax, x=False)
    for ax in axes[:, 0]:
        ax.set_ylabel("AUC")
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    shared_legend(figure, axes[0, 0])
    return figure


def roc_curves(table: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw the ROC curves of a run for one machine type, one panel per section; pAUC covers the shaded part only.

    Args:
        table: the run's score table, one machine type.
        results: its rows of ``asd.evaluation.cells.evaluate_scores``.
    """
    test = table[(table["split"] == "test") & table["label"].notna()]
    sections = sorted(set(table["section"]))
    figure, axes = panels(sections, 3.2, 3.1, sharex=True, sharey=True)
    for ax, section in zip(axes, sections, strict=False):
        ax.axvspan(0, MAX_FPR, color="0.5", alpha=0.15, linewidth=0)
        ax.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
        for row in results[(results["section"] == section) & results["auc"].notna()].itertuples():
            some = test[(test["section"] == section) & (test["domain"].eq(row.domain) | (row.domain == MIXED))]
            fpr, tpr = roc_curve(some["label"].to_numpy(dtype=int), some["score"].to_numpy())
            label = f"{row.domain} {100 * row.auc:.0f}"
            ax.plot(fpr, tpr, color=DOMAIN_COLORS[row.domain], linestyle=DOMAIN_STYLE[row.domain], label=label)
        ax.set(title=f"section {section:02}", aspect="equal")
        if ax.get_legend_handles_labels()[1]:
            ax.legend(title="AUC (%)", fontsize="small", title_fontsize="small", loc="lower right")
        else:
            text = "needs normal and\nanomalous test clips"
            ax.text(0.5, 0.3, text, ha="center", fontsize="small", backgroundcolor="white")
    in_percent(*axes)
    figure.supxlabel("false positive rate", fontsize="medium")
    figure.supylabel("true positive rate", fontsize="medium")
    return figure


def roc_curve(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates (S + 1,) at each of the S different scores (N,), from (0, 0) to (1, 1)."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    rates = []
    for hit in (label[order] == 0, label[order] == 1):
        steps = np.cumsum(hit)[last]
        rates.append(np.concatenate([[0], steps / steps[-1]]))
    return rates[0], rates[1]


def means(values: pd.DataFrame) -> Figure:
    """Draw the official score of every run in percent, with its 95% interval: one panel per part, one row per run.

    Args:
        values: rows of ``asd.evaluation.results.measure`` (means) of one machine type.
    """
    parts, names = sorted(set(values["part"])), list(dict.fromkeys(values["run_name"]))
    figure, axes = plt.subplots(
        1, len(parts), figsize=(5.2 * len(parts), 1.4 + 0.42 * len(names)), squeeze=False, sharey=True
    )
    for ax, part in zip(axes[0], parts, strict=True):
        by_mean = values[values["part"] == part].set_index(["mean", "run_name"])
        for domain, marker in (("source", "o"), ("target", "s"), (MIXED, "^")):
            if (mean := f"{domain} harmonic mean") in by_mean.index:
                score = 100 * by_mean.loc[mean, "official_score"].reindex(names)
                ax.plot(score, range(len(names)), marker, color=DOMAIN_COLORS[domain], alpha=0.8, label=domain)
        columns = ["official_score", "official_score_low", "official_score_high"]
        overall = 100 * by_mean.loc["harmonic mean"].reindex(names)[columns]
        bounds = np.abs(overall.iloc[:, 1:].to_numpy().T - overall["official_score"].to_numpy())
        ax.errorbar(
            overall["official_score"], range(len(names)), xerr=bounds, fmt="D", color="black", capsize=3, label="both"
        )
        ax.axvline(50, color="black", linewidth=1, linestyle="--")
        ax.set(title=f"{part} sections", xlabel="official score (%)")
        ax.set_yticks(range(len(names)), labelled(names))
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    shared_legend(figure, axes[0, 0])
    return figure


def normalisations(gains: pd.DataFrame) -> Figure:
    """Draw what score normalisations bring: harmonic mean AUC in percent, one panel per part, one row each.

    Args:
        gains: what :func:`asd.report.leaderboard.normalisation_table` returned.
    """
    parts = list(dict.fromkeys(gains.index.get_level_values("part")))
    rows = max(len(gains.loc[part]) for part in parts)
    figure, axes = plt.subplots(1, len(parts), figsize=(5.6 * len(parts), 1.4 + 0.26 * rows), squeeze=False)
    for ax, part in zip(axes[0], parts, strict=True):
        values = gains.loc[part]
        runs = [run for run, _ in values.index]
        y = np.arange(len(values)) + 0.7 * np.cumsum([i > 0 and run != runs[i - 1] for i, run in enumerate(runs)])
        for domain, marker in (("source", "o"), ("target", "s"), (MIXED, "^")):
            ax.plot(values[domain], y, marker, color=DOMAIN_COLORS[domain], alpha=0.9, label=domain)
        ax.set_yticks(y, [f"{run}: {how}" for run, how in values.index])
        ax.tick_params(axis="y", labelsize="small")
        ax.invert_yaxis()
        ax.set(title=f"{part} sections", xlabel="AUC (%)")
    shared_legend(figure, axes[0, 0])
    return figure


def comparison(differences: pd.DataFrame) -> Figure:
    """Draw by how much the best run is better than each of the others, with 95% intervals.

    Args:
        differences: rows of ``asd.evaluation.results.compare_with_best``.
    """
    figure, ax = plt.subplots(figsize=(7, 1.2 + 0.35 * len(differences)))
    for y, row in enumerate(differences.itertuples()):
        color = "#777777" if row.low <= 0 <= row.high else DENSITY_COLOR
        ax.plot([100 * row.low, 100 * row.high], [y, y], color=color, linewidth=2)
        ax.plot(100 * row.difference, y, "o", color=color)
    ax.axvline(0, color="black", linewidth=1, linestyle="--")
    ax.set_yticks(range(len(differences)), [f"{r.part}: {r.best} over {r.other}" for r in differences.itertuples()])
    ax.invert_yaxis()
    ax.set_xlabel("difference of the official score (percentage points)")
    return figure


def heat_map(values: pd.DataFrame, part: str) -> Figure:
    """Draw official scores in percent: rows are systems, columns machine types; missing values are grey.

    Args:
        values: what :func:`asd.report.leaderboard.by_machine_type` returned.
        part: of the sections, for the title.
    """
    figure, ax = plt.subplots(figsize=(3 + 0.85 * values.shape[1], 1.3 + 0.4 * len(values)))
    ax.set_facecolor("0.85")
    sns.heatmap(
        values.set_axis(labelled(values.index)),
        ax=ax,
        annot=True,
        fmt=".1f",
        cmap="viridis",
        vmin=50,
        vmax=100,
        linewidths=1,
        cbar=False,
    )
    ax.set(xlabel="", ylabel="")
    ax.set_title(f"official score (%), {part} sections", fontsize="medium")
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(axis="x", rotation=0)
    ax.grid(False)
    return figure


def published(values: pd.DataFrame) -> Figure:
    """Draw published official scores and ours beside them in percent, with their spreads: one panel per part.

    Args:
        values: what :func:`asd.report.leaderboard.published` returned.
    """
    parts = list(dict.fromkeys(values["part"]))
    rows = values["part"].value_counts().max()
    figure, axes = plt.subplots(1, len(parts), figsize=(6.2 * len(parts), 1.2 + 0.34 * rows), squeeze=False)
    for ax, part in zip(axes[0], parts, strict=True):
        chosen = values[values["part"] == part].rename(columns={"official score": "score"})
        for y, row in enumerate(chosen.itertuples()):
            color = "black" if row.whose == "ours" else "#777777"
            spread = 0.0 if pd.isna(row.spread) else row.spread
            ax.errorbar(row.score, y, xerr=spread, fmt="D" if row.whose == "ours" else "o", color=color, capsize=3)
        ax.axvline(50, color="black", linewidth=1, linestyle="--")
        ax.set_yticks(range(len(chosen)), labelled(chosen["system"]))
        ax.tick_params(axis="y", labelsize="small")
        ax.set_ylim(rows - 0.5, -0.5)
        ax.set(title=f"{part} sections", xlabel="official score (%)")
    return figure
