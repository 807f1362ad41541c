"""An embedding and a backend that judges it: the model of the detectors ``aux-knn``, ``angular``, ``speech-knn``, …"""

from torch import Tensor, nn

from asd.models.angular import AngularNetwork
from asd.models.backends import BACKENDS
from asd.models.classifier import SectionClassifier


class Average(nn.Module):
    """The mean over time, for frames that are embeddings already: what follows an encoder. There is nothing to train.

    >>> from torch import tensor
    >>> Average().embedding(tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    tensor([[2., 3.]])
    """

    def embedding(self, frames: Tensor) -> Tensor:
        """Frames (B, T, D) → embeddings (B, D)."""
        return frames.mean(dim=1)


Network = SectionClassifier | AngularNetwork | Average
NETWORKS: dict[str, type[Network]] = {
    "classifier": SectionClassifier,
    "angular": AngularNetwork,
    "average": Average,
}


class EmbeddingDetector(nn.Module):
    """A network that maps snippets to embeddings, and what is known of each section's normal embeddings.

    Args:
        network: which of NETWORKS.
        network_config: its arguments.
        backend: which of :data:`asd.models.backends.BACKENDS`.
        backend_config: its arguments.
    """

    def __init__(self, network: str, network_config: dict, backend: str, backend_config: dict):
        super().__init__()
        self.network = NETWORKS[network](**network_config)
        self.backend = BACKENDS[backend](**backend_config)

    def embedding(self, frames: Tensor) -> Tensor:
        """Frames (B, T, width), of log-mels in dB, → embeddings (B, D)."""
        return self.network.embedding(frames)

    def anomaly_score(self, frames: Tensor, section: Tensor) -> Tensor:
        """How far snippets (B, T, width) are from what is normal in their sections (B,): (B,)."""
        return self.backend.score(self.embedding(frames), section)
