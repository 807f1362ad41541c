"""The common look of all figures, and the figures that several notebooks draw.

The same colour means the same thing everywhere: blue is source and orange is target; normal is light and anomalous is
dark. Both pairs also differ in lightness, so that they are legible in grey and for the colour-blind.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from asd.data.features import FeatureSettings, mel_frequencies

DOMAIN_COLORS = {"source": "#3b7cb8", "target": "#f2a33a", "mixed": "#777777", "unknown": "#bbbbbb"}
LABEL_COLORS = {"normal": "#9ecae1", "anomalous": "#a50f15", "unknown": "#bbbbbb"}
LABELS = {0: "normal", 1: "anomalous"}


def set_style() -> None:
    """Set the look of all figures in matplotlib and seaborn."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", rc={"axes.grid": True, "grid.alpha": 0.3})
    plt.rcParams |= {
        "figure.dpi": 80,
        "savefig.bbox": "tight",
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
    }


def label_names(labels: pd.Series) -> pd.Series:
    """Labels 0, 1 and missing as words, for legends.

    >>> label_names(pd.Series([0, 1, None], dtype="Int64")).tolist()
    ['normal', 'anomalous', 'unknown']
    """
    return labels.map(LABELS).astype(object).fillna("unknown")


def shared_legend(figure: Figure, ax: Axes) -> None:
    """Draw one legend for all panels, above them: that of ``ax``; none where nothing is labelled."""
    handles, labels = ax.get_legend_handles_labels()
    for panel in figure.axes:
        if (own := panel.get_legend()) is not None:
            own.remove()
    if labels:
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize="small", frameon=False)


def spectrogram(
    ax: Axes, frames: ArrayLike, features: FeatureSettings, title: str = "", bar: bool = True, **limits: Any
) -> None:
    """Draw log-mel frames (N, n_mels) in dB over seconds and Hz; ``limits``: vmin, vmax.

    Args:
        ax: where to draw.
        frames: log-mel frames.
        features: how they were computed.
        title: of the panel.
        bar: whether to add a colour bar.
        limits: of the colours.
    """
    frames = np.asarray(frames)
    seconds = len(frames) * features.hop_length / features.sample_rate
    image = ax.imshow(
        frames.T, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, features.n_mels), **limits
    )
    mel_axis(ax, features)
    ax.set(xlabel="time (s)", title=title)
    if bar:
        ax.figure.colorbar(image, ax=ax, label="level (dB)")


def mel_axis(ax: Axes, features: FeatureSettings) -> None:
    """Label the y axis of a picture of mel bands with round frequencies."""
    centres = mel_frequencies(features)
    ticks = [f for f in (250, 500, 1000, 2000, 4000) if f < features.sample_rate / 2]
    ax.set_yticks([float(np.interp(f, centres, np.arange(len(centres)) + 0.5)) for f in ticks], [str(f) for f in ticks])
    ax.set_ylabel("frequency (Hz)")
    ax.grid(False)


def learning_curves(history: pd.DataFrame, groups: Sequence[Sequence[str]]) -> Figure:
    """Draw one panel per group of columns of the history, which has one row per epoch."""
    figure, axes = plt.subplots(1, len(groups), figsize=(5 * len(groups), 3.2), squeeze=False)
    for ax, names in zip(axes[0], groups, strict=True):
        for name, style in zip(names, ("-", "--", ":", "-."), strict=False):
            if name in history:
                ax.plot(history["epoch"] + 1, history[name], style, marker=".", label=name.replace("_", " "))
        ax.set(xlabel="epoch", title=", ".join(names).replace("_", " "))
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    return figure


def tested(table: pd.DataFrame) -> pd.DataFrame:
    """The test clips among clips; all of them where there is no test clip, so that there is something to draw.

    >>> tested(pd.DataFrame({"clip": ["a.wav", "b.wav"], "split": ["train", "test"]}))["clip"].tolist()
    ['b.wav']
    """
    test = table[table["split"] == "test"]
    return table if test.empty else test


def score_distributions(table: pd.DataFrame) -> Figure:
    """Draw the scores of the test clips (see :func:`tested`), one panel per section: domains side by side, dots."""
    test = tested(table).assign(label=lambda t: label_names(t["label"]))
    sections = sorted(set(test["section"]))
    columns = min(3, len(sections))
    rows = -(-len(sections) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False, sharey=True)
    hues = [name for name in LABEL_COLORS if name in set(test["label"])]
    for ax, section in zip(axes.flat, sections, strict=False):
        section_clips = test[test["section"] == section].replace({"domain": {"": "unknown"}})
        order = [domain for domain in DOMAIN_COLORS if domain in set(section_clips["domain"])]
        sns.stripplot(
            section_clips, x="domain", y="score", hue="label", order=order, hue_order=hues, palette=LABEL_COLORS, ax=ax,
            dodge=True, size=4, alpha=0.8, linewidth=0.3, edgecolor="black", legend="full",
        )  # fmt: skip
        ax.set(title=f"section {section:02}", xlabel="", ylabel="anomaly score")
    for ax in axes.flat[len(sections) :]:
        ax.axis("off")
    shared_legend(figure, axes[0, 0])
    return figure


def auc_bars(results: pd.DataFrame, hue: str = "domain") -> Figure:
    """Draw the AUC of every section, one bar per ``hue``; the line at 0.5 is guessing."""
    cells = results.dropna(subset=["auc"]).assign(section=lambda t: t["section"].map("{:02}".format))
    figure, ax = plt.subplots(figsize=(max(5, 1.1 * cells["section"].nunique() * cells[hue].nunique()), 3))
    sns.barplot(
        cells, x="section", y="auc", hue=hue, palette=DOMAIN_COLORS if hue == "domain" else None, ax=ax, errorbar=None
    )
    ax.axhline(0.5, color="black", linewidth=1, linestyle="--")
    ax.set(ylim=(0, 1), ylabel="AUC")
    shared_legend(figure, ax)
    return figure
