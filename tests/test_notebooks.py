"""The outputs in the committed notebooks come from the code beside them."""

import json
import re
import sys

import nbformat
import pytest
from conftest import PROJECT

sys.path.insert(0, str(PROJECT / "workflow"))
from refresh import EXERCISES, LESSONS, SOLUTIONS, code_digest, is_stale, needed, normal_metadata, normalise

every_notebook = pytest.mark.parametrize(
    "path", LESSONS + SOLUTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)


@every_notebook
def test_the_outputs_are_those_of_the_code(path):
    assert not is_stale(nbformat.read(path, as_version=4)), f"{path}: edited, run python workflow/refresh.py {path}"


@every_notebook
def test_no_output_is_an_error(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells for output in cell.outputs if output.output_type == "error"] == []


def test_a_changed_cell_and_a_wrong_order_make_outputs_stale():
    cells = [nbformat.v4.new_code_cell(source, execution_count=i + 1) for i, source in enumerate("ab")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    assert is_stale(notebook)
    notebook.metadata["asd"] = {"code": code_digest(notebook)}
    assert not is_stale(notebook)
    cells[0].execution_count = 3
    assert is_stale(notebook)
    cells[0].execution_count = 1
    cells[1].source = "c"
    assert is_stale(notebook)


def test_a_solution_is_executed_after_the_notebooks_up_to_its_own():
    last = SOLUTIONS[2]
    assert last.name.startswith("03")
    assert needed([last]) == [*LESSONS[:3], last]
    assert needed([LESSONS[1]]) == LESSONS[:2]
    assert needed([*LESSONS, *SOLUTIONS]) == [*LESSONS, *SOLUTIONS]


def test_the_solution_of_06_compares_the_runs_that_are_made_for_it():
    lesson, solution = (next(path for path in paths if path.stem == "06_evaluation") for paths in (LESSONS, SOLUTIONS))
    compared = set(re.findall(r'"(aux_\w+)"', solution.read_text().replace("\\", "")))
    assert {parameters["run_name"] for parameters in EXERCISES} == compared
    assert "-p proxy_outliers none -p run_name aux_alone" in lesson.read_text()


@every_notebook
def test_jupyterlab_has_nothing_to_complete(path):
    metadata = json.loads(path.read_text())["metadata"]
    expected = normal_metadata(metadata)
    for language in (metadata["language_info"], expected["language_info"]):
        language["version"] = "any"
    assert metadata == expected, f"{path.name}: python workflow/refresh.py --normalise {path}"


def test_completing_the_metadata_changes_nothing_else(tmp_path):
    path = tmp_path / "any.ipynb"
    cells = [nbformat.v4.new_markdown_cell("é", id="a"), nbformat.v4.new_code_cell("1", id="b", execution_count=7)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"asd": {"code": "0"}}), path)
    before = json.loads(path.read_text())
    assert normalise(path) and not normalise(path)
    after = json.loads(path.read_text())
    assert after["metadata"]["asd"] == {"code": "0"} and after["metadata"]["kernelspec"]["name"] == "python3"
    assert {**after, "metadata": None} == {**before, "metadata": None}
