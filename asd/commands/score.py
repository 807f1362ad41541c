"""``asd score``: what a trained detector says about recordings, and about every moment of long ones."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asd.commands.detectors import trained_detector
from asd.commands.output import FORMATS, Rows, check_picture, notices, of_section, say, tell_shortfalls, verdict
from asd.commands.score_explained import draw_explanations, picture_paths
from asd.commands.score_windows import score_over_time

if TYPE_CHECKING:
    from asd.detection.detector import Decision, Detector
    from asd.detection.recordings import Section

BAR_FROM = 10  # recordings: fewer need no progress bar


@click.command()
@click.argument("detector")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--section",
    type=int,
    show_default="as in the file's name, otherwise the one that fits best",
    help="Section (product) that the recordings are of.",
)
@click.option(
    "--false-alarm-rate",
    type=float,
    show_default="0.1, or the smallest that the detector can promise",
    help="Share of normal recordings that may alarm: a recording is anomalous if its p-value is at most this.",
)
@click.option(
    "--fdr",
    type=float,
    help="Instead, for many recordings at once: share of the alarms that may be false (Benjamini and Hochberg).",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", help="Of what is printed.")
@click.option("--window", type=float, help="Score long recordings over time, in windows of this many seconds.")
@click.option("--hop", type=float, show_default="half a window", help="Seconds from one window to the next.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the score over time into this file."
)
@click.option(
    "--explain",
    type=click.Path(path_type=Path),
    help="Draw where in time and frequency a recording is anomalous into this file; for several ones, a folder.",
)
@click.option("--output-root", type=click.Path(path_type=Path), help="Instead of ASD_OUTPUT_ROOT or outputs/.")
def score(detector: str, files: tuple[Path, ...], output_root: Path | None, **options: Any) -> None:
    """Score FILES with a trained DETECTOR: <machine type>/<run name>, a run id (see `asd runs`), or a file detector.pt.

    FILES are recordings, and folders in which they are looked for at any depth. Each gets one row: file, anomaly score,
    p-value, decision (normal or anomalous), and the section that it was judged by, with where that is known from:
    given, name (of the file) or fit (the best-fitting one). The p-value is the share of normal recordings that are
    expected to score as high.

    With --window, each window of a recording gets such a row, with start and end in seconds. Alarming windows that
    overlap or follow one another make a segment; its number stands in each of their rows, and its start and end are
    told on standard error. The last window ends with the recording, so that nothing is left out. FILES may be `-`:
    16-bit little-endian mono samples at the detector's sampling rate, read from standard input.

    A recording that cannot be scored is named, the others are scored, and the exit code is 1.
    """
    from asd.detection.recordings import find_recordings
    from asd.evaluation.conformal import check_rate

    check_together(files, options)
    for name in ("false_alarm_rate", "fdr"):
        if options[name] is not None:
            check_rate(f"--{name.replace('_', '-')}", options[name])
    trained = trained_detector(detector, output_root)
    if options["section"] is not None:
        trained.check_section(options["section"])
    recordings = find_recordings(files)
    if options["explain"] is not None:  # what fails here fails before anything is scored
        trained.log_mel_settings("--explain")
        check_picture("--explain", picture_paths(recordings, options["explain"])[0])
    if options["plot"] is not None:
        check_picture("--plot", options["plot"])
    rows = Rows(options["form"], max(len(click.format_filename(path)) for path in recordings))
    with notices():
        judge = score_over_time if options["window"] is not None else score_whole
        failed = judge(trained, recordings, rows, options)
    if failed:
        raise click.exceptions.Exit(1)


def check_together(files: tuple[Path, ...], options: dict[str, Any]) -> None:
    """Refuse options that contradict each other, or that lack another one."""
    if options["false_alarm_rate"] is not None and options["fdr"] is not None:
        raise click.UsageError("--false-alarm-rate and --fdr are two rules: give one of them")
    if options["explain"] is not None and options["window"] is not None:
        raise click.UsageError("--explain draws recordings as a whole, --plot what --window prints: give one")
    if options["window"] is None:
        for name in ("hop", "plot"):
            if options[name] is not None:
                raise click.UsageError(f"--{name} needs --window: it is about the score over time")
        if Path("-") in files:
            raise click.UsageError("- (standard input) needs --window: a stream has no end to wait for")
    elif options["fdr"] is not None:
        raise click.UsageError("--fdr decides about all recordings together, --window about each moment: give one")


def score_whole(detector: "Detector", recordings: list[Path], rows: Rows, options: dict[str, Any]) -> int:
    """Score each recording as a whole; return how many could not be scored."""
    from tqdm import tqdm

    from asd.detection.recordings import control_fdr, decide_recording
    from asd.errors import InputError

    done: list[tuple[Path, Decision, Section]] = []
    shown = sys.stderr.isatty() and not sys.stdout.isatty() and len(recordings) >= BAR_FROM
    for path in tqdm(recordings, unit="recording", file=sys.stderr, disable=not shown):
        try:
            decision, section = decide_recording(detector, path, options["section"], options["false_alarm_rate"])
        except InputError as error:
            say(f"Error: {error}")
            continue
        done.append((path, decision, section))
        if options["fdr"] is None:
            rows.write(whole_row(path, decision, section))
    if options["fdr"] is not None:
        decisions = control_fdr([decision for _, decision, _ in done], options["fdr"])
        for (path, _, section), decision in zip(done, decisions, strict=True):
            rows.write(whole_row(path, decision, section))
    tell_shortfalls(detector, [section for _, _, section in done], options)
    if options["explain"] is not None:
        draw_explanations(detector, done, recordings, options["explain"])
    return len(recordings) - len(done)


def whole_row(path: Path, decision: "Decision", section: "Section") -> dict[str, Any]:
    """The row of a recording."""
    return {"file": click.format_filename(path)} | verdict(decision) | of_section(section)
