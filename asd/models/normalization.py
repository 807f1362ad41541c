"""How log-mel frames are brought to a common scale before a network sees them; the network's first layer."""

import torch
from torch import Tensor, nn

KINDS = ("batchnorm", "mean_std", "mean_std_learnable", "none")


class Normalization(nn.Module):
    """Normalise frames (B, T, n_mels).

    ``batchnorm``: one mean and variance for all mel bands, those of the batch (a BatchNorm with one channel);
    ``mean_std``: mean and standard deviation of each mel band over the train clips, to be set by :meth:`set`;
    ``mean_std_learnable``: the same, as parameters that training may change; ``none``: as they are.
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
        """Take over mean and standard deviation of each mel band over the train clips, (n_mels,) each.

        The BatchNorm begins its running estimates with them. From 0 and 1 they would need dozens of steps to come to
        decibels, and all layers behind would estimate theirs on inputs that no evaluation sees.
        """
        with torch.no_grad():
            if self.kind == "batchnorm":
                running_mean, running_var = self.batchnorm.running_mean, self.batchnorm.running_var
                assert running_mean is not None and running_var is not None  # they are there unless asked not to
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
