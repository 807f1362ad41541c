"""Unpack untrusted zip files: nothing outside the target folder, no links, no surprises in size.

The caller decides where each packed file goes; the paths in a zip file are only suggestions.
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
    name: str  # zip file and path, for messages


def unpack(
    sources: list[Path], folder: Path, target_of: Callable[[PurePosixPath], str | None], stopped: Callable[[], bool]
) -> dict[str, int]:
    """Unpack zip files, and copy other files, into ``folder``, which must not exist yet.

    After an error the folder is only partly filled: remove it, and move it into place only after success.

    Args:
        sources: zip files (``.zip``), which may contain further zip files, and other files.
        folder: the folder to create.
        target_of: maps a file's path in its zip file to its path in ``folder``; None skips the file.
        stopped: called before each file; unpacking stops when it returns True.

    Returns:
        The size in bytes of each file, by its path in ``folder``.

    Raises:
        InputError: names the zip file and the file in it: a path outside the zip file's folder, a link, two files with
            the same target, damage, a password; or more bytes than are free on the disk.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as name:
        ...     source = Path(name, "fan.zip")
        ...     with zipfile.ZipFile(source, "w") as packed:
        ...         packed.writestr("fan/train/a.wav", b"RIFF")
        ...         packed.writestr("fan/readme.txt", b"Hello")
        ...     unpack(
        ...         [source],
        ...         Path(name, "unpacked"),
        ...         target_of=lambda path: f"train/{path.name}" if path.suffix == ".wav" else None,
        ...         stopped=lambda: False,
        ...     )
        {'train/a.wav': 4}
    """
    folder.mkdir(parents=True)
    sizes: dict[str, int] = {}
    for source in sources:
        if source.suffix.lower() != ".zip":
            if target := target_of(PurePosixPath(source.name)):
                shutil.copyfile(source, _new(folder, target, sizes, source.name))
                sizes[target] = source.stat().st_size
            continue
        with _readable(source.name), ExitStack() as opened:
            found = members(opened.enter_context(zipfile.ZipFile(source)), source.name, opened)
            selected = [(member, target) for member in found if (target := target_of(member.path))]
            require_space(folder, sum(member.info.file_size for member, _ in selected), source.name)
            for member, target in selected:
                if stopped():
                    raise InputError(f"{source.name}: stopped")
                path = _new(folder, target, sizes, member.name)
                with member.archive.open(member.info) as packed, path.open("wb") as content:
                    shutil.copyfileobj(packed, content)  # checks the CRC at the end
                sizes[target] = member.info.file_size
    return sizes


def members(archive: zipfile.ZipFile, name: str, opened: ExitStack) -> Iterator[Member]:
    """List the files in a zip file and in the zip files inside it, except those that macOS adds.

    ``name`` is used in messages; the inner zip files stay open as long as ``opened``.

    Raises:
        InputError: a path leads outside the folder, or a member is a link.
    """
    for info in archive.infolist():
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", info.filename):
            raise InputError(f"{name}: its member {info.filename!r} lies outside its folder; nothing was unpacked")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(
                f"{name}: its member {info.filename!r} is a link or a special file; allowed: files and folders;"
                " nothing was unpacked"
            )
        if info.is_dir() or "__MACOSX" in path.parts or path.name.startswith("."):
            continue
        if path.suffix.lower() == ".zip":
            inner = opened.enter_context(archive.open(info))
            yield from members(opened.enter_context(zipfile.ZipFile(inner)), f"{name}/{path}", opened)
        else:
            yield Member(archive, info, path, f"{name}/{path}")


def require_space(folder: Path, needed: int, what: str) -> None:
    """Ensure that the disk of ``folder`` has ``needed`` bytes free.

    Raises:
        InputError: it does not; the message says how many there are.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{folder}: {what} needs {gigabytes(needed)} of free space, found {gigabytes(free)}; free some space and"
            " run the same command again: it resumes where it stopped"
        )


def gigabytes(size: int) -> str:
    """A number of bytes in readable form.

    >>> gigabytes(17_700_000_000)
    '17.700 GB'
    """
    return f"{size / 1e9:,.3f} GB"


def _new(folder: Path, target: str, sizes: dict[str, int], name: str) -> Path:
    if target in sizes:
        raise InputError(f"{name}: a second file for {target}; each may occur only once")
    path = folder / target
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn the many errors of an unreadable zip file into one."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{name}: not a readable zip file: {error}") from error
