"""The book: its worked example is a method like any other, and what it takes from the notebooks leads somewhere."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from asd.data.clips import clips_table
from asd.evaluation.decisions import decide
from asd.evaluation.results import measure
from asd.evaluation.score_table import COLUMNS, read_table
from asd.evaluation.tables import read_scores

PROJECT = Path(__file__).resolve().parents[1]


def module(path: str) -> ModuleType:
    """A Python file outside the package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, PROJECT / path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


gmm, prepare = module("examples/gmm.py"), module("book/prepare.py")


@pytest.fixture(scope="module")
def outputs(two_machines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the example writes for the fan."""
    output_root = tmp_path_factory.mktemp("outputs")
    gmm.run(two_machines, output_root, "fan")
    return output_root


def test_the_example_scores_every_clip_of_its_machine_type(outputs: Path, two_machines: Path) -> None:
    table = read_table(outputs / "scores" / "fan" / "gmm.csv")
    clips = clips_table(two_machines)
    assert list(table) == COLUMNS
    assert sorted(table["clip"]) == sorted(clips.loc[clips["machine_type"] == "fan", "path"])
    assert np.isfinite(table["score"]).all()


def test_the_example_takes_part_in_evaluation_and_decisions(outputs: Path) -> None:
    tables = read_scores(outputs, "fan")
    assert set(tables) == {"gmm"}
    cells, means, _ = measure(tables, resamples=20, seed=0)
    test = tables["gmm"].query("split == 'test' and section == 0 and domain == 'source'")
    cell = cells.query("section == 0 and domain == 'source'")["auc"].item()
    assert cell == pytest.approx(roc_auc_score(test["label"].astype(int), test["score"]))
    assert means["official_score"].notna().any()
    decided, _ = decide(tables["gmm"], false_alarm_rate=0.5)
    assert decided["p_value"].between(0, 1).all()


def test_the_example_fits_only_train_clips_that_are_not_held_out(
    outputs: Path, two_machines: Path, monkeypatch
) -> None:
    fitted = []

    class Mixture(gmm.GaussianMixture):
        def fit(self, z: np.ndarray) -> "Mixture":
            fitted.append(len(z))
            return super().fit(z)

    monkeypatch.setattr(gmm, "GaussianMixture", Mixture)
    table = read_table(gmm.run(two_machines, outputs, "fan"))
    train = table[table["split"] == "train"]
    assert (
        fitted == [6] * 6
    )  # five source clips, of which one is held out, and two target clips in each of six sections
    assert train.groupby("section")["held_out"].sum().tolist() == [1] * 6
    assert not table.loc[table["split"] == "test", "held_out"].any()


def test_links_of_notebooks_lead_to_pages_of_the_book() -> None:
    def written(link: str) -> str:
        return prepare.LINK.sub(lambda found: prepare.in_the_book(found, PROJECT / "notebooks", PROJECT), link)

    assert written("[a](02_features.ipynb)") == "[a](02_features.ipynb)"
    assert written("[a](../asd/evaluation/intervals.py)") == "[a](#asd.evaluation.intervals)"
    assert written("[a](../asd/demo/__init__.py)") == "[a](#asd.demo)"
    assert written("[a](../asd/demo)") == "[a](#asd.demo)"
    assert written("[a](../benchmarks/data.py)") == "[a](../../benchmarks/data.py)"
    assert written("[a](../book/glossary.md#term)") == "[a](../glossary.md#term)"
    assert written("[a](https://arxiv.org/abs/1)") == "[a](https://arxiv.org/abs/1)"


def test_every_file_that_a_notebook_links_to_exists() -> None:
    for path in sorted((PROJECT / "notebooks").rglob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            for link in prepare.LINK.finditer("".join(cell["source"])) if cell["cell_type"] == "markdown" else ():
                assert (path.parent / link[1]).exists(), f"{path.name}: {link[0]}"


def test_cells_tagged_solution_are_folded_and_their_headings_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    cells = [
        {"cell_type": "markdown", "metadata": {"tags": ["solution"]}, "source": ["## Why?\n", "\n", "The *answer*."]},
        {"cell_type": "markdown", "metadata": {"tags": ["solution"]}, "source": ["## And this?"]},
        {"cell_type": "code", "metadata": {"tags": ["solution"]}, "source": ["1 + 1"], "outputs": []},
        {"cell_type": "code", "metadata": {}, "source": ["2"], "outputs": []},
    ]
    (folder / "01.ipynb").write_text(json.dumps({"cells": cells}))
    prepare.notebooks(tmp_path, tmp_path / "book")
    text, heading, code, other = json.loads((tmp_path / "book" / "notebooks" / "01.ipynb").read_text())["cells"]
    folded = r"<details><summary>Solution</summary>\n\nThe \*answer\*\.\n\n</details>"
    assert re.fullmatch(rf"## Why\?\n\n{folded}", text["source"]) and heading["source"] == "## And this?"
    assert "hide-cell" in code["metadata"]["tags"] and "tags" not in other["metadata"]


def test_every_solution_is_folded() -> None:
    for path in sorted((PROJECT / "notebooks" / "solutions").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        first = next(i for i, cell in enumerate(cells) if "".join(cell["source"]).startswith("## Exercise"))
        assert all("solution" in cell["metadata"].get("tags", []) for cell in cells[first:]), path.name


def test_the_landing_page_plays_a_normal_and_an_anomalous_clip(tmp_path: Path) -> None:
    prepare.sounds_and_pictures(PROJECT, tmp_path)
    sounds = [(tmp_path / "_static" / "landing" / f"{name}.wav").read_bytes() for name in ("normal", "anomalous")]
    assert all(sound.startswith(b"RIFF") for sound in sounds) and sounds[0] != sounds[1]
    assert all(
        (tmp_path / "landing" / name).read_bytes().startswith(b"\x89PNG") for name in ("clips.png", "scores.png")
    )
