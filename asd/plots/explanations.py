"""Pictures of explanations: where in time and frequency a clip is anomalous, below what it sounds like."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asd.data.features import FeatureSettings
from asd.plots.common import mel_axis, spectrogram
from asd.plots.density import CURVE

SHOWN = 0.98  # of the bins are within the colour bar, so that a few extreme ones do not leave all others pale


class Explained(NamedTuple):
    """A clip to draw.

    Attributes:
        title: of its column.
        frames: (N, n_mels) in dB.
        explanation: (N, n_mels), see :func:`asd.detection.explanations.explain`.
        inside: (N, n_mels) bool, where the fault is known to be; it is outlined.
        over_time: seconds (W,) and scores (W,), drawn as a curve.
    """

    title: str
    frames: np.ndarray
    explanation: np.ndarray
    inside: np.ndarray | None = None
    over_time: tuple[np.ndarray, np.ndarray] | None = None


def explanation_picture(clips: Sequence[Explained], features: FeatureSettings, width: float = 6.0) -> Figure:
    """Draw clips side by side, all on the same scales: log-mels, explanation, and the score over time where given.

    Red bins speak for an anomaly, blue ones against it; white is what is normal in the section.

    Args:
        clips: at least one.
        features: how the frames were computed.
        width: of a column, in inches.
    """
    rows = 3 if any(clip.over_time is not None for clip in clips) else 2
    size = (width * len(clips), 0.42 * width * rows)
    figure, axes = plt.subplots(rows, len(clips), figsize=size, squeeze=False, sharex="col", sharey="row")
    quiet, loud = np.quantile(np.concatenate([np.ravel(clip.frames) for clip in clips]), [0.005, 1])
    limit = max(float(np.quantile(np.abs(clip.explanation), SHOWN)) for clip in clips) or 1.0
    for column, clip in zip(axes.T, clips, strict=True):
        spectrogram(column[0], clip.frames, features, clip.title, bar=False, vmin=quiet, vmax=loud)
        draw_explanation(column[1], clip.explanation, features, limit)
        column[0].set_xlabel("")
        if clip.inside is not None and clip.inside.any():
            outline(column[0], clip.inside, features, "white")
            outline(column[1], clip.inside, features, "black")
        if clip.over_time is not None:
            column[2].plot(*clip.over_time, color=CURVE)
            column[2].set(xlabel="time (s)", ylabel="score of a window")
            column[1].set_xlabel("")
    for ax in axes[:2, 1:].flat:
        ax.set_ylabel("")
    figure.colorbar(axes[0, 0].images[0], ax=axes[0], label="level (dB)", pad=0.01)
    figure.colorbar(axes[1, 0].images[0], ax=axes[1], label="part in the score", extend="both", pad=0.01)
    return figure


def draw_explanation(ax: Axes, explanation: np.ndarray, features: FeatureSettings, limit: float) -> None:
    """Draw one map (N, n_mels) over seconds and Hz, in colours from −limit to limit."""
    seconds = len(explanation) * features.hop_length / features.sample_rate
    ax.imshow(
        explanation.T, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit,
        extent=(0, seconds, 0, features.n_mels),
    )  # fmt: skip
    mel_axis(ax, features)
    ax.set_xlabel("time (s)")


def outline(ax: Axes, inside: np.ndarray, features: FeatureSettings, color: str) -> None:
    """Draw a line around bins (N, n_mels)."""
    padded = np.pad(inside.T.astype(float), 1)  # so that a region at the edge is closed, too
    hop = features.hop_length / features.sample_rate
    time, band = (np.arange(-1, inside.shape[0] + 1) + 0.5) * hop, np.arange(-1, inside.shape[1] + 1) + 0.5
    ax.contour(time, band, padded, levels=[0.5], colors=color, linewidths=1)
    ax.set(xlim=(0, inside.shape[0] * hop), ylim=(0, inside.shape[1]))
