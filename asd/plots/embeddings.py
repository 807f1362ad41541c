"""Maps of clips: what is alike to a network lies together."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from asd.plots.adaptation import MARKERS
from asd.plots.common import label_names


def embedding_map(points: np.ndarray, clips: pd.DataFrame) -> Figure:
    """Draw clips in a plane, one panel per domain; colour and shape show the section, anomalous clips are filled.

    Args:
        points: (N, 2), of all panels together.
        clips: N rows with ``section``, ``domain`` and ``label`` (0 normal, 1 anomalous, missing: drawn as small dots).
    """
    clips = clips.reset_index(drop=True)
    clips = clips.assign(label=label_names(clips["label"]), domain=clips["domain"].replace("", "unknown"))
    sections, domains = sorted(set(clips["section"])), sorted(set(clips["domain"]))
    looks = {
        section: {"marker": MARKERS[i % len(MARKERS)], "edgecolor": color}
        for i, (section, color) in enumerate(zip(sections, sns.color_palette("colorblind", len(sections)), strict=True))
    }
    size = (4.6 * len(domains) + 1.4, 4.2)
    figure, axes = plt.subplots(1, len(domains), figsize=size, squeeze=False, sharex=True, sharey=True)
    for ax, domain in zip(axes[0], domains, strict=True):
        for (section, label), rows in clips[clips["domain"] == domain].groupby(["section", "label"]):
            look = looks[section]
            face = look["edgecolor"] if label == "anomalous" else "none"
            points_size = 8 if label == "unknown" else 32
            ax.scatter(*points[rows.index].T, s=points_size, facecolor=face, linewidth=1, **look)
        ax.set(title=domain, xlabel="first dimension of t-SNE (no unit)")
    axes[0, 0].set_ylabel("second dimension of t-SNE (no unit)")
    for section, look in looks.items():
        axes[0, -1].scatter([], [], facecolor="none", label=f"section {section:02}", **look)
    axes[0, -1].scatter([], [], facecolor="black", edgecolor="black", label="filled: anomalous")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
    return figure
