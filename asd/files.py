"""Writing files that are never half-written: write to a temporary file beside the target, then rename it.

A rename within a folder is atomic on POSIX, so a reader sees the old file or the new one, whatever happens to the
writer, a full disk or SIGKILL included.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; it replaces ``path`` when the block succeeds.

    Parent folders are created. If the block raises, the temporary file is removed and ``path`` stays as it was.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "new", "results.csv")
        ...     with replacing(path) as temporary:
        ...         _ = temporary.write_text("auc\\n0.9\\n")
        ...         before = path.exists()
        ...     print(before, path.read_text().split())
        False ['auc', '0.9']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as written:  # on disk before the name points to it: a power cut must not empty it
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
