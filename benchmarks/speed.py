"""What the parts of a run cost: features, training steps, scoring, memory. `make bench` runs it.

Whatever is compared takes turns in one process, over the same data, and the tables have medians; speeds of ways that
should agree are compared only after their results are. Clips last 10 s at 16 kHz, as in the challenge. Memory is
measured in processes of their own, as a process's peak never falls: by how much a training of a few steps, or scoring,
raises it above what imports and the model take.

    python benchmarks/speed.py                     # all of it, about five minutes
    python benchmarks/speed.py features scoring    # parts of it
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from methods import notebook_defaults
from steps import METHODS, make_task, measure
from torch import nn

from asd.data.features import FeatureSettings, as_float, log_mel
from asd.data.recordings import read_recording
from asd.data.store import open_shard
from asd.detection.detector import KINDS, Detector
from asd.detection.scoring import score_clips
from asd.training.loop import train_step

FEATURES = FeatureSettings()
CLIPS, SECONDS, ROUNDS, SECTIONS = 192, 10, 5, 6
CPU = torch.device("cpu")
SCORED = ("aux", "ae", "made", "maf", "angular")
FULL = ("aux, no proxies", "ae", "made", "maf")  # of the steps at full size; `steps.py --full` measures the others, too
PARTS = ("features", "steps", "scoring", "memory")


def make_clips(folder: Path) -> pd.DataFrame:
    """Files of noise, and their table."""
    random = np.random.default_rng(0)
    for i in range(CLIPS):
        samples = (3000 * random.standard_normal(SECONDS * FEATURES.sample_rate)).astype(np.int16)
        soundfile.write(folder / f"{i:03}.wav", samples, FEATURES.sample_rate)
    paths = sorted(path.name for path in folder.glob("*.wav"))
    return pd.DataFrame({"path": paths, "machine_type": "fan", "section": 0})


def in_turns(ways: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds that each way takes, round by round; the first one does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def features(folder: Path, clips: pd.DataFrame) -> pd.DataFrame:
    """Log-mels of all clips, from wav files: ours, torchaudio's and librosa's, clip by clip, and into the store."""
    import librosa
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    mel = MelSpectrogram(FEATURES.sample_rate, FEATURES.n_fft, hop_length=FEATURES.hop_length, n_mels=128, center=False)
    log_mel_of = nn.Sequential(mel, AmplitudeToDB("power"))
    options = {"sr": FEATURES.sample_rate, "n_fft": 1024, "hop_length": 512, "n_mels": 128, "center": False}
    options |= {"htk": True, "norm": None}

    def ours(path: str) -> np.ndarray:
        return log_mel(as_float(read_recording(folder / path, FEATURES.sample_rate)), FEATURES).numpy()

    def torchaudios(path: str) -> np.ndarray:
        return log_mel_of(torch.from_numpy(soundfile.read(folder / path, dtype="float32")[0])).T.numpy()

    def librosas(path: str) -> np.ndarray:
        power = librosa.feature.melspectrogram(y=soundfile.read(folder / path, dtype="float32")[0], **options)
        return librosa.power_to_db(power, top_db=None).T

    for other in (torchaudios, librosas):
        np.testing.assert_allclose(other(clips["path"][0]), ours(clips["path"][0]), atol=0.01)

    def every(function: Callable[[str], np.ndarray]) -> None:
        for path in clips["path"]:
            function(path)

    def store() -> None:
        with tempfile.TemporaryDirectory() as target:
            open_shard(clips, folder, "fan", FEATURES, target)

    ways = {"asd, into the store": store}
    for name, function in {"asd": ours, "torchaudio": torchaudios, "librosa": librosas}.items():
        ways[f"{name}, clip by clip"] = partial(every, function)
    seconds = in_turns(ways)
    first = seconds["asd, into the store"]
    rows = {
        name: {
            "clips/s": CLIPS / statistics.median(found),
            "store / this": statistics.median(b / a for a, b in zip(first, found, strict=True)),
        }
        for name, found in seconds.items()
    }
    return pd.DataFrame(rows).T.round(2)


def untrained(method: str) -> Detector:
    """A detector with its notebook's defaults, for clips of 10 s; random weights take as long as trained ones."""
    torch.manual_seed(0)
    n_frames = hop = FEATURES.frames(SECONDS)
    config: dict
    if method in ("ae", "made", "maf"):
        defaults = notebook_defaults("05_density")
        kind, n_frames, hop = "density", 5, 1
        sizes = {"hidden_size": defaults["hidden_size"], "hidden_dims": defaults["hidden_dims"]}
        config = {"architecture": method, "n_sections": SECTIONS, "n_mels": 128, "n_frames": 5, "sizes": sizes}
    elif method == "aux":
        names = ("normalize", "rho_f", "rho_t", "base_channels")
        kind, config = "classifier", {name: notebook_defaults("03_aux")[name] for name in names}
        config |= {"n_sections": SECTIONS, "n_mels": 128}
    else:
        defaults = notebook_defaults("07_angular")
        names = ("branches", "dimensions", "rho_f", "rho_t", "base_channels")
        network = {name: defaults[name] for name in names} | {"n_mels": 128, "n_frames": n_frames}
        dimensions = defaults["dimensions"] * len(defaults["branches"])
        backend = {"n_sections": SECTIONS, "n_components": 2, "n_dimensions": dimensions, "mixture": False}
        kind, config = "embedding", {"network": "angular", "network_config": network}
        config |= {"backend": "mahalanobis", "backend_config": backend}
    model = KINDS[kind](**config).eval()
    if kind == "embedding":
        model.backend.log_weight.zero_()
    return Detector(method, "fan", kind, config, model, FEATURES, False, list(range(SECTIONS)), n_frames, hop, "mean")


def score(detector: Detector, folder: Path, clips: pd.DataFrame) -> None:
    """From wav files to scores, as a run does it."""
    with tempfile.TemporaryDirectory() as store:
        score_clips(detector, open_shard(clips, folder, "fan", FEATURES, store), clips)


def scoring(folder: Path, clips: pd.DataFrame) -> pd.DataFrame:
    """Clips a second, from wav files to scores, of every method."""
    ways = {name: partial(score, untrained(name), folder, clips) for name in SCORED}
    rates = {name: CLIPS / statistics.median(found) for name, found in in_turns(ways).items()}
    table = pd.DataFrame({"clips/s": rates})
    return table.assign(**{"times real time": table["clips/s"] * SECONDS}).round(0).astype(int)


def peak() -> float:
    """The largest memory that the process has had so far, in MB; what resource tells would include its parent's."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def growth(what: str, name: str) -> float:
    """By how many MB the peak of this process rises."""
    if what == "scoring":
        with tempfile.TemporaryDirectory() as target:
            clips, detector = make_clips(Path(target)), untrained(name)
            before = peak()
            score(detector, Path(target), clips)
            return peak() - before
    task = make_task(name, what == "full", CPU)
    before, optimizer = peak(), torch.optim.Adam(task.model.parameters(), fused=True)
    for batch in islice(task.batches(0), 2 if what == "full" else 8):
        train_step(task.model, batch, task.objective, optimizer, CPU, torch.float32)
    return peak() - before


def memory() -> pd.DataFrame:
    """Growth of a process's peak in MB by training, at both sizes, and by scoring CLIPS clips."""
    rows: dict[str, dict[str, int]] = {}
    tasks = [("demo", name) for name in METHODS] + [("full", name) for name in FULL]
    tasks += [("scoring", name) for name in SCORED]
    for what, name in tasks:
        told = subprocess.run([sys.executable, __file__, "growth", what, name], check=True, capture_output=True)
        column = "scoring" if what == "scoring" else f"training, {what}"
        rows.setdefault(name, {})[column] = round(json.loads(told.stdout))
    return pd.DataFrame(rows).T.astype("Int64")


def processor() -> str:
    """Name of the processor, as Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    if sys.argv[1:2] == ["growth"]:
        print(json.dumps(growth(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description="What the parts of a run cost")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if left out")
    parts = parser.parse_args().parts or PARTS
    if set(parts) - set(PARTS):
        parser.error(f"parts {parts}: allowed: {', '.join(PARTS)}")
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(
        f"{processor()}, {cores} cores; torch {torch.__version__}, {torch.get_num_threads()} threads; load {load:.1f}"
    )
    with tempfile.TemporaryDirectory() as target:
        folder = Path(target)
        clips = make_clips(folder)
        if "features" in parts:
            print(f"\nlog-mels of clips of {SECONDS} s, from wav files\n{features(folder, clips).to_string()}")
        if "steps" in parts:
            rows = [measure(name, False, CPU, torch.float32) for name in METHODS]
            rows += [measure(name, True, CPU, torch.float32) for name in FULL]
            print(f"\ntraining steps: the loop beside its bare arithmetic\n{pd.DataFrame(rows).to_string(index=False)}")
        if "scoring" in parts:
            print(f"\nscoring clips of {SECONDS} s, from wav files\n{scoring(folder, clips).to_string()}")
    if "memory" in parts:
        print(f"\ngrowth of the process's peak, MB\n{memory().to_string()}")


if __name__ == "__main__":
    main()
