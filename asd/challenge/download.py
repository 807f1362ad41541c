"""Download the challenge's data from Zenodo into the layout that the clips table reads.

Three Zenodo records hold one zip file per machine type, a fourth one the labels of the evaluation clips:

    {dev|eval}_data/{machine}/{train|source_test|target_test}/section_*.wav      ground_truth/ground_truth_*.csv

Everything unfinished is kept in ``<directory>/.download``, where nobody looks for clips, with one folder per *delivery*
(one part of one machine type). A delivery is fetched, verified, unpacked, moved into place, and finally recorded in a
receipt with the size of each of its files. The receipt shows, without a network, that nothing is left to do.
"""

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout
from tqdm import tqdm

from asd.challenge.archives import gigabytes, require_space, unpack
from asd.challenge.zenodo import ZENODO_API_BASE, RemoteFile, Zenodo, have_bytes
from asd.errors import InputError
from asd.files import replacing

MACHINES = ("fan", "gearbox", "pump", "slider", "ToyCar", "ToyTrain", "valve")
PARTS = {  # name: Zenodo record, its files (regular expression), the folder that they belong in
    "dev": (4562016, r"dev_data_{machine}\.zip", "dev_data/{machine}"),
    "eval_train": (4660992, r"eval_data_{machine}_train\.zip", "eval_data/{machine}"),
    "eval_test": (4884786, r"eval_data_{machine}_test\.zip", "eval_data/{machine}"),
    "ground_truth": (5257674, r".*\.zip|ground_truth_.*\.csv", "ground_truth"),
}
SPLITS = ("train", "source_test", "target_test")
# The unpacked size of a delivery is unknown until its zip file has arrived: 16-bit recordings of machines deflate to
# 0.7–0.85 of their size. The true size is checked before unpacking.
UNPACKED = 1.5
WORKERS = 4  # files at once; Zenodo allows 60 requests per minute


@dataclass(frozen=True)
class Delivery:
    """What is fetched, unpacked and recorded as one unit."""

    name: str
    record: int
    pattern: str
    folder: str  # in the layout, relative to the data root


def download(
    directory: Path | str,
    machines: Iterable[str] | None = None,
    parts: Iterable[str] | None = None,
    api: str = ZENODO_API_BASE,
    backoff: float = 1.0,
) -> list[str]:
    """Download the DCASE 2021 Task 2 data set, or whatever is missing from it.

    Args:
        directory: the data root, which is created if necessary.
        machines: machine types; all seven if None or empty. The ground truth is always complete, since it is small.
        parts: any of ``dev``, ``eval_train``, ``eval_test``, ``ground_truth``; all if None or empty.
        api: base URL of the records' API.
        backoff: seconds to wait before the first retry of a failed request.

    Returns:
        Names of the deliveries made by this call, such as ``dev_fan``; empty if nothing was missing.

    Raises:
        InputError: names each file that could not be fetched, and why. The others are delivered nevertheless, and
            partial files are kept: the same command resumes from there.
    """
    deliveries = _deliveries(_chosen("machines", machines, MACHINES), _chosen("parts", parts, tuple(PARTS)))
    directory = Path(os.path.expanduser(directory))
    if not _missing(directory, deliveries):
        return []
    try:
        (directory / ".download").mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".download" / "lock", timeout=0):
            missing = _missing(directory, deliveries)
            return _deliver(directory, missing, Zenodo(api, backoff))
    except Timeout as error:
        raise InputError(f"{directory}: another download is running in this folder") from error
    except OSError as error:
        raise InputError(f"{error.filename or directory}: {error.strerror or error}") from error


def _chosen(name: str, given: Iterable[str] | None, allowed: tuple[str, ...]) -> list[str]:
    given = list(dict.fromkeys(given or allowed))
    if unknown := sorted(set(given) - set(allowed)):
        raise InputError(f"{name}: {unknown} unknown; allowed: {', '.join(allowed)}")
    return given


def _deliveries(machines: list[str], parts: list[str]) -> list[Delivery]:
    """One delivery per part and machine type, and a single one for the ground truth."""
    return [
        Delivery(
            f"{part}_{machine}" if machine else part,
            record,
            pattern.format(machine=machine),
            folder.format(machine=machine),
        )
        for part, (record, pattern, folder) in ((part, PARTS[part]) for part in parts)
        for machine in (machines if "{machine}" in folder else [""])
    ]


def _missing(directory: Path, deliveries: list[Delivery]) -> list[Delivery]:
    return [delivery for delivery in deliveries if not _is_complete(directory, delivery)]


def _is_complete(directory: Path, delivery: Delivery) -> bool:
    """Whether the delivery has a receipt and its files have their full sizes (a power cut may have truncated one)."""
    try:
        sizes = json.loads((directory / ".download" / f"{delivery.name}.json").read_text())
        return all((directory / path).stat().st_size == size for path, size in sizes.items())
    except (OSError, ValueError, AttributeError):  # no receipt, or an unreadable one
        return False


def _deliver(directory: Path, deliveries: list[Delivery], zenodo: Zenodo) -> list[str]:
    """Make the deliveries, several at once; one that fails does not stop the others."""
    for stray in (directory / ".download").glob(".*.tmp"):  # a receipt whose writer was killed
        stray.unlink()
    sources, failures = _sources(deliveries, zenodo)
    size = sum(file.size for files in sources.values() for file in files)
    have = {delivery: _received(directory, delivery, files) for delivery, files in sources.items()}
    outstanding = [sum(file.size for file in files) - have[delivery] for delivery, files in sources.items()]
    # zip files are deleted as soon as they are unpacked, so there are never more new ones than workers
    require_space(directory, int(UNPACKED * size) + sum(nlargest(WORKERS, outstanding)), "the download")

    lock = threading.Lock()
    with (
        tqdm(total=size, initial=sum(have.values()), unit="B", unit_scale=True, disable=None) as bar,
        ThreadPoolExecutor(WORKERS) as pool,
    ):

        def received(count: int) -> None:
            with lock:
                bar.update(count)

        running = {pool.submit(_fetch, directory, d, files, zenodo, received): d for d, files in sources.items()}
        try:
            for future in as_completed(running):
                delivery = running[future]
                try:
                    bar.write(f"{delivery.name}: {future.result()} files in {directory / delivery.folder}")
                except InputError as error:
                    failures[delivery] = str(error)
                    bar.write(f"{delivery.name}: failed")
        except BaseException:  # Ctrl-C: running downloads stop at the next chunk and keep what they have
            zenodo.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        raise InputError("\n".join(dict.fromkeys(failures.values())))
    return [delivery.name for delivery in deliveries]


def _sources(
    deliveries: list[Delivery], zenodo: Zenodo
) -> tuple[dict[Delivery, list[RemoteFile]], dict[Delivery, str]]:
    """Query each record once: the files of each delivery, and the reason for each delivery without files."""
    sources, failures = {}, {}
    for record in dict.fromkeys(delivery.record for delivery in deliveries):
        listed = zenodo.files(record)
        for delivery in (delivery for delivery in deliveries if delivery.record == record):
            if files := [file for file in listed if re.fullmatch(delivery.pattern, file.name)]:
                sources[delivery] = files
            else:
                failures[delivery] = (
                    f"{delivery.name}: Zenodo record {record} has no file {delivery.pattern};"
                    f" it has {sorted(file.name for file in listed)}"
                )
    return sources, failures


def _packed(directory: Path, delivery: Delivery) -> Path:
    return directory / ".download" / delivery.name / "packed"


def _received(directory: Path, delivery: Delivery, files: list[RemoteFile]) -> int:
    """Number of bytes of a delivery's files that an earlier run has left."""
    return sum(min(have_bytes(_packed(directory, delivery) / file.name), file.size) for file in files)


def _fetch(
    directory: Path, delivery: Delivery, files: list[RemoteFile], zenodo: Zenodo, received: Callable[[int], None]
) -> int:
    """Fetch, unpack, move into place and record a delivery; return its number of files. Each step can be repeated."""
    packed = _packed(directory, delivery)
    unpacked = packed.with_name("unpacked")
    try:
        packed.mkdir(parents=True, exist_ok=True)
        for file in files:
            zenodo.fetch(file, packed / file.name, received)
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            sizes = unpack(
                [packed / file.name for file in files],
                unpacked,
                target_of=lambda path: _target(path, delivery.folder),
                stopped=zenodo.stopped.is_set,
            )
            if not sizes:
                raise InputError(f"{delivery.name}: nothing for {delivery.folder} in {[file.name for file in files]}")
            _move(unpacked, directory)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
        with replacing(directory / ".download" / f"{delivery.name}.json") as receipt:
            receipt.write_text(json.dumps(sizes))
        shutil.rmtree(packed.parent)
    except OSError as error:
        raise InputError(
            f"{delivery.name}: {error.filename or directory}: {error.strerror or error}"
            f" ({gigabytes(shutil.disk_usage(directory).free)} free)"
        ) from error
    return len(sizes)


def _target(path: PurePosixPath, folder: str) -> str | None:
    """Where in the layout a packed file belongs, whatever the zip file's top-level folders; None for a readme.

    >>> _target(PurePosixPath("dev_data/fan/train/section_00_0000.wav"), "dev_data/fan")
    'dev_data/fan/train/section_00_0000.wav'

    Raises:
        InputError: a clip is in none of the layout's folders.
    """
    if folder == "ground_truth":
        return f"{folder}/{path.name}" if re.fullmatch(r"ground_truth_.*\.csv", path.name) else None
    if path.suffix.lower() != ".wav":
        return None
    if path.parent.name not in SPLITS:
        raise InputError(f"{path}: a clip for {folder} that is in none of the folders {', '.join(SPLITS)}")
    return f"{folder}/{path.parent.name}/{path.name}"


def _move(unpacked: Path, directory: Path) -> None:
    """Move the unpacked files into place: a new folder in one step, an existing one file by file."""
    for folder in [path for path in unpacked.rglob("*") if path.is_dir() and any(p.is_file() for p in path.iterdir())]:
        target = directory / folder.relative_to(unpacked)
        if target.exists():
            for file in folder.iterdir():
                file.replace(target / file.name)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
