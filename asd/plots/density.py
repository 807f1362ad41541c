"""Figures of the density models: where they put their probability."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from asd.data.features import FeatureSettings
from asd.models.made import MADE
from asd.models.maf import MAF
from asd.plots.common import LABEL_COLORS, spectrogram

OUTLIER_STYLES = ("--", ":")
OUTLIER_COLOR = "#444444"
CURVE = "#31708e"


@torch.no_grad()
def plane(ax: Axes, density: MADE | MAF, title: str, reach: float = 3.0, steps: int = 121) -> float:
    """Draw the density of a model of two numbers, whose single condition is 1; return its integral over the square."""
    t = torch.linspace(-reach, reach, steps)
    grid = torch.cartesian_prod(t, t)
    values = density.log_prob(grid, torch.ones(len(grid), 1)).exp().view(steps, steps)
    limit = float(values.quantile(0.995))  # so that a narrow ridge does not leave everything else pale
    ax.imshow(values.T.numpy(), origin="lower", extent=(-reach, reach, -reach, reach), cmap="Blues", vmin=0, vmax=limit)
    ax.set(title=title, xlabel="$x_1$", ylabel="$x_2$")
    ax.grid(False)
    return float(values.sum()) * (2 * reach / (steps - 1)) ** 2


def limit_score_axis(ax: Axes, scores: ArrayLike) -> None:
    """Make the axis of scores logarithmic if a few high scores would squash all the others."""
    low, median, upper, high = np.quantile(np.asarray(scores), [0, 0.5, 0.75, 1])
    if high - median > 20 * (median - low):
        if low > 0:
            ax.set_yscale("log")
        else:
            ax.set_yscale("symlog", linthresh=max(-low, abs(upper)))
        ax.set_ylim(min(low / 1.5, 1.5 * low), 3 * high)


def log_prob_histogram(log_prob: Mapping[str, ArrayLike]) -> Figure:
    """Draw distributions of log p per dimension: ``normal`` and ``anomalous`` filled, others as dashed lines.

    To the left, the axis extends by three times the width of the first distribution; what lies beyond is counted at its
    left edge.
    """
    labels = [name for name in log_prob if name in LABEL_COLORS]
    low, high = np.quantile(np.asarray(log_prob[labels[0]]), [0.02, 0.999])
    low, high = low - 3 * (high - low), high + 0.2 * (high - low)
    figure, ax = plt.subplots(figsize=(8, 3.5))
    styles = iter(OUTLIER_STYLES)
    for name, values in log_prob.items():
        filled = name in LABEL_COLORS
        sns.histplot(
            x=np.clip(values, low, high), bins=np.linspace(low, high, 60), stat="density", element="step", ax=ax,
            fill=filled, alpha=0.4 if filled else 1, color=LABEL_COLORS.get(name, OUTLIER_COLOR), linewidth=1.5,
            linestyle="-" if filled else next(styles), label=name,
        )  # fmt: skip
    ax.set(xlabel="log p per dimension (anything lower is counted at the left edge)", ylabel="density of windows")
    ax.set_xlim(low, high)
    ax.legend(loc="upper left")
    return figure


def windows(ax: Axes, frames: Tensor, features: FeatureSettings, title: str, **limits: Any) -> None:
    """Draw windows (B, n_frames, n_mels) in dB side by side."""
    spectrogram(ax, frames.flatten(0, 1).cpu(), features, title, **limits)
    edges = np.arange(1, len(frames)) * frames.shape[1] * features.hop_length / features.sample_rate
    for edge in edges:
        ax.axvline(edge, color="white", linewidth=1.5)
    ax.set(xticks=[], xlabel="windows side by side")


def matrix(ax: Axes, values: Tensor, names: Sequence[str], title: str) -> None:
    """Draw how strongly each output (row) depends on each input (column), as absolute values; zero is white."""
    ax.imshow(values.abs(), cmap="Blues", vmin=0)
    ax.set(title=title, xlabel="input", ylabel="output", xticks=range(len(names)), yticks=range(len(names)))
    ax.set_xticklabels(names)
    ax.set_yticklabels(names)
    ax.grid(False)
