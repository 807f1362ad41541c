"""What a detector says about recordings in files: which section they are of, their score, and the decision."""

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from asd.data.clips import section_of_name
from asd.data.recordings import SUFFIXES, read_recording
from asd.detection.detector import Decision, Detector
from asd.errors import InputError
from asd.evaluation.conformal import discoveries
from asd.evaluation.tables import noted

GIVEN, NAME, FIT = "given", "name", "fit"  # where a recording's section is known from


class Section(NamedTuple):
    """The section that a recording is judged by."""

    number: int
    origin: str  # "given", "name" or "fit"


def find_recordings(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, and below each folder all files with a recording's suffix, sorted; hidden ones are left out.

    Raises:
        InputError: a folder without recordings.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("b.FLAC", "a.wav", "notes.txt", "._a.wav"):
    ...         Path(folder, name).touch()
    ...     [path.name for path in find_recordings([Path(folder), Path("one.raw")])]
    ['a.wav', 'b.FLAC', 'one.raw']
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        below = [
            Path(folder, name)
            for folder, _, names in os.walk(path)
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
        if not below:
            raise InputError(f"{path}: no recordings in this folder; looked for {', '.join(SUFFIXES)}")
        found += sorted(below)
    return found


def decide_recording(
    detector: Detector, path: Path, section: int | None = None, false_alarm_rate: float | None = None
) -> tuple[Decision, Section]:
    """Read and score one recording and decide about it, see :meth:`asd.detection.detector.Detector.decide`.

    Args:
        detector: the trained detector.
        path: the recording.
        section: that it is of; None: see :func:`find_section`.
        false_alarm_rate: stated; None: the detector's own.

    Raises:
        InputError: a file that cannot be used, an unknown section, an impossible rate; the message names the file.
    """
    try:
        waveform = read_recording(path, detector.features.sample_rate)
        frames, notes = noted(detector.frames, waveform)
        chosen = find_section(detector, frames, path.name, section)
        decision = detector.decide(detector.score(frames, chosen.number), chosen.number, false_alarm_rate)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return decision, chosen


def find_section(detector: Detector, frames: Tensor, name: str, given: int | None = None) -> Section:
    """The section to judge a recording by: the given one, the one in its file name, or the one that fits best.

    Raises:
        InputError: the name tells a section that the detector does not know.
    """
    if given is not None:
        return Section(given, GIVEN)
    named = section_of_name(name)
    if named is None:
        return Section(best_section(detector, frames), FIT)
    if named not in detector.sections:
        raise InputError(f"its name tells section {named}; allowed: {detector.sections}, or another one with --section")
    return Section(named, NAME)


def best_section(detector: Detector, frames: Tensor) -> int:
    """The section whose normal recordings the frames (N, n_mels) resemble most: the one of the highest p-value.

    Raw scores cannot be compared: each section has its own mean and spread. P-values can, and choosing the highest
    one keeps the false-alarm rate: the p-value of the true section, whichever it is, is at most as high, so a normal
    recording alarms at most as often as if its section were known. The price: an anomalous one escapes where it would
    be normal for another section, so it is better to give the section if it is known. P-values move in steps; among
    equal ones, and for detectors that know none, the lowest score decides, in standard deviations from the mean of the
    scores of the clips trained on.
    """

    def fit(section: int) -> tuple[float, float]:
        score = detector.score(frames, section)
        decision = detector.decide(score, section)
        known = detector.statistics[section]
        mean, std = (known.get(f"trained_{name}", known[name]) for name in ("mean", "std"))
        return float(np.nan_to_num(decision.p_value)), -(score - mean) / (std or 1.0)

    return max(detector.sections, key=fit)


def control_fdr(decisions: Sequence[Decision], fdr: float) -> list[Decision]:
    """Decide about all clips together, see :func:`asd.evaluation.conformal.discoveries`.

    >>> alone = [Decision(5.0, 0.01, True), Decision(1.0, 0.08, True), Decision(0.0, 0.5, False)]
    >>> [decision.anomalous for decision in control_fdr(alone, fdr=0.1)]
    [True, False, False]

    Raises:
        InputError: a decision without p-value, or an impossible rate.
    """
    alarms = discoveries([decision.p_value for decision in decisions], fdr)
    return [decision._replace(anomalous=bool(alarm)) for decision, alarm in zip(decisions, alarms, strict=True)]
