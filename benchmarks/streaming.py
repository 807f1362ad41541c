"""A one-hour recording scored over time: how many times faster than real time, and how much memory it takes.

The recording is synthesised block by block into a scratch file. Each measurement runs in a process of its own, since a
process's peak of memory never falls: windows of 10 s, every 5 s, scored by an untrained detector of the reference's
size (as slow as a trained one). *Own memory* is what the process's peak grows by after torch was imported, the detector
was loaded and one short window was scored. Where other processes run beside it, the processor's seconds say more than
those of the clock.

    python benchmarks/streaming.py
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

WINDOW, HOP, RATE = 10.0, 5.0, 16000
MINUTES = (6, 60)
METHODS = ("ae", "classifier")


def synthesise(path: Path, minutes: int) -> None:
    """Write noise with a hum, a second at a time."""
    random = np.random.default_rng(0)
    hum = 3000 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(60 * minutes):
            file.write((hum + 1000 * random.normal(size=RATE)).astype(np.int16))


def peak() -> float:
    """The largest memory that the process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(method: str, path: Path) -> dict[str, float]:
    """Score a recording in this process: seconds, growth of the peak in MB, number of windows."""
    import torch

    from asd.data.features import FeatureSettings
    from asd.data.recordings import read_blocks
    from asd.detection.detector import KINDS, Detector
    from asd.detection.streams import Windowing, score_windows

    torch.set_num_threads(1)  # a second one gains little, and waits for its core where other processes run
    torch.manual_seed(0)
    features, sections = FeatureSettings(), list(range(6))
    if method == "classifier":
        kind, n_frames, hop = "classifier", features.frames(2), features.frames(2)
        config = {"n_sections": 6, "n_mels": 128, "normalize": "batchnorm", "rho_f": 5, "rho_t": 5, "base_channels": 16}
    else:
        kind, n_frames, hop = "density", 5, 1
        config = {"architecture": method, "n_sections": 6, "n_mels": 128, "n_frames": n_frames, "sizes": {}}
    statistics = {n: {"mean": 0.0, "std": 1.0, "threshold": 0.0, "held_out_scores": [0.0] * 30} for n in sections}
    model = KINDS[kind](**config).eval()
    detector = Detector(
        method, "fan", kind, config, model, features, False, sections, n_frames, hop, "mean", statistics
    )
    windowing, block = Windowing(WINDOW, HOP), round(HOP * RATE)
    for _ in score_windows(detector, [next(read_blocks(path, RATE, block))], windowing, section=0):
        pass
    before, start, busy = peak(), time.perf_counter(), time.process_time()
    n_windows = sum(1 for _ in score_windows(detector, read_blocks(path, RATE, block), windowing, section=0))
    found = {"seconds": time.perf_counter() - start, "busy": time.process_time() - busy}
    return found | {"growth": peak() - before, "before": before, "windows": n_windows}


def main() -> None:
    print(f"one thread; load of the machine before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in MINUTES:
            path = Path(folder) / f"{minutes}.wav"
            synthesise(path, minutes)
            for method in METHODS:
                told = subprocess.run([sys.executable, __file__, method, str(path)], check=True, capture_output=True)
                found = json.loads(told.stdout)
                print(
                    f"{method:10} {minutes:3} min, {found['windows']:.0f} windows: {found['seconds']:6.1f} s,"
                    f" {60 * minutes / found['seconds']:6.0f} × real time ({found['busy']:.1f} s of"
                    f" the processor); own memory +{found['growth']:.0f} MB"
                    f" (after the first window {found['before']:.0f} MB)",
                    flush=True,
                )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
