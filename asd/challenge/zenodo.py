"""Fetch the files of a Zenodo record over an unreliable network without losing anything that was received.

The record's API gives each file's size and checksum. A file is received under its own name, so that a partial one is
simply too short, whatever interrupted its download; the next attempt requests only the rest (HTTP Range, RFC 9110 §14).
A file counts as fetched once its checksum is correct.

This builds on requests. pooch, which also fetches files by checksum, restarts each attempt at the first byte.
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
RETRIES = 6  # in a row, without a new byte
LONGEST_WAIT = 120.0  # seconds
CHUNK = 1 << 14  # bytes; a broken connection loses the chunk that was being received
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may not recur at the next attempt

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a record: its name, size in bytes, checksum (``"md5:<hex>"``) and URL."""

    name: str
    size: int
    checksum: str
    url: str


class Zenodo:
    """A patient, thread-safe client of the records' API.

    Args:
        api: base URL of the API.
        backoff: seconds to wait before the first retry of a failed request; each further failure in a row doubles
            them. A server's ``Retry-After`` is respected if it is longer.
    """

    def __init__(self, api: str = ZENODO_API_BASE, backoff: float = 1.0) -> None:
        self.api, self.backoff = api.rstrip("/"), backoff
        self.stopped = threading.Event()  # once set, all running downloads stop within a chunk

    def files(self, record: int) -> list[RemoteFile]:
        """List the files of a record.

        Raises:
            InputError: no such record, no connection, or a response that is not a record.
        """
        url = f"{self.api}/{record}"

        def ask() -> dict:
            with self._get(url) as response:
                return response.json()

        record_json = self._persist(ask, url)
        try:
            files = [
                RemoteFile(file["key"], int(file["size"]), file["checksum"], file["links"]["self"])
                for file in record_json["files"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{url}: the response is not a record: expected files[] with key, size, checksum and links.self,"
                f" found {str(record_json)[:200]}"
            ) from error
        for file in files:
            algorithm, _, digest = file.checksum.partition(":")
            if algorithm not in hashlib.algorithms_guaranteed or not digest:
                raise InputError(f"{url}: {file.name} has the checksum {file.checksum!r}; expected md5:<hex>")
            if Path(file.name).name != file.name:
                raise InputError(f"{url}: {file.name!r} is not a file name but a path")
        return files

    def fetch(self, file: RemoteFile, path: Path, received: Callable[[int], object] = lambda n: None) -> None:
        """Fetch a file to ``path``, resuming from what is already there, and verify it.

        ``received`` is called with the number of bytes as they arrive, and with a negative one when some are discarded.

        Raises:
            InputError: whatever is still wrong after several retries: the connection, a status, the length. What was
                received is kept for the next call, unless its checksum is wrong even after a second download.
            OSError: the file cannot be written.
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
            " downloaded twice and discarded"
        )

    def _receive(self, file: RemoteFile, path: Path, received: Callable[[int], object]) -> None:
        """Receive what is missing, or everything if the server does not support ranges (200 instead of 206)."""
        have = have_bytes(path)
        with self._get(file.url, {"Range": f"bytes={have}-"} if have else {}) as response:
            start, total = extent(response)
            if total != file.size or start > have:  # before overwriting anything
                raise InputError(
                    f"{file.name}: {file.url} offers a file of {total:,} bytes starting at byte {start:,} (−1: it"
                    f" doesn't say); expected {file.size:,} bytes starting at byte {have:,}"
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
                        break  # the checksum will fail
        if have_bytes(path) < file.size:
            raise requests.exceptions.ChunkedEncodingError("the response ended too early")

    def _get(self, url: str, headers: dict[str, str] | None = None) -> requests.Response:
        # Zenodo slows down clients that do not identify themselves; "identity" makes ranges count the file's own bytes
        own = {"User-Agent": f"asd/{__version__}", "Accept-Encoding": "identity"}
        response = requests.get(url, headers=own | (headers or {}), stream=True, timeout=TIMEOUT)
        try:
            response.raise_for_status()
        except requests.HTTPError:
            response.close()
            raise
        return response

    def _persist(self, attempt: Callable[[], T], name: str, have: Callable[[], int] = lambda: 0) -> T:
        """Retry while the error may be transient; an attempt that received bytes resets the count of failures."""
        failures = 0
        while True:
            before = have()
            try:
                return attempt()
            except requests.RequestException as error:
                failures = 1 if have() > before else failures + 1
                transient = error.response is None or error.response.status_code in TRANSIENT
                if not transient or failures > RETRIES:
                    kept = f"; {have():,} bytes are kept, the same command resumes from there" if have() else ""
                    raise InputError(f"{name}: {describe(error)}{kept}") from error
                wait = min(max(self.backoff * 2 ** (failures - 1), retry_after(error)), LONGEST_WAIT)
                logger.warning("%s: %s; retrying in %.0f s", name, describe(error), wait)
                if self.stopped.wait(wait):
                    raise InputError(f"{name}: stopped") from error


def have_bytes(path: Path) -> int:
    """Size of a file in bytes; 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def extent(response: requests.Response) -> tuple[int, int]:
    """Index of the first byte in a response, and size of the whole file; −1 if the response does not say."""
    if response.status_code != requests.codes.partial_content:
        return 0, int(response.headers.get("Content-Length", -1))
    content_range = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return (int(content_range[1]), int(content_range[2])) if content_range else (0, -1)


def retry_after(error: requests.RequestException) -> float:
    """Seconds that the server asks us to wait (``Retry-After``); 0 if it does not."""
    if error.response is None:
        return 0.0
    try:
        return Retry().get_retry_after(error.response.raw) or 0.0
    except InvalidHeader:
        return 0.0


def describe(error: requests.RequestException) -> str:
    """What went wrong, in one line."""
    if error.response is not None and not error.response.ok:
        return f"HTTP {error.response.status_code} {error.response.reason} from {error.response.url}"
    url = error.request.url if error.request is not None else ""
    if isinstance(error, requests.Timeout):
        return f"no response within {TIMEOUT:.0f} s from {url}"
    if isinstance(error, requests.JSONDecodeError):
        return "the response is not JSON"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was interrupted"
    return f"no connection: {error}"
