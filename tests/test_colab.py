"""Links and cells for Colab: written with any address, taken out without a trace, and of no effect elsewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import papermill
import pytest
from conftest import PROJECT

sys.path.insert(0, str(PROJECT / "workflow"))
import colab
from refresh import LESSONS, NOTEBOOKS, SOLUTIONS, code_digest, execute, is_stale

ADDRESS = "https://github.com/somebody/some.thing"
LINK = re.compile(r"\[Open in Colab\]\(https://colab\.research\.google\.com/github/(.+?)/blob/(.+?)/(notebooks/.+?)\)")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.ipynb"))}


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    """A copy of all notebooks, as they are without an address."""
    folder = shutil.copytree(NOTEBOOKS, tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    colab.main(["--remove"], folder)
    return folder


@pytest.fixture
def published(notebooks: Path) -> Path:
    colab.main([ADDRESS], notebooks)
    return notebooks


def cell_of(path: Path) -> nbformat.NotebookNode:
    """The only cell that is meant for Colab."""
    (cell,) = [cell for cell in nbformat.read(path, as_version=4).cells if "colab" in cell.metadata.get("tags", [])]
    return cell


def test_each_notebook_links_to_itself_in_the_repository(published):
    paths = sorted(published.rglob("*.ipynb"))
    assert len(paths) == len(LESSONS + SOLUTIONS)
    for path in paths:
        text = nbformat.read(path, as_version=4).cells[0].source
        ((repository, branch, inside),) = LINK.findall(text)
        assert (repository, branch) == ("somebody/some.thing", "main") and text.endswith(f"{inside})")
        assert (PROJECT / inside).is_file() and published.parent / inside == path


def test_removing_restores_every_byte(notebooks):
    before = contents(notebooks)
    colab.main([ADDRESS, "--branch", "v1"], notebooks)
    assert all(content != before[name] for name, content in contents(notebooks).items())
    colab.main(["--remove"], notebooks)
    assert contents(notebooks) == before


def test_a_second_call_changes_nothing_and_another_address_replaces_the_first(published):
    first = contents(published)
    colab.main([f"{ADDRESS}.git"], published)
    assert contents(published) == first
    colab.main(["https://github.com/another/place", "--branch", "v1"], published)
    texts = [content.decode() for content in contents(published).values()]
    assert not any("some.thing" in text for text in texts)
    assert all(text.count("[Open in Colab](") == 1 and "--branch=v1" in text for text in texts)


def test_outputs_stay_and_are_no_staler_than_before(published):
    for path in sorted(published.rglob("*.ipynb")):
        original, changed = (nbformat.read(p, as_version=4) for p in (NOTEBOOKS / path.relative_to(published), path))
        assert code_digest(changed) == code_digest(original) and is_stale(changed) == is_stale(original)
        others = [cell for cell in changed.cells[1:] if "colab" not in cell.metadata.get("tags", [])]
        assert others == [cell for cell in original.cells[1:] if "colab" not in cell.metadata.get("tags", [])]
        assert changed.metadata == original.metadata
        nbformat.validate(changed)


def test_papermill_finds_the_parameters(published):
    name = "solutions/06_evaluation.ipynb"
    found = papermill.inspect_notebook(published / name)
    assert found and found == papermill.inspect_notebook(NOTEBOOKS / name)


def test_the_cell_comes_before_the_parameters_and_does_nothing_elsewhere(published, monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    before = (list(sys.path), os.getcwd())
    for path in sorted(published.rglob("*.ipynb")):
        tags = [cell.metadata.get("tags", []) for cell in nbformat.read(path, as_version=4).cells]
        assert tags.index(["parameters"]) - tags.index(["colab", "remove-cell"]) == 1
        exec(cell_of(path).source, {})
    assert (list(sys.path), os.getcwd()) == before


def test_in_colab_the_cell_fetches_the_project_and_installs_it(published, monkeypatch):
    commands, folders = [], []
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr(os, "chdir", folders.append)
    exec(cell_of(published / LESSONS[0].name).source, {})
    clone, install = commands
    assert clone[:2] == ["git", "clone"] and clone[-2:] == [ADDRESS, "/content/some.thing"] and "--branch=main" in clone
    assert install[0] == sys.executable and install[-2:] == ["--editable", ".[course]"]
    assert folders == ["/content/some.thing"] and sys.path[0] == "/content/some.thing"


def test_the_cell_passes_the_project_s_lint(published):
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--config", str(PROJECT / "pyproject.toml"), "--ignore", "E402,I001"]  # as pyproject.toml does
    path = str(published / "02_features.ipynb")
    subprocess.run([*ruff, "check", *options, path], check=True)
    subprocess.run([*ruff, "format", "--check", *options[:2], path], check=True)


def test_refreshing_leaves_the_cell_alone(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("# Head"), nbformat.v4.new_code_cell("n: int = 1")]
    cells[1].metadata["tags"] = ["parameters"]
    path = tmp_path / "any.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("n + 1")]), path)
    notebook = json.loads(path.read_text())
    colab.put_in(notebook["cells"], Path("notebooks/any.ipynb"), "somebody", "something", "main")
    path.write_text(json.dumps(notebook))
    executed = execute(path)
    assert [cell.execution_count for cell in executed.cells if cell.cell_type == "code"] == [None, 1, 2]
    assert not is_stale(executed) and executed.cells[3].outputs[0].data["text/plain"] == "2"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["https://gitlab.com/a/b"],
        ["https://github.com/a"],
        [ADDRESS, "--remove"],
        ["https://github.com/a/b/tree/c"],
    ],
)
def test_anything_but_an_address_on_github_or_remove_is_refused(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit):
        colab.main(arguments, tmp_path)
    assert "https://github.com/OWNER/REPOSITORY, or --remove" in capsys.readouterr().err
