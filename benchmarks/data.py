"""How long the data side takes at the challenge's size, and how much memory of its own.

An index of 59 504 files, a start with all other machine types as proxy outliers (first with the store built on the way,
then again, when no wav is opened), and log-mels of 10 s clips per second beside librosa, clip by clip. The clips of the
full file count are of 0.1 s, all links to one file; they and the store go to a temporary folder.

    python benchmarks/data.py
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import librosa
import numpy as np
import soundfile
import torch

import asd.store
from asd.batches import section_batches
from asd.dataset import clips_table
from asd.features import FeatureSettings, read_wav
from asd.store import open_shard
from asd.training_data import TrainingData, training_data

MACHINE_TYPES = ("fan", "gearbox", "pump", "slider", "ToyCar", "ToyTrain", "valve")
PARTS = {("dev", "train"): 21_080, ("dev", "test"): 8_621, ("eval", "train"): 21_168, ("eval", "test"): 8_635}
N_LONG = 200  # clips of 10 s for the comparison with librosa


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=1000, size=round(16000 * seconds)).astype(np.int16)


def make(root: Path) -> None:
    """As many files as the challenge has, in its layout, spread evenly over machine types and sections."""
    root.mkdir()
    sound = root / "sound"
    soundfile.write(sound, noise(0.1), 16000, format="WAV")
    for (part, split), count in PARTS.items():
        for i in range(count):
            machine_type, section, number = MACHINE_TYPES[i % 7], (i // 7) % 3 + 3 * (part == "eval"), i // 21
            domain = ("target" if number < 3 else "source") if split == "train" else ("source", "target")[number % 2]
            label = "normal_" if split == "train" else ("normal_", "anomaly_")[number // 2 % 2] * (part == "dev")
            attribute = "_strength_1_ambient" if split == "train" else ""
            folder = root / f"{part}_data" / machine_type / (split if split == "train" else f"{domain}_test")
            folder.mkdir(parents=True, exist_ok=True)
            os.link(sound, folder / f"section_{section:02}_{domain}_{split}_{label}{number:04}{attribute}.wav")


def anonymous() -> float:
    """Memory of this process that no file stands behind, in MB."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024 / 1e6


def report(what: str, function: Callable[[], Any]) -> tuple[Any, float]:
    """Call, print what it took, and return the result and the seconds of processor time, which no neighbour changes."""
    before, start, worked = anonymous(), time.perf_counter(), time.process_time()
    result = function()
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    print(f"| {what:68} | {seconds:8.2f} | {worked:10.2f} | {anonymous() - before:+6.0f} |", flush=True)
    return result, worked


def full_size(root: Path, outputs: Path) -> None:
    report("59 504 files made", lambda: make(root))
    report("index", lambda: clips_table(root))
    clips, _ = report("index again", lambda: clips_table(root))
    assert len(clips) == sum(PARTS.values())
    settings = FeatureSettings()
    parameters = SimpleNamespace(
        **{"machine_type": "fan", "data": root, "outputs": outputs, "sections": [], "debug": False},
        **{"validation_fraction": 0.1, "snippet_length": None, "snippet_hop_size": None, "normalize_waveform": False},
        **vars(settings),
    )

    def start() -> TrainingData:
        return training_data(
            parameters, clips_table(root), torch.device("cpu"), other_machines=True, progress=lambda line: None
        )

    report("start of a training with proxy outliers, the store is built", start)

    def refuse(path: Path, sample_rate: int) -> np.ndarray:
        raise AssertionError(f"{path} was opened")

    asd.store.read_wav = refuse
    data, _ = report("start of another one: no wav is opened", start)

    def epoch() -> None:
        arguments = {"batch_size": 16, "seed": 0, "epoch": 0, "outliers": data.others}
        for _ in section_batches(data.source, 6, data.n_frames, **arguments):
            pass

    report(f"an epoch of batches: {len(data.source[0])} clips, as many of {len(data.others)} proxy outliers", epoch)
    asd.store.read_wav = read_wav


def beside_librosa(root: Path, outputs: Path) -> None:
    folder = root / "fan" / "train"
    folder.mkdir(parents=True)
    paths = [folder / f"section_00_source_train_normal_{i:04}.wav" for i in range(N_LONG)]
    for path in paths:
        soundfile.write(path, noise(10), 16000)
    clips, settings = clips_table(root), FeatureSettings(consistent_with_librosa=True)

    def one_by_one() -> None:
        for path in paths:
            y, _ = soundfile.read(path, dtype="float32")
            power = librosa.feature.melspectrogram(y=y, sr=16000, n_fft=1024, hop_length=512, center=False)
            librosa.power_to_db(power, amin=1e-10, top_db=None)

    one_by_one()  # librosa imports lazily
    _, theirs = report(f"log-mels of {N_LONG} clips of 10 s, librosa clip by clip", one_by_one)
    _, ours = report(
        f"the store of {N_LONG} clips of 10 s, {torch.get_num_threads()} threads",
        lambda: open_shard(clips, root, "fan", settings, outputs),
    )
    print(f"\nper second of one core: store {N_LONG / ours:.0f} clips, librosa {N_LONG / theirs:.0f}: ", end="")
    print(f"{theirs / ours:.1f} times as many")


def main() -> None:
    print(f"| {'what':68} |   s wall | s of cores | MB own |\n|{'-' * 70}|---------:|-----------:|-------:|")
    with tempfile.TemporaryDirectory() as folder:
        full_size(Path(folder) / "data", Path(folder) / "outputs")
        beside_librosa(Path(folder) / "long", Path(folder) / "outputs")


if __name__ == "__main__":
    main()
