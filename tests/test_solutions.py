"""Solutions of the exercises: there is one for each, and all of them run."""

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from conftest import PROJECT
from score_tables import run_table, write_scores

from asd.data.clips import clips_table

SOLUTIONS = PROJECT / "notebooks" / "solutions"
LESSONS = ["01_exploration", "02_features", "03_aux", "04_ccsa", "05_density"]
TRAINING = {"sections": [0, 1], "max_epochs": 1, "validation_fraction": 0.2, "batch_size": 8}
CHANGES = {
    "03_aux": TRAINING | {"base_channels": 2},
    "04_ccsa": TRAINING | {"base_channels": 2},
    "05_density": TRAINING | {"hidden_size": 16},
}


def cells(path: Path, kind: str) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("name", [*LESSONS, "06_evaluation"])
def test_every_exercise_has_a_solution_and_says_how_long_it_takes(name):
    texts = cells(PROJECT / "notebooks" / f"{name}.ipynb", "markdown")
    (exercises,) = [text for text in texts if "# Exercises" in text]
    exercises = exercises.partition("# Exercises")[2].partition("\n## ")[0]
    asked = re.findall(r"^(\d+)\. (\*\(.+?\)\*)?", exercises, re.M)
    solved = re.findall(r"^## Exercise (\d+)", "\n".join(cells(SOLUTIONS / f"{name}.ipynb", "markdown")), re.M)
    assert [number for number, _ in asked] == solved
    assert all(duration for _, duration in asked)
    assert f"(solutions/{name}.ipynb)" in exercises


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> Path:
    """One store of log-mels for all solutions."""
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize("name", LESSONS)
def test_a_solution_runs(name, two_machines, outputs, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # solutions add to it
    given = {"machine_type": "fan", "data_root": str(two_machines), "output_root": str(outputs)}
    namespace: dict = {}
    for source in cells(SOLUTIONS / f"{name}.ipynb", "code"):
        exec(compile(source, name, "exec"), namespace)
        if source.startswith("# Parameters"):
            namespace |= given | {"changes": CHANGES.get(name, {})}
    assert not (outputs / "scores").exists()
    plt.close("all")


def test_the_solutions_of_06_take_score_tables_and_nothing_else(two_machines, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    clips = clips_table(two_machines).query("machine_type == 'fan' and section < 3").reset_index(drop=True)
    for seed, name in enumerate(("aux", "aux_1", "aux_alone")):
        held_out = (clips["split"] == "train") & (clips["domain"] == "source") & (clips.index % 2 == 0)
        write_scores(run_table(clips, name, seed, held_out=held_out), tmp_path)
    namespace: dict = {}
    for source in cells(SOLUTIONS / "06_evaluation.ipynb", "code"):
        exec(compile(source, "06", "exec"), namespace)
        if source.startswith("# Parameters"):
            namespace |= {"data_root": str(two_machines), "output_root": str(tmp_path)}
            namespace |= {"changes": {"resamples": 100}}
    said = capsys.readouterr().out
    assert "min: " in said and "dev: standard deviation over 2 seeds" in said and "points (" in said
    assert "First: " not in said
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]
