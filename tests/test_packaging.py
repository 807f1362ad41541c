"""The project's three lists of dependencies agree, and nothing stands in them that nobody needs."""

import ast
import re
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import nbformat
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
    # some modules come in several distributions: the one named alike is meant
    return {
        canonicalize_name(module if module in known[module] else known[module][0]) for module in modules & set(known)
    }


def test_every_direct_dependency_is_used():
    used = imported("asd", "notebooks", "tests", "benchmarks", "workflow")
    assert set.union(*DIRECT.values()) - used - COMMANDS == set()


def test_every_import_of_package_and_notebooks_is_a_direct_dependency():
    assert imported("asd", "notebooks") - {"asd"} - DIRECT["run"] == set()
