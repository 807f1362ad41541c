"""``asd score --window``: the score of long recordings and of streams over time."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asd.commands.output import Rows, in_a_title, of_section, say, tell_shortfalls, verdict

if TYPE_CHECKING:
    from asd.detection.detector import Detector
    from asd.detection.recordings import Section
    from asd.detection.streams import ScoredWindow, Segment, Windowing


def score_over_time(detector: "Detector", recordings: list[Path], rows: Rows, options: dict[str, Any]) -> int:
    """Score the windows of each recording; return how many recordings could not be scored from start to end."""
    from asd.detection.streams import STREAM, Windowing
    from asd.errors import InputError

    windowing = Windowing(options["window"], options["window"] / 2 if options["hop"] is None else options["hop"])
    windowing.check(detector.features)
    failed, timelines = 0, []
    for path in recordings:
        timeline = Timeline(click.format_filename(path), rows, keep=options["plot"] is not None)
        timelines.append(timeline)
        complete = True
        try:
            for window in windows_of(detector, path, windowing, options):
                timeline.add(window)
        except InputError as error:
            say(f"Error: {timeline.name}: {str(error).removeprefix(f'{path}: ')}")
            complete = False
        except KeyboardInterrupt:  # ends a stream, but not what remains to be done with it
            if path != STREAM:
                raise
        timeline.end()
        failed += not complete or timeline.unscored > 0
    tell_shortfalls(detector, [timeline.section for timeline in timelines if timeline.section], options)
    if options["plot"] is not None:
        draw(detector, timelines, options)
    return failed


def windows_of(
    detector: "Detector", path: Path, windowing: "Windowing", options: dict[str, Any]
) -> "Iterator[ScoredWindow]":
    """The scored windows of a file, or of standard input."""
    from asd.data.recordings import read_blocks
    from asd.detection.streams import STREAM, raw_blocks, score_windows

    if path == STREAM:
        blocks = raw_blocks(sys.stdin.buffer)
    else:
        rate = detector.features.sample_rate
        blocks = read_blocks(path, rate, max(1, round(windowing.hop * rate)))
    return score_windows(detector, blocks, windowing, path.name, options["section"], options["false_alarm_rate"])


class Timeline:
    """Print the windows of one recording, and its segments where they end.

    Args:
        name: of the recording.
        rows: where windows are printed.
        keep: whether all windows are to be kept, for a picture: 720 an hour at a step of 5 s.
    """

    def __init__(self, name: str, rows: Rows, keep: bool):
        from asd.detection.streams import Segments

        self.name, self.rows, self.keep = name, rows, keep
        self.section: Section | None = None
        self.windows: list[ScoredWindow] = []
        self.ended: list[Segment] = []
        self.segments, self.unscored = Segments(), 0

    def add(self, window: "ScoredWindow") -> None:
        """Take the next window."""
        if self.keep:  # before the row is printed: Ctrl-C may come at any moment
            self.windows.append(window)
        number, ended = self.segments.add(window)
        self.section = window.section
        self._tell(ended)
        if window.decision is None:
            self.unscored += 1
            say(f"Error: {self.name}: from {window.start:g} s to {window.end:g} s: {window.reason}")
        row = {"file": self.name, "start": window.start, "end": window.end} | verdict(window.decision)
        self.rows.write(row | {"segment": number or None} | of_section(window.section))

    def end(self) -> None:
        """The recording has ended."""
        self._tell(self.segments.end())
        count = self.segments.count
        say(f"{self.name}: {count or 'no'} anomalous segment{'s' * (count != 1)}")

    def _tell(self, ended: "Segment | None") -> None:
        if ended is not None:
            self.ended += [ended] if self.keep else []
            say(f"{self.name}: anomalous from {ended.start:g} s to {ended.end:g} s, score up to {ended.highest:.6g}")


def draw(detector: "Detector", timelines: list[Timeline], options: dict[str, Any]) -> None:
    """Write the picture of all recordings that have windows."""
    import matplotlib

    from asd.files import replacing
    from asd.plots.common import set_style
    from asd.plots.timeline import Recording, score_over_time

    matplotlib.use("agg")
    set_style()
    shown = []
    for timeline in timelines:
        scored = [window for window in timeline.windows if window.decision is not None]
        if not scored or timeline.section is None:
            continue
        number = timeline.section.number
        stated = options["false_alarm_rate"]
        rate = detector.calibration.rate(number) if stated is None else stated
        shown.append(
            Recording(
                title=f"{in_a_title(timeline.name)}, section {number:02}",
                start=[window.start for window in timeline.windows],
                end=[window.end for window in timeline.windows],
                score=[window.decision.score if window.decision else float("nan") for window in timeline.windows],
                threshold=detector.calibration.threshold(number, rate),
                segments=[(segment.start, segment.end) for segment in timeline.ended],
            )
        )
    if not shown:
        say(f"{options['plot']}: not drawn, since no window has a score")
        return
    path = options["plot"]
    with replacing(path) as temporary:
        score_over_time(shown).savefig(temporary, format=path.suffix.lstrip(".") or "png")
