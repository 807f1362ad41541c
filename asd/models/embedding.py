"""An embedding and a backend that judges it: the model of the detectors ``aux-knn``, ``ccsa-lof``, ``angular``, …"""

from torch import Tensor, nn

from asd.models.angular import AngularNetwork
from asd.models.backends import BACKENDS
from asd.models.classifier import SectionClassifier

NETWORKS: dict[str, type[SectionClassifier] | type[AngularNetwork]] = {
    "classifier": SectionClassifier,
    "angular": AngularNetwork,
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
        """Frames (B, T, n_mels) in dB → embeddings (B, D)."""
        return self.network.embedding(frames)

    def anomaly_score(self, frames: Tensor, section: Tensor) -> Tensor:
        """How far snippets (B, T, n_mels) in dB are from what is normal in their sections (B,): (B,)."""
        return self.backend.score(self.embedding(frames), section)
