"""The spectrum of a whole snippet at full frequency resolution, as a front end in the place of log-mels.

Its only frame is as long as the snippet, so that a bin is 1 / length wide: half a hertz for a clip of two seconds. The
branch ``spectrum`` of 07_angular sees it (Wilkinghoff, *Self-supervised learning for anomalous sound detection*, ICASSP
2024).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from asd.data.features import LOUDEST, FrontEnd

LEAST_POWER = 1e-6  # of a bin, −60 dB: what is below it is no sound


@dataclass(frozen=True)
class SpectrumSettings(FrontEnd):
    """How a waveform becomes spectra: its sampling rate in Hz, and the number of samples that a spectrum spans.

    Example:
        >>> spectra = SpectrumSettings(sample_rate=16000, length=32000)
        >>> spectra.width, spectra.n_frames(32000), spectra.n_frames(70000), spectra.frames(2)
        (16001, 1, 2, 1)
    """

    sample_rate: int
    length: int

    @property
    def hop_length(self) -> int:  # type: ignore[override]
        """``length``: spectra do not overlap."""
        return self.length

    @property
    def window(self) -> int:
        """``length``."""
        return self.length

    @property
    def width(self) -> int:
        """Number of bins, from 0 Hz to half the sampling rate."""
        return self.length // 2 + 1

    @property
    def content(self) -> str:
        """For messages."""
        return "spectra"

    def compute(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1 → spectra (frames, width) in dB, ``10·log10(|X|² + 1e-6)``; X of norm 1 / √n.

        Example:
            >>> tone = torch.sin(2 * torch.pi * 440 * torch.arange(16000) / 16000)
            >>> spectra = SpectrumSettings(16000, 16000).compute(tone)
            >>> spectra.shape, spectra[0].argmax(), spectra[0, 440].round()
            (torch.Size([1, 8001]), tensor(440), tensor(36.))
        """
        spectrum = torch.fft.rfft(waveform.unfold(-1, self.length, self.length), norm="ortho")
        return 10 * (spectrum.real.square() + spectrum.imag.square() + LEAST_POWER).log10()

    def fault(self, frames: Tensor) -> str:
        """Samples so far beyond ±1 that their level does not fit, or that are NaN or overflow on the way."""
        loudest = float(frames.max())
        return "" if loudest <= LOUDEST else f"{loudest:.0f} dB in a bin; allowed: samples in ±1, at most {LOUDEST} dB"
