"""07_angular and 08_backends: one network for all machine types, resumed and found; backends of runs and encoders."""

import re
from pathlib import Path

import pytest
from conftest import PROJECT
from notebook_process import NotebookProcess
from test_runs import complete, finish, killed, runs

from asd.data.recordings import read_recording
from asd.detection.detector import load_detector
from asd.errors import InputError
from asd.evaluation.score_table import read_table
from asd.tracking.mlflow_store import Store
from asd.tracking.named import find_run, finished_runs

ANGULAR, BACKENDS = (PROJECT / "notebooks" / f"{name}.ipynb" for name in ("07_angular", "08_backends"))
TINY = {
    "machine_type": "fan", "sections": [0, 1, 2], "base_channels": 2, "batch_size": 8, "validation_fraction": 0.2,
    "dimensions": 8, "subclusters": 2, "max_epochs": 3, "rampdown_start": 1, "rampdown_length": 1, "device": "cpu",
}  # fmt: skip


def angular(root: Path, outputs: Path, moment: str = "never", **changed) -> NotebookProcess:
    parameters = TINY | {"data_root": str(root), "output_root": str(outputs)} | changed
    return NotebookProcess(ANGULAR, parameters, outputs / "home", moment, "SIGKILL")


def backend(root: Path, outputs: Path, **changed) -> NotebookProcess:
    parameters = {"machine_type": "fan", "data_root": str(root), "output_root": str(outputs), "start": "angular"}
    return NotebookProcess(BACKENDS, parameters | changed, outputs / "home", "never", "SIGKILL")


def table(outputs: Path, name: str, machine_type: str = "fan"):
    return read_table(outputs / "scores" / machine_type / f"{name}.csv")


@pytest.fixture(scope="module")
def finished(two_machines, tmp_path_factory) -> Path:
    """An output root with a finished network and a finished run of fan."""
    outputs = tmp_path_factory.mktemp("finished")
    finish(angular(two_machines, outputs))
    return outputs


def test_a_killed_training_resumes_and_ends_with_the_same_scores(two_machines, finished, tmp_path):
    for moment in ("epoch 1", "scoring"):
        killed(angular(two_machines, tmp_path, moment), "SIGKILL")
        assert not (tmp_path / "scores").exists()
    out = finish(angular(two_machines, tmp_path))
    assert "Found the finished run" in out, "the network, which was complete before its scores were"
    assert table(tmp_path, "angular")["score"].tolist() == table(finished, "angular")["score"].tolist()


def test_the_network_is_trained_once_for_all_machine_types(two_machines, finished):
    before = set(complete(finished))
    out = finish(angular(two_machines, finished, machine_type="valve"))
    new = [run for run in runs(finished) if run.info.run_id not in before]
    assert "Found the finished run" in out
    assert [run.data.tags["machine_type"] for run in new] == ["valve"]
    networks = [run.info.run_id for run in runs(finished) if run.data.tags["machine_type"] == "all"]
    assert len(networks) == 1 and new[0].data.params["network"] == networks[0]
    assert {path.name for path in (finished / "scores").iterdir()} == {"fan", "valve"}


def test_a_backend_of_a_run_is_a_method_like_any_other(two_machines, finished):
    finish(backend(two_machines, finished, backend="knn"))
    scores = table(finished, "angular-knn")
    assert set(scores["method"]) == {"angular-knn"}
    assert scores["held_out"].sum() == table(finished, "angular")["held_out"].sum() > 0
    run = next(run for run in runs(finished) if run.data.tags["method"] == "angular-knn")
    detector = load_detector(Store(finished).artifact(run.info.run_id, "detector.pt"))
    row = scores[scores["split"] == "test"].iloc[0]
    score = detector.score(detector.frames(read_recording(two_machines / row["clip"], 16000)), int(row["section"]))
    assert score == pytest.approx(row["score"], abs=1e-4)
    assert 0 < detector.decide(score, int(row["section"])).p_value <= 1
    assert "Found the finished run" in finish(backend(two_machines, finished, backend="knn"))
    assert "Started run" in finish(backend(two_machines, finished, backend="knn", neighbours=2))


def test_only_runs_with_a_detector_are_offered_to_asd_score(finished):
    assert {run.machine_type for run in finished_runs(finished)} == {"fan", "valve"}
    (network,) = (run.info.run_id for run in runs(finished) if run.data.tags["machine_type"] == "all")
    for name in ("all/angular-network", network):
        with pytest.raises(InputError, match=r"no finished run with a detector.*fan/angular"):
            find_run(name, finished)


def test_a_backend_needs_a_run_to_start_from(two_machines, tmp_path):
    code, _, err = backend(two_machines, tmp_path).wait()
    assert code != 0 and "run 07_angular first" in err


def test_an_encoder_needs_no_run_and_its_backend_is_found_again(two_machines, tmp_path):
    pytest.importorskip("pyopen_wakeword", reason="pyopen-wakeword is not installed: no wheel fits every machine")
    finish(backend(two_machines, tmp_path, start="speech", backend="knn"))
    scores = table(tmp_path, "speech-knn")
    assert set(scores["method"]) == {"speech-knn"}
    assert scores["held_out"].sum() > 0
    (run,) = runs(tmp_path)
    assert "parent" not in run.data.tags and run.data.params["start"] == "speech"
    assert "complete" in run.data.tags
    detector = load_detector(Store(tmp_path).artifact(run.info.run_id, "detector.pt"))
    row = scores[scores["split"] == "test"].iloc[0]
    score = detector.score(detector.frames(read_recording(two_machines / row["clip"], 16000)), int(row["section"]))
    assert score == pytest.approx(row["score"], abs=1e-6)
    assert "Found the finished run" in finish(backend(two_machines, tmp_path, start="speech", backend="knn"))


def test_an_encoder_that_is_missing_ends_the_notebook_with_what_to_fetch(two_machines, tmp_path):
    code, _, err = backend(two_machines, tmp_path, start=f"transformers:{tmp_path}/ast").wait()
    assert code != 0 and re.search(r"there is no .*ast/config.json. Fetch a model", err)
