"""The project's three lists of dependencies agree and contain nothing superfluous."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import nbformat
import pytest
import yaml
from conftest import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asd.demo.dataset import make

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
DIRECT = {
    group: {canonicalize_name(Requirement(line).name) for line in lines}
    for group, lines in {"run": PYPROJECT["dependencies"], **PYPROJECT["optional-dependencies"]}.items()
}
# used as commands or plugins, so there is no import of them
COMMANDS = {"jupyterlab", "papermill", "nbval", "ipykernel", "mypy", "ruff", "pytest", "pytest-xdist", "snakemake"}
COMMANDS |= {"types-pyyaml", "types-requests"}  # for mypy
COMMANDS |= {"onnxscript"}  # for torch.onnx
COMMANDS |= {"myst-nb", "sphinx-book-theme"}  # for sphinx


def pins() -> dict[str, str]:
    lines = [line for line in (PROJECT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def closure(names: set[str]) -> set[str]:
    """All distributions that ``names`` require here, including themselves."""
    found, todo = set(), [(name, frozenset()) for name in names]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        found.add(name)
        for requirement in map(Requirement, lines):
            applies = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in ["", *extras]
            )
            if applies:
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


def test_every_dependency_is_pinned_and_no_other_package():
    needed = closure(set.union(*DIRECT.values()))
    # what torch requires on a machine with a GPU is pinned by torch itself
    installed = {name for name in needed if not name.startswith(("nvidia-", "cuda-", "triton"))} - {"setuptools", "pip"}
    assert installed - set(pins()) == set(), "needed but not pinned"
    assert set(pins()) - installed == set(), "pinned but not needed"


def test_what_the_user_asked_for_is_a_dependency():
    asked = "jupyterlab papermill torch torchaudio librosa matplotlib seaborn scikit-learn mlflow nbval"
    assert set(asked.split()) <= DIRECT["run"]


def test_conda_installs_the_project_with_the_same_pins():
    environment = yaml.safe_load((PROJECT / "environment.yaml").read_text())
    python, pip, by_pip = environment["dependencies"]
    assert re.fullmatch(r">=(\d\.\d+),<.*", PYPROJECT["requires-python"])[1] == python.removeprefix("python=")
    assert pip == "pip"
    assert by_pip["pip"] == ["--constraint constraints.txt", "--editable .[test]"]


def imported(*folders: str) -> set[str]:
    """Distributions that the Python files and notebooks in these folders import."""
    paths = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    sources = [path.read_text() for path in paths]
    for path in (path for folder in folders for path in (PROJECT / folder).glob("*.ipynb")):
        sources += [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    modules = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(node.module.partition(".")[0])
    known = packages_distributions()
    # some modules come in several distributions: the one of the same name is meant
    return {
        canonicalize_name(module if module in known[module] else known[module][0]) for module in modules & set(known)
    }


def test_every_direct_dependency_is_used():
    used = imported("asd", "notebooks", "tests", "benchmarks", "workflow", "book")
    assert set.union(*DIRECT.values()) - used - COMMANDS == set()


def test_every_import_of_package_and_notebooks_is_a_direct_dependency():
    assert imported("asd", "notebooks") - {"asd"} - DIRECT["run"] == set()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package from its wheel, in a folder of its own, far from the checkout."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")  # a copy, as building writes into the folder
    for name in ("asd", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "--wheel-dir", str(wheels), str(source)], check=True)
    subprocess.run([*pip, "install", *options, "--target", str(site), *map(str, wheels.iterdir())], check=True)
    return site


def test_the_wheel_holds_every_room_and_data_file(installed):
    def files(root: Path) -> set[str]:
        found = {str(path.relative_to(root)) for path in (root / "asd").rglob("*") if path.is_file()}
        return {name for name in found if "__pycache__" not in name}

    assert files(installed) == files(PROJECT)


def test_an_installed_copy_examines_the_machine_and_runs_a_notebook(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed), "ASD_OUTPUT_ROOT": str(tmp_path / "outputs")}
    run = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    code = "import asd.cli; print(asd.__file__); asd.cli.main(['doctor'])"
    doctor = run([sys.executable, "-c", code])
    assert doctor.returncode == 0, doctor.stderr
    assert doctor.stdout.startswith(str(installed))
    assert "versions:" in doctor.stdout
    notebook = PROJECT / "notebooks" / "02_features.ipynb"
    shutil.copy(notebook, tmp_path)
    make(tmp_path / "data", machine_types=["fan"], train_source=2, train_target=1, test=1, duration=1.0)
    command = ["papermill", "--no-progress-bar", notebook.name, "out.ipynb", "-r", "data_root", str(tmp_path / "data")]
    executed = run([sys.executable, "-m", *command])
    assert executed.returncode == 0, executed.stderr
