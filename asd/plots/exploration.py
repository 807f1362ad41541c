"""Figures of a data set before any learning: how many clips there are, how loud they are, what they look like."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from asd.data.features import FeatureSettings, mel_frequencies
from asd.plots.common import DOMAIN_COLORS, label_names, shared_legend, spectrogram

LEVEL = "level (dBFS)"
MOST_SECTIONS = 6  # in one figure


def clip_counts(clips: pd.DataFrame) -> Figure:
    """Draw the number of clips per machine type and section, with one panel per split and domain.

    All panels share one logarithmic colour scale, so that the same colour means the same count. A blank cell has none.

    Args:
        clips: the clips table.
    """
    group = (clips["split"] + ", " + clips["domain"].replace("", "domain unknown")).rename("group")
    counts = clips.groupby([group, "machine_type", "section"]).size()
    groups = sorted(set(group), key=lambda name: (name < "train", name))  # train first
    machine_types, sections = sorted(set(clips["machine_type"])), sorted(set(clips["section"]))
    size = (1 + 3 * len(groups), 1.2 + 0.35 * len(machine_types))
    figure, axes = plt.subplots(1, len(groups), figsize=size, sharey=True, squeeze=False)
    for ax, name in zip(axes[0], groups, strict=True):
        table = counts[name].unstack().reindex(index=machine_types, columns=sections)
        look = {"annot": True, "fmt": ".0f", "cmap": "Blues", "linewidths": 1, "cbar": False}
        sns.heatmap(table, norm=LogNorm(0.5, counts.max()), ax=ax, **look)
        ax.set(title=name, ylabel="")
        ax.tick_params(length=0)
        ax.grid(False)
    return figure


def levels(clips: pd.DataFrame) -> Figure:
    """Draw the clips' levels by section and domain: one panel for train clips, one per label for test clips.

    Args:
        clips: clips of one machine type with the column ``level (dBFS)``; digital silence (−∞) is left out.
    """
    panel = ("test, " + label_names(clips["label"])).where(clips["split"] == "test", "train")
    audible = clips[np.isfinite(clips[LEVEL])].assign(
        panel=panel, domain=clips["domain"].replace("", "unknown"), section=clips["section"].map("{:02}".format)
    )
    panels = sorted({"train", *audible["panel"]}, reverse=True)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4 * len(panels) + 1, 3.2), sharex=True, sharey=True, squeeze=False
    )
    draw = sns.boxplot if len(audible) > 100 else sns.stripplot  # the box of two clips is a line
    look = {"hue": "domain", "palette": DOMAIN_COLORS, "hue_order": sorted(set(audible["domain"])), "dodge": True}
    for ax, name in zip(axes[0], panels, strict=True):
        subset = audible[audible["panel"] == name]
        draw(subset, x="section", y=LEVEL, order=sorted(set(audible["section"])), ax=ax, **look)
        ax.set(title=name)
    shared_legend(figure, axes[0, -1])
    return figure


def waveforms_and_spectrograms(
    recordings: Mapping[str, tuple[np.ndarray | Tensor, np.ndarray]], features: FeatureSettings
) -> Figure:
    """Draw clips side by side on the same scale: waveforms above, log-mel spectrograms below.

    Args:
        recordings: for each title, the waveform (N,) and its log-mel frames (n_frames, n_mels) in dB.
        features: how the frames were computed.
    """
    levels_db = np.concatenate([np.ravel(frames) for _, frames in recordings.values()])
    limits = dict(zip(("vmin", "vmax"), np.percentile(levels_db, [5, 99.9]), strict=True))
    peak = 1.05 * max(float(np.abs(wave).max()) for wave, _ in recordings.values()) or 1
    figure, axes = plt.subplots(2, len(recordings), figsize=(5.5 * len(recordings), 5), squeeze=False)
    for (upper, lower), (title, (wave, frames)) in zip(axes.T, recordings.items(), strict=True):
        seconds = len(wave) / features.sample_rate
        upper.plot(np.linspace(0, seconds, len(wave), endpoint=False), wave, linewidth=0.3, color="black")
        upper.set(title=title, ylabel="amplitude", ylim=(-peak, peak), xlim=(0, seconds))
        spectrogram(lower, frames, features, bar=False, **limits)
    figure.colorbar(axes[1, 0].images[0], ax=axes[1], label="level (dB)", pad=0.01)
    return figure


def mean_spectra(spectra: np.ndarray, clips: pd.DataFrame, features: FeatureSettings) -> Figure:
    """Draw mean (line) and standard deviation (band) of each domain's spectra, one panel per section, at most six.

    Args:
        spectra: mean log-mel spectrum of each clip in dB, (N, n_mels).
        clips: the clips table of these clips, N rows.
        features: how the spectra were computed.
    """
    frequencies = mel_frequencies(features)
    domains = clips["domain"].replace("", "unknown").to_numpy()
    sections = sorted(set(clips["section"]))[:MOST_SECTIONS]
    columns = min(3, max(1, len(sections)))
    rows = max(1, -(-len(sections) // columns))
    size = (4.2 * columns, 2.8 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, section in zip(axes.flat, sections, strict=False):
        in_section = (clips["section"] == section).to_numpy()
        for domain in sorted(set(domains[in_section])):
            subset = spectra[in_section & (domains == domain)]
            mean, spread = subset.mean(0), subset.std(0)
            look = {"color": DOMAIN_COLORS[domain], "linestyle": "--" if domain == "target" else "-"}
            ax.plot(frequencies, mean, label=f"{domain} ({len(subset)})", **look)
            ax.fill_between(frequencies, mean - spread, mean + spread, alpha=0.25, linewidth=0, **look)
        ax.set(title=f"section {section:02}", xscale="log", xlim=(60, features.sample_rate / 2))
        ax.set_xticks([100, 300, 1000, 3000], ["100", "300", "1000", "3000"])
        ax.set(xlabel="frequency (Hz)", ylabel="level (dB)")
        ax.label_outer()
        ax.legend(title="domain (clips)", fontsize="small")
    return figure


def auc_dots(results: pd.DataFrame) -> Figure:
    """Draw the AUC of every section as a dot, by method and domain; the line at 0.5 is guessing.

    Args:
        results: rows of :func:`asd.evaluation.cells.evaluate_scores` with the column ``distance``.
    """
    figure, ax = plt.subplots(figsize=(7, 3))
    sns.stripplot(results, x="auc", y="distance", hue="domain", palette=DOMAIN_COLORS, dodge=True, size=7, ax=ax)
    ax.axvline(0.5, color="black", linewidth=1, linestyle="--")
    ax.set(xlim=(0, 1.02), xlabel="AUC (one dot per section)", ylabel="")
    return figure
