"""How many 10 s clips the autoencoder scores per second on two cores, from wav files to scores, features included.

Ours is what a run does: each mel frame is computed once and kept in the store, and windows overlap in memory. The
straightforward way cuts all 307 windows of a clip out of the waveform and computes the mel spectrogram of each again:
every frame five times. It is measured in three forms, with torchaudio's transform called for every window, as a
dataset of windows does it; once for all windows of a clip; and once for those of several clips. All ways take turns
over the same clips in one process, and their scores must agree.

    python benchmarks/scoring.py
"""

import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from torch import nn

import asd.data.mel_filters  # noqa: F401  makes the import of torchaudio work with a CPU-only torch
from asd.data.features import FeatureSettings
from asd.data.store import open_shard
from asd.detection.detector import Detector
from asd.detection.scoring import score_clips
from asd.models.density import DensityEstimator

CLIPS, ROUNDS, SECONDS, SECTION, SEVERAL = 96, 5, 10, 3, 8
FEATURES = FeatureSettings()
N_FRAMES = 5


def make_detector() -> Detector:
    """An autoencoder of the reference's size with random weights: they take as long as trained ones."""
    torch.manual_seed(0)
    config = {"architecture": "ae", "n_sections": 6, "n_mels": FEATURES.n_mels, "n_frames": N_FRAMES, "sizes": {}}
    model = DensityEstimator(**config).eval()
    model.normalization.set(torch.full((FEATURES.n_mels,), 10.0), torch.full((FEATURES.n_mels,), 8.0))
    return Detector("ae", "fan", "density", config, model, FEATURES, False, list(range(6)), N_FRAMES, 1, "mean")


def make_clips(folder: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    for i in range(CLIPS):
        samples = (3000 * rng.standard_normal(SECONDS * FEATURES.sample_rate)).astype(np.int16)
        soundfile.write(folder / f"{i:03}.wav", samples, FEATURES.sample_rate)
    paths = sorted(path.name for path in folder.glob("*.wav"))
    return pd.DataFrame({"path": paths, "machine_type": "fan", "section": SECTION})


def ours(detector: Detector, folder: Path, clips: pd.DataFrame) -> np.ndarray:
    with tempfile.TemporaryDirectory() as store:
        return score_clips(detector, open_shard(clips, folder, "fan", FEATURES, store), clips)


@torch.no_grad()
def straightforward(
    detector: Detector, folder: Path, clips: pd.DataFrame, clips_a_batch: int = 1, each_window: bool = False
) -> np.ndarray:
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    mel = MelSpectrogram(FEATURES.sample_rate, FEATURES.n_fft, hop_length=FEATURES.hop_length, n_mels=128, center=False)
    log_mel = nn.Sequential(mel, AmplitudeToDB("power"))
    length, scores = FEATURES.n_samples(N_FRAMES), []
    for first in range(0, len(clips), clips_a_batch):
        windows = []
        for path in clips["path"].iloc[first : first + clips_a_batch]:
            waveform = torch.from_numpy(soundfile.read(folder / path, dtype="float32")[0])
            starts = range(0, len(waveform) - length + 1, FEATURES.hop_length)
            windows += [waveform[start : start + length] for start in starts]
        frames = torch.stack([log_mel(w) for w in windows]) if each_window else log_mel(torch.stack(windows))
        section = torch.full((len(frames),), SECTION)
        some = detector.model.anomaly_score(frames.transpose(1, 2), section)
        scores.append(some.view(-1, len(starts)).mean(dim=1))
    return torch.cat(scores).numpy()


METHODS = {
    "ours": ours,
    "straightforward, window by window": partial(straightforward, each_window=True),
    "straightforward, a clip a batch": straightforward,
    f"straightforward, {SEVERAL} clips a batch": partial(straightforward, clips_a_batch=SEVERAL),
}


def main() -> None:
    torch.set_num_threads(2)
    print(f"two threads; load of the machine before: {os.getloadavg()[0]:.1f}")
    detector = make_detector()
    rates: dict[str, list[float]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = make_clips(folder)
        expected = ours(detector, folder, clips)
        for _ in range(ROUNDS):
            for name, method in METHODS.items():
                start = time.perf_counter()
                scores = method(detector, folder, clips)
                rates[name].append(CLIPS / (time.perf_counter() - start))
                np.testing.assert_allclose(scores, expected, rtol=1e-3)
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["ours"], found, strict=True))
        print(f"{name:34} {statistics.median(found):6.1f} clips/s (best {max(found):.1f}); ours/this: {ratio:.1f}")


if __name__ == "__main__":
    main()
