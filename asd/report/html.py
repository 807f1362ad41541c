"""One HTML file that shows it all: leaderboard, metrics, curves, and the worst misses to look at and to listen to.

The file is self-contained: pictures and sounds are embedded as data URIs, nothing is fetched from anywhere, so it can
be sent by mail and read in ten years. Shares and scores are in percent throughout.
"""

import base64
import io
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asd.data.features import FeatureSettings, as_float, log_mel
from asd.data.recordings import read_recording
from asd.errors import InputError
from asd.evaluation.results import Evaluation
from asd.files import replacing
from asd.plots import common as plots
from asd.plots import decisions as decision_plots
from asd.plots import evaluation as evaluation_plots
from asd.plots.explanations import Explained, explanation_picture
from asd.report import leaderboard
from asd.report.grids import PERCENT, board_grid, cells_grid, grid, means_grid
from asd.report.in_short import WORDS, is_synthetic, methods_in_words, percent, three_sentences

PER_KIND = 2  # clips that are shown of missed anomalies and of false alarms, per machine type
Explain = Callable[[Mapping[str, Any]], np.ndarray | None]  # a clip's explanation (N, n_mels), None without detector


def embedded(figure: Figure) -> str:
    """The figure as a data URI (PNG); it is closed, so that a notebook does not show it as well."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def worst(table: pd.DataFrame, limits: pd.DataFrame) -> list[dict[str, Any]]:
    """The clips on the wrong side of the alarm threshold, the farthest first: missed anomalies, then false alarms.

    Args:
        table: a run's score table with decisions, one machine type.
        limits: its rows of :func:`asd.evaluation.results.add_decisions`.

    Returns:
        Up to ``PER_KIND`` of each: kind, clip, section, domain, score, threshold, run_id.
    """
    train = table[table["split"] == "train"].groupby("section")["score"]
    scale = train.std(ddof=0).replace(0, 1.0)
    threshold = limits.set_index("section")["alarm_above"]
    test = table[(table["split"] == "test") & table["label"].notna()]
    test = test.assign(threshold=test["section"].map(threshold))
    beyond = (test["score"] - test["threshold"]) / test["section"].map(scale)
    relative = (test["score"] - test["section"].map(train.mean())) / test["section"].map(scale)
    test["excess"] = beyond.where(np.isfinite(beyond), relative)  # where no clip can alarm
    missed = test[(test["label"] == 1) & (test["decision"] == 0)].nsmallest(PER_KIND, "excess")
    alarms = test[(test["label"] == 0) & (test["decision"] == 1)].nlargest(PER_KIND, "excess")
    columns = ["clip", "section", "domain", "score", "threshold", "run_id"]
    return [
        {"kind": kind, **row}
        for kind, misses in (("missed anomaly", missed), ("false alarm", alarms))
        for row in misses[columns].to_dict("records")
    ]


def seen_and_heard(
    clip: dict[str, Any], data_root: Path, features: FeatureSettings, explain: Explain | None
) -> dict[str, Any]:
    """Add ``picture`` (spectrogram, above its explanation if there is one) and ``sound`` as data URIs.

    Where the recording cannot be used, add ``fault`` instead. ``explained`` says whether there is an explanation.
    """
    path = data_root / clip["clip"]
    try:
        frames = log_mel(as_float(read_recording(path, features.sample_rate)), features)
        sound = base64.b64encode(path.read_bytes()).decode()
        explanation = None if explain is None else explain(clip)
    except InputError as error:
        return clip | {"fault": str(error).replace(f"{data_root}/", "")}  # no path of this machine in what is sent
    explained = explanation is not None and explanation.shape == frames.shape
    if explanation is not None and explained:
        figure = explanation_picture([Explained("", frames.numpy(), explanation)], features, width=5)
    else:
        figure, ax = plt.subplots(figsize=(4.6, 2.6))
        plots.spectrogram(ax, frames, features)
    sound = f"data:audio/wav;base64,{sound}"
    return clip | {"picture": embedded(figure), "sound": sound, "explained": explained}


def machine_section(
    machine_type: str,
    run_name: str,
    evaluation: Evaluation,
    data_root: Path,
    features: FeatureSettings,
    explain: Explain | None,
) -> dict[str, Any]:
    """What the report says about a machine type: all its runs in a table, ``run_name`` in pictures and sounds."""
    tables = evaluation.of(machine_type)
    limits = evaluation.limits_of(machine_type, run_name)
    cells, means = evaluation.cells_of(machine_type, run_name), evaluation.means
    misses = [seen_and_heard(clip, data_root, features, explain) for clip in worst(tables[run_name], limits)]
    return {
        "name": machine_type,
        "run": run_name,
        "runs": list(tables),
        "means": means_grid(means[means["machine_type"] == machine_type]),
        "cells": cells_grid(cells),
        "undefined": cells.loc[cells["auc"].isna(), ["section", "domain"]].to_dict("records"),
        "roc": embedded(evaluation_plots.roc_curves(tables[run_name], cells)),
        "scores": embedded(decision_plots.thresholds(tables[run_name], limits)),
        "worst": [clip for clip in misses if "fault" not in clip],
        "explained": any(clip.get("explained") for clip in misses),
        "faults": [clip["fault"] for clip in misses if "fault" in clip],
    }


def write_report(
    path: Path,
    evaluation: Evaluation,
    final: str,
    data_root: Path,
    features: FeatureSettings,
    further: Mapping[str, pd.DataFrame] | None = None,
    explain: Explain | None = None,
) -> Path:
    """Write the report.

    Args:
        path: of the HTML file.
        evaluation: of all runs, see :func:`asd.evaluation.results.evaluate`.
        final: run name that is shown in detail for the machine types that it has scores of; elsewhere the first run.
        data_root: where the clips lie.
        features: of the spectrograms.
        further: more tables, by title.
        explain: returns the explanation of a clip of :func:`worst`.
    """
    tables, means, facts = evaluation.tables, evaluation.means, evaluation.facts
    machine_types = sorted({m for table in tables.values() for m in table["machine_type"].unique()})
    sections = []
    for machine_type in machine_types:
        available = evaluation.of(machine_type)
        run_name = final if final in available else next(iter(available))
        sections.append(machine_section(machine_type, run_name, evaluation, data_root, features, explain))
    board = leaderboard.leaderboard(tables, means, facts)
    beside = leaderboard.beside_baseline(board, leaderboard.by_machine_type(tables, means, facts, "dev"))
    parts = [
        {
            "name": part,
            "board": board_grid(board, part),
            "heat": heat_picture(leaderboard.by_machine_type(tables, means, facts, part), part),
        }
        for part in sorted(set(board["part"]))
    ]
    published = leaderboard.published(board)
    notes = [*leaderboard.missing(tables), *evaluation.notes]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html.j2").render(
        now=f"{datetime.now():%d %B %Y, %H:%M}",
        data=data_root.resolve().name,
        synthetic=is_synthetic(data_root),
        in_short=three_sentences(evaluation, final),
        words=WORDS,
        methods=methods_in_words(dict.fromkeys(table["method"].iloc[0] for table in tables.values())),
        n_runs=len(tables),
        machines=sections,
        parts=parts,
        beside=heat_picture(beside, "dev"),
        published=grid(published, {"official score": PERCENT, "spread": PERCENT}),
        any_comparable=bool((published["whose"] == "ours").any()),
        notes=[note.replace(f"{data_root}/", "") for note in dict.fromkeys(notes)],
        false_alarm_rate=percent(evaluation.false_alarm_rate),
        further={title: grid(frame, {}) for title, frame in (further or {}).items()},
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def heat_picture(values: pd.DataFrame, part: str) -> str:
    """The heat map of one part, empty where there is nothing to show."""
    return "" if values.empty else embedded(evaluation_plots.heat_map(values, part))
