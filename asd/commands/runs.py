"""``asd runs``: which trained detectors there are."""

from pathlib import Path

import click


@click.command()
@click.option("--machine-type", help="Only runs of this machine type.")
@click.option("--output-root", type=click.Path(path_type=Path), help="Instead of ASD_OUTPUT_ROOT or outputs/.")
def runs(machine_type: str | None, output_root: Path | None) -> None:
    """List the finished runs: what `asd score` takes as DETECTOR.

    A name, <machine type>/<run name>, stands for the run that wrote the score table of this name; where others have the
    same name, they are listed in brackets and are reached by their run id. The official score is that of the labelled
    test clips (development and evaluation sections apart), in percent.
    """
    from asd.errors import InputError
    from asd.paths import absolute, default_output_root
    from asd.tracking.mlflow_store import store_uri
    from asd.tracking.named import finished_runs, official_scores

    root = absolute(output_root or default_output_root())
    found = finished_runs(root)
    known = sorted({run.machine_type for run in found})
    if machine_type is not None and found and machine_type not in known:
        raise InputError(f"--machine-type: no finished run of {machine_type!r}; allowed: {', '.join(known)}")
    if not found:
        train = machine_type or "fan"
        raise InputError(
            f"no finished runs in the store {store_uri(root)}; train one: make run MACHINES={train}, or"
            f" papermill notebooks/05_density.ipynb out.ipynb -p machine_type {train}"
        )
    rows = [("name", "method", "seed", "settings", "official score", "finished", "run id")]
    for run in found:
        if machine_type in (None, run.machine_type):
            name = run.name if run.named else f"[{run.name}]"
            scores = ", ".join(f"{part} {100 * score:.1f}" for part, score in official_scores(run, root))
            date = f"{run.finished:%Y-%m-%d %H:%M}"
            rows.append((name, run.method, run.seed, run.settings, scores or "-", date, run.run_id))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
