"""The default folders for data and outputs; nothing heavy is imported here."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]  # the checkout; where the package is installed elsewhere, its folder
EMBEDDED = "mini"  # the embedded data set's folder, in the default folder of outputs


def default_output_root() -> Path:
    """``ASD_OUTPUT_ROOT`` if it is set, else ``outputs`` in the checkout; without a checkout, in the working folder."""
    base = PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()
    return Path(os.environ.get("ASD_OUTPUT_ROOT") or base / "outputs").expanduser().absolute()


def default_data_root() -> Path:
    """``ASD_DATA_ROOT`` if it is set, else the folder of the embedded data set."""
    return Path(os.environ.get("ASD_DATA_ROOT") or default_output_root() / EMBEDDED).expanduser().absolute()
