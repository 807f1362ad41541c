"""The command line: everything that is not a lesson. ``asd --help`` lists it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from asd.errors import InputError


class Group(click.Group):
    """Commands that answer bad input with a message instead of a traceback."""

    def invoke(self, context: click.Context) -> None:
        """Run the command; bad input, or a file that cannot be written, ends in exit code 1 and a message."""
        try:
            super().invoke(context)
        except BrokenPipeError:  # as in `asd score … | head`: click ends quietly
            raise
        except (InputError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="asd")
def main() -> None:
    """Anomalous sound detection for machines: the tools beside the notebooks."""


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--train-source", default=24, help="Normal source clips to train on, per section.")
@click.option("--train-target", default=3, help="Normal target clips to train on, per section.")
@click.option("--test", default=16, help="Normal test clips, and as many anomalous ones, per section and domain.")
@click.option("--duration", default=2.0, help="Length of a clip in seconds.")
@click.option("--seed", default=0, help="Other seeds make other clips of the same machines.")
def mini(directory: Path, **options: Any) -> None:
    """Make the embedded data set in DIRECTORY: seven machine types in the challenge's layout, from simple physics."""
    from asd.demo.dataset import make

    click.echo(make(directory, **options))


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--machines", multiple=True, help="A machine type; may be repeated; all seven by default.")
@click.option(
    "--parts", multiple=True, help="dev, eval_train, eval_test or ground_truth; may be repeated; all by default."
)
def download(directory: Path, machines: tuple[str, ...], parts: tuple[str, ...]) -> None:
    """Download the challenge's data, or what is missing of it, into DIRECTORY; 17.7 GiB when unzipped."""
    from asd.challenge.download import download as fetch

    done = fetch(directory, machines, parts)
    click.echo(f"{directory}: {', '.join(done) + ' delivered' if done else 'all of it is there'}")


@main.command()
@click.argument("team_dir", type=click.Path(file_okay=False, path_type=Path))
@click.option("--ground-truth", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
def evaluate(team_dir: Path, ground_truth: Path, out: Path) -> None:
    """Evaluate a team's submission folder as the challenge's official evaluator does."""
    from asd.challenge.official import evaluate_team

    score = evaluate_team(team_dir, ground_truth, out)
    click.echo(f"official score {score:.6f}; all numbers in {out}")


@main.command()
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


@main.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Instead of ASD_DATA_ROOT or the embedded data set.")
@click.option("--output-root", type=click.Path(path_type=Path), help="Instead of ASD_OUTPUT_ROOT or outputs/.")
def doctor(data_root: Path | None, output_root: Path | None) -> None:
    """Check the set-up: versions, GPU, data, disk space, store; and say what to type next."""
    from asd.doctor import examine

    for what, finding in examine(data_root, output_root):
        click.echo(f"{what + ':':15}{finding}")
