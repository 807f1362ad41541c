"""A density model as an anomaly detector: a window of frames that is improbable for its section is anomalous."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import one_hot

from asd.models.autoencoder import Autoencoder
from asd.models.made import MADE
from asd.models.maf import MAF
from asd.models.normalization import Normalization

ARCHITECTURES: dict[str, type[Autoencoder] | type[MADE] | type[MAF]] = {"ae": Autoencoder, "made": MADE, "maf": MAF}


class DensityEstimator(nn.Module):
    """Normalisation per mel band, then a density of the flattened window, conditioned on the section.

    Args:
        architecture: ``ae``, ``made`` or ``maf``.
        n_sections: length of the one-hot condition.
        n_mels, n_frames: size of a window.
        sizes: the architecture's own arguments, where they differ from its defaults.

    Example:
        >>> import torch
        >>> model = DensityEstimator("made", n_sections=2, n_mels=4, n_frames=5, sizes={"hidden_size": 32})
        >>> windows, section = torch.randn(3, 5, 4), torch.tensor([0, 1, 1])
        >>> model.log_prob(windows, section).shape, model.log_prob_per_bin(windows, section).shape
        (torch.Size([3]), torch.Size([3, 5, 4]))
    """

    def __init__(self, architecture: str, n_sections: int, n_mels: int, n_frames: int, sizes: dict[str, Any]):
        super().__init__()
        self.n_sections = n_sections
        self.normalization = Normalization("mean_std", n_mels)
        self.density = ARCHITECTURES[architecture](n_mels * n_frames, n_sections, **sizes)

    def log_prob(self, frames: Tensor, section: Tensor) -> Tensor:
        """Log-density of windows (B, n_frames, n_mels) in dB, divided by the number of dimensions: (B,)."""
        window = self.normalization(frames).flatten(1)
        return self.density.log_prob(window, one_hot(section, self.n_sections).float()) / window.shape[1]

    def log_prob_per_bin(self, frames: Tensor, section: Tensor) -> Tensor:
        """Each bin's share in the log-density of its window, (B, n_frames, n_mels), before the division."""
        window = self.normalization(frames).flatten(1)
        parts = self.density.log_prob_per_dimension(window, one_hot(section, self.n_sections).float())
        return parts.view_as(frames)

    def anomaly_score(self, frames: Tensor, section: Tensor) -> Tensor:
        """−log p / D of windows (B, n_frames, n_mels) of sections (B,): (B,); for the AE, the mean squared error."""
        return -self.log_prob(frames, section)
