"""Where in time and frequency a clip is anomalous: a map of its bins, in units of the score.

The mean over the map is the clip's score minus that of a *baseline*, which says what is normal in each mel band of the
section: a bin's value is by how much the score would exceed it if all bins were like this one. So the maps of all
detectors mean the same. The baseline is made from normal train clips and kept in the detector's file
(:func:`baselines`).

* **Density models**: a clip's score is a mean over bins to begin with, of −log p or of squared errors. The map consists
  of these parts, minus their mean over normal clips in the same mel band: the parts alone mostly show which bands are
  hard to predict.
* **Classifiers**: integrated gradients of the log odds (Sundararajan, Taly and Yan, *Axiomatic attribution for deep
  networks*, ICML 2017) along the straight line from the average normal frame, the same at all times, to the clip: each
  bin's distance from the baseline times the mean gradient on the way. Their completeness is the property above. As the
  network looks at differences between bins, the signs of neighbours alternate; the map is blurred over a few bins,
  which leaves its mean unchanged.

How often the maps point at what is broken, ``benchmarks/pointing_game.py`` measures.
"""

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from asd.data.features import FeatureSettings
from asd.data.frames import Frames
from asd.data.store import Shard
from asd.detection.detector import Detector
from asd.models.classifier import SectionClassifier
from asd.models.density import DensityEstimator
from asd.models.embedding import EmbeddingDetector

STEPS, STEPS_AT_ONCE = 32, 8  # of the integral: of its gradients, and how many are computed together
BLUR = 2.0  # frames and mel bands, standard deviation; four of them make a cell of the embedding
BASELINE_CLIPS = 64  # of each section: more would hardly change a median


def explain(detector: Detector, frames: Tensor, section: int) -> np.ndarray:
    """Where a clip is anomalous: (N, n_mels), above 0 where it is more anomalous than the section's normal clips.

    The mean over the map is the score minus the baseline's: exactly for density models, where the latter is the mean of
    ``detector.baseline``; for classifiers, where it is the score of the constant average frame, up to the error of an
    integral of 32 steps. A frame that lies in fewer windows than others (at the ends) counts less in the score, and in
    the map. Where a clip's score is the maximum over its snippets, all others' frames are 0.

    A detector without baseline (from an earlier version) is given the clip's own mean over time instead: the map then
    shows what stands out *within* the clip, and cannot see what is wrong from beginning to end.

    Args:
        detector: of any kind.
        frames: of one clip, (N, n_mels) in dB, as the detector's ``frames`` or :func:`whole_clip` return them. A clip
            shorter than a snippet is repeated, and so is its map.
        section: section number.

    Raises:
        InputError: a section that the detector was not trained for, or frames of an encoder, which are no mel bands.
    """
    detector.log_mel_settings("an explanation")
    detector.model.eval()
    n, device = detector.n_frames, detector.device
    scores = detector.window_scores(frames, section)
    if len(frames) < n:
        frames = torch.cat([frames] * -(-n // len(frames)))[:n]
    windows = frames.to(device).unfold(0, n, detector.hop).transpose(1, 2)
    weight = torch.full_like(scores, 1 / len(scores))
    if detector.reduction == "max":
        weight = (torch.arange(len(scores), device=scores.device) == scores.argmax()).to(scores.dtype)
    parts = window_parts(detector, windows, section) * weight[:, None, None]
    total = torch.zeros(frames.shape, device=device)
    for window, start in zip(parts, range(0, len(frames), detector.hop), strict=False):
        total[start : start + n] += window
    return (total * (len(frames) / n)).cpu().numpy()


def window_parts(detector: Detector, windows: Tensor, section: int) -> Tensor:
    """Each window's map (W, n_frames, n_mels), of which the mean is the window's score minus the baseline's."""
    model, index = detector.model, detector.sections.index(section)
    baseline = detector.baseline.get(section)
    baseline = None if baseline is None else baseline.to(windows.device)
    if not isinstance(model, DensityEstimator):
        baseline = windows.mean(dim=(0, 1)) if baseline is None else baseline
        maps = torch.stack([integrated_gradients(model, window, baseline, index) for window in windows])
        blurred = gaussian_filter(maps.cpu().numpy(), BLUR, axes=(1, 2), mode="reflect")  # reflected, nothing is lost
        return torch.from_numpy(blurred).to(windows.device)
    parts = bin_scores(model, windows, index)
    return parts - (parts.mean(dim=(0, 1)) if baseline is None else baseline)


@torch.no_grad()
def bin_scores(model: DensityEstimator, windows: Tensor, index: int) -> Tensor:
    """−log p, or squared error, of each bin of windows (W, n_frames, n_mels) of the section with this index."""
    return -model.log_prob_per_bin(windows, torch.full((len(windows),), index, device=windows.device))


def integrated_gradients(
    model: SectionClassifier | EmbeddingDetector, snippet: Tensor, baseline: Tensor, index: int
) -> Tensor:
    """Integrated gradients of a classifier's anomaly score, times the number of bins.

    Args:
        model: in evaluation mode.
        snippet: (n_frames, n_mels) in dB.
        baseline: where the path to the snippet starts, (n_mels,) in dB.
        index: of the section.

    Returns:
        (n_frames, n_mels); its mean is the score of the snippet minus that of the baseline.
    """
    gradient, difference = torch.zeros_like(snippet), snippet - baseline
    middles = (torch.arange(STEPS, device=snippet.device) + 0.5) / STEPS
    for share in middles.split(STEPS_AT_ONCE):
        path = (baseline + share[:, None, None] * difference).requires_grad_()
        section = torch.full((len(share),), index, device=snippet.device)
        (gradients,) = torch.autograd.grad(model.anomaly_score(path, section).sum(), path)
        gradient += gradients.sum(dim=0)
    return difference * gradient * (snippet.numel() / STEPS)


def baselines(detector: Detector, shard: Shard, clips: pd.DataFrame) -> dict[int, Tensor]:
    """What is normal in each mel band, by section number, (n_mels,) each: what :func:`explain` compares clips with.

    Means over time, and of these the median over the section's train clips: of bins' scores for density models, of
    frames in dB for classifiers. A mean over clips would not do: −log p of a single clip can exceed all others' sum.

    Args:
        detector: of any kind; its own baseline is not used.
        shard: the machine type's frames.
        clips: rows of the clips table; the train clips among them are used, at most 64 of each section.

    Returns:
        The baselines; none for the frames of an encoder, which are not explained.
    """
    result: dict[int, Tensor] = {}
    if not isinstance(detector.features, FeatureSettings):
        return result
    detector.model.eval()
    for section, train in clips[clips["split"] == "train"].groupby("section"):
        means = []
        for path in train["path"].iloc[:: -(-len(train) // BASELINE_CLIPS)]:
            frames = whole_clip(detector, shard, path)
            if isinstance(detector.model, DensityEstimator):
                windows = frames.unfold(0, detector.n_frames, detector.hop).transpose(1, 2)
                frames = bin_scores(detector.model, windows, detector.sections.index(section)).flatten(0, 1)
            means.append(frames.mean(dim=0))
        result[int(section)] = torch.stack(means).quantile(0.5, dim=0).cpu()
    return result


def window_scores(detector: Detector, shard: Shard, clip: str, section: int) -> np.ndarray:
    """The score over time: that of every snippet of one clip, (W,), ``detector.hop`` frames apart."""
    detector.model.eval()
    return detector.window_scores(whole_clip(detector, shard, clip), section).cpu().numpy()


def whole_clip(detector: Detector, shard: Shard, clip: str) -> Tensor:
    """A clip's frames as the detector takes them, (N, n_mels) on its device; repeated where shorter than a snippet."""
    frames = Frames([(shard, pd.Series([clip]))], detector.device, detector.normalize_waveform)
    start = torch.tensor([0])
    return frames.crop(start, start, max(int(frames.length[0]), detector.n_frames))[0]
