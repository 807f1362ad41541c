"""A network for embeddings that are compared by their angles, with two branches that hear different things.

After Wilkinghoff (*Self-supervised learning for anomalous sound detection*, ICASSP 2024): one branch sees how the sound
changes, the other one what it is made of. Neither can lean on what the other one knows.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from asd.models.normalization import Normalization
from asd.models.resnet import ReceptiveFieldResNet

BRANCHES = ("frames", "statistics")
BEL = 10.0  # dB: the scale of what is left when the mean over time is subtracted
CONVOLUTIONS = ((2, 32, 7), (32, 64, 5), (64, 64, 3))  # along frequency, stride 2: channels in and out, kernel


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
        layers: list[nn.Module] = []
        width = n_mels
        for channels_in, channels_out, kernel in CONVOLUTIONS:
            layers += [nn.Conv1d(channels_in, channels_out, kernel, 2, kernel // 2, bias=False)]
            layers += [nn.BatchNorm1d(channels_out), nn.ReLU()]
            width = -(-width // 2)
        layers += [nn.Flatten(), nn.Linear(width * channels_out, dimensions, bias=False)]
        self.network = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → (B, D)."""
        x = self.normalization(frames)
        return self.network(torch.stack([x.mean(dim=1), x.std(dim=1)], dim=1))


class AngularNetwork(nn.Module):
    """From log-mel frames to an embedding: the branches' outputs, each scaled to length 1, one after the other.

    Args:
        n_mels: mel bands of a frame.
        branches: which of BRANCHES, at least one.
        dimensions: D, of each branch.
        rho_f, rho_t, base_channels: of the residual network.

    Example:
        >>> network = AngularNetwork(16, ["frames", "statistics"], 4, rho_f=5, rho_t=5, base_channels=2)
        >>> frames = torch.randn(3, 20, 16)
        >>> embedding = network.embedding(frames)
        >>> embedding.shape, embedding[:, :4].norm(dim=1)
        (torch.Size([3, 8]), tensor([1.0000, 1.0000, 1.0000], grad_fn=<LinalgVectorNormBackward0>))
    """

    def __init__(self, n_mels: int, branches: list[str], dimensions: int, rho_f: int, rho_t: int, base_channels: int):
        super().__init__()
        available = {
            "frames": lambda: FramesBranch(dimensions, rho_f, rho_t, base_channels),
            "statistics": lambda: StatisticsBranch(n_mels, dimensions),
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
