"""A submission is complete, says what the table says, and passes the official evaluation."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from test_metrics import one, score_table

from asd.challenge.official import evaluate_team, team_results
from asd.challenge.submission import write_submission
from asd.errors import InputError
from asd.evaluation.cells import ALL_MACHINES, evaluate_scores, summarise

LABEL = "Doe_Uni_task2_1"
SUBMISSION = {
    "label": LABEL,
    "name": "Ensemble",
    "abbreviation": "Ens",
    "authors": [{"lastname": "Doe", "firstname": "Jané", "affiliation": "Uni"}],
}
DESCRIPTION = {
    "input_sampling_rate": "16kHz",
    "data_augmentation": None,
    "acoustic_features": "log-mel energies",
    "machine_learning_method": "MADE",
    "aggregation_method": "mean",
    "domain_adaptation": None,
    "ensemble_method_subsystem_count": 1,
    "decision_making": "0.9 quantile of a gamma distribution",
    "external_data_usage": None,
}
PARAMETERS = {"fan": 1000, "valve": 234, "pump": 5}


@pytest.fixture
def table() -> pd.DataFrame:
    """Scores and decisions of 2 machine types, 2 development and 2 evaluation sections."""
    table = score_table(n=12, sections=(0, 1, 3, 4))
    return table.assign(decision=(table["score"] > 1).astype(int))


@pytest.fixture
def clips(table) -> pd.DataFrame:
    return table.rename(columns={"clip": "path"})[["path", "machine_type", "section", "domain", "split", "label"]]


def write(directory: Path, table: pd.DataFrame, clips: pd.DataFrame, **changes) -> tuple[Path, Path]:
    arguments = {"parameters": PARAMETERS, "submission": SUBMISSION, "description": DESCRIPTION} | changes
    return write_submission(directory, table, clips, **arguments)


def test_a_submission_passes_the_official_evaluation_with_the_scores_of_the_table(tmp_path, table, clips):
    folder, _ = write(tmp_path, table, clips)
    truth = tmp_path / "truth"
    truth.mkdir()
    test = table[(table.split == "test") & (table.section >= 3)]
    for (machine_type, section, domain), rows in test.groupby(["machine_type", "section", "domain"]):
        name = f"ground_truth_{machine_type}_section_{section:02d}_{domain}_test.csv"
        lines = [f"{Path(clip).name},{label}\n" for clip, label in zip(rows["clip"], rows.label, strict=True)]
        (truth / name).write_text("".join(lines))
    score = evaluate_team(folder, truth, tmp_path / "result.csv")
    results = evaluate_scores(table)
    expected = one(summarise(results), machine_type=ALL_MACHINES, part="eval", mean="harmonic mean")
    assert score == pytest.approx(expected.official_score, abs=1e-12)
    official = team_results(folder, truth).set_index(["machine_type", "section", "domain"])
    ours = results[(results.part == "eval") & (results.domain != "mixed")].set_index(
        ["machine_type", "section", "domain"]
    )
    for metric in ("auc", "pauc", "precision", "recall", "f1"):
        np.testing.assert_allclose(official[metric], ours[metric][official.index], atol=1e-12)


def test_file_names_have_two_digits_and_a_domain_and_only_evaluation_sections_are_submitted(tmp_path, table, clips):
    folder, _ = write(tmp_path, table, clips)
    expected = {
        f"{kind}_{machine_type}_section_{section}_{domain}_test.csv"
        for kind in ("anomaly_score", "decision_result")
        for machine_type in ("fan", "valve")
        for section in ("03", "04")
        for domain in ("source", "target")
    }
    assert {path.name for path in folder.iterdir()} == expected | {f"{LABEL}.meta.yaml"}
    lines = (folder / "decision_result_fan_section_03_source_test.csv").read_text().splitlines()
    assert len(lines) == 24
    assert lines[0] in ("section_03_source_test_0_0000.wav,0", "section_03_source_test_0_0000.wav,1")


def test_scores_are_written_exactly(tmp_path, table, clips):
    folder, _ = write(tmp_path, table, clips)
    values = pd.read_csv(folder / "anomaly_score_valve_section_04_target_test.csv", header=None, index_col=0)[1]
    rows = table[table["clip"].str.contains("eval_data/valve/target_test/section_04")]
    assert len(values) == len(rows)
    assert (values[[Path(clip).name for clip in rows["clip"]]].to_numpy() == rows.score.to_numpy()).all()


def test_the_metadata_holds_what_was_given_and_what_the_program_knows(tmp_path, table, clips):
    folder, _ = write(tmp_path, table, clips)
    content = yaml.safe_load((folder / f"{LABEL}.meta.yaml").read_text(encoding="utf-8"))
    assert content["submission"] == SUBMISSION
    assert content["system"]["description"] == DESCRIPTION
    assert content["system"]["complexity"]["total_parameters"] == 1234
    results = evaluate_scores(table)
    fan = results[(results.machine_type == "fan") & (results.part == "dev") & (results.domain != "mixed")]
    development = content["results"]["development_dataset"]
    assert set(development) == {"fan", "valve"}
    assert development["fan"]["auc_harmonic_mean"] == pytest.approx(100 * stats.hmean(fan.auc), abs=0.005)
    assert development["fan"]["pauc_harmonic_mean"] == pytest.approx(100 * stats.hmean(fan.pauc), abs=0.005)


def test_the_zip_holds_the_folder_and_is_the_same_each_time(tmp_path, table, clips):
    folder, archive = write(tmp_path / "a", table, clips)
    _, again = write(tmp_path / "b", table.sample(frac=1, random_state=0), clips.sample(frac=1, random_state=1))
    assert archive.name == f"{LABEL}.zip"
    assert archive.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(archive) as packed:
        assert packed.testzip() is None
        assert set(packed.namelist()) == {f"{LABEL}/{path.name}" for path in folder.iterdir()}
        for name in packed.namelist():
            assert packed.read(name) == (folder.parent / name).read_bytes()


def test_a_second_submission_replaces_the_first_without_leftovers(tmp_path, table, clips):
    write(tmp_path, table, clips)
    smaller = table[table.machine_type == "fan"]
    folder, archive = write(tmp_path, smaller, clips[clips.machine_type == "fan"])
    assert not any("valve" in path.name for path in folder.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, archive.name}


def test_a_folder_that_is_not_a_submission_is_left_alone(tmp_path, table, clips):
    precious = tmp_path / LABEL / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(InputError, match="not an earlier submission"):
        write(tmp_path, table, clips)
    assert precious.read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == [LABEL]


def one_domain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame.section != 4) | (frame.domain != "target")]


def without(mapping: dict, key: str) -> dict:
    return {name: value for name, value in mapping.items() if name != key}


EVALUATION_CLIP = r"eval_data/valve/target_test/section_04_target_test_1_0011\.wav"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, c: {"table": t.iloc[:-1]}, EVALUATION_CLIP + r" \(valve\) has no score; 1 such"),
        (lambda t, c: {"clips": c.iloc[:-1]}, EVALUATION_CLIP + r" \(valve\) has a score, but is not a clip"),
        (lambda t, c: {"table": pd.concat([t, t.tail(1)])}, "is listed twice"),
        (lambda t, c: {"table": t[t.machine_type == "fan"]}, r"\(valve\) has no score; 96 such"),
        (lambda t, c: {"table": t.assign(score=t.score.where(t.index < t.index[-1]))}, "not finite"),
        (lambda t, c: {"table": t.drop(columns="decision")}, "decision: the column is missing"),
        (
            lambda t, c: {"table": t.assign(decision=t.decision.where(t.index < t.index[-1]))},
            f"decision: nan of {EVALUATION_CLIP}",
        ),
        (
            lambda t, c: {"table": t[t.section != 4], "clips": c[(c.section != 4) & (c.section != 3)]},
            "no test clips of evaluation",
        ),
        (
            lambda t, c: {"table": one_domain(t), "clips": one_domain(c)},
            r"fan_section_04_target_test\.csv would be missing",
        ),
        (lambda t, c: {"table": t[t.section >= 3], "clips": c}, "fan has no results on development"),
        (lambda t, c: {"parameters": {"fan": 1}}, "parameters: valve is missing"),
        (
            lambda t, c: {"description": without(DESCRIPTION, "aggregation_method")},
            "description: the field aggregation_method",
        ),
        (lambda t, c: {"description": DESCRIPTION | {"decision_making": None}}, "the field decision_making"),
        (lambda t, c: {"submission": SUBMISSION | {"authors": []}}, "the field authors"),
        (
            lambda t, c: {"submission": SUBMISSION | {"authors": [{"lastname": "Doe", "firstname": "J"}]}},
            "author 1: the field affil",
        ),
        (lambda t, c: {"submission": SUBMISSION | {"label": "../escape"}}, r"label '\.\./escape'"),
    ],
)
def test_what_is_missing_or_superfluous_is_named_and_nothing_is_written(tmp_path, table, clips, change, message):
    arguments = {"table": table, "clips": clips} | change(table, clips)
    with pytest.raises(InputError, match=message):
        write(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_if_the_disk_is_full_the_earlier_submission_remains(tmp_path, table, clips, monkeypatch):
    folder, archive = write(tmp_path, table, clips)
    before = {path.name: path.read_bytes() for path in [archive, *folder.iterdir()]}
    real, calls = Path.write_text, []

    def full_after_three(self, *arguments, **named):
        calls.append(self)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        return real(self, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", full_after_three)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, table.assign(score=table.score + 1), clips)
    assert before == {path.name: path.read_bytes() for path in [archive, *folder.iterdir()]}
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, archive.name}
