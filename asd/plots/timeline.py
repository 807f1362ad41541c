"""The score of long recordings over time, with the threshold and the segments that alarm."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from asd.plots.common import LABEL_COLORS

CURVE = "black"
WIDTH, HEIGHT = 10.0, 2.6  # inches, of a panel


class Recording(NamedTuple):
    """What is drawn of one recording."""

    title: str
    start: Sequence[float]  # of each window, in seconds
    end: Sequence[float]
    score: Sequence[float]  # NaN: a window without score
    threshold: float  # windows above it alarm; may be infinite
    segments: Sequence[tuple[float, float]]  # start and end of each segment that alarms, in seconds


def score_over_time(recordings: Sequence[Recording]) -> Figure:
    """Draw one panel per recording: a point at the middle of each window, and the segments in colour."""
    figure, axes = plt.subplots(len(recordings), 1, figsize=(WIDTH, HEIGHT * len(recordings)), squeeze=False)
    for ax, recording in zip(axes[:, 0], recordings, strict=True):
        unit, name = (60.0, "min") if max(recording.end) > 600 else (1.0, "s")
        middle = (np.asarray(recording.start) + np.asarray(recording.end)) / 2 / unit
        ax.plot(middle, recording.score, color=CURVE, linewidth=1, marker=".", markersize=4, label="score of a window")
        if np.isfinite(recording.threshold):
            ax.axhline(recording.threshold, color=CURVE, linewidth=1, linestyle="--", label="threshold")
        for i, (start, end) in enumerate(recording.segments):
            color = LABEL_COLORS["anomalous"]
            ax.axvspan(start / unit, end / unit, color=color, alpha=0.2, label="" if i else "anomalous")
        ax.set(title=recording.title, xlabel=f"time ({name})", ylabel="anomaly score")
        ax.set_xlim(min(recording.start) / unit, max(recording.end) / unit)
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")  # beside the curve
    return figure
