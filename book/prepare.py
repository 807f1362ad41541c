"""What the book takes from the repository before Sphinx reads it: notebooks, a page per room of ``asd``, sounds.

The pages are written beside the others, into folders that git ignores, and only if they have changed, so that Sphinx
reads again what is new and nothing else.
"""

import base64
import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

ROOMS = ["data", "demo", "models", "notebook", "training", "evaluation", "detection", "tracking", "plots", "challenge"]
ROOMS += ["report", "commands"]
LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")  # to a file
SOUND = re.compile(r'src="data:audio/[\w.-]+;base64,([^"]+)"')


def write(path: Path, content: str | bytes) -> None:
    """Write a file unless it has this content already."""
    data = content.encode() if isinstance(content, str) else content
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def remove_others(folder: Path, kept: set[Path]) -> None:
    """Remove pages whose source exists no more."""
    for path in folder.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()


def notebooks(repository: Path, book: Path) -> None:
    """Copy the committed notebooks and their solutions, with links that lead to pages of the book."""
    source, target = repository / "notebooks", book / "notebooks"
    written = set()
    for path in sorted([*source.glob("*.ipynb"), *source.glob("solutions/*.ipynb")]):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                text = LINK.sub(partial(in_the_book, folder=path.parent, repository=repository), text)
                if "solution" in cell["metadata"].get("tags", []):
                    text = folded(text)
            elif "solution" in cell["metadata"].get("tags", []):
                cell["metadata"]["tags"].append("hide-cell")
            cell["source"] = text
        copy = target / path.relative_to(source)
        write(copy, json.dumps(notebook, ensure_ascii=False))
        written.add(copy)
    remove_others(target, written)


def folded(text: str) -> str:
    """Text that a click opens; its heading, if it starts with one, stays visible.

    >>> folded("## Exercise 1: why?")
    '## Exercise 1: why?'
    """
    heading, _, answer = text.partition("\n") if text.startswith("#") else ("", "", text)
    details = f"<details><summary>Solution</summary>\n\n{answer.strip()}\n\n</details>" if answer.strip() else ""
    return "\n\n".join(part for part in (heading, details) if part)


def in_the_book(link: re.Match, folder: Path, repository: Path) -> str:
    """A link of a notebook in ``folder``, as it is written in the copy.

    A module of ``asd`` becomes its section of the API reference, a page of the book itself; of other files the book
    keeps a copy.
    """
    path = (folder / link[1]).resolve()
    if not path.is_relative_to(repository) or path.suffix == ".ipynb":
        return link[0]
    inside = path.relative_to(repository)
    if inside.parts[0] == "asd" and (inside.suffix == ".py" or path.is_dir()):
        name = ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
        return f"](#{name})"
    depth = len((folder / "x").relative_to(repository).parts) - 1
    up = "../" * depth
    if inside.parts[0] == "book":
        return f"]({up}{inside.relative_to('book').as_posix()}{link[2] or ''})"
    return f"](../{up}{inside.as_posix()})"


def anchor(title: str) -> str:
    """The anchor of a heading, as JupyterLab makes it: notebooks link to headings by these.

    >>> anchor("Four opinions")
    'Four-opinions'
    """
    return title.replace(" ", "-")


def api_pages(book: Path) -> None:
    """Write a page per room of ``asd``: what the room is for, and a section for each of its modules."""
    written = set()
    for room in ["", *ROOMS]:
        package = importlib.import_module(f"asd.{room}" if room else "asd")
        modules = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg and m.name != "__main__"]
        title = f"asd.{room}" if room else "asd: errors, files, command line"
        page = [f"# {title}", automodule(package), ""]
        for name in modules:
            page += [f"## {name}", automodule(package, name), ""]
        path = book / "api" / f"{room or 'root'}.md"
        write(path, "\n".join(page))
        written.add(path)
    write(book / "api" / "index.md", api_index())
    remove_others(book / "api", written | {book / "api" / "index.md"})


def automodule(package: ModuleType, name: str = "") -> str:
    """The directive that documents a module, or the package itself."""
    if not name:
        return f"```{{eval-rst}}\n.. automodule:: {package.__name__}\n```"
    directive = f".. automodule:: {package.__name__}.{name}\n   :members:\n   :show-inheritance:"
    return f"```{{eval-rst}}\n{directive}\n```"


def api_index() -> str:
    """The page that lists the rooms."""
    intro = """# API reference

`asd` is divided into rooms. Data flows in the order of this list, and a room imports only rooms that come before it.
The notebooks call these functions, and so can a script: [](../method.md) does."""
    pages = "\n".join([*ROOMS, "root"])
    return f"{intro}\n\n```{{toctree}}\n:maxdepth: 1\n\n{pages}\n```\n"


def sounds_and_pictures(repository: Path, book: Path) -> None:
    """Store what the landing page shows: the first two sounds of 01_exploration, their picture, and a result of 06.

    Raises:
        ValueError: the notebooks do not show these.
    """
    for _, content in cells_with_outputs(repository / "notebooks" / "01_exploration.ipynb"):
        sounds, names = SOUND.findall(content["html"]), re.findall("normal|anomalous", SOUND.sub("", content["text"]))
        if len(sounds) >= 2 and names[:2] == ["normal", "anomalous"]:
            for name, sound in zip(names, sounds, strict=False):
                write(book / "_static" / "landing" / f"{name}.wav", base64.b64decode(sound))
            write(book / "landing" / "clips.png", base64.b64decode(content["picture"]))
            break
    else:
        raise ValueError("01_exploration: no cell plays a normal and an anomalous clip, as the landing page does")

    for source, content in cells_with_outputs(repository / "notebooks" / "06_evaluation.ipynb"):
        if "evaluation_plots.means(" in source and content["picture"]:
            write(book / "landing" / "scores.png", base64.b64decode(content["picture"]))
            break
    else:
        raise ValueError("06_evaluation: no picture of evaluation_plots.means, which the landing page shows")


def cells_with_outputs(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The source of each code cell of a notebook, and what it shows: all html, all text, and the first picture."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        content = {"html": "", "text": "", "picture": ""}
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            html = "".join(data.get("text/html", ""))
            content["html"] += html
            content["text"] += html + "".join(output.get("text", ""))
            content["picture"] = content["picture"] or "".join(data.get("image/png", ""))
        if cell["cell_type"] == "code":
            yield "".join(cell["source"]), content
