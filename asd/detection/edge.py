"""A detector as one ONNX graph, from samples to score, p-value and decision: for devices without torch and ``asd``.

The graph computes what :class:`asd.detection.detector.Detector` computes, one clip at a time (a device has one
microphone, and clips of different lengths do not fit into one tensor):

======================  =======  ==========  =====================================================================
input ``waveform``      float32  (samples,)  in ±1 (16-bit numbers divided by 32768) at the metadata's sampling rate
input ``section``       int64    ()          the number that the section has in the data
output ``score``        float32  ()          the higher, the more anomalous
output ``p_value``      float64  ()          conformal; NaN for detectors without calibration scores
output ``anomalous``    bool     ()          whether the p-value is at most the false-alarm rate stated at the export
======================  =======  ==========  =====================================================================

For another rate, compare the p-value with it. A graph cannot explain an error. Where the detector raises one (an
unknown section, fewer samples than one frame, samples that are not finite or far beyond ±1, digital silence where it
would have to be scaled), **the score is NaN and ``anomalous`` is true**: what cannot be judged is never called normal.
The metadata, text by name, says what the graph was made from: see :func:`metadata`.

The spectrum is computed by ONNX's DFT operator: the same by a matrix product takes 4 MB of cosines and little less
time. Its rounding differs from torch's, so one bin in ten thousand lands on the next step of the fixed-point frames,
1/256 dB away.
"""

import copy
import importlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import asd
from asd.data.features import FLOOR, LOUDEST, STEPS, hann_window, mel_filters
from asd.detection.detector import Detector
from asd.errors import InputError, needs_extra
from asd.evaluation.conformal import TIE, check_rate
from asd.files import replacing

FORMAT = "asd edge 1"
OPSET, IR_VERSION = 20, 9  # the oldest with DFT as it is today; onnxruntime runs them from 1.17 on
PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # of the optional extra [export]
INPUTS, OUTPUTS = ("waveform", "section"), ("score", "p_value", "anomalous")
AGREEMENT = 1e-4  # relative to the score, or to the deviation of normal scores where that is larger


class EdgeModel(nn.Module):
    """A detector in the operations that ONNX knows, without branches on lengths, so that one graph serves all.

    Args:
        detector: calibrated or of an earlier version.
        false_alarm_rate: stated; None: see :meth:`asd.evaluation.calibration.Calibration.rate`.

    Raises:
        InputError: a section without calibration, an impossible rate, or an encoder in the place of log-mels.
    """

    window: Tensor
    filters: Tensor
    sections: Tensor
    calibration: Tensor
    n_calibration: Tensor
    location: Tensor
    scale: Tensor
    threshold: Tensor
    rate: Tensor

    def __init__(self, detector: Detector, false_alarm_rate: float | None = None):
        super().__init__()
        self.detector, self.features = detector, detector.log_mel_settings("the export")
        # weights that require gradients would be exported with the hooks of their training
        self.model = copy.deepcopy(detector.model).cpu().eval().requires_grad_(False)
        tables = {"window": hann_window(self.features.n_fft), "filters": mel_filters(self.features)}
        for name, table in (tables | decision_tables(detector, false_alarm_rate)).items():
            self.register_buffer(name, table.clone())

    def forward(self, waveform: Tensor, section: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Samples (samples,) in ±1 and a section's number () → score (), p-value () and decision ()."""
        known = self.sections == section
        index = known.int().argmax()
        frames, usable = self.frames(waveform)
        score = self.score(frames, index)
        usable = usable & known.any() & score.isfinite()
        p_value, anomalous = self.decide(score.double(), index)
        return score.where(usable, torch.nan), p_value.where(usable, torch.nan), anomalous | ~usable

    def frames(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Samples → frames (N, n_mels) in dB, at least one, and whether they mean something, ()."""
        features, samples = self.features, waveform.shape[0]
        padded = torch.cat([waveform, torch.zeros(features.n_fft)])  # for clips too short for one frame
        pieces = padded[cut(samples, features.n_fft, features.hop_length)]
        spectrum = torch.view_as_real(torch.fft.rfft(pieces * self.window)).square()
        mel = (spectrum[..., 0] + spectrum[..., 1]) @ self.filters
        usable = (mel <= 10 ** (LOUDEST / 10)).all()  # nor NaN
        usable = usable & (torch.scalar_tensor(samples, dtype=torch.int64) >= features.n_fft)
        decibels = 10 * mel.clamp(min=FLOOR).log10()
        frames = (decibels * STEPS).round().clamp(-32768, 32767) / STEPS
        if self.detector.normalize_waveform:
            power = waveform.double().square().mean()
            usable = usable & (power > 0)
            frames = frames - (10 * power.log10()).float()
        return frames, usable

    def score(self, frames: Tensor, index: Tensor) -> Tensor:
        """Frames (N, n_mels) and the index of a section () → the clip's score ()."""
        length = torch.scalar_tensor(frames.shape[0], dtype=torch.int64)
        windows = frames[cut(frames.shape[0], self.detector.n_frames, self.detector.hop) % length]  # a short clip wraps
        return self.detector.reduce(self.model.anomaly_score(windows, index.expand(windows.shape[0])))

    def decide(self, score: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """A score (), float64, and the index of its section () → p-value () and decision ()."""
        n = self.n_calibration[index]
        calibrated = n > 0
        standardised = (score - self.location[index]) / self.scale[index] - TIE
        p_value = (1 + (self.calibration[index] >= standardised).sum()).double() / (n + 1).double()
        # onnxruntime has no Where for decisions
        anomalous = calibrated & (p_value <= self.rate[index]) | ~calibrated & (score > self.threshold[index])
        return p_value.where(calibrated, torch.nan), anomalous


def cut(length: Any, size: int, hop: int) -> Tensor:
    """Positions of the pieces of ``size``, ``hop`` apart, (pieces, size); of a shorter whole, of one beyond its end.

    >>> cut(5, 3, 2).tolist(), cut(2, 3, 2).tolist()
    ([[0, 1, 2], [2, 3, 4]], [[0, 1, 2]])
    """
    pieces = torch.sym_max((length - size) // hop + 1, 1)
    return torch.arange(pieces).unsqueeze(1) * hop + torch.arange(size)


def decision_tables(detector: Detector, false_alarm_rate: float | None) -> dict[str, Tensor]:
    """What decides about the clips of each section, one row per section, float64 where it is compared.

    Raises:
        InputError: a section without calibration, or an impossible rate.
    """
    if false_alarm_rate is not None:
        check_rate("false_alarm_rate", false_alarm_rate)
    calibration, sections = detector.calibration, detector.sections
    scores = [torch.from_numpy(calibration.scores(section)) for section in sections]
    rates = [calibration.rate(section) if false_alarm_rate is None else false_alarm_rate for section in sections]
    location, scale = zip(*(calibration.scale(section) for section in sections), strict=True)
    longest = max(1, *map(len, scores))
    padded = [torch.cat([row, row.new_full((longest - len(row),), -torch.inf)]) for row in scores]
    return {
        "sections": torch.tensor(sections),
        "calibration": torch.stack(padded),  # −∞ is never at least as high as a score
        "n_calibration": torch.tensor([len(row) for row in scores]),
        "location": torch.tensor(location, dtype=torch.float64),
        "scale": torch.tensor(scale, dtype=torch.float64),
        "threshold": torch.tensor([detector.statistics[section]["threshold"] for section in sections]).double(),
        "rate": torch.tensor(rates, dtype=torch.float64),
    }


def export(
    detector: Detector, path: Path | str, run_id: str = "", false_alarm_rate: float | None = None
) -> dict[str, str]:
    """Write a detector as an ONNX graph, whole or not at all, once the graph has shown the detector's scores.

    Args:
        detector: any of the five methods.
        path: the file to write; an existing one is replaced.
        run_id: of the run that the detector comes from, for the metadata.
        false_alarm_rate: stated; None: 0.1, or the smallest that a section's held-out clips allow.

    Returns:
        The metadata.

    Raises:
        InputError: a package of the extra is missing, a section without calibration, an impossible rate, or scores
            that differ from the detector's.
    """
    onnx, _, _ = packages()
    model = EdgeModel(detector, false_alarm_rate).eval()
    described = metadata(detector, model, run_id)
    graph = graph_of(model)
    onnx.helper.set_model_props(graph, described)
    graph.ir_version = IR_VERSION
    graph.producer_name, graph.producer_version, graph.doc_string = "asd", asd.__version__, __doc__ or ""
    serialized = graph.SerializeToString()
    check_agreement(detector, serialized)
    with replacing(path) as temporary:
        temporary.write_bytes(serialized)
    return described


def packages() -> list[Any]:
    """The packages of the extra, imported.

    Raises:
        InputError: one is missing; says how to install it.
    """
    with needs_extra("export"):
        return [importlib.import_module(name) for name in PACKAGES]


def metadata(detector: Detector, model: EdgeModel, run_id: str) -> dict[str, str]:
    """What the graph was made from; numbers and lists as JSON, lists by section in the order of ``sections``."""
    described = {
        "format": FORMAT,
        "version": asd.__version__,
        "run_id": run_id,
        "machine_type": detector.machine_type,
        "method": detector.method,
        "sections": detector.sections,
        "sample_rate": detector.features.sample_rate,
        "features": asdict(detector.features),
        "normalize_waveform": detector.normalize_waveform,
        "n_frames": detector.n_frames,
        "hop": detector.hop,
        "reduction": detector.reduction,
        "n_calibration": model.n_calibration.tolist(),
        "false_alarm_rate": model.rate.tolist(),
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in described.items()}


def graph_of(model: EdgeModel) -> Any:
    """The model as an ``onnx.ModelProto``, for clips of any length."""
    features = model.detector.features
    example = (torch.zeros(features.n_samples(model.detector.n_frames + 1)), model.sections[0])
    lengths = {"waveform": {0: torch.export.Dim("samples", min=2)}, "section": {}}
    with quiet():
        program = torch.onnx.export(
            model, example, dynamo=True, opset_version=OPSET, dynamic_shapes=lengths,
            input_names=INPUTS, output_names=OUTPUTS, verbose=False,
        )  # fmt: skip
    assert program is not None
    return program.model_proto


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporter says about itself, on standard output and in logs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_agreement(detector: Detector, serialized: bytes) -> None:
    """Ensure that the graph scores noise as the detector does.

    Raises:
        InputError: it does not.
    """
    _, _, onnxruntime = packages()
    session = onnxruntime.InferenceSession(serialized, providers=["CPUExecutionProvider"])
    n_samples = detector.features.n_samples(detector.n_frames + detector.hop)
    waveform = np.random.default_rng(0).normal(scale=0.05, size=n_samples).astype(np.float32)
    for section in detector.sections:
        expected = detector.score(detector.frames(waveform), section)
        found = float(session.run(["score"], {"waveform": waveform, "section": np.array(section)})[0])
        scale = max(abs(expected), detector.calibration.scale(section)[1])
        if not abs(found - expected) <= AGREEMENT * scale:
            raise InputError(f"the graph's score of noise, {found:.6g}, is not the detector's, {expected:.6g}")
