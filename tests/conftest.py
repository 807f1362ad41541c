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


@pytest.fixture(scope="session")
def two_machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of the machine types fan and valve, six sections, 1 s clips; nobody writes into it."""
    from asd.mini import make

    counts = {"train_source": 5, "train_target": 2, "test": 2}
    return make(tmp_path_factory.mktemp("data") / "root", machine_types=["fan", "valve"], duration=1.0, **counts)
