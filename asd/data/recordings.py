"""Read mono recordings: WAV (also WAVEX and RF64), FLAC and Ogg (Vorbis, Opus), and refuse those that are cut short."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from asd.errors import InputError

CONTAINERS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")  # as soundfile calls them, here and below
SUFFIXES = (".wav", ".wave", ".rf64", ".flac", ".ogg", ".oga", ".opus")  # of recordings in a folder, in any case
ENCODINGS = ("PCM_16", "PCM_S8", "PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "VORBIS", "OPUS")


def read_recording(path: Path | str, sample_rate: int) -> np.ndarray:
    """Read a mono recording: 16-bit samples unchanged, samples of any other encoding as float32 in ±1.

    Args:
        path: the file; its contents decide on the format, not its name.
        sample_rate: the sampling rate that it must have, in Hz.

    Returns:
        (samples,) int16 or float32; see :func:`asd.data.features.as_float`.

    Raises:
        InputError: the file is no recording, empty, cut short, damaged, stereo, of another sampling rate, container or
            encoding than the allowed, or holds values that are not finite.
    """
    with opened(path, sample_rate) as file:
        waveform = decoded(file, path)
        check_length(file, path, len(waveform))
    if not np.isfinite(waveform).all():
        raise InputError(f"{path}: holds NaN or infinite samples")
    return waveform


def read_blocks(path: Path | str, sample_rate: int, n_samples: int) -> Iterator[np.ndarray]:
    """Read a mono recording of any length block by block, in constant memory.

    Args:
        path, sample_rate: as for :func:`read_recording`.
        n_samples: length of a block; the last one may be shorter.

    Yields:
        (samples,) int16 or float32. Samples that are not finite are passed on.

    Raises:
        InputError: what :func:`read_recording` raises, damage within the file only when it is reached.
    """
    with opened(path, sample_rate) as file:
        n_read = 0
        while len(block := decoded(file, path, n_samples)):
            n_read += len(block)
            yield block
        check_length(file, path, n_read)


@contextmanager
def opened(path: Path | str, sample_rate: int) -> Iterator[soundfile.SoundFile]:
    """Open a mono recording of an allowed kind.

    Raises:
        InputError: anything else, or a file whose end is missing, as far as its header tells.
    """
    allowed = {"container": CONTAINERS, "channels": (1,), "sample_rate": (sample_rate,), "encoding": ENCODINGS}
    try:
        check_complete(path)
        with soundfile.SoundFile(os.fsencode(path)) as file:  # names need not be UTF-8
            found = {"container": file.format, "channels": file.channels, "sample_rate": file.samplerate}
            for name, value in (found | {"encoding": file.subtype}).items():
                if value not in allowed[name]:
                    raise InputError(f"{path}: {name} is {value}; allowed: {', '.join(map(str, allowed[name]))}")
            yield file
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else error
        raise InputError(f"{path}: cannot be read as a recording ({reason})") from error


def decoded(file: soundfile.SoundFile, path: Path | str, n_samples: int = -1) -> np.ndarray:
    """The next samples of an open file, at most ``n_samples`` or else all: (samples,) int16 or float32.

    Raises:
        InputError: they cannot be decoded.
    """
    try:
        return file.read(n_samples, dtype="int16" if file.subtype == "PCM_16" else "float32")
    except (soundfile.SoundFileError, MemoryError) as error:  # a damaged header may announce terabytes
        raise InputError(f"{path}: cut short or damaged ({error})") from error


def check_length(file: soundfile.SoundFile, path: Path | str, n_read: int) -> None:
    """Ensure that all samples were there that the header announces, and at least one.

    Raises:
        InputError: they were not.
    """
    if n_read != file.frames:
        raise InputError(f"{path}: cut short: its header announces {file.frames} samples, it has {n_read}")
    if n_read == 0:
        raise InputError(f"{path}: holds no samples")


def check_complete(path: Path | str) -> None:
    """Ensure that no end is missing from a WAV or Ogg file, of which libsndfile silently reads what there is.

    FLAC needs no such check: its decoder complains.

    Raises:
        InputError: the file is cut short.
    """
    with open(path, "rb") as file:
        kind = file.read(4)
        if kind in (b"RIFF", b"RF64"):
            announced, available = data_bytes(file.fileno())
            if announced > available:
                raise InputError(
                    f"{path}: cut short: its header announces {announced} bytes of samples, it has {available}"
                )
        if kind == b"OggS" and not has_last_page(file.fileno()):
            raise InputError(f"{path}: cut short: the last page of the Ogg stream is missing")


def data_bytes(file: int) -> tuple[int, int]:
    """Number of bytes of samples that a WAV file's header announces, and that the file has; 0, 0 without a header.

    The format is RIFF: after 12 bytes, chunks of a name, a size in 4 bytes, and that many bytes, padded to an even
    number. RF64 (EBU Tech 3306), for more than 4 GB, has the size of the samples in 8 bytes of the chunk ``ds64``.
    """
    file_size, position, long_size = os.fstat(file).st_size, 12, None
    while len(head := os.pread(file, 8, position)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"ds64":
            long_size = int.from_bytes(os.pread(file, 8, position + 16), "little")
        if head[:4] == b"data":
            announced = long_size if size == 0xFFFFFFFF and long_size is not None else size
            return announced, file_size - position - 8
        position += 8 + size + size % 2
    return 0, 0


def has_last_page(file: int) -> bool:
    """Whether an open Ogg file ends with a whole page that is marked as the last one of its stream (RFC 3533).

    A page is a header of 27 bytes (flags in byte 5, the number of segments in byte 26), the sizes of the segments in a
    byte each, and the segments.
    """
    file_size, position, last = os.fstat(file).st_size, 0, False
    while len(head := os.pread(file, 27 + 255, position)) >= 27 and head[:4] == b"OggS":
        n_segments = head[26]
        position += 27 + n_segments + sum(head[27 : 27 + n_segments])
        last = bool(head[5] & 4) and position <= file_size
    return last
