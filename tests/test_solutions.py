"""Solutions of the exercises: there is one for each, and all of them run."""

import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from conftest import PROJECT

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


@pytest.mark.parametrize("name", LESSONS)
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
