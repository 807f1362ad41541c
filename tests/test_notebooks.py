"""The outputs in the committed notebooks come from the code beside them."""

import sys

import nbformat
import pytest
from conftest import PROJECT

sys.path.insert(0, str(PROJECT / "workflow"))
from refresh import code_digest, is_stale

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("0*.ipynb"))


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
