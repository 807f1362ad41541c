"""``asd score``: what a trained detector says about recordings."""

from collections.abc import Iterable
from pathlib import Path

import click


@click.command()
@click.argument("detector", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("wavs", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--section", required=True, type=int, help="Section (product) that the recordings are of.")
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
def score(
    detector: Path, wavs: tuple[Path, ...], section: int, false_alarm_rate: float | None, fdr: float | None
) -> None:
    """Score WAVS with a trained DETECTOR (a run's file detector.pt).

    Prints CSV, one line per recording: file, anomaly score, p-value, and the decision, normal or anomalous. The p-value
    is the share of normal recordings that are expected to score as high.
    """
    import csv
    import io
    import warnings

    from asd.detection.detector import load_detector
    from asd.detection.scoring import Decision, control_fdr, decide_recordings
    from asd.evaluation.conformal import check_rate, smallest_rate

    if false_alarm_rate is not None and fdr is not None:
        raise click.UsageError("--false-alarm-rate and --fdr are two rules: give one of them")
    for name, rate in (("--false-alarm-rate", false_alarm_rate), ("--fdr", fdr)):
        if rate is not None:
            check_rate(name, rate)
    trained = load_detector(detector)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: click.echo(str(message), err=True)
        decisions: Iterable[Decision] = decide_recordings(trained, wavs, section, false_alarm_rate)
        if fdr is not None:
            decisions = control_fdr(list(decisions), fdr)
        for path, (value, p_value, anomalous) in zip(wavs, decisions, strict=True):
            line = io.StringIO()  # commas, quotes and line breaks in a name are quoted
            csv.writer(line, lineterminator="").writerow(
                [path, f"{value:.6g}", f"{p_value:.4g}", "anomalous" if anomalous else "normal"]
            )
            click.echo(line.getvalue())
    if fdr is None and (shortfall := trained.calibration.shortfall(section, false_alarm_rate)):
        click.echo(f"{detector}: {shortfall}", err=True)
    if fdr is not None and (smallest := smallest_rate(len(trained.calibration.scores(section)))) > fdr / len(wavs):
        click.echo(
            f"{detector}: a single anomalous recording among {len(wavs)} needs a p-value of {fdr / len(wavs):.2g} to be"
            f" found; its held-out clips allow {smallest:.2g} at best",
            err=True,
        )
