"""Figures of embedding backends: what each of them thinks of points on a circle."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from asd.plots.common import DOMAIN_COLORS
from asd.training.backends import BackendSettings, fit_backend

STYLES = ("-", "--", ":", "-.")


def circle(angle: Tensor, is_target: Tensor, backends: Sequence[BackendSettings]) -> Figure:
    """Draw backends' scores around the unit circle, each in units of its range, and the clips that they are fitted to.

    Args:
        angle: of the clips' embeddings, in degrees, (N,).
        is_target: whether each is of the target domain, (N,).
        backends: which ones to fit, at most four.
    """
    degrees = torch.arange(-180.0, 181.0)
    figure, ax = plt.subplots(figsize=(10, 3.4))
    section = torch.zeros(len(angle)).long()
    for settings, style in zip(backends, STYLES, strict=False):
        backend, _ = fit_backend(settings, on_circle(angle), section, is_target, seed=0)
        score = backend.score(on_circle(degrees), torch.zeros(len(degrees)).long())
        ax.plot(degrees, (score - score.min()) / (score.max() - score.min()), style, color="black", label=settings.kind)
    for name, mask in (("source", ~is_target), ("target", is_target)):
        ax.plot(angle[mask], torch.full((int(mask.sum()),), -0.06), "|", ms=12, color=DOMAIN_COLORS[name], label=name)
    ax.set(xlabel="angle of the embedding (degrees)", ylabel="score / largest score", xlim=(-180, 180))
    ax.set_xticks(range(-180, 181, 60))
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def on_circle(degrees: Tensor) -> Tensor:
    """Angles in degrees (N,) → points on the unit circle (N, 2)."""
    return torch.stack([degrees.deg2rad().cos(), degrees.deg2rad().sin()], dim=1)
