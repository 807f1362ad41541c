"""From waveforms to frames: what all front ends share, and the log-mel frames that the methods trained here use.

Log-mel frames are frame-major, (frames, mel bands), in decibels of the mel power of a waveform in ±1; there are whole
frames only, no padding. The store keeps them in fixed point. The other front ends are pretrained networks:
:mod:`asd.data.encoders`.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from asd.data.mel_filters import melscale_fbanks

FLOOR = 1e-10  # power; −100 dB
STEPS = 256  # per decibel: 16 bits hold ±128 dB with an error of at most 0.002 dB, 15 times finer than float16
LOUDEST = 127  # dB, the most that 16 bits hold; full scale is far below, so a louder waveform was never in ±1


class FrontEnd(ABC):
    """What turns waveforms into frames: vectors of ``width`` numbers, each made from ``window`` samples.

    A subclass is a frozen dataclass, so that it can be compared, hashed, and kept in a detector's file.

    Attributes:
        sample_rate: in Hz.
        hop_length: samples from one frame to the next.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    sample_rate: int
    hop_length: int

    @property
    @abstractmethod
    def window(self) -> int:
        """Number of samples that a frame spans."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of numbers in a frame."""

    @property
    @abstractmethod
    def content(self) -> str:
        """What the frames are, for messages."""

    @property
    def key(self) -> str:
        """Eight hexadecimal digits, different for front ends whose frames differ."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def packages(self) -> tuple[str, ...]:
        """What has to be installed besides the project's own dependencies."""
        return ()

    @abstractmethod
    def compute(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1, of at least ``window`` samples → frames (frames, width)."""

    @abstractmethod
    def fault(self, frames: Tensor) -> str:
        """The reason why frames (frames, width) cannot be stored, empty if they can."""

    def stored(self, frames: Tensor) -> Tensor:
        """Frames → 16-bit integers of the same shape, as the store keeps them: fixed point, which suits decibels."""
        return to_fixed(frames)

    def restored(self, frames: Tensor) -> Tensor:
        """16-bit integers of the store → frames in float32."""
        return from_fixed(frames)

    def n_frames(self, n_samples: int) -> int:
        """Number of whole frames in ``n_samples`` samples; 0 if not even one fits."""
        return max(0, (n_samples - self.window) // self.hop_length + 1)

    def n_samples(self, n_frames: int) -> int:
        """Number of samples that ``n_frames`` frames span."""
        return (n_frames - 1) * self.hop_length + self.window

    def frames(self, seconds: float) -> int:
        """Number of whole frames in a snippet of ``seconds``."""
        return self.n_frames(round(self.sample_rate * seconds))

    def hops(self, seconds: float) -> int:
        """``seconds`` as a number of hops, at least one."""
        return max(1, round(seconds * self.sample_rate / self.hop_length))


@dataclass(frozen=True)
class FeatureSettings(FrontEnd):
    """How a waveform becomes frames: sampling rate in Hz, window and hop in samples, number and kind of mel filters.

    The filters are HTK's, unnormalised (torchaudio's default), or with ``consistent_with_librosa`` Slaney's scale and
    norm (librosa's default).

    Example:
        >>> features = FeatureSettings()
        >>> features.frames(10), features.frames(0.192), features.n_samples(5), features.hops(0.032)
        (311, 5, 3072, 1)
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    hop_length: int = 512
    n_mels: int = 128
    consistent_with_librosa: bool = False

    @property
    def window(self) -> int:
        """``n_fft``."""
        return self.n_fft

    @property
    def width(self) -> int:
        """``n_mels``."""
        return self.n_mels

    @property
    def content(self) -> str:
        """For messages."""
        return "log-mels"

    def compute(self, waveform: Tensor) -> Tensor:
        """See :func:`log_mel`."""
        return log_mel(waveform, self)

    def fault(self, frames: Tensor) -> str:
        """Samples so far beyond ±1 that their level does not fit, or that are NaN or overflow on the way."""
        loudest = float(frames.max())
        if loudest <= LOUDEST:  # not so for NaN
            return ""
        return f"{loudest:.0f} dB in a mel band; allowed: samples in ±1, at most {LOUDEST} dB"


@lru_cache(maxsize=8)
def mel_filters(features: FeatureSettings) -> Tensor:
    """The filter matrix, (n_fft // 2 + 1, n_mels)."""
    scale, norm = ("slaney", "slaney") if features.consistent_with_librosa else ("htk", None)
    n_freqs, nyquist = features.n_fft // 2 + 1, features.sample_rate / 2
    return melscale_fbanks(n_freqs, 0.0, nyquist, features.n_mels, features.sample_rate, norm=norm, mel_scale=scale)


def mel_frequencies(features: FeatureSettings) -> np.ndarray:
    """Centre frequency of each mel band in Hz, (n_mels,): where its filter is largest.

    Example:
        >>> mel_frequencies(FeatureSettings(n_mels=4)).astype(int).tolist()
        [453, 1218, 2484, 4562]
    """
    bins = mel_filters(features).argmax(dim=0).numpy()
    return bins * features.sample_rate / features.n_fft


@lru_cache(maxsize=8)
def hann_window(n_fft: int) -> Tensor:
    """The periodic Hann window, (n_fft,)."""
    return torch.hann_window(n_fft)


def log_mel(waveform: Tensor, features: FeatureSettings) -> Tensor:
    """Waveforms (…, samples) in ±1 → log-mel frames (…, frames, n_mels) in dB: 10·log10(max(mel power, 1e-10)).

    Example:
        >>> tone = torch.sin(2 * torch.pi * 440 * torch.arange(16000) / 16000)
        >>> frames = log_mel(tone, FeatureSettings(n_mels=16))
        >>> frames.shape, frames.mean(dim=0).argmax()
        (torch.Size([30, 16]), tensor(2))
    """
    window = hann_window(features.n_fft).to(waveform.device)
    spectrum = torch.fft.rfft(waveform.unfold(-1, features.n_fft, features.hop_length) * window)
    square = torch.view_as_real(spectrum).square_()  # in place, here and below: new memory is slower than memory in use
    power = square[..., 0] + square[..., 1]
    mel = power @ mel_filters(features).to(waveform.device)
    return mel.clamp_(min=FLOOR).log10_().mul_(10)


def to_fixed(frames: Tensor) -> Tensor:
    """Decibels → 16-bit fixed point, in steps of 1/256 dB.

    Example:
        >>> to_fixed(torch.tensor([-100.0, 0.0, 12.34]))
        tensor([-25600,      0,   3159], dtype=torch.int16)
    """
    return (frames * STEPS).round().clamp(-32768, 32767).to(torch.int16)


def from_fixed(frames: Tensor) -> Tensor:
    """16-bit fixed point → decibels in float32.

    Example:
        >>> from_fixed(to_fixed(torch.tensor([-100.0, 12.34])))
        tensor([-100.0000,   12.3398])
    """
    return frames.float() / STEPS


def as_float(waveform: np.ndarray) -> Tensor:
    """int16 samples or floats → float32 in ±1.

    Example:
        >>> as_float(np.array([-32768, 0, 16384], dtype=np.int16))
        tensor([-1.0000,  0.0000,  0.5000])
    """
    scale = 1 / 32768 if waveform.dtype == np.int16 else 1
    return torch.from_numpy(np.multiply(waveform, scale, dtype=np.float32))
