"""Unpack zip files from elsewhere: nothing outside its folder, no links, no surprise in size.

The caller says where each packed file goes; what a zip file says about that is only heard.
"""

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from asd.errors import InputError


class Member(NamedTuple):
    """A file in a zip file."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    path: PurePosixPath  # as the zip file names it
    name: str  # for messages: zip file and path


def unpack(
    sources: list[Path], folder: Path, place: Callable[[PurePosixPath], str | None], going_on: Callable[[], bool]
) -> dict[str, int]:
    """Unpack zip files, and copy files that are none, into ``folder``, which must not exist yet.

    After an error the folder is half-filled: remove it, and move it to its place only after success.

    Args:
        sources: zip files (``.zip``), which may hold more zip files, and other files.
        folder: where to.
        place: maps a file's path in its zip file to its path in ``folder``; None leaves it out.
        going_on: asked before each file; False ends the work.

    Returns:
        For each file its path in ``folder`` and its size in bytes.

    Raises:
        InputError: names the zip file and the file in it: a path outside the zip file's folder, a link, two files for
            one place, damage, a password; or more bytes than the disk has free.
    """
    folder.mkdir(parents=True)
    sizes: dict[str, int] = {}
    for source in sources:
        if source.suffix.lower() != ".zip":
            if target := place(PurePosixPath(source.name)):
                shutil.copyfile(source, _new(folder, target, sizes, source.name))
                sizes[target] = source.stat().st_size
            continue
        with _readable(source.name), ExitStack() as opened:
            found = members(opened.enter_context(zipfile.ZipFile(source)), source.name, opened)
            wanted = [(member, target) for member in found if (target := place(member.path))]
            require_space(folder, sum(member.info.file_size for member, _ in wanted), source.name)
            for member, target in wanted:
                if not going_on():
                    raise InputError(f"{source.name}: stopped")
                path = _new(folder, target, sizes, member.name)
                with member.archive.open(member.info) as packed, path.open("wb") as content:
                    shutil.copyfileobj(packed, content)  # checks the CRC at the end
                sizes[target] = member.info.file_size
    return sizes


def members(archive: zipfile.ZipFile, name: str, opened: ExitStack) -> Iterator[Member]:
    """List the files in a zip file and in zip files inside it, save those that macOS adds.

    ``name`` is for messages; the zip files inside stay open as long as ``opened``.

    Raises:
        InputError: a path that leads outside, or a link.
    """
    for info in archive.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", info.filename):
            raise InputError(f"{name}: {info.filename!r} in it would lie outside its folder; nothing of it is unpacked")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(
                f"{name}: {info.filename!r} in it is a link or a special file; allowed are files and folders;"
                " nothing of it is unpacked"
            )
        if info.is_dir() or "__MACOSX" in path.parts or path.name.startswith("."):
            continue
        if path.suffix.lower() == ".zip":
            inner = opened.enter_context(archive.open(info))
            yield from members(opened.enter_context(zipfile.ZipFile(inner)), f"{name}/{path}", opened)
        else:
            yield Member(archive, info, path, f"{name}/{path}")


def require_space(folder: Path, needed: int, what: str) -> None:
    """See to it that the disk of ``folder`` has ``needed`` bytes free.

    Raises:
        InputError: it has not; says what it has.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {what} needs {gigabytes(needed)} of free space, found {gigabytes(free)}; free some and run the"
            " same command again, it goes on from what is there"
        )


def gigabytes(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / 1e9:,.3f} GB"


def _new(folder: Path, target: str, sizes: dict[str, int], name: str) -> Path:
    if target in sizes:
        raise InputError(f"{name}: a second file for {target}; each may come once")
    path = folder / target
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn the many ways in which a zip file can be unreadable into one."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{name}: not a readable zip file: {error}") from error
