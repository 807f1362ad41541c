"""The default folders for data and outputs; nothing heavy is imported here."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]  # the checkout; where the package is installed elsewhere, its folder
EMBEDDED = "mini"  # the embedded data set's folder, in the default folder of outputs


def absolute(path: Path | str) -> Path:
    """An absolute path. ``~`` is the home folder; where there is none, and for an unknown user's, it stays as it is.

    >>> absolute("/data/~"), absolute("~no-such-user").name
    (PosixPath('/data/~'), '~no-such-user')
    """
    return Path(os.path.expanduser(path)).absolute()


def default_output_root() -> Path:
    """``ASD_OUTPUT_ROOT`` if it is set, else ``outputs`` in the checkout; without a checkout, in the working folder."""
    base = PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()
    return absolute(os.environ.get("ASD_OUTPUT_ROOT") or base / "outputs")


def default_data_root() -> Path:
    """``ASD_DATA_ROOT`` if it is set, else the folder of the embedded data set."""
    return absolute(os.environ.get("ASD_DATA_ROOT") or default_output_root() / EMBEDDED)
