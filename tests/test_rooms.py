"""The package's structure: rooms that import only rooms before them, no circles, functions that fit a screen."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import PROJECT

PACKAGE = PROJECT / "asd"
ROOMS = [
    "data", "demo", "models", "notebook", "training", "evaluation", "detection", "tracking", "plots", "challenge",
    "report", "commands",
]  # fmt: skip
BELOW = {"errors", "files", "paths", "weights"}  # modules of the package itself that every room may import
MODULES = {".".join(path.relative_to(PROJECT).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
LONGEST = 60  # lines of a function, without its docstring


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name in MODULES}


def test_every_folder_is_a_known_room():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_rooms_that_it_says_and_only_earlier_ones(room: str):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    sentence = re.search(r"(May import|Imports no other)[^.]*", text)
    assert sentence, f"asd/{room}/__init__.py does not say what it may import"
    allowed = set(re.findall(r"``(\w+)``", sentence[0]))
    assert allowed <= set(ROOMS[: ROOMS.index(room)])
    used = {name.split(".")[1] for path in (PACKAGE / room).glob("*.py") for name in imported(path) if "." in name}
    assert used - BELOW - {room} <= allowed


def test_the_modules_that_every_room_may_import_import_no_room():
    for name in BELOW:
        assert {module.split(".")[1] for module in imported(PACKAGE / f"{name}.py") if "." in module} <= BELOW


def test_no_module_imports_itself_in_a_circle():
    TopologicalSorter({name: imported(path) - {"asd"} for name, path in MODULES.items()}).prepare()  # CycleError


def functions(path: Path) -> list[tuple[str, int]]:
    """Name and length of every function, in lines without its docstring."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            length = node.end_lineno - node.lineno + 1
            found.append((f"{path}:{node.name}", length - (first.end_lineno - first.lineno + 1) * docstring))
    return found


def test_no_function_is_longer_than_a_screen():
    assert [(name, n) for path in MODULES.values() for name, n in functions(path) if n > LONGEST] == []
