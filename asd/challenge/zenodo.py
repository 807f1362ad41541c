"""Fetch the files of a Zenodo record over a network that fails now and then, losing nothing that was received.

The record's API tells each file's size and checksum. A file is received under its own name, so that a partial one is
simply shorter than it should be, whatever killed its download; the next attempt asks for the rest only (HTTP Range,
RFC 9110 §14). It counts as fetched once its checksum is right.

requests does the talking. pooch, which fetches files by checksum too, starts each attempt at the first byte.
"""

import hashlib
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from asd import __version__
from asd.errors import InputError

ZENODO_API_BASE = "https://zenodo.org/api/records"
TIMEOUT = 30.0  # seconds without a byte
RETRIES = 6  # in a row, without a byte won
LONGEST_WAIT = 120.0  # seconds
CHUNK = 1 << 14  # bytes; a cut connection loses what was received of one
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be gone at the next attempt

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a record: its name, size in bytes, checksum (``"md5:<hex>"``), and address."""

    name: str
    size: int
    checksum: str
    url: str


class Zenodo:
    """A patient client of the records' API, for several threads at once.

    Args:
        api: address of the API, below which the records lie.
        backoff: seconds before the first repetition of a failed request; each one in a row doubles them. A server that
            asks for more (``Retry-After``) gets it.
    """

    def __init__(self, api: str = ZENODO_API_BASE, backoff: float = 1.0) -> None:
        self.api, self.backoff = api.rstrip("/"), backoff
        self.stopped = threading.Event()  # set it, and all that runs ends within a chunk

    def files(self, record: int) -> list[RemoteFile]:
        """List the files of a record.

        Raises:
            InputError: no such record, no connection, or an answer that is no record.
        """
        url = f"{self.api}/{record}"

        def ask() -> dict:
            with self._get(url) as response:
                return response.json()

        answer = self._persist(ask, url)
        try:
            files = [RemoteFile(f["key"], int(f["size"]), f["checksum"], f["links"]["self"]) for f in answer["files"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{url}: not the answer of a record: expected files[] with key, size, checksum and links.self,"
                f" found {str(answer)[:200]}"
            ) from error
        for file in files:
            algorithm, _, digest = file.checksum.partition(":")
            if algorithm not in hashlib.algorithms_guaranteed or not digest:
                raise InputError(f"{url}: {file.name} has the checksum {file.checksum!r}; expected md5:<hex>")
            if Path(file.name).name != file.name:
                raise InputError(f"{url}: {file.name!r} is not the name of a file but a path")
        return files

    def fetch(self, file: RemoteFile, path: Path, received: Callable[[int], object] = lambda n: None) -> None:
        """Fetch a file to ``path``, going on from what is there, and verify it.

        ``received`` is told the number of bytes as they come, and a negative one where bytes are given up.

        Raises:
            InputError: what stays wrong after repetitions: the connection, a status, the length. What was received
                stays for the next call, unless its checksum is wrong even in a second download from the start.
            OSError: the disk does not take the file.
        """
        for _ in range(2):
            if not path.exists() or have_bytes(path) < file.size:
                self._persist(lambda: self._receive(file, path, received), file.name, lambda: have_bytes(path))
            with path.open("rb") as content:
                algorithm = file.checksum.partition(":")[0]
                found = f"{algorithm}:{hashlib.file_digest(content, algorithm).hexdigest()}"
            if found == file.checksum:
                return
            received(-have_bytes(path))
            path.unlink()
        raise InputError(
            f"{file.name}: {file.url} has the checksum {found}, the record says {file.checksum};"
            " received twice and thrown away"
        )

    def _receive(self, file: RemoteFile, path: Path, received: Callable[[int], object]) -> None:
        """Receive once what is missing, or all where the server knows no ranges (200 instead of 206)."""
        have = have_bytes(path)
        with self._get(file.url, {"Range": f"bytes={have}-"} if have else {}) as response:
            start, total = extent(response)
            if total != file.size or start > have:  # told before anything that is there is overwritten
                raise InputError(
                    f"{file.name}: {file.url} offers a file of {total:,} bytes from byte {start:,} on (−1: it doesn't"
                    f" say); expected {file.size:,} bytes from byte {have:,} on"
                )
            with path.open("ab") as content:
                content.truncate(start)
                received(start - have)
                for chunk in response.iter_content(CHUNK):
                    if self.stopped.is_set():
                        raise InputError(f"{file.name}: stopped")
                    content.write(chunk)
                    received(len(chunk))
                    if content.tell() > file.size:
                        break  # the checksum will tell
        if have_bytes(path) < file.size:
            raise requests.exceptions.ChunkedEncodingError("the answer ended too early")

    def _get(self, url: str, headers: dict[str, str] | None = None) -> requests.Response:
        # Zenodo slows down clients that do not name themselves; "identity": ranges count the file's own bytes
        own = {"User-Agent": f"asd/{__version__}", "Accept-Encoding": "identity"}
        response = requests.get(url, headers=own | (headers or {}), stream=True, timeout=TIMEOUT)
        try:
            response.raise_for_status()
        except requests.HTTPError:
            response.close()
            raise
        return response

    def _persist(self, attempt: Callable[[], T], name: str, have: Callable[[], int] = lambda: 0) -> T:
        """Repeat an attempt while its fault may pass; one that won bytes starts the count of failures anew."""
        failures = 0
        while True:
            before = have()
            try:
                return attempt()
            except requests.RequestException as error:
                failures = 1 if have() > before else failures + 1
                passing = error.response is None or error.response.status_code in PASSING
                if not passing or failures > RETRIES:
                    kept = f"; {have():,} bytes are kept, the same command goes on from there" if have() else ""
                    raise InputError(f"{name}: {describe(error)}{kept}") from error
                wait = min(max(self.backoff * 2 ** (failures - 1), wished_wait(error)), LONGEST_WAIT)
                logger.warning("%s: %s; once more in %.0f s", name, describe(error), wait)
                if self.stopped.wait(wait):
                    raise InputError(f"{name}: stopped") from error


def have_bytes(path: Path) -> int:
    """Size of a file; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def extent(response: requests.Response) -> tuple[int, int]:
    """First byte that an answer holds, and size of the whole file; −1 where it does not say."""
    if response.status_code != requests.codes.partial_content:
        return 0, int(response.headers.get("Content-Length", -1))
    said = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (int(said[1]), int(said[2])) if said else (0, -1)


def wished_wait(error: requests.RequestException) -> float:
    """Seconds that the server asks us to wait (``Retry-After``); 0 if it does not."""
    if error.response is None:
        return 0.0
    try:
        return Retry().get_retry_after(error.response) or 0.0
    except InvalidHeader:
        return 0.0


def describe(error: requests.RequestException) -> str:
    """Say in a line what went wrong."""
    if error.response is not None and not error.response.ok:
        return f"HTTP {error.response.status_code} {error.response.reason} from {error.response.url}"
    url = error.request.url if error.request is not None else ""
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT:.0f} s from {url}"
    if isinstance(error, requests.JSONDecodeError):
        return "the answer is not JSON"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    return f"no connection: {error}"
