"""What is submitted is what was evaluated: the notebook's number is the official evaluator's."""

import zipfile
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from conftest import tiny_detector
from score_tables import run_table

from asd.challenge import entry as challenge_entry
from asd.challenge.entry import check_entry, description, detectors_of, evaluation_clips, write_entry
from asd.cli import main
from asd.data.clips import clips_table
from asd.data.encoders import EncoderSettings
from asd.data.features import FeatureSettings
from asd.errors import InputError
from asd.evaluation.results import add_decisions

LABEL = "Doe_Institute_task2_1"
AUTHORS = ["Doe, Jane, Institute", "Roe, Richard, Works"]


@pytest.fixture(scope="module")
def clips(two_machines):
    return clips_table(two_machines)


@pytest.fixture(scope="module")
def table(clips):
    return add_decisions({"aux": run_table(clips, "aux")}, 0.1, 0.9, held_out=False)[0]["aux"]


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setattr(challenge_entry, "detectors_of", lambda table, output_root: [tiny_detector("classifier")] * 2)
    return lambda table, clips: write_entry(tmp_path, table, clips, tmp_path, LABEL, AUTHORS, 0.9)


def test_asd_evaluate_gives_the_same_score_as_the_notebook(two_machines, clips, table, write, tmp_path):
    submitted, notes = evaluation_clips(table, clips)
    folder, _ = write(table, submitted)
    official, own, truth = check_entry(folder, table, submitted, two_machines)
    assert notes == [] and official == pytest.approx(own, abs=1e-12)
    arguments = ["evaluate", str(folder), "--ground-truth", str(truth), "--out", str(tmp_path / "result.csv")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and f"official score {own:.6f}" in result.output
    last = (tmp_path / "result.csv").read_text().strip().splitlines()[-1].split(",")
    assert last[0] == "official score" and float(last[2]) == official


def test_a_submission_of_some_machine_types_is_evaluated_on_those(two_machines, clips, table, write):
    fan = table[table["machine_type"] == "fan"]
    submitted, notes = evaluation_clips(fan, clips)
    assert notes == ["valve: evaluation sections, but no scores of this system"]
    folder, _ = write(fan, submitted)
    official, own, truth = check_entry(folder, fan, submitted, two_machines)
    assert official == pytest.approx(own, abs=1e-12)
    assert {path.name.split("_")[2] for path in truth.iterdir()} == {"fan"}


def test_known_fields_of_the_metadata_are_filled_in(clips, table, write):
    folder, archive = write(table, clips)
    metadata = yaml.safe_load((folder / f"{LABEL}.meta.yaml").read_text())
    size = sum(weight.numel() for weight in tiny_detector("classifier").model.parameters())
    assert metadata["system"]["complexity"]["total_parameters"] == 2 * 2 * size  # two models, two machine types
    assert metadata["system"]["description"]["ensemble_method_subsystem_count"] == 2
    assert metadata["system"]["description"]["input_sampling_rate"] == "16kHz"
    assert metadata["system"]["description"]["external_data_usage"] is None
    author = {"lastname": "Roe", "firstname": "Richard", "affiliation": "Works"}
    assert metadata["submission"]["authors"][1] == author
    assert set(metadata["results"]["development_dataset"]) == {"fan", "valve"}
    with zipfile.ZipFile(archive) as packed:
        assert len(packed.namelist()) == 2 * 3 * 2 * 2 + 1


def test_a_pretrained_encoder_is_named_as_external_data_and_fine_tuning_below_a_backend_is_told():
    encoder = EncoderSettings("transformers:/models/ast", "0" * 16, samples=400, hop_length=320, dimensions=8)
    judged = [replace(tiny_detector("classifier"), method="ccsa-knn", features=f) for f in (FeatureSettings(), encoder)]
    told = description(judged, n_runs=2, quantile=0.9)
    assert told["acoustic_features"] == "log-mel energies, pretrained encoder transformers-ast"
    assert told["external_data_usage"] == "pretrained encoder transformers-ast"
    assert told["domain_adaptation"] == "CCSA fine-tuning"


def test_without_evaluation_sections_there_is_nothing_to_submit(clips, table, write, tmp_path):
    dev = clips[clips["section"] <= 2]
    submitted, notes = evaluation_clips(table, dev)
    assert submitted.empty and "no test clips of evaluation sections" in notes[0]
    with pytest.raises(InputError, match="no evaluation sections"):
        write(table, submitted)
    assert not list(tmp_path.iterdir())


def test_without_ground_truth_files_it_cannot_be_evaluated(clips, table, write, tmp_path):
    folder, _ = write(table, clips)
    (tmp_path / "data").mkdir()
    assert check_entry(folder, table, clips, tmp_path / "data") is None


def test_a_run_that_is_not_in_the_store_is_named(table, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="run id-aux is not in the store"):
        detectors_of(table, tmp_path)
