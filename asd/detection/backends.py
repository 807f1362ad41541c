"""From a trained network to a model that judges its embeddings: a backend, fitted to the train clips."""

from typing import Any

import torch
from torch import Tensor

from asd.data.frames import LabelledFrames
from asd.detection.detector import Detector
from asd.errors import InputError
from asd.models.density import DensityEstimator
from asd.models.embedding import Average, EmbeddingDetector, Network
from asd.training.backends import BackendSettings, fit_backend
from asd.training.data import TrainingData

AT_ONCE = 64  # windows that are embedded together


def network_of(detector: Detector) -> tuple[str, dict, Network]:
    """The network of a detector that has embeddings: its kind (see NETWORKS), its arguments, and itself.

    Raises:
        InputError: a density model, which has no embeddings.
    """
    model = detector.model
    if isinstance(model, EmbeddingDetector):
        return detector.config["network"], detector.config["network_config"], model.network
    if isinstance(model, DensityEstimator):
        raise InputError(f"{detector.method}: has no embeddings; allowed: classifiers, such as aux, ccsa and angular")
    return "classifier", detector.config, model


def averaging() -> tuple[str, dict, Network]:
    """The network that follows an encoder, with its kind and arguments: frames are embeddings already."""
    return "average", {}, Average()


def with_backend(
    kind: str, config: dict, network: Network, data: TrainingData, settings: BackendSettings, seed: int
) -> tuple[EmbeddingDetector, dict[str, Any]]:
    """A model with the same network, and a backend fitted to all train clips that are not held out.

    Args:
        kind, config, network: which of NETWORKS, its arguments, and itself.
        data: the clips, and how they are cut.
        settings: which backend, and how it is fitted.
        seed: of its random numbers.

    Returns:
        The model, and its arguments.
    """
    groups = [(data.source, False)] + ([(data.target, True)] if data.target is not None else [])
    points, sections, domains = [], [], []
    for clips, is_target in groups:
        embedded, section = window_embeddings(network, clips, data.n_frames, data.hop)
        points.append(embedded)
        sections.append(section)
        domains.append(torch.full((len(section),), is_target))
    backend, backend_config = fit_backend(settings, torch.cat(points), torch.cat(sections), torch.cat(domains), seed)
    whole = {"network": kind, "network_config": config, "backend": settings.kind, "backend_config": backend_config}
    model = EmbeddingDetector(kind, config, settings.kind, backend_config)
    model.network.load_state_dict(network.state_dict())
    model.backend.load_state_dict(backend.state_dict())
    return model.to(data.device).eval(), whole


@torch.no_grad()
def window_embeddings(network: Network, clips: LabelledFrames, n_frames: int, hop: int) -> tuple[Tensor, Tensor]:
    """Embed all snippets of clips, as scoring cuts them.

    Args:
        network: on the clips' device.
        clips: N clips and their sections.
        n_frames, hop: length of a snippet, and the step from one to the next, in frames.

    Returns:
        The embeddings (W, D) and the index of each one's section (W,), on the CPU.
    """
    network.eval()
    frames = clips.frames
    per_clip = (frames.length - n_frames).clamp(min=0) // hop + 1
    clip = torch.arange(len(frames)).repeat_interleave(per_clip)
    offset = hop * torch.cat([torch.arange(int(n)) for n in per_clip])
    rows = torch.arange(len(clip)).split(AT_ONCE)
    embedded = [network.embedding(frames.crop(clip[r], offset[r], n_frames)).float().cpu() for r in rows]
    return torch.cat(embedded), clips.section.cpu()[clip]
