"""What all kinds of pretrained encoders share: their interface, their packages, and the digest of their weights."""

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from asd.errors import InputError

SAMPLE_RATE = 16000  # Hz, of all encoders
PIECE = 10  # s, roughly: what is computed together
INSTALL = "pip install --constraint constraints.txt --editable '.[pretrained]'"


class Encoder(Protocol):
    """A pretrained network.

    Attributes:
        window, hop_length: samples that a frame spans, and from one frame to the next.
        width: number of numbers in a frame.
        longest: number of frames that are computed together at most.
        digest: sixteen hexadecimal digits that identify the weights.
        source: what to fetch, and where to put it.
    """

    window: int
    hop_length: int
    width: int
    longest: int
    digest: str
    source: str

    def encode(self, waveform: Tensor) -> Tensor:
        """A waveform in ±1 that exactly n ≤ ``longest`` frames span → these frames, (n, width)."""


def package(name: str, install: str, encoder: str) -> Any:
    """A module of the extra, imported.

    Raises:
        InputError: the package is missing, or does not work on this machine.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise InputError(
            f"the encoder {encoder} needs the package {install}, which cannot be imported ({error}); in the project's"
            f" folder, install it with: {INSTALL}"
        ) from error


def digest_of(paths: Sequence[Path]) -> str:
    """Sixteen hexadecimal digits that change with the names or the contents of the files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
