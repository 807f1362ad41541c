"""The life of a run, with real processes: they are killed at any moment, they meet, they find each other's work."""

import json
import os
import re
import shutil
import signal
import socket
import warnings
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from conftest import PROJECT
from notebook_process import NotebookProcess

from asd.evaluation.score_table import read_table
from asd.tracking.locks import mark_dead_runs
from asd.tracking.mlflow_store import Store
from asd.tracking.runs import open_run, release

NOTEBOOK = PROJECT / "notebooks" / "03_aux.ipynb"
TINY = {
    "machine_type": "fan", "sections": [0, 1, 2], "base_channels": 2, "batch_size": 4, "validation_fraction": 0.2,
    "max_epochs": 3, "rampdown_start": 1, "rampdown_length": 1, "device": "cpu",
}  # fmt: skip


def start(
    root: Path, outputs: Path, moment: str = "never", name: str = "SIGKILL", notebook: Path = NOTEBOOK, **changed
) -> NotebookProcess:
    """Run a notebook in its own process."""
    parameters = TINY | {"data_root": str(root), "output_root": str(outputs)} | changed
    return NotebookProcess(notebook, parameters, outputs / "home", moment, name)


def finish(process: NotebookProcess) -> str:
    """Wait for a process that should succeed, and return what it printed."""
    code, out, err = process.wait()
    assert code == 0, err[-3000:]
    return out


def killed(process: NotebookProcess, name: str) -> None:
    """Wait for a process that should be ended by a signal."""
    code, out, err = process.wait()
    expected = 1 if name == "SIGINT" else -signal.Signals[name]  # SIGINT is an exception in Python
    assert code in (expected, -signal.SIGINT), (code, out, err[-3000:])


def table(outputs: Path, run_name: str = "aux") -> pd.DataFrame:
    return read_table(outputs / "scores" / "fan" / f"{run_name}.csv")


def runs(outputs: Path) -> list:
    return Store(outputs).search("")


def complete(outputs: Path) -> list[str]:
    return [run.info.run_id for run in runs(outputs) if "complete" in run.data.tags]


@pytest.fixture(scope="module")
def finished(two_machines, tmp_path_factory) -> Path:
    """An output root with one finished run, which no test changes."""
    outputs = tmp_path_factory.mktemp("finished")
    finish(start(two_machines, outputs))
    return outputs


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_run_killed_at_any_moment_resumes_and_ends_with_the_same_scores(two_machines, finished, tmp_path, name):
    for moment in ("epoch 0", "epoch 2", "scoring", "writing", "declaring"):
        killed(start(two_machines, tmp_path, moment, name), name)
        assert complete(tmp_path) == []
        assert not (tmp_path / "scores").exists(), f"half-done scores after {name} at {moment}"
    assert {run.info.status for run in runs(tmp_path)} <= {"KILLED", "RUNNING", "FINISHED"}
    killed(start(two_machines, tmp_path, "publishing", name), name)
    assert len(complete(tmp_path)) == 1
    assert "Found the finished run" in finish(start(two_machines, tmp_path))

    ours, theirs = table(tmp_path), table(finished)
    assert ours["score"].tolist() == theirs["score"].tolist()
    assert ours["clip"].tolist() == theirs["clip"].tolist()
    assert set(ours["run_id"]) == set(complete(tmp_path))
    resumed = next(run for run in runs(tmp_path) if "complete" in run.data.tags)
    steps = [m.step for m in Store(tmp_path).client.get_metric_history(resumed.info.run_id, "loss")]
    assert sorted(steps) == [0, 1, 2], "every epoch is logged once"
    assert list((tmp_path / "runs" / "fan").glob("*/training.pt")) == []


def test_a_run_is_described_and_names_its_data_and_its_model(finished):
    """What MLflow shows: at the run's top, in the column of data sets, and among the experiment's models."""
    store, (run,) = Store(finished), runs(finished)
    note = run.data.tags["mlflow.note.content"]
    assert re.search(r"\*\*aux\*\* for \*\*fan\*\*, .*official score [\d.]+ % on dev sections", note)
    assert "\n\n    papermill notebooks/03_aux.ipynb out.ipynb -p machine_type fan" in note
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "fan" and set(json.loads(data.dataset.source)) >= {"fan"}
    (model,) = store.client.search_logged_models([store.experiment])
    assert (model.name, model.source_run_id, model.status.name) == ("model", run.info.run_id, "READY")
    assert model.params == {"machine_type": "fan", "method": "aux", "run_name": "aux"}
    assert Path(model.artifact_location.removeprefix("file://"), "artifacts", "detector.pt").is_file()


def test_a_finished_run_is_found_and_not_trained_again(two_machines, finished, tmp_path):
    before = complete(finished)
    (finished / "scores" / "fan" / "aux.csv").unlink()
    out = finish(start(two_machines, finished))
    assert f"Found the finished run {before[0]}" in out
    assert complete(finished) == before
    assert set(table(finished)["run_id"]) == set(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def test_a_run_that_finishes_while_another_process_looks_for_dead_ones_stays_finished(store, tmp_path, monkeypatch):
    tags = {"output_root": str(tmp_path), "host": socket.gethostname(), "machine_type": "fan", "identity": "1"}
    run_id = store.create_run("aux", {}, tags)
    as_it_was = store.search("")
    store.client.set_terminated(run_id, "FINISHED")
    monkeypatch.setattr(store, "search", lambda query: as_it_was)
    mark_dead_runs(store, tmp_path)
    assert store.client.get_run(run_id).info.status == "FINISHED"


def test_runs_are_found_however_many_a_store_returns_at_once(store, monkeypatch):
    created = [store.create_run(str(i), {}, {"group": "many"}) for i in range(5)]
    monkeypatch.setattr("asd.tracking.mlflow_store.PAGE", 2)
    assert sorted(run.info.run_id for run in store.search("tags.group = 'many'")) == sorted(created)


def test_retrain_starts_a_new_run_which_is_found_from_then_on(two_machines, finished):
    before = complete(finished)
    assert "Started run" in finish(start(two_machines, finished, retrain=True))
    new = set(complete(finished)) - set(before)
    assert len(new) == 1
    assert f"Found the finished run {new.pop()}" in finish(start(two_machines, finished))


def test_the_same_run_twice_at_once_is_trained_once(two_machines, tmp_path):
    outs = [finish(process) for process in [start(two_machines, tmp_path), start(two_machines, tmp_path)]]
    assert sorted("Started run" in out for out in outs) == [False, True]
    assert len(complete(tmp_path)) == len(runs(tmp_path)) == 1


def test_four_runs_at_once_lose_nothing(two_machines, finished, tmp_path):
    changed = [{}, {"seed": 1}, {"proxy_outliers": "none"}, {"pairwise_mixing": False}]
    changed = [parameters | {"run_name": f"aux-{i}"} for i, parameters in enumerate(changed)]
    for process in [start(two_machines, tmp_path, **parameters) for parameters in changed]:
        finish(process)
    assert len(complete(tmp_path)) == 4
    for run_id in complete(tmp_path):
        for metric in ("loss", "seconds", "learning_rate"):
            steps = [m.step for m in Store(tmp_path).client.get_metric_history(run_id, metric)]
            assert sorted(steps) == [0, 1, 2], (run_id, metric)
    first, *others = (table(tmp_path, f"aux-{i}")["score"].tolist() for i in range(4))
    assert first == table(finished)["score"].tolist()
    assert first not in others


def test_the_next_process_marks_a_dead_one_as_killed(two_machines, tmp_path):
    killed(start(two_machines, tmp_path, "epoch 1", "SIGKILL"), "SIGKILL")
    assert [run.info.status for run in runs(tmp_path)] == ["RUNNING"]
    finish(start(two_machines, tmp_path, seed=5, run_name="next"))
    states = {run.data.tags["run_name"]: run for run in runs(tmp_path)}
    assert states["aux"].info.status == "KILLED"
    assert states["aux"].data.tags["stopped"] == "the process was killed"
    assert "complete" not in states["aux"].data.tags


@pytest.fixture(scope="module")
def changing(two_machines, tmp_path_factory) -> tuple[Path, Path]:
    """A data set that tests may change and restore, and an output root with a finished run on it."""
    root, outputs = tmp_path_factory.mktemp("changing") / "data", tmp_path_factory.mktemp("outputs")
    shutil.copytree(two_machines, root)
    finish(start(root, outputs))
    return root, outputs


@pytest.mark.parametrize("change", ["added", "replaced", "touched", "features", "seed", "code"])
def test_changed_data_features_and_code_are_noticed(changing, change):
    root, outputs = changing
    clip, other = sorted((root / "dev_data" / "fan" / "train").glob("section_00_source*"))[:2]
    new, content = clip.with_name("section_00_source_train_normal_0999_x.wav"), clip.read_bytes()
    changed, found = {}, False
    if change == "added":
        shutil.copyfile(clip, new)
    elif change == "replaced":
        assert clip.stat().st_size == other.stat().st_size
        shutil.copyfile(other, clip)
    elif change == "touched":
        os.utime(clip)
        found = True
    elif change == "features":
        changed = {"consistent_with_librosa": True}
    elif change == "seed":
        changed = {"seed": 1}
    else:
        for run_id in complete(outputs):
            Store(outputs).client.set_tag(run_id, "code", "another")
        found = True
    out = finish(start(root, outputs, **changed))
    assert ("Found the finished run" in out) == found
    assert ("code has changed since" in out) == (change == "code")
    new.unlink(missing_ok=True)
    clip.write_bytes(content)


def test_a_failing_cell_is_recorded_and_the_run_is_neither_finished_nor_published(two_machines, tmp_path):
    """Through papermill, with a kernel: a cell after the training fails."""
    broken = nbformat.read(NOTEBOOK, as_version=4)
    after = next(i for i, cell in enumerate(broken.cells) if "learning_curves(" in cell.source)
    broken.cells.insert(after, nbformat.v4.new_code_cell("raise RuntimeError('a cell has failed')"))
    nbformat.write(broken, tmp_path / "broken.ipynb")
    parameters = TINY | {"data_root": str(two_machines), "output_root": str(tmp_path / "outputs")}
    with warnings.catch_warnings(), pytest.raises(papermill.PapermillExecutionError, match="a cell has failed"):
        warnings.simplefilter("ignore")
        papermill.execute_notebook(tmp_path / "broken.ipynb", tmp_path / "out.ipynb", parameters, progress_bar=False)
    [run] = runs(tmp_path / "outputs")
    assert run.info.status == "FAILED"
    assert run.data.tags["stopped"] == "RuntimeError: a cell has failed"
    assert "complete" not in run.data.tags
    assert not (tmp_path / "outputs" / "scores").exists()
    assert "Resuming the unfinished run" in finish(start(two_machines, tmp_path / "outputs"))


def test_running_cells_again_in_any_order_does_no_harm(two_machines, finished, tmp_path):
    """In a kernel, as in JupyterLab: every cell twice in order, then all of them backwards."""
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    own = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    parameters = TINY | {"data_root": str(two_machines), "output_root": str(tmp_path)}
    own.source += "\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    twice = [cell for cell in cells for _ in range(2)]
    notebook.cells = [nbformat.v4.new_code_cell(cell.source) for cell in [*twice, *reversed(cells)]]
    NotebookClient(notebook, timeout=300).execute()
    assert len(runs(tmp_path)) == len(complete(tmp_path)) == 1
    assert table(tmp_path)["score"].tolist() == table(finished)["score"].tolist()


def test_a_run_that_was_interrupted_in_the_same_kernel_runs_again(tmp_path, capsys):
    tags = {"method": "aux", "machine_type": "fan", "run_name": "aux"}
    identity = {"parameters": {"seed": 0}, "data": {"fan": "0" * 16}}
    run = open_run(tmp_path, tags, identity)
    run.end("KILLED", "KeyboardInterrupt: ")
    assert [found.info.status for found in runs(tmp_path)] == ["KILLED"]
    assert open_run(tmp_path, tags, identity) is run
    assert capsys.readouterr().out.endswith(f"Resuming the unfinished run {run.run_id}.\n")
    assert [found.info.status for found in runs(tmp_path)] == ["RUNNING"]
    release(run)


def test_scoring_an_untrained_model_out_of_order_is_refused(two_machines, tmp_path):
    """Re-running the cell that makes the model, after training, must not lead to the scores of an untrained model."""
    code = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    training, scoring = (
        next(i for i, cell in enumerate(code) if text in cell.source) for text in ("in fit(", "score_table(detector")
    )
    notebook = nbformat.v4.new_notebook(cells=code[:training] + code[training + 1 : scoring + 1])
    code[scoring].source = "optimisation = Optimisation(**p.schedule)\n" + code[scoring].source
    nbformat.write(notebook, tmp_path / "untrained.ipynb")
    process = start(two_machines, tmp_path, notebook=tmp_path / "untrained.ipynb")
    assert "training is at epoch 0 of 3" in process.wait()[2]
    assert complete(tmp_path) == []
