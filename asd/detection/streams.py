"""Long recordings and endless streams: cut into overlapping windows, each scored like a file of its own.

Memory does not grow with the length: blocks of samples come in, and no more than the last window is kept. A window's
frames are made from its own samples alone. Overlapping windows could share frames only where the step is a whole number
of hops (5 s are 156.25), and would gain little: the network takes most of the time.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from asd.data.features import FrontEnd
from asd.detection.detector import Decision, Detector
from asd.detection.recordings import Section, find_section
from asd.errors import InputError
from asd.evaluation.tables import noted

CHUNK = 65536  # bytes: what a pipe holds
HEADERS = {b"RIFF": "WAV", b"RF64": "RF64", b"fLaC": "FLAC", b"OggS": "Ogg"}  # how files begin
STREAM = Path("-")  # stands for standard input


@dataclass(frozen=True)
class Windowing:
    """Length of the windows and step from the start of one to the start of the next, in seconds."""

    window: float
    hop: float

    def check(self, features: FrontEnd) -> None:
        """Ensure that a window holds a frame, and that windows leave no gaps.

        Raises:
            InputError: they do not; the message names the option.
        """
        shortest = features.window / features.sample_rate
        if not shortest <= self.window < np.inf:
            raise InputError(
                f"--window: {self.window:g} s; allowed: at least {shortest:g} s, one frame of {features.window} samples"
                f" at {features.sample_rate} Hz"
            )
        if not 1 / features.sample_rate <= self.hop <= self.window:
            raise InputError(
                f"--hop: {self.hop:g} s; allowed: more than 0 and at most the window's {self.window:g} s, which would"
                " otherwise leave gaps"
            )


class ScoredWindow(NamedTuple):
    """What a detector says about one window; start and end in seconds."""

    start: float
    end: float
    decision: Decision | None  # None: the window has no score
    section: Section | None
    reason: str = ""  # why it has no score


def cut(blocks: Iterable[np.ndarray], length: int, step: float) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a stream of samples into windows.

    Args:
        blocks: the samples, in pieces of any lengths.
        length: of a window, in samples.
        step: from one start to the next, in samples; starts are rounded, so that errors do not add up.

    Yields:
        The number of each window's first sample, and its samples (length,). What is left at the end becomes part of a
        last window that ends with the recording, and so begins earlier than a step would have it. A recording shorter
        than a window is one window.

    >>> pieces = [np.arange(4), np.arange(4, 5), np.arange(5, 12)]
    >>> [(start, samples.tolist()) for start, samples in cut(pieces, length=5, step=3)]
    [(0, [0, 1, 2, 3, 4]), (3, [3, 4, 5, 6, 7]), (6, [6, 7, 8, 9, 10]), (7, [7, 8, 9, 10, 11])]
    >>> [(start, samples.tolist()) for start, samples in cut([np.arange(3)], length=5, step=3)]
    [(0, [0, 1, 2])]
    """
    kept, first, n_windows, covered = np.zeros(0, np.int16), 0, 0, 0  # first: number of the first sample kept
    for block in blocks:
        kept = np.concatenate([kept, block]) if len(kept) else block
        end = first + len(kept)
        while (start := round(n_windows * step)) + length <= end:
            covered = start + length
            yield start, kept[start - first : covered - first]
            n_windows += 1
        needed = max(first, min(start, end - length))  # the last window may have to begin before the next start
        kept, first = kept[needed - first :].copy(), needed
    end = first + len(kept)
    if end > covered:
        start = max(0, end - length)
        yield start, kept[start - first :]


def score_windows(
    detector: Detector,
    blocks: Iterable[np.ndarray],
    windowing: Windowing,
    name: str = "",
    section: int | None = None,
    false_alarm_rate: float | None = None,
) -> Iterator[ScoredWindow]:
    """Score the windows of a recording one after the other, as soon as their samples are there.

    Args:
        detector: the trained detector.
        blocks: samples, int16 or floats in ±1, at the detector's sampling rate.
        windowing: length and step of the windows.
        name: of the file, which may tell the section.
        section: that the recording is of; None: as its name tells, otherwise the one that fits the first window best
            (for whose later windows the false-alarm rate of the true section is then not promised).
        false_alarm_rate: stated; None: the detector's own.

    A window that cannot be scored, such as one with NaN samples, has no decision. Samples far beyond ±1 cause one
    warning.

    Raises:
        InputError: an unknown section, an impossible rate.
    """
    rate = detector.features.sample_rate
    chosen: Section | None = None
    warned = False
    for first, samples in cut(blocks, round(windowing.window * rate), windowing.hop * rate):
        start, end = first / rate, (first + len(samples)) / rate
        try:
            frames, notes = noted(detector.frames, samples)
        except InputError as error:
            yield ScoredWindow(start, end, None, chosen, str(error))
            continue
        if notes and not warned:
            warnings.warn(f"from {start:g} s on: {notes[0]}", stacklevel=2)
            warned = True
        chosen = chosen or find_section(detector, frames, name, section)
        try:
            score = detector.score(frames, chosen.number)
        except InputError as error:
            yield ScoredWindow(start, end, None, chosen, str(error))
            continue
        yield ScoredWindow(start, end, detector.decide(score, chosen.number, false_alarm_rate), chosen)


def raw_blocks(stream: BinaryIO) -> Iterator[np.ndarray]:
    """Samples (n,) of a stream of 16-bit little-endian numbers, mono, as they arrive.

    Raises:
        InputError: it is empty, or begins like a file.

    >>> import io
    >>> [block.tolist() for block in raw_blocks(io.BytesIO(b"\\x01\\x00\\xff\\xff\\x00\\x80"))]
    [[1, -1], [-32768]]
    """
    data = stream.read(4)
    if data in HEADERS:
        raise InputError(
            f"the stream begins like a {HEADERS[data]} file; allowed: 16-bit little-endian samples without a header"
            " (arecord -t raw -f S16_LE -c 1); give files by their names"
        )
    if not data:
        raise InputError("the stream holds no samples")
    while data:
        whole = len(data) // 2 * 2
        if whole:
            yield np.frombuffer(data[:whole], "<i2").astype(np.int16)
        rest, data = data[whole:], stream.read1(CHUNK)  # type: ignore[attr-defined]
        data = rest + data if data else data
    if rest:
        warnings.warn("the stream ends within a sample: its last byte is left out", stacklevel=2)


@dataclass
class Segment:
    """Alarming windows that overlap or follow one another; start and end in seconds."""

    number: int
    start: float
    end: float
    highest: float  # score


class Segments:
    """Merge alarming windows, given one by one, into segments.

    >>> segments = Segments()
    >>> for start, anomalous in [(0, True), (5, False), (10, True), (15, True), (20, False), (25, False)]:
    ...     number, ended = segments.add(ScoredWindow(start, start + 10, Decision(1.0, 0.01, anomalous), None))
    ...     print(start, number, ended)
    0 1 None
    5 0 None
    10 2 Segment(number=1, start=0, end=10, highest=1.0)
    15 2 None
    20 0 None
    25 0 Segment(number=2, start=10, end=25, highest=1.0)
    """

    def __init__(self) -> None:
        self.current: Segment | None = None  # may still grow
        self.count, self.last_alarmed = 0, False

    def add(self, window: ScoredWindow) -> tuple[int, Segment | None]:
        """Take the next window; return the number of its segment (0 if it does not alarm), and one that has ended."""
        alarms = window.decision is not None and window.decision.anomalous
        grows = self.current is not None and (window.start < self.current.end or (alarms and self.last_alarmed))
        ended = None if grows else self.end()
        self.last_alarmed = alarms
        if not alarms:
            return 0, ended
        assert window.decision is not None
        score = window.decision.score
        if self.current is None:
            self.count += 1
            self.current = Segment(self.count, window.start, window.end, score)
        else:
            self.current.end, self.current.highest = window.end, max(self.current.highest, score)
        return self.current.number, ended

    def end(self) -> Segment | None:
        """The segment that has not yet ended, if any, at the end of the recording."""
        ended, self.current = self.current, None
        return ended
