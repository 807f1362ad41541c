"""Each method of the course, trained and scored in this process with the defaults of its notebook.

The benchmarks share it, so that what they measure is what the notebooks do. Nothing is logged.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

from asd.data.store import Shard
from asd.detection.detector import Detector
from asd.detection.scoring import build_detector
from asd.models.classifier import SectionClassifier
from asd.models.density import DensityEstimator
from asd.notebook.cells import assignments
from asd.notebook.parameters import AuxParameters, CcsaParameters, DensityParameters
from asd.paths import PROJECT
from asd.training.adaptation import adaptation_clips, adaptation_terms, gradient_norms
from asd.training.batches import SectionBatch, WindowBatch, section_batches, window_batches
from asd.training.data import TrainingData
from asd.training.epochs import Epoch
from asd.training.loop import Optimisation, fit
from asd.training.losses import classification, margin_ranking, uniform_cross_entropy

Objective = Callable[[nn.Module, SectionBatch], dict[str, Tensor]]
LEAST_STD = 0.5  # dB: of few clips a band may differ by less, by chance


def notebook_defaults(name: str) -> dict:
    """The parameters of a notebook, as its tagged cell assigns them."""
    cells = json.loads((PROJECT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return assignments("".join(cell["source"]))


def auxiliary(outlier_lambda: float) -> Objective:
    """The loss of 03_aux: cross entropy, and that of proxy outliers, if any, to the uniform distribution."""

    def objective(model: nn.Module, batch: SectionBatch) -> dict[str, Tensor]:
        logits, n = model(batch.frames), len(batch.section)
        loss = classification(logits[:n], batch.section).mean()
        if len(logits) > n:
            loss = loss + outlier_lambda * uniform_cross_entropy(logits[n:]).mean()
        return {"loss": loss}

    return objective


def classifier(p: AuxParameters, data: TrainingData) -> Detector:
    """Train as 03_aux does."""
    names = ("n_mels", "normalize", "rho_f", "rho_t", "base_channels")
    config = {"n_sections": len(data.sections)} | {name: getattr(p, name) for name in names}
    torch.manual_seed(p.seed)
    model = SectionClassifier(**config)
    model.normalization.set(*data.source.frames.mean_std())
    model.to(memory_format=torch.channels_last)

    def batches(epoch: int) -> Iterator[SectionBatch]:
        return section_batches(
            data.source, len(data.sections), data.n_frames, p.batch_size,
            seed=p.seed, epoch=epoch, outliers=data.others, pairwise_mixing=p.pairwise_mixing,
        )  # fmt: skip

    steps = -(-len(data.source) // p.batch_size)
    for _ in fit(model, batches, auxiliary(p.proxy_outlier_lambda), Optimisation(**p.schedule), steps=steps):
        pass
    return build_detector(p, data, "aux", "classifier", config, model)


def fine_tuned(p: CcsaParameters, start: Detector, data: TrainingData) -> tuple[Detector, list[Epoch]]:
    """Train as 04_ccsa does; ``start`` is left as it is."""
    target = adaptation_clips(data, p.target_clips, p.seed)

    def objective(model: nn.Module, batch: SectionBatch) -> dict[str, Tensor]:
        terms, embedding = adaptation_terms(model, batch, p.margin)
        parts = {"classification": terms["source"]}
        if "outliers" in terms:
            parts["outliers"] = p.proxy_outlier_lambda * terms["outliers"]
        if p.da_task == "ccsa":
            parts["classification"] = 0.5 * terms["source"] + 0.5 * terms["target"]
            parts["semantic"] = p.da_lambda * 0.5 * terms["semantic"]
            parts["contrastive"] = p.da_lambda * 0.5 * terms["contrastive"]
        return {"loss": sum(parts.values())} | terms | gradient_norms(parts, embedding)

    def batches(epoch: int) -> Iterator[SectionBatch]:
        return section_batches(
            data.source, len(data.sections), data.n_frames, p.batch_size,
            seed=p.seed, epoch=epoch, target=target, outliers=data.others,
        )  # fmt: skip

    detector = replace(deepcopy(start), method="ccsa")
    steps = -(-len(data.source) // p.batch_size)
    return detector, list(fit(detector.model, batches, objective, Optimisation(**p.schedule), steps=steps))


def density(p: DensityParameters, data: TrainingData) -> Detector:
    """Train as 05_density does."""
    outliers = {}
    if p.proxy_outliers != "none":
        outliers = {"other_sections": len(data.sections) > 1, "other_machines": data.others}
    torch.manual_seed(p.seed)
    config = {
        "architecture": p.architecture,
        "n_sections": len(data.sections),
        "n_mels": p.n_mels,
        "n_frames": data.n_frames,
        "sizes": p.sizes,
    }
    model = DensityEstimator(**config)
    model.normalization.set(*data.source.frames.mean_std())

    def objective(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
        log_prob, n = model.log_prob(batch.frames, batch.section), batch.n_inliers
        loss = -log_prob[:n].mean()
        if len(log_prob) > n:
            loss = loss + p.proxy_outlier_lambda * margin_ranking(log_prob[:n], log_prob[n:], p.margin).mean()
        return {"loss": loss}

    def batches(epoch: int) -> Iterator[WindowBatch]:
        sizes = (len(data.sections), data.n_frames, p.batch_size)
        return window_batches(data.source, *sizes, seed=p.seed, epoch=epoch, **outliers)

    clips = data.source.frames
    windows = int((clips.samples / clips.features.n_samples(data.n_frames)).ceil().sum())
    for _ in fit(model, batches, objective, Optimisation(**p.schedule), steps=-(-windows // p.batch_size)):
        pass
    return build_detector(p, data, p.architecture, "density", config, model)


def _band_by_band(train: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Root mean square over the features of the z-scores of clips (N, features): (N,)."""
    z = (clips - train.mean(0)) / np.maximum(train.std(0), LEAST_STD)
    return np.sqrt((z**2).mean(1))


def _mahalanobis(train: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Mahalanobis distance of z-scores with Ledoit and Wolf's covariance: (N,)."""
    mean, std = train.mean(0), np.maximum(train.std(0), LEAST_STD)
    covariance = LedoitWolf(assume_centered=True).fit((train - mean) / std)
    return covariance.mahalanobis((clips - mean) / std)


def _nearest(train: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Euclidean distance of the nearest train clip: (N,)."""
    return np.linalg.norm(clips[:, None] - train, axis=2).min(1)


UNTRAINED = {  # name: of which features, and how far a clip is from the train clips
    "nearest neighbour, mean": ("mean", _nearest),
    "band by band, mean": ("mean", _band_by_band),
    "band by band, mean + std": ("mean + std", _band_by_band),
    "Mahalanobis, mean": ("mean", _mahalanobis),
    "Mahalanobis, mean + std": ("mean + std", _mahalanobis),
}


def untrained_scores(name: str, shard: Shard, clips: pd.DataFrame, *, with_target: bool) -> np.ndarray:
    """Distance of each clip's log-mel spectrum, averaged over time, from the train clips of its section: (N,).

    Args:
        name: which of UNTRAINED.
        shard: the machine type's frames.
        clips: rows of the clips table, all of one machine type.
        with_target: measure from the target train clips, too.
    """
    features, distance = UNTRAINED[name]
    mean, square = np.moveaxis(shard.statistics_of(clips["path"]), 1, 0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    x = mean if features == "mean" else np.concatenate([mean, std], axis=1)
    train = ((clips["split"] == "train") & (with_target | (clips["domain"] == "source"))).to_numpy()
    scores = np.empty(len(clips))
    for section in clips["section"].unique():
        own = (clips["section"] == section).to_numpy()
        scores[own] = distance(x[own & train], x[own])
    return scores
