"""How long the data side takes at the challenge's size, and how much memory of its own.

An index of 59 504 files, a start with all other machine types as proxy outliers (first with the store built on the way,
then again, when no wav is opened), and log-mels of 10 s clips per second beside librosa, clip by clip. The clips of the
full file count are of 0.25 s, all links to one file. Then a store of 2.9 GB: 36 000 train clips of 10 s, also links,
and a training on it with proxy outliers. Memory is that which no file stands behind, at its peak. All goes to a
temporary folder.

    python benchmarks/data.py
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import torch
from methods import auxiliary, notebook_defaults

import asd.data.store
from asd.data.clips import clips_table
from asd.data.features import FeatureSettings
from asd.data.recordings import read_recording
from asd.data.store import open_shard
from asd.models.classifier import SectionClassifier
from asd.notebook.parameters import AuxParameters
from asd.training.batches import SectionBatch, section_batches
from asd.training.data import TrainingData, training_data
from asd.training.loop import Optimisation, fit

MACHINE_TYPES = ("fan", "gearbox", "pump", "slider", "ToyCar", "ToyTrain", "valve")
PARTS = {("dev", "train"): 21_080, ("dev", "test"): 8_621, ("eval", "train"): 21_168, ("eval", "test"): 8_635}
N_LONG = 200  # clips of 10 s for the comparison with librosa
N_SEVERAL = 36_000  # clips of 10 s in the store of several GB
STEPS, N_FRAMES = 40, 61  # of a training on it, with snippets of 2 s


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=1000, size=round(16000 * seconds)).astype(np.int16)


def make(root: Path) -> None:
    """As many files as the challenge has, in its layout, spread evenly over machine types and sections."""
    root.mkdir()
    sound = root / "sound"
    soundfile.write(sound, noise(0.25), 16000, format="WAV")
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


class Peak(threading.Thread):
    """Watches the process's own memory while it lives."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest, self.done = anonymous(), threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.01):
            self.largest = max(self.largest, anonymous())


def report(what: str, function: Callable[[], Any]) -> tuple[Any, float]:
    """Call, print what it took, and return the result and the seconds of processor time, which no neighbour changes."""
    peak = Peak()
    before = peak.largest
    peak.start()
    start, worked = time.perf_counter(), time.process_time()
    result = function()
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    peak.done.set()
    peak.join()
    print(f"| {what:68} | {seconds:8.2f} | {worked:10.2f} | {peak.largest - before:+10.0f} |", flush=True)
    return result, worked


def with_proxies(root: Path, outputs: Path) -> TrainingData:
    """What a notebook asks for: the fan's clips, and those of all other machine types."""
    roots = {"data_root": str(root), "output_root": str(outputs), "machine_type": "fan", "device": "cpu"}
    parameters = AuxParameters(**notebook_defaults("03_aux") | roots)
    clips = clips_table(root)
    return training_data(parameters, clips, torch.device("cpu"), other_machines=True, progress=lambda line: None)


def full_size(root: Path, outputs: Path) -> None:
    report("59 504 files made", lambda: make(root))
    report("index", lambda: clips_table(root))
    clips, _ = report("index again", lambda: clips_table(root))
    assert len(clips) == sum(PARTS.values())

    start = partial(with_proxies, root, outputs)
    report("start of a training with proxy outliers, the store is built", start)

    def refuse(path: Path, sample_rate: int) -> np.ndarray:
        raise AssertionError(f"{path} was opened")

    asd.data.store.read_recording = refuse
    data, _ = report("start of another one: no wav is opened", start)

    def epoch() -> None:
        arguments = {"batch_size": 16, "seed": 0, "epoch": 0, "outliers": data.others}
        for _ in section_batches(data.source, 6, data.n_frames, **arguments):
            pass

    report(f"an epoch of batches: {len(data.source)} clips, as many of {len(data.others)} proxy outliers", epoch)
    asd.data.store.read_recording = read_recording


def several_gigabytes(root: Path, outputs: Path) -> None:
    root.mkdir()
    sound = root / "sound"
    soundfile.write(sound, noise(10), 16000, format="WAV")
    for machine_type in MACHINE_TYPES:
        folder = root / "dev_data" / machine_type / "train"
        folder.mkdir(parents=True)
        for i in range(N_SEVERAL // 7):
            os.link(sound, folder / f"section_{i % 6:02}_source_train_normal_{i:04}.wav")
    what = f"start of a training on {N_SEVERAL} clips of 10 s, the store is built"
    data, _ = report(what, partial(with_proxies, root, outputs))
    gigabytes = sum(path.stat().st_size for path in (outputs / "features").rglob("frames.i16")) / 1e9
    model = SectionClassifier(n_sections=6, n_mels=128, normalize="batchnorm", rho_f=5, rho_t=5, base_channels=16)

    def batches(epoch: int) -> Iterator[SectionBatch]:
        whole_epoch = section_batches(data.source, 6, N_FRAMES, 16, seed=0, epoch=epoch, outliers=data.others)
        return islice(whole_epoch, STEPS)

    def train() -> None:
        for _ in fit(model, batches, auxiliary(1.0), Optimisation(1, 1e-3, 0.0, 1, 0, 0.0), steps=STEPS):
            pass

    report(f"{STEPS} steps of the classifier with proxies from a store of {gigabytes:.1f} GB", train)


def beside_librosa(root: Path, outputs: Path) -> None:
    folder = root / "fan" / "train"
    folder.mkdir(parents=True)
    paths = [folder / f"section_00_source_train_normal_{i:04}.wav" for i in range(N_LONG)]
    for path in paths:
        soundfile.write(path, noise(10), 16000)
    clips, features = clips_table(root), FeatureSettings(consistent_with_librosa=True)

    def one_by_one() -> None:
        for path in paths:
            y, _ = soundfile.read(path, dtype="float32")
            power = librosa.feature.melspectrogram(y=y, sr=16000, n_fft=1024, hop_length=512, center=False)
            librosa.power_to_db(power, amin=1e-10, top_db=None)

    one_by_one()  # librosa imports lazily
    _, theirs = report(f"log-mels of {N_LONG} clips of 10 s, librosa clip by clip", one_by_one)
    _, ours = report(
        f"the store of {N_LONG} clips of 10 s, {torch.get_num_threads()} threads",
        lambda: open_shard(clips, root, "fan", features, outputs),
    )
    print(f"\nper second of one core: store {N_LONG / ours:.0f} clips, librosa {N_LONG / theirs:.0f}: ", end="")
    print(f"{theirs / ours:.1f} times as many")


def main() -> None:
    print(f"| {'what':68} |   s wall | s of cores | MB at peak |\n|{'-' * 70}|---------:|-----------:|-----------:|")
    with tempfile.TemporaryDirectory() as folder:
        full_size(Path(folder) / "data", Path(folder) / "outputs")
        several_gigabytes(Path(folder) / "several", Path(folder) / "several_outputs")
        beside_librosa(Path(folder) / "long", Path(folder) / "outputs")


if __name__ == "__main__":
    main()
