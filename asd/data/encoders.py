"""Encoders from elsewhere: pretrained networks as front ends, from 16 kHz waveforms to frames of embeddings.

An encoder is frozen, and judged by a backend as it is. Its frames take the place of log-mels everywhere: in the store,
in detectors, for recordings and streams. :mod:`asd.data.encoder_names` says how encoders are named.

Nothing is ever downloaded: what is missing, an error names, with where to get it and where to put it. The packages are
those of the optional extra ``[pretrained]``. The networks themselves are in :mod:`asd.data.speech_encoder` and
:mod:`asd.data.network_encoders`.

A frame of ``speech`` depends on its window alone. The others' attention sees all of a piece of about 10 s, into which
longer waveforms are cut, so there the window is only what a frame is centred on.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from asd.data.encoder_files import SAMPLE_RATE, Encoder
from asd.data.encoder_names import absolute
from asd.data.features import FrontEnd
from asd.data.network_encoders import TorchaudioEncoder, TransformersEncoder
from asd.data.speech_encoder import SpeechEncoder
from asd.errors import InputError

LARGEST = 65504.0  # of float16


@dataclass(frozen=True)
class EncoderSettings(FrontEnd):
    """An encoder as a front end: which one, the digest of its weights, and the form of its frames.

    A detector's file holds these, never the weights.

    Attributes:
        encoder: its name, with an absolute path.
        digest: sixteen hexadecimal digits that identify the weights.
        samples: number of samples that a frame spans.
        hop_length: samples from one frame to the next.
        dimensions: number of numbers in a frame.
        sample_rate: in Hz.

    Example:
        >>> speech = EncoderSettings("speech", "0" * 16, samples=12512, hop_length=1280, dimensions=96)
        >>> speech.n_frames(32000), speech.frames(0.782), speech.content
        (16, 1, 'embeddings of speech')
    """

    encoder: str
    digest: str
    samples: int
    hop_length: int
    dimensions: int
    sample_rate: int = SAMPLE_RATE

    @property
    def window(self) -> int:
        """``samples``."""
        return self.samples

    @property
    def width(self) -> int:
        """``dimensions``."""
        return self.dimensions

    @property
    def content(self) -> str:
        """For messages."""
        return f"embeddings of {self.encoder}"

    @property
    def key(self) -> str:
        """Eight hexadecimal digits, different for different weights, wherever they are."""
        form = {name: value for name, value in asdict(self).items() if name != "encoder"}
        return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def packages(self) -> tuple[str, ...]:
        """What has to be installed besides the project's own dependencies."""
        return {"speech": ("pyopen-wakeword",), "transformers": ("transformers",)}.get(
            self.encoder.partition(":")[0], ()
        )

    def check(self) -> None:
        """Ensure that the encoder can be loaded, and has the same weights.

        Raises:
            InputError: a package or a file is missing, or the weights differ; says what to fetch, where to put it.
        """
        found = opened(self.encoder)
        if found.digest != self.digest:
            raise InputError(
                f"the encoder {self.encoder} has weights of the digest {found.digest}; needed: those of {self.digest},"
                f" that the detector was made with. {found.source}"
            )

    @torch.no_grad()
    def compute(self, waveform: Tensor) -> Tensor:
        """A waveform (samples,) in ±1, of at least ``window`` samples → frames (frames, width).

        Raises:
            InputError: see :meth:`check`.
        """
        self.check()
        encoder, n_frames, pieces = opened(self.encoder), self.n_frames(len(waveform)), []
        for first in range(0, n_frames, encoder.longest):
            start, count = first * self.hop_length, min(encoder.longest, n_frames - first)
            pieces.append(encoder.encode(waveform[start : start + self.n_samples(count)]))
        return torch.cat(pieces)

    def fault(self, frames: Tensor) -> str:
        """Numbers that are not finite or beyond float16."""
        largest = float(frames.abs().max())
        return (
            "" if largest <= LARGEST else f"an embedding holds {largest:.3g}; allowed: samples in ±1, which are finite"
        )

    def stored(self, frames: Tensor) -> Tensor:
        """Frames → the bits of float16, as integers.

        Embeddings have no common scale: of one network they reach 60, of another 0.3, and no step of a fixed-point
        number suits both. float16 has a relative error of at most 1/2048 on any scale.
        """
        return frames.half().view(torch.int16)

    def restored(self, frames: Tensor) -> Tensor:
        """The bits of float16 → frames in float32."""
        return frames.view(torch.float16).float()


@lru_cache(maxsize=2)
def opened(name: str) -> Encoder:
    """The encoder of this name, loaded.

    Raises:
        InputError: a package or a file is missing or cannot be used; says what to fetch, and where to put it.
    """
    kind, _, place = absolute(name).partition(":")
    if kind == "speech":
        return SpeechEncoder()
    return TransformersEncoder(Path(place)) if kind == "transformers" else TorchaudioEncoder(place)


def encoder_settings(name: str) -> EncoderSettings:
    """The front end of an encoder's name.

    Raises:
        InputError: a package or a file is missing or cannot be used; says what to fetch, and where to put it.
    """
    encoder = opened(name)
    form = {"samples": encoder.window, "hop_length": encoder.hop_length, "dimensions": encoder.width}
    return EncoderSettings(absolute(name), encoder.digest, **form)
