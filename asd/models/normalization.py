"""The first layer of every network: it brings log-mel frames to a common scale."""

import torch
from torch import Tensor, nn

KINDS = ("batchnorm", "mean_std", "mean_std_learnable", "none")


class Normalization(nn.Module):
    """Normalise frames (B, T, n_mels).

    Args:
        kind: ``batchnorm``: one mean and variance for all mel bands, those of the batch (a BatchNorm with one channel);
            ``mean_std``: mean and standard deviation of each mel band over the train clips, set by :meth:`set`;
            ``mean_std_learnable``: the same, as parameters that training may change; ``none``: no change.
        n_mels: mel bands of a frame.

    Example:
        >>> layer = Normalization("mean_std", n_mels=2)
        >>> layer.set(mean=torch.tensor([-40.0, -60.0]), std=torch.tensor([10.0, 5.0]))
        >>> layer(torch.tensor([[[-30.0, -60.0], [-40.0, -50.0]]]))
        tensor([[[1., 0.],
                 [0., 2.]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: str, n_mels: int):
        super().__init__()
        self.kind = kind
        if kind == "batchnorm":
            self.batchnorm = nn.BatchNorm1d(1)
        elif kind == "mean_std":
            self.register_buffer("mean", torch.zeros(n_mels))
            self.register_buffer("std", torch.ones(n_mels))
        elif kind == "mean_std_learnable":
            self.mean, self.std = nn.Parameter(torch.zeros(n_mels)), nn.Parameter(torch.ones(n_mels))

    def set(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation of each mel band over the train clips, (n_mels,) each, in dB.

        The BatchNorm's running estimates start from them. Starting from 0 and 1, they would need dozens of steps to
        reach decibels, and all later layers would estimate theirs on inputs that never occur in evaluation.
        """
        with torch.no_grad():
            if self.kind == "batchnorm":
                running_mean, running_var = self.batchnorm.running_mean, self.batchnorm.running_var
                assert running_mean is not None and running_var is not None  # a BatchNorm has them by default
                running_mean.fill_(mean.mean())
                running_var.fill_((std.square() + mean.square()).mean() - mean.mean().square())
            elif self.kind != "none":
                self.mean.copy_(mean)
                self.std.copy_(std)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B, T, n_mels) to the same shape."""
        if self.kind == "none":
            return frames
        if self.kind == "batchnorm":
            return self.batchnorm(frames.flatten(1).unsqueeze(1)).view_as(frames)
        return (frames - self.mean) / self.std
