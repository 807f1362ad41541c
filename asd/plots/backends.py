"""Figures of embeddings and backends: points on a circle, what backends think of them, what branches get to see."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import normalize

from asd.data.features import FeatureSettings, mel_frequencies
from asd.data.spectra import SpectrumSettings
from asd.models.angular import BEL, LEAST_MODULATION
from asd.plots.common import DOMAIN_COLORS, spectrogram
from asd.training.backends import BackendSettings, fit_backend

STYLES = ("-", "--", ":", "-.")
CLASS_COLORS = ("#0072b2", "#d55e00", "#555555")


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


def circles(ways: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw points of three classes, equally many of each, and the classes' centres by their angles, one panel per way.

    Args:
        ways: by title, the points (N, 2) and the centres (3, S, 2).
    """
    figure, axes = plt.subplots(1, len(ways), figsize=(4.2 * len(ways), 4))
    for ax, (title, (points, centres)) in zip(axes, ways.items(), strict=True):
        for own, centre, color, marker in zip(
            normalize(points, dim=1).chunk(3), centres, CLASS_COLORS, "osD", strict=True
        ):
            ax.scatter(*own.T, facecolor="none", edgecolor=color, marker=marker, s=36)
            ax.scatter(*(1.15 * normalize(centre, dim=1)).T, color=color, marker="*", s=110)
        ax.set(title=f"{title} (stars)", aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), xticks=[], yticks=[])
    return figure


def branch_inputs(frames: Tensor, features: FeatureSettings) -> Figure:
    """Draw what the branches of the angular network get from a clip: its changes, its statistics, its modulations.

    Args:
        frames: (T, n_mels) in dB.
        features: how they were computed.
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 3))
    changes = (frames - frames.mean(dim=0)) / BEL
    spectrogram(left, BEL * changes, features, "frames: what changes")
    hertz = mel_frequencies(features)
    middle.plot(hertz, frames.mean(dim=0), color="black", label="mean")
    middle.plot(hertz, frames.std(dim=0), "--", color="black", label="standard deviation")
    middle.set(title="statistics: what it is made of", xlabel="frequency (Hz)", ylabel="dB")
    middle.legend()
    magnitude = torch.fft.rfft(changes, dim=0, norm="ortho").abs()[1:]
    fastest = features.sample_rate / features.hop_length / 2
    extent = (0, fastest, 0, frames.shape[1])
    right.imshow((magnitude + LEAST_MODULATION).log().T, aspect="auto", origin="lower", extent=extent, cmap="magma")
    right.grid(False)
    right.set(title="modulations: in which rhythm", xlabel="modulation frequency (Hz)", ylabel="mel band")
    return figure


def fine_spectrum(spectrum: Tensor, features: SpectrumSettings) -> Figure:
    """Draw the spectrum of a snippet at full frequency resolution, (bins,) in dB, and its first 200 Hz."""
    hertz = torch.arange(len(spectrum)) * features.sample_rate / features.length
    figure, (whole, low) = plt.subplots(1, 2, figsize=(14, 3), sharey=True)
    for ax, part in ((whole, slice(None)), (low, hertz <= 200)):
        ax.plot(hertz[part], spectrum[part], color="black", linewidth=0.5)
        ax.set(xlabel="frequency (Hz)", ylabel="dB")
    whole.set(title=f"spectrum: {len(spectrum)} bins, {features.sample_rate / features.length:.2g} Hz apart")
    low.set(title="its first 200 Hz")
    return figure
