"""A trained method in one file: all that is needed to score a recording, and the one contract of a method.

The file is self-contained and loads with ``weights_only``: opening it runs no code that it contains.
"""

import warnings
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from asd.data.encoders import EncoderSettings
from asd.data.features import FeatureSettings, FrontEnd, as_float
from asd.data.spectra import SpectrumSettings
from asd.errors import InputError
from asd.evaluation.calibration import Calibration
from asd.files import replacing
from asd.models.classifier import SectionClassifier
from asd.models.density import DensityEstimator
from asd.models.embedding import EmbeddingDetector
from asd.weights import load_weights

FORMAT = "asd detector 1"
KINDS = {"classifier": SectionClassifier, "density": DensityEstimator, "embedding": EmbeddingDetector}
LOUD = 30.0  # a sample beyond it is a mistake of scale, not a loud sound
FRAMES_AT_ONCE = 8192  # frames that go through the network together when scoring


class Decision(NamedTuple):
    """What a detector says about one clip."""

    score: float  # the higher, the more anomalous
    p_value: float  # conformal; NaN for detectors without calibration scores
    anomalous: bool


@dataclass
class Detector:
    """A model and how it is to be used.

    Attributes:
        method: name in score tables (``aux``, ``ccsa``, ``ae``, ``made``, ``maf``).
        machine_type: what it was trained for.
        kind: which of KINDS the model is.
        config: the model's arguments.
        model: the network.
        features: how waveforms become frames: log-mels, spectra, or an encoder, whose weights the file does not hold.
        normalize_waveform: whether clips are scaled to RMS 1 before.
        sections: section numbers, in the order of the model's.
        n_frames, hop: length of a snippet or window and the step from one to the next, in frames.
        reduction: a clip's score is the ``mean`` or ``max`` over its snippets.
        statistics: of the train scores, by section number: see :func:`asd.evaluation.decisions.calibrate`.
        baseline: what is normal in each mel band, by section number, (n_mels,) each: see
            :func:`asd.detection.explanations.baselines`. Empty without log-mels, and in files of earlier versions.
    """

    method: str
    machine_type: str
    kind: str
    config: dict
    model: SectionClassifier | DensityEstimator | EmbeddingDetector
    features: FrontEnd
    normalize_waveform: bool
    sections: list[int]
    n_frames: int
    hop: int
    reduction: str
    statistics: dict[int, dict[str, Any]] = field(default_factory=dict)
    baseline: dict[int, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(chain(self.model.parameters(), self.model.buffers())).device

    def log_mel_settings(self, purpose: str) -> FeatureSettings:
        """The settings of the detector's log-mels, for what needs mel bands.

        Args:
            purpose: what needs them, for the message.

        Raises:
            InputError: the frames are spectra, or an encoder's, which is not in the file.
        """
        if isinstance(self.features, FeatureSettings):
            return self.features
        raise InputError(
            f"{purpose} needs log-mels, and the frames of {self.method} are {self.features.content}; allowed: detectors"
            " of networks trained here, such as aux, ccsa, angular and their backends, ae, made and maf"
        )

    def frames(self, waveform: np.ndarray) -> Tensor:
        """Samples, int16 or floats in ±1, (samples,) → frames (N, width), of log-mels in dB.

        They have the resolution of the store, so that a recording scores as it did there. Samples beyond ±30
        cause a warning.

        Raises:
            InputError: more than one channel, samples far beyond ±1, too few for one frame, or silence where it would
                have to be scaled.
        """
        if waveform.ndim != 1:
            raise InputError(f"the waveform has the shape {waveform.shape}; allowed: (samples,), one channel")
        if self.features.n_frames(len(waveform)) == 0:
            raise InputError(f"the waveform has {len(waveform)} samples; one frame takes {self.features.window}")
        samples = as_float(waveform)
        frames = self.features.compute(samples)
        reached = float(samples.abs().max())
        if self.features.fault(frames):
            raise InputError(f"samples reach {reached:.3g}; allowed: ±1 (16-bit numbers are divided by 32768)")
        if reached > LOUD:
            warnings.warn(f"samples reach {reached:.3g}, far beyond ±1: were 16-bit numbers not divided?", stacklevel=2)
        frames = self.features.restored(self.features.stored(frames))
        if self.normalize_waveform:
            rms = samples.double().square().mean().sqrt()
            if rms == 0:
                raise InputError("the waveform is digital silence and cannot be scaled to RMS 1")
            frames -= 20 * rms.log10().float()
        return frames

    def check_section(self, section: int) -> None:
        """Raise an InputError that lists the detector's sections unless ``section`` is one of them."""
        if section not in self.sections:
            raise InputError(f"section {section} is unknown to this detector; allowed: {self.sections}")

    @torch.no_grad()
    def window_scores(self, frames: Tensor, section: int) -> Tensor:
        """Anomaly score of every snippet of clips of equal length and one section: (…, N, width) → (…, W).

        A clip shorter than a snippet is repeated.

        Raises:
            InputError: a section that the detector was not trained for.
        """
        self.check_section(section)
        length = frames.shape[-2]
        if length < self.n_frames:
            frames = torch.cat([frames] * -(-self.n_frames // length), dim=-2)[..., : self.n_frames, :]
        windows = frames.reshape(-1, *frames.shape[-2:]).unfold(1, self.n_frames, self.hop).transpose(2, 3)  # a view
        n_windows, device = windows.shape[1], self.device
        index = torch.full((), self.sections.index(section), device=device)  # torch.tensor would wait for a GPU
        scores = []
        # Long clips with a short step have many times as many numbers in windows as in frames: only a part is copied
        every = torch.arange(windows[:, :, 0, 0].numel(), device=windows.device)
        for part in every.split(max(1, FRAMES_AT_ONCE // self.n_frames)):
            batch = windows[part // n_windows, part % n_windows].to(device)
            scores.append(self.model.anomaly_score(batch, index.expand(len(batch))))
        return torch.cat(scores).view(*frames.shape[:-2], n_windows)

    def reduce(self, window_scores: Tensor) -> Tensor:
        """Snippets' scores (…, W) → clips' scores (…)."""
        return window_scores.mean(-1) if self.reduction == "mean" else window_scores.amax(-1)

    def score(self, frames: Tensor, section: int) -> float:
        """Anomaly score of one clip (N, width): the higher, the more anomalous.

        Raises:
            InputError: an unknown section, or a score that is not finite.
        """
        self.model.eval()
        score = float(self.reduce(self.window_scores(frames, section)))
        if not np.isfinite(score):
            raise InputError(f"the score is {score}, not a finite number, and says nothing about the clip")
        return score

    @property
    def calibration(self) -> Calibration:
        """What turns scores into p-values and decisions."""
        return Calibration(self.statistics)

    def decide(self, score: float, section: int, false_alarm_rate: float | None = None) -> Decision:
        """The p-value of a clip's score, and whether the clip alarms at the stated false-alarm rate.

        Without a rate it is 0.1, or the smallest that can be had where that is larger. A detector without calibration
        scores, from an earlier version or with nothing held out, decides by its threshold and knows no p-value.

        Raises:
            InputError: an unknown section, or a rate that is not between 0 and 1.
        """
        p_value, anomalous = self.calibration.decide(section, [score], false_alarm_rate)
        return Decision(score, float(p_value[0]), bool(anomalous[0]))

    def save(self, path: Path | str) -> None:
        """Write the detector into one file, whole or not at all."""
        content = {name: value for name, value in vars(self).items() if name not in ("model", "features")}
        state = {name: value.cpu() for name, value in self.model.state_dict().items()}
        with replacing(path) as temporary:
            torch.save({"format": FORMAT, "features": asdict(self.features), "state": state} | content, temporary)


def front_end(path: Path | str, described: dict[str, Any]) -> FrontEnd:
    """The front end that a detector's file describes.

    Raises:
        InputError: it is an encoder that is missing, or has other weights.
    """
    if "length" in described:
        return SpectrumSettings(**described)
    if "encoder" not in described:
        return FeatureSettings(**described)
    encoder = EncoderSettings(**described)
    try:
        encoder.check()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return encoder


def load_detector(path: Path | str, device: torch.device | str = "cpu") -> Detector:
    """Read a detector from its file.

    Raises:
        InputError: no such file, cut short, something else, or with code inside; or the encoder that it needs is
            missing, or has other weights.
    """
    content = load_weights(path)
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != FORMAT:
        raise InputError(f"{path}: its format is {found!r}; allowed: {FORMAT!r}")
    del content["format"]
    state, features = content.pop("state"), front_end(path, content.pop("features"))
    model = KINDS[content["kind"]](**content["config"])
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{path}: its weights do not fit its configuration ({error})") from error
    return Detector(model=model.to(device).eval(), features=features, **content)
