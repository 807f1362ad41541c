"""A section classifier as an anomaly detector: a clip that is hard to assign to its section is anomalous."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from asd.models.normalization import Normalization
from asd.models.resnet import ReceptiveFieldResNet


class SectionClassifier(nn.Module):
    """Normalisation and residual network, from log-mel frames to one logit per section.

    Args:
        n_sections: number of sections, at least two: one alone cannot be told apart from anything.
        n_mels: mel bands of a frame.
        normalize: kind of :class:`asd.models.normalization.Normalization`.
        rho_f, rho_t, base_channels: see :class:`asd.models.resnet.ReceptiveFieldResNet`.

    Example:
        >>> model = SectionClassifier(n_sections=3, n_mels=16, normalize="none", rho_f=5, rho_t=5, base_channels=2)
        >>> frames, section = torch.randn(4, 20, 16), torch.tensor([0, 1, 2, 0])
        >>> model(frames).shape, model.anomaly_score(frames, section).shape
        (torch.Size([4, 3]), torch.Size([4]))
    """

    def __init__(self, n_sections: int, n_mels: int, normalize: str, rho_f: int, rho_t: int, base_channels: int):
        super().__init__()
        self.normalization = Normalization(normalize, n_mels)
        self.network = ReceptiveFieldResNet(n_sections, rho_f, rho_t, base_channels)

    def embed(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → the embedding before pooling, (B, C, F', T')."""
        return self.network.embed(self.normalization(frames).transpose(1, 2).unsqueeze(1))

    def embedding(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → the embedding averaged over frequency and time, (B, C)."""
        return self.embed(frames).float().mean(dim=(2, 3))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, T, n_mels) in dB → logits (B, n_sections)."""
        return self.network.classify(self.embed(frames))

    def anomaly_score(self, frames: Tensor, section: Tensor) -> Tensor:
        """Log odds against a snippet's own section, (B,): logsumexp of the other sections' logits minus its own logit.

        A monotone function of one minus the own section's softmax probability, but one that does not saturate where the
        network is confident, so that such scores keep their order.

        Args:
            frames: (B, T, n_mels) in dB.
            section: (B,) index of each snippet's own section.
        """
        logits = self(frames).float()
        own = one_hot(section, logits.shape[1]).bool()
        # not logits[own]: on a GPU a mask as index would wait until the mask is computed
        own_logit = logits.gather(1, section.unsqueeze(1)).squeeze(1)
        return logits.masked_fill(own, -torch.inf).logsumexp(dim=1) - own_logit
