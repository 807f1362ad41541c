"""A network for embeddings that are compared by their angles, with branches that hear different things.

After Wilkinghoff (*Self-supervised learning for anomalous sound detection*, ICASSP 2024), whose two branches see the
spectrogram and the spectrum of the whole clip: here one sees how the sound changes, one what it is made of, and one in
which rhythm it changes. None can lean on what another one knows. The spectrum at full frequency resolution is a front
end of its own (:mod:`asd.data.spectra`), and its branch stands alone.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from asd.models.normalization import Normalization
from asd.models.resnet import ReceptiveFieldResNet

BRANCHES = ("frames", "statistics", "modulations", "spectrum")
BEL = 10.0  # dB: the scale of what is left when the mean over time is subtracted
CONVOLUTIONS = ((32, 7), (64, 5), (64, 3))  # along frequency, stride 2: channels and kernel
LONG_CONVOLUTIONS = ((32, 256, 16), (64, 64, 16), (64, 16, 4))  # along a fine spectrum: channels, kernel, stride
LEAST_MODULATION = 0.01  # bel: what is added before the logarithm


class FramesBranch(nn.Module):
    """How the sound changes: log-mel frames minus their mean over time, through a residual network.

    The mean over time is what a microphone's place and a steady background mostly change; without it, they are gone.

    Args:
        dimensions: D, of the embedding.
        rho_f, rho_t, base_channels: see :class:`asd.models.resnet.ReceptiveFieldResNet`.
    """

    def __init__(self, dimensions: int, rho_f: int, rho_t: int, base_channels: int):
        super().__init__()
        self.network = ReceptiveFieldResNet(1, rho_f, rho_t, base_channels)
        del self.network.output  # no classes: the embedding is what is wanted
        self.output = nn.Sequential(
            nn.BatchNorm1d(8 * base_channels), nn.Linear(8 * base_channels, dimensions, bias=False)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → (B, D)."""
        changes = (frames - frames.mean(dim=1, keepdim=True)) / BEL
        x = self.network.embed(changes.transpose(1, 2).unsqueeze(1))
        return self.output(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=3).mean(dim=2)], dim=1))


class StatisticsBranch(nn.Module):
    """What the sound is made of: mean and standard deviation over time of every band, through 1-D convolutions.

    Args:
        n_mels: mel bands of a frame.
        dimensions: D, of the embedding.
    """

    def __init__(self, n_mels: int, dimensions: int):
        super().__init__()
        self.normalization = Normalization("mean_std", n_mels)
        self.network = along_frequency(2, n_mels, dimensions)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → (B, D)."""
        x = self.normalization(frames)
        return self.network(torch.stack([x.mean(dim=1), x.std(dim=1)], dim=1))


class ModulationsBranch(nn.Module):
    """In which rhythm the sound changes: the spectrum over time of every band, through 1-D convolutions.

    The magnitude of the Fourier transform of each band's level in bel, without its mean. When a period begins does not
    matter; how fast it repeats does.

    Args:
        n_mels: mel bands of a frame.
        n_frames: T, of a snippet.
        dimensions: D, of the embedding.
    """

    def __init__(self, n_mels: int, n_frames: int, dimensions: int):
        super().__init__()
        self.normalization = nn.BatchNorm1d(n_frames // 2)
        self.network = along_frequency(n_frames // 2, n_mels, dimensions)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → (B, D)."""
        changes = (frames.float() - frames.float().mean(dim=1, keepdim=True)) / BEL
        magnitude = torch.fft.rfft(changes, dim=1, norm="ortho").abs()[:, 1:]
        return self.network(self.normalization((magnitude + LEAST_MODULATION).log()))


class SpectrumBranch(nn.Module):
    """Which tones there are, to a fraction of a hertz: a whole snippet's spectrum, through long 1-D convolutions.

    Args:
        n_bins: of a spectrum.
        dimensions: D, of the embedding.
    """

    def __init__(self, n_bins: int, dimensions: int):
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm1d(1)]
        channels, width = 1, n_bins
        for wider, kernel, stride in LONG_CONVOLUTIONS:
            layers += [nn.Conv1d(channels, wider, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(wider)]
            layers += [nn.ReLU()]
            channels, width = wider, width // stride + 1
        self.network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * channels, dimensions, bias=False))

    def forward(self, frames: Tensor) -> Tensor:
        """Spectra (B, 1, n_bins) in dB → (B, D)."""
        return self.network(frames)


def along_frequency(channels: int, n_mels: int, dimensions: int) -> nn.Sequential:
    """Convolutions along frequency, (B, channels, n_mels) → (B, dimensions)."""
    layers: list[nn.Module] = []
    width = n_mels
    for wider, kernel in CONVOLUTIONS:
        layers += [nn.Conv1d(channels, wider, kernel, 2, kernel // 2, bias=False), nn.BatchNorm1d(wider), nn.ReLU()]
        channels, width = wider, -(-width // 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * channels, dimensions, bias=False))


class AngularNetwork(nn.Module):
    """From log-mel frames to an embedding: the branches' outputs, each scaled to length 1, one after the other.

    Args:
        n_mels: mel bands of a frame, or bins of a spectrum.
        n_frames: of a snippet.
        branches: which of BRANCHES, at least one; "spectrum" stands alone.
        dimensions: D, of each branch.
        rho_f, rho_t, base_channels: of the residual network.

    Example:
        >>> network = AngularNetwork(16, 20, ["frames", "statistics"], 4, rho_f=5, rho_t=5, base_channels=2)
        >>> frames = torch.randn(3, 20, 16)
        >>> embedding = network.embedding(frames)
        >>> embedding.shape, torch.allclose(embedding[:, :4].norm(dim=1), torch.ones(3))
        (torch.Size([3, 8]), True)
    """

    def __init__(
        self,
        n_mels: int,
        n_frames: int,
        branches: list[str],
        dimensions: int,
        rho_f: int,
        rho_t: int,
        base_channels: int,
    ):
        super().__init__()
        available = {
            "frames": lambda: FramesBranch(dimensions, rho_f, rho_t, base_channels),
            "statistics": lambda: StatisticsBranch(n_mels, dimensions),
            "modulations": lambda: ModulationsBranch(n_mels, n_frames, dimensions),
            "spectrum": lambda: SpectrumBranch(n_mels, dimensions),
        }
        self.branches = nn.ModuleDict({name: available[name]() for name in branches})
        self.dimensions = dimensions * len(branches)

    def set_normalization(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation of each mel band over the train clips, (n_mels,) each, in dB."""
        for branch in self.branches.values():
            if isinstance(branch, StatisticsBranch):
                branch.normalization.set(mean, std)

    def parts(self, frames: Tensor) -> list[Tensor]:
        """Frames (B, T, n_mels) in dB → each branch's embedding (B, D) of length 1."""
        return [normalize(branch(frames).float(), dim=1) for branch in self.branches.values()]

    def embedding(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → embeddings (B, D · branches)."""
        return torch.cat(self.parts(frames), dim=1)
