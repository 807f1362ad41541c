"""What the tests share: the reference's numbers, where they are at hand."""

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the reference's numbers and the real recordings, beside the project; absent elsewhere."""
    path = PROJECT.parent / "shared"
    if not (path / "oracle").is_dir():
        pytest.skip("needs the oracle files in ../shared")
    return path
