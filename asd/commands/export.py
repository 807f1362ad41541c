"""``asd export``: a trained detector as one ONNX graph."""

from pathlib import Path

import click

from asd.commands.detectors import detector_and_run


@click.command()
@click.argument("detector")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--false-alarm-rate",
    type=float,
    show_default="0.1, or the smallest that the detector can promise",
    help="Share of normal clips that may alarm, fixed in the graph. For another rate, compare it with the p-value.",
)
@click.option("--output-root", type=click.Path(path_type=Path), help="Instead of ASD_OUTPUT_ROOT or outputs/.")
def export(detector: str, out: Path, false_alarm_rate: float | None, output_root: Path | None) -> None:
    """Write a trained DETECTOR (<machine type>/<run name>, a run id, or a file detector.pt) as an ONNX graph into OUT.

    The graph takes the samples of one clip and its section, and returns score, p-value and decision; features and
    calibration are part of it. It runs with onnxruntime alone. What cannot be scored, such as a clip of an unknown
    section, has the score NaN and alarms.
    """
    from asd.detection.edge import export as write
    from asd.detection.edge import packages
    from asd.evaluation.conformal import check_rate

    packages()  # what is missing is said before anything is read
    if false_alarm_rate is not None:
        check_rate("--false-alarm-rate", false_alarm_rate)
    trained, run_id = detector_and_run(detector, output_root)
    described = write(trained, out, run_id, false_alarm_rate)
    sections = trained.sections
    click.echo(
        f"{click.format_filename(out)}: {described['method']} for {trained.machine_type}, sections"
        f" {', '.join(map(str, sections))}, {trained.features.sample_rate} Hz, {out.stat().st_size / 1e6:.1f} MB"
    )
    causes = {number: trained.calibration.shortfall(number, false_alarm_rate) for number in sections}
    for cause in dict.fromkeys(filter(None, causes.values())):
        click.echo(f"section {', '.join(str(n) for n in sections if causes[n] == cause)}: {cause}", err=True)
