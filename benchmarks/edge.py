"""Exported detectors against the detectors themselves: scores, p-values, decisions; latency on one core, size.

In the project's environment with the extra [export], write graphs, clips and what the detectors say about them; in an
environment that has only onnxruntime and numpy, compare:

    python benchmarks/edge.py prepare FOLDER --data-root DIR DETECTOR …
    python3.11 -m venv alone && alone/bin/pip install numpy onnxruntime
    alone/bin/python benchmarks/edge.py compare FOLDER

Each DETECTOR is a run's file detector.pt. Its clips are 200 test clips of its machine type, drawn at random. Without
DETECTOR, detectors of the reference's sizes with random weights are exported and judge 200 clips of noise: they take as
long as trained ones.

Differences are given relative to the clip's score, and relative to that or the deviation of normal scores, whichever is
larger. Log odds of classifiers cross zero, and next to zero a single bin that lands on the next step of the fixed-point
frames, 1/256 dB away, changes the fourth digit. The column "itself" shows that this is the detector's own precision:
how far its scores move, on the larger scale, if the frames are computed in float64.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CLIPS, ROUNDS, SECONDS, ALLOWED = 200, 15, 10, 1e-4


def milliseconds(function: Callable[[], object]) -> float:
    """Median time of a call, after one to warm up."""
    function()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def ten_seconds(sample_rate: int) -> np.ndarray:
    return np.random.default_rng(1).normal(scale=0.05, size=SECONDS * sample_rate).astype(np.float32)


# ------------------------------------------------------------------------------------- with the project's environment


def reference_detectors() -> dict[str, Any]:
    """A detector of each architecture in the reference's size, with random weights, by name."""
    import torch

    from asd.data.features import FeatureSettings
    from asd.detection.detector import KINDS, Detector

    features, sections = FeatureSettings(consistent_with_librosa=True), list(range(6))
    clip = features.frames(SECONDS)
    shape = {"n_sections": len(sections), "n_mels": features.n_mels}
    classifier = shape | {"normalize": "batchnorm", "rho_f": 12, "rho_t": 12, "base_channels": 128}
    forms = {"aux, ccsa": ("classifier", classifier, clip, clip)}
    for name in ("ae", "made", "maf"):
        forms[name] = "density", shape | {"architecture": name, "n_frames": 5, "sizes": {}}, 5, 1
    threshold: dict[int, dict] = {section: {"threshold": 0.0} for section in sections}
    detectors = {}
    for name, (kind, config, n_frames, hop) in forms.items():
        torch.manual_seed(0)
        model = KINDS[kind](**config).eval()
        model.normalization.set(torch.full((features.n_mels,), -25.0), torch.full((features.n_mels,), 6.0))
        detectors[f"reference {name}"] = Detector(
            name, "noise", kind, config, model, features, False, sections, n_frames, hop, "mean", threshold
        )
    return detectors


def draw(detector: Any, data_root: Path | None) -> list[tuple[np.ndarray, int]]:
    """Waveform and section of CLIPS test clips of the detector's machine type; without a data set, of noise."""
    rng = np.random.default_rng(0)
    if data_root is None:
        rate = detector.features.sample_rate
        return [(rng.normal(scale=0.05, size=2 * rate).astype(np.float32), i % 6) for i in range(CLIPS)]
    import soundfile

    from asd.data.clips import clips_table

    clips = clips_table(data_root)
    usable = (clips["machine_type"] == detector.machine_type) & clips["section"].isin(detector.sections)
    clips = clips[usable & (clips["split"] == "test")]
    clips = clips.iloc[rng.permutation(len(clips))[:CLIPS]]
    paths = zip(clips["path"], clips["section"], strict=True)
    return [(soundfile.read(data_root / path, dtype="float32")[0], section) for path, section in paths]


def prepare(folder: Path, detectors: dict[str, Any], data_root: Path | None) -> None:
    """Export each detector, and write its clips and what it says about them beside the graph."""
    import torch

    from asd.detection.edge import export

    torch.set_num_threads(1)
    for name, detector in detectors.items():
        clips = draw(detector, data_root)
        export(detector, folder / f"{name}.onnx")
        said = [
            detector.decide(detector.score(detector.frames(waveform), section), section) for waveform, section in clips
        ]
        longest = ten_seconds(detector.features.sample_rate)
        first = detector.sections[0]
        np.savez(
            folder / f"{name}.npz",
            samples=np.concatenate([waveform for waveform, _ in clips]),
            length=[len(waveform) for waveform, _ in clips],
            section=[section for _, section in clips],
            score=[decision.score for decision in said],
            p_value=[decision.p_value for decision in said],
            anomalous=[decision.anomalous for decision in said],
            deviation=[detector.calibration.scale(section)[1] for _, section in clips],
            precise=[precise(detector, *clip) for clip in clips],
            milliseconds=milliseconds(lambda d=detector, w=longest, s=first: d.decide(d.score(d.frames(w), s), s)),
        )
        print(f"{name}: {len(clips)} clips, {np.mean([decision.anomalous for decision in said]):.0%} alarm")


def precise(detector: Any, waveform: np.ndarray, section: int) -> float:
    """The detector's score of a clip whose frames are computed in float64 before they are rounded."""
    import torch

    from asd.data.features import FLOOR, from_fixed, hann_window, mel_filters, to_fixed

    features, samples = detector.features, torch.from_numpy(waveform).double()
    window, filters = hann_window(features.n_fft).double(), mel_filters(features).double()
    spectrum = torch.fft.rfft(samples.unfold(0, features.n_fft, features.hop_length) * window)
    frames = from_fixed(to_fixed(10 * (spectrum.abs().square() @ filters).clamp(min=FLOOR).log10()))
    if detector.normalize_waveform:
        frames -= 10 * samples.square().mean().log10().float()
    return detector.score(frames, section)


# ------------------------------------------------------------------------------------------ with onnxruntime and numpy


def compare(folder: Path) -> bool:
    """Print what differs between graphs and detectors, and how long both take; whether everything agrees."""
    import onnxruntime

    paths = sorted(folder.glob("*.onnx"))
    print(f"onnxruntime {onnxruntime.__version__}, numpy {np.__version__}, one thread; torch is not imported")
    print(
        f"{'':24}{'MB':>6} {'clips':>6} {'Δ/|score|':>10} {'> 1e-4':>7} {'Δ/scale':>9} {'itself':>9}"
        f" {'p-values':>9} {'decisions':>10} {'ms':>6} {'torch ms':>9}"
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    agrees = bool(paths)
    for path in paths:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        told = np.load(path.with_suffix(".npz"))
        waveforms = np.split(told["samples"], np.cumsum(told["length"])[:-1])
        inputs = [{"waveform": w, "section": np.array(s)} for w, s in zip(waveforms, told["section"], strict=True)]
        found = [session.run(["score", "p_value", "anomalous"], clip) for clip in inputs]
        score, p_value, anomalous = (np.array(column) for column in zip(*found, strict=True))
        difference, size = np.abs(score - told["score"]), np.abs(told["score"])
        scale = np.maximum(size, told["deviation"])
        unequal = ~np.isclose(p_value, told["p_value"], rtol=1e-12, equal_nan=True)
        other = anomalous != told["anomalous"]
        rate = int(session.get_modelmeta().custom_metadata_map["sample_rate"])
        longest = {"waveform": ten_seconds(rate), "section": inputs[0]["section"]}
        took = milliseconds(lambda session=session, longest=longest: session.run(None, longest))
        print(
            f"{path.stem:24}{path.stat().st_size / 1e6:6.1f} {len(score):6} {np.max(difference / size):10.1e}"
            f" {np.sum(difference > ALLOWED * size):7} {np.max(difference / scale):9.1e}"
            f" {np.max(np.abs(told['precise'] - told['score']) / scale):9.1e} {unequal.sum():9} {other.sum():10}"
            f" {took:6.1f} {float(told['milliseconds']):9.1f}"
        )
        agrees &= bool((difference <= ALLOWED * scale).all() and not unequal.any() and not other.any())
    assert "torch" not in sys.modules and "asd" not in sys.modules
    return agrees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["prepare", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("detectors", nargs="*", type=Path, metavar="DETECTOR")
    parser.add_argument("--data-root", type=Path)
    arguments = parser.parse_intermixed_args()
    if arguments.step == "compare":
        sys.exit(0 if compare(arguments.folder) else "the graphs do not say what the detectors say")
    if not arguments.detectors:
        prepare(arguments.folder, reference_detectors(), None)
        return
    from asd.detection.detector import load_detector

    if arguments.data_root is None:
        parser.error("--data-root: the data set that the detectors were trained on")
    loaded = [load_detector(path) for path in arguments.detectors]
    prepare(arguments.folder, {f"{d.machine_type} {d.method}": d for d in loaded}, arguments.data_root)


if __name__ == "__main__":
    main()
