"""A section classifier as an anomaly detector: a clip that is hard to place among the sections is anomalous."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from asd.models.normalization import Normalization
from asd.models.resnet import ReceptiveFieldResNet


class SectionClassifier(nn.Module):
    """Normalisation and residual network, from log-mel frames to one logit a section.

    Args:
        n_sections: number of sections; one alone cannot be told apart from anything.
        n_mels: mel bands of a frame.
        normalize: kind of :class:`asd.models.normalization.Normalization`.
        rho_f, rho_t, base_channels: see :class:`asd.models.resnet.ReceptiveFieldResNet`.
    """

    def __init__(self, n_sections: int, n_mels: int, normalize: str, rho_f: int, rho_t: int, base_channels: int):
        super().__init__()
        self.normalization = Normalization(normalize, n_mels)
        self.network = ReceptiveFieldResNet(n_sections, rho_f, rho_t, base_channels)

    def embed(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → the un-pooled embedding (B, C, F', T')."""
        return self.network.embed(self.normalization(frames).transpose(1, 2).unsqueeze(1))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → logits (B, n_sections)."""
        return self.network.classify(self.embed(frames))

    def anomaly_score(self, frames: Tensor, section: Tensor) -> Tensor:
        """Log odds against the own section, (B,): logsumexp of the other sections' logits minus the own one's.

        A monotone function of one minus the own section's softmax probability that does not saturate where the network
        is sure, so that confident scores keep their order.

        Args:
            frames: (B, T, n_mels) in dB.
            section: (B,) index of each snippet's own section.
        """
        logits = self(frames).float()
        own = one_hot(section, logits.shape[1]).bool()
        return logits.masked_fill(own, -torch.inf).logsumexp(dim=1) - logits[own]
