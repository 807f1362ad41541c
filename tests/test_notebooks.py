"""The outputs in the committed notebooks come from the code beside them."""

import json
import sys

import nbformat
import pytest
from conftest import PROJECT

sys.path.insert(0, str(PROJECT / "workflow"))
from refresh import code_digest, is_stale, normal_metadata, normalise

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("0*.ipynb"))
SOLUTIONS = sorted((PROJECT / "notebooks").glob("solutions/*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_outputs_are_those_of_the_code(path):
    assert not is_stale(nbformat.read(path, as_version=4)), f"{path.name}: edited, run `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
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


@pytest.mark.parametrize("path", NOTEBOOKS + SOLUTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
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
