"""The command line: everything that is not a lesson. ``asd --help`` lists it."""

from pathlib import Path
from typing import Any

import click

from asd.commands.export import export
from asd.commands.runs import runs
from asd.commands.score import score
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
@click.option("--data-root", type=click.Path(path_type=Path), help="Instead of ASD_DATA_ROOT or the embedded data set.")
@click.option("--output-root", type=click.Path(path_type=Path), help="Instead of ASD_OUTPUT_ROOT or outputs/.")
def doctor(data_root: Path | None, output_root: Path | None) -> None:
    """Check the set-up: versions, GPU, data, disk space, store; and say what to type next."""
    from asd.doctor import examine

    for what, finding in examine(data_root, output_root):
        click.echo(f"{what + ':':15}{finding}")


main.add_command(export)
main.add_command(runs)
main.add_command(score)
