"""From wav files to log-mel frames: the one feature of all methods.

Frames are frame-major, (frames, mel bands), in decibels of the mel power of a waveform in ±1; whole frames only, no
padding. The fixed-point form is what the store keeps.
"""

import hashlib
import json
import wave
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from asd.errors import InputError
from asd.mel_filters import melscale_fbanks

FLOOR = 1e-10  # power; −100 dB
STEPS = 256  # per decibel: 16 bits hold ±128 dB with an error of at most 0.002 dB, 15 times finer than float16


@dataclass(frozen=True)
class FeatureSettings:
    """How a waveform becomes frames: sampling rate in Hz, window and hop in samples, number and kind of mel filters.

    The filters are HTK's, unnormalised (torchaudio's default), or with ``consistent_with_librosa`` those of librosa's
    default (Slaney's scale and norm).
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    hop_length: int = 512
    n_mels: int = 128
    consistent_with_librosa: bool = False

    def n_frames(self, n_samples: int) -> int:
        """Whole frames in ``n_samples`` samples; 0 if not even one fits."""
        return max(0, (n_samples - self.n_fft) // self.hop_length + 1)

    def n_samples(self, n_frames: int) -> int:
        """Samples that ``n_frames`` frames span: 3072 for 5."""
        return (n_frames - 1) * self.hop_length + self.n_fft

    def frames(self, seconds: float) -> int:
        """Whole frames in a snippet of ``seconds``: 311 for 10 s, 5 for 0.192 s."""
        return self.n_frames(round(self.sample_rate * seconds))

    def hops(self, seconds: float) -> int:
        """``seconds`` as a number of hops, at least one: 1 for 0.032 s."""
        return max(1, round(seconds * self.sample_rate / self.hop_length))

    @property
    def key(self) -> str:
        """Eight hex digits that differ where the settings differ."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


@lru_cache(maxsize=8)
def mel_filters(settings: FeatureSettings) -> Tensor:
    """The filter matrix, (n_fft // 2 + 1, n_mels)."""
    scale, norm = ("slaney", "slaney") if settings.consistent_with_librosa else ("htk", None)
    n_freqs, nyquist = settings.n_fft // 2 + 1, settings.sample_rate / 2
    return melscale_fbanks(n_freqs, 0.0, nyquist, settings.n_mels, settings.sample_rate, norm=norm, mel_scale=scale)


def mel_frequencies(settings: FeatureSettings) -> np.ndarray:
    """Centre frequency of each mel band in Hz, (n_mels,): where its filter is the largest."""
    bins = mel_filters(settings).argmax(dim=0).numpy()
    return bins * settings.sample_rate / settings.n_fft


@lru_cache(maxsize=8)
def hann_window(n_fft: int) -> Tensor:
    """The periodic Hann window, (n_fft,)."""
    return torch.hann_window(n_fft)


def log_mel(waveform: Tensor, settings: FeatureSettings) -> Tensor:
    """Waveforms (…, samples) in ±1 → log-mel frames (…, frames, n_mels) in dB: 10·log10(max(mel power, 1e-10))."""
    spectrum = torch.stft(
        waveform,
        settings.n_fft,
        settings.hop_length,
        window=hann_window(settings.n_fft).to(waveform.device),
        center=False,
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()
    mel = power.transpose(-1, -2) @ mel_filters(settings).to(waveform.device)
    return 10 * mel.clamp(min=FLOOR).log10()


def to_fixed(frames: Tensor) -> Tensor:
    """Decibels → 16-bit fixed point."""
    return (frames * STEPS).round().clamp(-32768, 32767).to(torch.int16)


def from_fixed(frames: Tensor) -> Tensor:
    """16-bit fixed point → decibels in float32."""
    return frames.float() / STEPS


def read_wav(path: Path | str, sample_rate: int) -> np.ndarray:
    """Read a mono wav file: int16 samples as they stand there, or float32 in ±1 where the file holds another kind.

    Raises:
        InputError: not a wav file, empty, cut short, stereo, another sampling rate, or values that are not finite.
    """
    try:
        with soundfile.SoundFile(path) as file:
            kind = "int16" if file.subtype == "PCM_16" else "float32"
            found = {"container": file.format, "channels": file.channels, "sampling rate": file.samplerate}
            waveform = file.read(dtype=kind)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as a wav file ({error})") from error
    allowed = {"container": ("WAV", "WAVEX"), "channels": (1,), "sampling rate": (sample_rate,)}
    for what, values in allowed.items():
        if found[what] not in values:
            raise InputError(f"{path}: {what} is {found[what]}; allowed: {values[0]}")
    if len(waveform) == 0:
        raise InputError(f"{path}: holds no samples")
    announced = announced_samples(path)
    if announced is not None and announced > len(waveform):
        raise InputError(f"{path}: cut short: its header announces {announced} samples, {len(waveform)} are there")
    if kind == "float32" and not np.isfinite(waveform).all():
        raise InputError(f"{path}: holds NaN or infinite samples")
    return waveform


def announced_samples(path: Path | str) -> int | None:
    """Number of samples that the header tells, or None where it is not plain PCM; libsndfile silently mends it."""
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes()
    except (wave.Error, EOFError):
        return None


def as_float(waveform: np.ndarray) -> Tensor:
    """int16 samples or floats → float32 in ±1."""
    scale = 32768 if waveform.dtype == np.int16 else 1
    return torch.from_numpy(waveform).float() / scale
