"""What a notebook knows about itself: its parameters, the name of its settings, the command that runs it again.

Names and values are taken from the source of its parameter cells. So variables that later cells define under the same
name do no harm, and a misspelt parameter, which papermill only logs, is found.
"""

import ast
import json
import shlex
import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import yaml
from pydantic import ValidationError

import asd
from asd.errors import InputError, needs_extra
from asd.notebook.groups import NOT_TRAINING, Parameters, RunParameters
from asd.paths import PROJECT, absolute

with needs_extra("course"):
    from IPython.display import display

warnings.filterwarnings("ignore", "IProgress not found")  # from tqdm, which MLflow and librosa import

COMPUTED = object()  # stands for a value that is not a literal
MARK = "# Parameters"  # the first line of a cell that papermill injects, and of our own parameter cells


def validated(model: type[Parameters], namespace: Mapping[str, Any]) -> Any:
    """Validate what the parameter cells of a notebook have set.

    Args:
        model: the parameters and what is allowed for each.
        namespace: the notebook's variables (``globals()``), including its history of executed cells (``In``).

    Returns:
        An instance of ``model``.

    Raises:
        InputError: an unknown name, a wrong type, an impossible value or combination; the message names the parameter,
            what was given and what is allowed.
    """
    cells = parameter_cells(namespace)
    given = {name: value for source in cells for name, value in assignments(source).items()}
    if not cells:  # not in a notebook
        given = {name: namespace[name] for name in model.model_fields if name in namespace}
    given = {name: namespace.get(name) if value is COMPUTED else value for name, value in given.items()}
    try:
        return model(**given)
    except ValidationError as error:
        raise InputError("\n".join(explanation(problem, model) for problem in error.errors())) from None


def explanation(problem: Mapping[str, Any], model: type[Parameters]) -> str:
    """What one of pydantic's errors means, the most important in the first line."""
    name = str(problem["loc"][0]) if problem["loc"] else "parameters"
    if problem["type"] == "extra_forbidden":
        nearest = "".join(f"; did you mean {other}?" for other in get_close_matches(name, model.model_fields, 1))
        return f"{name}: there is no such parameter{nearest}\n  allowed: {', '.join(model.model_fields)}"
    if problem["type"] == "missing":
        return f"{name}: is not set; run the cell with the parameters first"
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], str) and problem["type"] == "bool_type":
        message += "; allowed: True and False in exactly this spelling (papermill -p takes any other word as a string)"
    given = "" if not problem["loc"] else f" {problem['input']!r} is not allowed:"
    return f"{name}:{given} {message[0].lower()}{message[1:]}"


def parameter_cells(namespace: Mapping[str, Any]) -> list[str]:
    """Sources of the parameter cells that were executed last: the notebook's own, then the injected one, if any."""
    cells: list[str] = []
    for source in reversed(namespace.get("In", [])):
        if source.startswith(MARK):
            cells.insert(0, source)
            if any(isinstance(node, ast.AnnAssign) for node in ast.parse(source).body):  # the notebook's own
                return cells
    return cells


def assignments(source: str) -> dict[str, Any]:
    """Names that a cell assigns to, and their values where they are literals, else ``COMPUTED``.

    Example:
        >>> assignments('machine_type: str = "fan"  # as its folder is named\\nsections: list = [0, 3]')
        {'machine_type': 'fan', 'sections': [0, 3]}
        >>> assignments("seed = 40 + len(sections)")["seed"] is COMPUTED
        True
    """
    found: dict[str, Any] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                try:
                    found[target.id] = ast.literal_eval(node.value)
                except ValueError:
                    found[target.id] = COMPUTED
    return found


def defaults(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook's own parameter values, without what papermill has injected."""
    cells = parameter_cells(namespace)
    return assignments(cells[0]) if cells else {}


def settings_name(parameters: RunParameters, notebook: str, namespace: Mapping[str, Any]) -> str:
    """``demo`` for the notebook's defaults, ``dcase2021`` for the files in ``params/dcase2021``, else ``custom``."""
    own = defaults(namespace)
    varied = NOT_TRAINING | {"seed", "sections", "run_id", "architecture", "start", "backend"}
    chosen = {name: value for name, value in parameters.model_dump().items() if name not in varied}
    if all(own.get(name) == value for name, value in chosen.items()):
        return "demo"
    published = own | published_parameters(notebook, parameters)
    return "dcase2021" if all(published.get(name) == value for name, value in chosen.items()) else "custom"


def published_parameters(notebook: str, parameters: Parameters) -> dict[str, Any]:
    """The values that the files ``params/dcase2021/<notebook>[.<architecture>][.<machine_type>].yaml`` set together."""
    merged: dict[str, Any] = {}
    architecture = getattr(parameters, "architecture", "").lower()
    for suffix in dict.fromkeys(["", f".{architecture}" if architecture else ""]):
        for machine in ("", f".{parameters.machine_type}"):
            path = PROJECT / "params" / "dcase2021" / f"{notebook}{suffix}{machine}.yaml"
            if path.is_file():
                merged |= yaml.safe_load(path.read_text()) or {}
    return merged


def command(notebook: str, parameters: Parameters, namespace: Mapping[str, Any]) -> str:
    """The papermill command that runs the notebook with these parameters again.

    Args:
        notebook: its name, without ``.ipynb``.
        parameters: its validated parameters.
        namespace: the notebook's variables (``globals()``); parameters equal to its defaults are omitted.

    Example:
        >>> class TwoParameters(Parameters):
        ...     sections: list[int]
        ...     seed: int
        >>> p = TwoParameters(machine_type="fan", data_root="", output_root="", sections=[0, 3], seed=1)
        >>> cell = '# Parameters\\ndata_root: str = ""\\noutput_root: str = ""\\nseed: int = 1'
        >>> print(command("03_aux", p, {"In": [cell]}))
        papermill notebooks/03_aux.ipynb out.ipynb -p machine_type fan -y '{"sections": [0, 3]}'
    """
    own = defaults(namespace)
    words = ["papermill", f"notebooks/{notebook}.ipynb", "out.ipynb"]
    words += [flag_of(parameters.machine_type), "machine_type", parameters.machine_type]
    for name, value in parameters.model_dump().items():
        if name in ("machine_type", "retrain") or (name in own and own[name] == value):
            continue
        if isinstance(value, str):
            words += ["-r", name, value]
        elif isinstance(value, int | float):
            words += ["-p", name, str(value)]
        else:  # -p knows neither lists nor null
            words += ["-y", json.dumps({name: value})]
    return shlex.join(words)


def flag_of(text: str) -> str:
    """papermill's option for a text: ``-p``, or ``-r`` where that would take it for a number, True, False or None.

    >>> flag_of("fan"), flag_of("6205"), flag_of("None")
    ('-p', '-r', '-r')
    """
    try:
        float(text)
    except ValueError:
        return "-r" if text in ("True", "False", "None") else "-p"
    return "-r"


def status_line() -> Callable[[str], None]:
    """A line of text below the cell that each call overwrites; a saved notebook shows its last state.

    Returns:
        A function that shows the line that it is given.
    """
    handle: Any = None

    def show(line: str) -> None:
        nonlocal handle
        if handle is None:
            handle = display({"text/plain": line}, raw=True, display_id=True)
        else:
            handle.update({"text/plain": line}, raw=True)

    return show


def print_header(p: RunParameters, settings_name: str, notebook: str) -> None:
    """Print which data and settings are used, and the file to use, if any, where the defaults are too small."""
    print(
        f"{p.machine_type} in {display_path(p.data)}, settings: {settings_name}; results in {display_path(p.outputs)}"
    )
    full = PROJECT / "params" / "dcase2021" / f"{notebook}.yaml"
    if not p.embedded and settings_name == "demo" and full.is_file():
        print("The defaults are sized for the embedded data set; for the challenge's full data there is")
        print(f"params/dcase2021/{notebook}.yaml (papermill … -f params/dcase2021/{notebook}.yaml)")


def display_path(path: Path) -> str:
    """A path as people like to read it: relative to the working folder, its parent or the home folder if it is below.

    Example:
        >>> display_path(Path.cwd() / "outputs"), display_path(Path.cwd().parent / "audio")
        ('outputs', '../audio')
    """
    for base, sign in ((Path.cwd(), "."), (Path.cwd().parent, ".."), (absolute("~"), "~")):
        if path.is_relative_to(base):
            return str(Path(sign) / path.relative_to(base))
    return str(path)


def versions() -> str:
    """What the notebook ran with: the versions of Python, this package, and those that its results depend on most.

    Example:
        >>> versions().split(", ")[0] == f"Python {python_version()}"
        True
    """
    packages = [f"{name} {version(name)}" for name in ("torch", "numpy", "pandas", "scikit-learn", "mlflow")]
    return ", ".join([f"Python {python_version()}", f"asd {asd.__version__}", *packages])
