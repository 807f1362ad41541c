"""The project's three lists of dependencies agree and contain nothing superfluous."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import nbformat
import numpy as np
import pytest
import soundfile
import yaml
from conftest import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asd import doctor
from asd.demo.dataset import make

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
DIRECT = {  # an extra that includes others names the project itself
    group: {canonicalize_name(Requirement(line).name) for line in lines} - {"asd"}
    for group, lines in {"light": PYPROJECT["dependencies"], **PYPROJECT["optional-dependencies"]}.items()
}
COURSE = DIRECT["light"] | DIRECT["tracking"] | DIRECT["course"]
# used as commands or plugins, so there is no import of them
COMMANDS = {"jupyterlab", "papermill", "nbval", "ipykernel", "mypy", "ruff", "pytest", "pytest-xdist", "snakemake"}
COMMANDS |= {"types-pyyaml", "types-requests"}  # for mypy
COMMANDS |= {"onnxscript"}  # for torch.onnx
# of the extra [pretrained], imported by name; `make test` installs the first where there is a wheel for the machine
ENCODERS = {"pyopen-wakeword", "transformers"}
MAY_BE_ABSENT = ENCODERS | {"hf-xet", "huggingface-hub", "regex", "safetensors", "tokenizers"}
COMMANDS |= {"myst-nb", "sphinx-book-theme"}  # for sphinx
INSTALLER = {"uv"}  # which the Makefile installs the others with


def pins() -> dict[str, str]:
    """The pins that apply to this Python."""
    lines = [line for line in (PROJECT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    requirements = [Requirement(line) for line in lines]
    applying = [r for r in requirements if r.marker is None or r.marker.evaluate()]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in applying}


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
    needed = closure(set.union(*DIRECT.values())) | INSTALLER
    # what torch requires on a machine with a GPU is pinned by torch itself
    installed = {name for name in needed if not name.startswith(("nvidia-", "cuda-", "triton"))} - {"setuptools", "pip"}
    assert installed - set(pins()) == set(), "needed but not pinned"
    assert set(pins()) - installed - MAY_BE_ABSENT == set(), "pinned but not needed"


def test_what_the_user_asked_for_is_a_dependency():
    asked = "jupyterlab papermill torch torchaudio librosa matplotlib seaborn scikit-learn mlflow"
    assert set(asked.split()) <= COURSE
    assert "nbval" in DIRECT["test"]


def test_a_light_installation_has_neither_notebooks_nor_graph_nor_store():
    heavy = "jupyterlab notebook ipykernel ipython papermill snakemake mlflow librosa numba scikit-learn onnx"
    assert closure(DIRECT["light"]) & set(heavy.split()) == set()


def test_lower_bounds_of_the_light_installation_are_met_by_the_pins():
    for requirement in map(Requirement, PYPROJECT["dependencies"]):
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])
        assert [specifier.operator for specifier in requirement.specifier] == [">="]


def test_conda_installs_the_project_with_the_same_pins():
    environment = yaml.safe_load((PROJECT / "environment.yaml").read_text())
    python, pip, by_pip = environment["dependencies"]
    assert PYPROJECT["requires-python"] == f">={python.removeprefix('python=')}"
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
    assert set.union(*DIRECT.values()) - used - COMMANDS - ENCODERS == set()


def test_every_import_of_package_and_notebooks_is_a_direct_dependency():
    assert imported("asd", "notebooks") - {"asd"} - COURSE - DIRECT["export"] == set()


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


# In a process without the modules that only extras bring: `asd` with one given list of arguments after another
LIGHT = """
import json, sys
absent, calls = json.loads(sys.argv[1])
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import asd.cli
print(asd.__file__)
for call in calls:
    try:
        asd.cli.main(call)
    except SystemExit as end:
        print("exit code", end.code, flush=True)
"""


def test_a_light_installation_scores_and_names_the_extra_that_anything_else_needs(installed, tmp_path):
    light, distributions = closure(DIRECT["light"]) | {"asd", "setuptools"}, packages_distributions()
    absent = [m for m, names in distributions.items() if not {canonicalize_name(name) for name in names} & light]
    assert {"mlflow", "IPython", "sklearn", "librosa", "onnx", "papermill", "jupyterlab"} <= set(absent)
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(scale=0.05, size=32000), 16000)
    detector = str(PROJECT / "tests" / "earlier" / "classifier.pt")
    calls = [
        ["score", detector, "noise.wav", "--section", "3", "--explain", "why.png"],
        ["doctor"],
        ["runs"],
        ["score", "fan/aux", "noise.wav"],
        ["export", detector, "fan.onnx"],
    ]
    environment = os.environ | {"PYTHONPATH": str(installed), "ASD_OUTPUT_ROOT": str(tmp_path / "outputs")}
    command = [sys.executable, "-c", LIGHT, json.dumps([absent, calls])]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    place, *printed = told.stdout.splitlines()
    assert place.startswith(str(installed)), told.stderr
    assert [line for line in printed if line.startswith("exit")] == [f"exit code {n}" for n in (0, 0, 1, 1, 1)]
    assert any(line.startswith("noise.wav,") for line in printed) and (tmp_path / "why.png").stat().st_size > 0
    assert any(line.startswith("versions:") for line in printed)
    errors = [line for line in told.stderr.splitlines() if line.startswith("Error: ")]
    extras = [re.search(r"pip install .*'\.\[(\w+)\]'$", line)[1] for line in errors]
    assert extras == ["tracking", "tracking", "export"]


def test_the_doctor_says_which_extras_are_missing(monkeypatch):
    def version(name: str) -> str:
        if name == "snakemake":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(doctor, "version", version)
    assert doctor.extras() == (
        "tracking (mlflow 1.0), course (jupyterlab 1.0), export (onnx 1.0), pretrained (transformers 1.0);"
        " not installed: graph"
    )
    assert set(doctor.EXTRAS) == set(DIRECT) - {"light", "book", "test"}
    assert all(package in DIRECT[extra] for extra, package in doctor.EXTRAS.items())


def test_a_notebook_runs_with_an_installed_copy(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed), "ASD_OUTPUT_ROOT": str(tmp_path / "outputs")}
    notebook = PROJECT / "notebooks" / "02_features.ipynb"
    shutil.copy(notebook, tmp_path)
    make(tmp_path / "data", machine_types=["fan"], train_source=2, train_target=1, test=1, duration=1.0)
    command = ["papermill", "--no-progress-bar", notebook.name, "out.ipynb", "-r", "data_root", str(tmp_path / "data")]
    executed = subprocess.run(
        [sys.executable, "-m", *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert executed.returncode == 0, executed.stderr


# ------------------------------------------------------------------------------------------------------- GitHub's files


def test_the_workflow_for_github_calls_targets_that_exist_on_every_supported_python():
    jobs = yaml.safe_load((PROJECT / ".github" / "workflows" / "test.yaml").read_text())["jobs"]
    targets = set(re.findall(r"^([a-z][a-z-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = [re.fullmatch(r"make ([a-z-]+)( [A-Z]+=\S.*)?", command.strip())[1] for command in commands]
    assert "test" in called and set(called) <= targets
    versions = [version for job in jobs.values() for version in job["strategy"]["matrix"]["python"]]
    assert versions == ["3.11", "3.12", "3.13"]


def test_the_citation_names_the_project_as_its_metadata_do():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert citation["license"] == PYPROJECT["license"]
    assert citation["title"] == f"{PYPROJECT['name']}: {PYPROJECT['description']}"
    assert citation["version"] == doctor.version("asd")
    assert all("title" in reference and reference["authors"] for reference in citation["references"])
