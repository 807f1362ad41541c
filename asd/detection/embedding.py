"""From a trained network to a detector that judges its embeddings: a backend, fitted to the train clips."""

import torch
from torch import Tensor, nn

from asd.data.frames import LabelledFrames
from asd.detection.detector import Detector
from asd.errors import InputError
from asd.models.embedding import EmbeddingDetector
from asd.training.backends import BackendSettings, fit_backend
from asd.training.data import TrainingData

AT_ONCE = 64  # windows that are embedded together


def embedding_detector(
    detector: Detector, data: TrainingData, method: str, settings: BackendSettings, seed: int
) -> Detector:
    """The detector with the same network, and a backend fitted to all train clips that are not held out.

    Args:
        detector: one whose model has embeddings: a classifier's, one that this function has made, or a bare network,
            of the kind "angular", that cannot score by itself.
        data: what it was trained on.
        method: name of the new one in score tables.
        settings: which backend, and how it is fitted.
        seed: of its random numbers.

    Raises:
        InputError: a density model, which has no embeddings.
    """
    if detector.kind == "density":
        raise InputError(f"{detector.method}: has no embeddings; allowed: classifiers, such as aux, ccsa and angular")
    name, config, network = detector.kind, detector.config, detector.model
    if isinstance(network, EmbeddingDetector):
        name, config, network = detector.config["network"], detector.config["network_config"], network.network
    groups = [(group, is_target) for group, is_target in ((data.source, False), (data.target, True)) if group]
    embedded = [window_embeddings(network, group, detector.n_frames, detector.hop) for group, _ in groups]
    points, section = (torch.cat(parts) for parts in zip(*embedded, strict=True))
    is_target = torch.cat([torch.full((len(p),), t) for (p, _), (_, t) in zip(embedded, groups, strict=True)])
    backend, backend_config = fit_backend(settings, points, section, is_target, seed)
    whole = {"network": name, "network_config": config, "backend": settings.kind, "backend_config": backend_config}
    model = EmbeddingDetector(**whole)
    model.network.load_state_dict(network.state_dict())
    model.backend.load_state_dict(backend.state_dict())
    return Detector(
        method=method,
        machine_type=detector.machine_type,
        kind="embedding",
        config=whole,
        model=model.to(next(network.parameters()).device).eval(),
        features=detector.features,
        normalize_waveform=detector.normalize_waveform,
        sections=detector.sections,
        n_frames=detector.n_frames,
        hop=detector.hop,
        reduction=detector.reduction,
    )


@torch.no_grad()
def window_embeddings(network: nn.Module, clips: LabelledFrames, n_frames: int, hop: int) -> tuple[Tensor, Tensor]:
    """Embed all snippets of clips, as scoring cuts them.

    Args:
        network: maps frames (B, n_frames, n_mels) to embeddings (B, D) by its method ``embedding``.
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
