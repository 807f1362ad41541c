"""What the tests share: a submission, a small data set, an untrained detector, the reference's numbers if available.

No claim rests on the reference's numbers alone, which must not be copied into the project: each test that compares with
them stands beside one that compares with something independent, be it librosa, zuko, scikit-learn or the definition.
"""

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


# they start processes, train, or simulate: `make check` leaves them out
SLOW = {
    "test_beyond_notebooks", "test_bootstrap", "test_ccsa_notebook", "test_conformal", "test_download", "test_entry",
    "test_export", "test_faults", "test_mini", "test_named_runs", "test_packaging", "test_runs", "test_solutions",
    "test_store", "test_workflow",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, and put them first, so that processes which share the tests finish together."""
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")
    items.sort(key=lambda item: item.path.stem not in SLOW)  # stable: a module's tests stay together


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the reference's numbers and the real recordings, beside the project; absent elsewhere."""
    path = PROJECT.parent / "shared"
    if not (path / "oracle").is_dir():
        pytest.skip("needs the oracle files in ../shared")
    return path


@pytest.fixture(scope="session")
def submission(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A team's folder, the ground truth and the result, see :mod:`submissions`; no test changes them."""
    from submissions import write_submission

    return write_submission(tmp_path_factory.mktemp("submission"))


@pytest.fixture(scope="session")
def two_machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set of the machine types fan and valve, with six sections and clips of 1 s; no test changes it."""
    from asd.demo.dataset import make

    counts = {"train_source": 5, "train_target": 2, "test": 2}
    return make(tmp_path_factory.mktemp("data") / "root", machine_types=["fan", "valve"], duration=1.0, **counts)


def tiny_detector(kind: str):
    """An untrained detector of fan sections 0, 3 and 7, on frames of 16 mel bands."""
    import torch

    from asd.data.features import FeatureSettings
    from asd.detection.detector import KINDS, Detector

    torch.manual_seed(0)
    if kind == "classifier":
        config = {"n_sections": 3, "n_mels": 16, "normalize": "batchnorm", "rho_f": 5, "rho_t": 5, "base_channels": 2}
        n_frames, hop = 20, 10
    else:
        config = {"architecture": "ae", "n_sections": 3, "n_mels": 16, "n_frames": 5, "sizes": {"hidden_size": 8}}
        n_frames, hop = 5, 1
    model = KINDS[kind](**config).eval()
    return Detector(
        method="aux" if kind == "classifier" else "ae",
        machine_type="fan",
        kind=kind,
        config=config,
        model=model,
        features=FeatureSettings(n_mels=16),
        normalize_waveform=False,
        sections=[0, 3, 7],
        n_frames=n_frames,
        hop=hop,
        reduction="mean",
        statistics={section: {"mean": 0.0, "std": 1.0, "threshold": 0.5, "n_clips": 3} for section in (0, 3, 7)},
    )
