"""How many 10 s clips the autoencoder scores per second on two cores, from wav files to scores, features included.

Ours is what a run does: each mel frame is computed once and kept in the store, and windows overlap in memory. The
straightforward way cuts all 307 windows of a clip out of the waveform, and torchaudio computes the mel spectrogram of
the batch: every frame five times. It is measured twice, with a clip a batch and with several. All ways take turns over
the same clips in one process, and their scores must agree.

    python benchmarks/scoring.py
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from torch import nn

import asd.mel_filters  # noqa: F401  makes the import of torchaudio work with a CPU-only torch
from asd.detector import Detector
from asd.features import FeatureSettings
from asd.models.density import DensityEstimator
from asd.scoring import score_clips
from asd.store import open_shard

CLIPS, ROUNDS, SECONDS, SECTION, SEVERAL = 32, 5, 10, 3, 8
SETTINGS = FeatureSettings()
N_FRAMES = 5


def make_detector() -> Detector:
    """An autoencoder of the reference's size with random weights: they take as long as trained ones."""
    torch.manual_seed(0)
    config = {"architecture": "ae", "n_sections": 6, "n_mels": SETTINGS.n_mels, "n_frames": N_FRAMES, "sizes": {}}
    model = DensityEstimator(**config).eval()
    model.normalization.set(torch.full((SETTINGS.n_mels,), 10.0), torch.full((SETTINGS.n_mels,), 8.0))
    return Detector("ae", "fan", "density", config, model, SETTINGS, False, list(range(6)), N_FRAMES, 1, "mean")


def make_clips(folder: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    for i in range(CLIPS):
        samples = (3000 * rng.standard_normal(SECONDS * SETTINGS.sample_rate)).astype(np.int16)
        soundfile.write(folder / f"{i:03}.wav", samples, SETTINGS.sample_rate)
    paths = sorted(path.name for path in folder.glob("*.wav"))
    return pd.DataFrame({"path": paths, "machine_type": "fan", "section": SECTION})


def ours(detector: Detector, folder: Path, clips: pd.DataFrame) -> np.ndarray:
    with tempfile.TemporaryDirectory() as store:
        return score_clips(detector, open_shard(clips, folder, "fan", SETTINGS, store), clips)


@torch.no_grad()
def straightforward(detector: Detector, folder: Path, clips: pd.DataFrame, clips_a_batch: int = 1) -> np.ndarray:
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    mel = MelSpectrogram(SETTINGS.sample_rate, SETTINGS.n_fft, hop_length=SETTINGS.hop_length, n_mels=128, center=False)
    log_mel = nn.Sequential(mel, AmplitudeToDB("power"))
    length, scores = SETTINGS.n_samples(N_FRAMES), []
    for first in range(0, len(clips), clips_a_batch):
        windows = []
        for path in clips["path"].iloc[first : first + clips_a_batch]:
            waveform = torch.from_numpy(soundfile.read(folder / path, dtype="float32")[0])
            starts = range(0, len(waveform) - length + 1, SETTINGS.hop_length)
            windows.append(torch.stack([waveform[start : start + length] for start in starts]))
        frames = log_mel(torch.cat(windows)).transpose(1, 2)
        section = torch.full((len(frames),), SECTION)
        scores.append(detector.model.anomaly_score(frames, section).view(len(windows), -1).mean(dim=1))
    return torch.cat(scores).numpy()


def several(detector: Detector, folder: Path, clips: pd.DataFrame) -> np.ndarray:
    return straightforward(detector, folder, clips, SEVERAL)


def main() -> None:
    torch.set_num_threads(2)
    print(f"two threads; load of the machine before: {os.getloadavg()[0]:.1f}")
    names = {
        ours: "ours",
        straightforward: "straightforward, a clip a batch",
        several: f"straightforward, {SEVERAL} clips a batch",
    }
    detector = make_detector()
    rates: dict = {method: [] for method in names}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = make_clips(folder)
        expected = ours(detector, folder, clips)
        for _ in range(ROUNDS):
            for method, found in rates.items():
                start = time.perf_counter()
                scores = method(detector, folder, clips)
                found.append(CLIPS / (time.perf_counter() - start))
                np.testing.assert_allclose(scores, expected, rtol=1e-3)
    for method, found in rates.items():
        print(f"{names[method]:34} {statistics.median(found):6.1f} clips/s (best {max(found):.1f})")
    for method in (straightforward, several):
        ratio = statistics.median(a / b for a, b in zip(rates[ours], rates[method], strict=True))
        print(f"ours is {ratio:.1f} times as fast as {names[method]}")


if __name__ == "__main__":
    main()
