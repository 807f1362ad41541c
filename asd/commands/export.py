"""``asd export``: a trained detector as one ONNX graph."""

from pathlib import Path

import click


@click.command()
@click.argument("detector", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--false-alarm-rate",
    type=float,
    show_default="0.1, or the smallest that the detector can promise",
    help="Share of normal clips that may alarm, fixed in the graph. The p-value serves those who want another.",
)
def export(detector: Path, out: Path, false_alarm_rate: float | None) -> None:
    """Write a trained DETECTOR (a run's file detector.pt) as an ONNX graph into OUT.

    The graph takes the samples of one clip and its section, and returns score, p-value and decision; features and
    calibration are part of it. It runs with onnxruntime alone. What cannot be scored, an unknown section for instance,
    has the score NaN and alarms.
    """
    from asd.detection.detector import load_detector
    from asd.detection.edge import export as write
    from asd.detection.edge import packages

    packages()  # before anything is read: what is missing is said at once
    trained = load_detector(detector)
    described = write(trained, out, false_alarm_rate=false_alarm_rate)
    sections = ", ".join(map(str, trained.sections))
    click.echo(
        f"{out}: {described['method']} for {described['machine_type']}, sections {sections},"
        f" {described['sample_rate']} Hz, {out.stat().st_size / 1e6:.1f} MB"
    )
    for section in trained.sections:
        if shortfall := trained.calibration.shortfall(section, false_alarm_rate):
            click.echo(f"section {section}: {shortfall}", err=True)
