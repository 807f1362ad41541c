"""From a detector and clips to the score table, which is all that evaluation sees."""

import numpy as np
import pandas as pd
import torch

from asd.data.frames import Frames
from asd.data.store import Shard
from asd.detection.detector import Detector
from asd.errors import InputError
from asd.evaluation.score_table import COLUMNS
from asd.models.classifier import SectionClassifier
from asd.models.density import DensityEstimator
from asd.models.embedding import EmbeddingDetector
from asd.notebook.groups import ClipParameters
from asd.training.data import TrainingData

FRAMES_AT_ONCE = 20_000  # frames of clips that are loaded together: 64 clips of 10 s


def score_clips(detector: Detector, shard: Shard, clips: pd.DataFrame) -> np.ndarray:
    """Anomaly scores (N,) of the rows of the clips table, all of one machine type.

    Raises:
        InputError: a score that is not finite, naming its clip.
    """
    detector.model.eval()
    device = detector.device
    frames = Frames([(shard, clips["path"])], device, detector.normalize_waveform)
    scores = torch.empty(len(clips), dtype=torch.float64, device=device)
    alike = clips.assign(length=frames.length.numpy(), row=range(len(clips))).groupby(["section", "length"])
    for (section, length), group in alike:
        for rows in torch.tensor(group["row"].to_numpy()).split(max(1, FRAMES_AT_ONCE // int(length))):
            whole = frames.crop(rows, torch.zeros_like(rows), int(length))
            there = rows.to(device, non_blocking=True)  # a GPU waits for indices that lie on the host
            scores[there] = detector.reduce(detector.window_scores(whole, int(section))).double()
    found = scores.cpu().numpy()  # here, and nowhere before, the host waits for a GPU
    invalid = ~np.isfinite(found)
    if invalid.any():
        first = clips["path"].iloc[int(invalid.argmax())]
        raise InputError(f"{first}: its score is not finite ({invalid.sum()} such clips)")
    return found


def build_detector(
    p: ClipParameters,
    data: TrainingData,
    method: str,
    kind: str,
    config: dict,
    model: SectionClassifier | DensityEstimator | EmbeddingDetector,
) -> Detector:
    """The detector that a training has produced: the model, and how clips become its input."""
    return Detector(
        method=method,
        machine_type=p.machine_type,
        kind=kind,
        config=config,
        model=model,
        features=data.shard.features,
        normalize_waveform=data.normalize_waveform,
        sections=data.sections,
        n_frames=data.n_frames,
        hop=data.hop,
        reduction=p.reduction,
    )


def score_table(detector: Detector, data: TrainingData, run_name: str, run_id: str, seed: int) -> pd.DataFrame:
    """Score all clips of the training's machine type and sections: one row per clip, columns as in COLUMNS."""
    scores = score_clips(detector, data.shard, data.clips)
    run = {"method": detector.method, "run_name": run_name, "run_id": run_id, "seed": seed}
    table = data.clips.rename(columns={"path": "clip"}).assign(score=scores, held_out=data.is_held_out, **run)
    return table[COLUMNS].reset_index(drop=True)
