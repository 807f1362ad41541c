"""The project's three lists of dependencies agree, and nothing stands in them that nobody needs."""

import ast
import re
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
import yaml
from conftest import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
DIRECT = {
    group: {canonicalize_name(Requirement(line).name) for line in lines}
    for group, lines in {"run": PYPROJECT["dependencies"], **PYPROJECT["optional-dependencies"]}.items()
}
# used as commands or plugins, so that no import shows it
COMMANDS = {"jupyterlab", "papermill", "nbval", "ipykernel", "ruff", "pytest", "pytest-xdist", "snakemake"}


def pins() -> dict[str, str]:
    lines = [line for line in (PROJECT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def closure(names: set[str]) -> set[str]:
    """All distributions that ``names`` need here, themselves included."""
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
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in ["", *extras]
            )
            if wanted:
                todo.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


def test_every_dependency_is_pinned_and_no_other_package():
    needed = closure(set.union(*DIRECT.values()))
    # what torch brings on a machine with a GPU is pinned by torch itself
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


def imported() -> set[str]:
    """Distributions that the package, the notebooks and the tests import."""
    sources = [path.read_text() for folder in ("asd", "tests", "benchmarks") for path in (PROJECT / folder).rglob("*.py")]
    for notebook in (PROJECT / "notebooks").glob("*.ipynb"):
        cells = yaml.safe_load(notebook.read_text())["cells"]
        sources += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    modules = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(node.module.partition(".")[0])
    known = packages_distributions()
    return {canonicalize_name(known[module][0]) for module in modules if module in known}


def test_every_direct_dependency_is_used():
    assert set.union(*DIRECT.values()) - imported() - COMMANDS == set()


@pytest.mark.parametrize("folder", ["asd"])
def test_every_import_of_the_package_is_a_direct_dependency(folder):
    modules = set()
    for path in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.partition(".")[0])
    known = packages_distributions()
    used = {canonicalize_name(known[module][0]) for module in modules if module in known}
    assert used - {"asd"} <= DIRECT["run"]
