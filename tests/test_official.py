"""The official evaluator's numbers are reproduced, and an incomplete submission is rejected."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from asd.challenge.official import evaluate_team, team_results
from asd.errors import InputError

CELLS = [
    (machine, section, domain)
    for machine in ("fan", "my_pump")
    for section in (3, 4)
    for domain in ("source", "target")
]


def name(kind: str, machine: str = "fan", section: int = 3, domain: str = "source") -> str:
    return f"{kind}_{machine}_section_{section:02d}_{domain}_test.csv"


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """A small team folder and its ground truth: 2 machine types, 2 sections, 8 clips per cell."""
    team, truth = tmp_path / "team", tmp_path / "truth"
    team.mkdir()
    truth.mkdir()
    random = np.random.default_rng(0)
    for cell in CELLS:
        clips = [f"section_{cell[1]:02d}_{cell[2]}_test_{i:04d}.wav" for i in range(8)]
        labels = [0, 1] * 4
        scores = random.normal(size=8) + labels
        for folder, kind, values in (
            (truth, "ground_truth", labels),
            (team, "anomaly_score", scores),
            (team, "decision_result", (scores > 0.5).astype(int)),
        ):
            order = random.permutation(8)
            text = "".join(f"{clips[i]},{values[i]}\n" for i in order)
            (folder / name(kind, *cell)).write_text(text)
    return team, truth


def numbers(path: Path) -> tuple[list[list[str]], np.ndarray]:
    """The file's rows with every number replaced by a word, and the numbers."""
    rows, values = [], []
    for row in csv.reader(path.read_text().splitlines()):
        texts = []
        for text in row:
            try:
                values.append(float(text))
                texts.append("number" if "." in text else text)
            except ValueError:
                texts.append(text)
        rows.append(texts)
    return rows, np.array(values)


def official_evaluator(shared: Path) -> tuple[Path, Path, Path]:
    """An example team, the challenge's ground truth, and what the official evaluator made of them."""
    folder = shared / "oracle" / "official_evaluator"
    return folder / "example_team", folder / "ground_truth", folder / "example_team_result.csv"


@pytest.mark.parametrize("oracle", ["scikit-learn and scipy", "the official evaluator"])
def test_every_number_is_reproduced_in_the_same_layout(oracle, request, tmp_path):
    team, truth, result = (
        official_evaluator(request.getfixturevalue("shared"))
        if oracle == "the official evaluator"
        else request.getfixturevalue("submission")
    )
    score = evaluate_team(team, truth, tmp_path / "result.csv")
    expected_rows, expected = numbers(result)
    rows, found = numbers(tmp_path / "result.csv")
    assert rows == expected_rows
    assert len(expected) > 400
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert score == pytest.approx(expected[-1], abs=1e-9)


def test_the_order_of_a_team_s_rows_does_not_matter(folders, tmp_path):
    team, truth = folders
    evaluate_team(team, truth, tmp_path / "a.csv")
    for path in team.iterdir():
        path.write_text("\n".join(reversed(path.read_text().split())))
    evaluate_team(team, truth, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_the_file_ends_with_the_official_score_and_starts_with_the_first_machine_type(folders, tmp_path):
    score = evaluate_team(*folders, tmp_path / "new" / "result.csv")
    lines = (tmp_path / "new" / "result.csv").read_text().splitlines()
    assert lines[:2] == ["fan", "section,domain,AUC,pAUC,precision,recall,F1 score"]
    assert [line.split(",")[:2] for line in lines[2:6]] == [
        ["03", "source"],
        ["04", "source"],
        ["03", "target"],
        ["04", "target"],
    ]
    assert lines[-2:] == [f"official score,,{score!r}", ""]


def edit(path: Path, line: int, text: str | None) -> None:
    rows = path.read_text().splitlines()
    rows[line - 1 : line] = [] if text is None else text.splitlines()
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("kind", ["anomaly_score", "decision_result"])
@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (2, None, r"row of section_03_source_test_000\d.wav is missing"),
        (3, "a.wav,1\na.wav,1", "line 4: a.wav is listed twice, first on line 3"),
        (2, "section_03_source_test_0099.wav,1", "line 2: section_03_source_test_0099.wav is not a clip"),
        (8, "section_04_source_test_0001.wav,1", "line 8: section_04_source_test_0001.wav is not a clip"),
        (4, "section_03_source_test_0003.wav,high", "line 4: 'high'"),
        (4, "section_03_source_test_0003.wav,nan", "line 4: 'nan'"),
        (4, "section_03_source_test_0003.wav,", "line 4: ''"),
        (4, "section_03_source_test_0003.wav", "line 4: found"),
    ],
)
def test_a_wrong_row_is_an_error_that_names_file_and_row_and_nothing_is_written(
    folders, tmp_path, kind, line, text, message
):
    team, truth = folders
    edit(team / name(kind), line, text)
    with pytest.raises(InputError, match=message) as error:
        evaluate_team(team, truth, tmp_path / "result.csv")
    assert name(kind) in str(error.value)
    assert not (tmp_path / "result.csv").exists()


def test_decisions_are_0_or_1(folders):
    team, truth = folders
    clip = (team / name("decision_result")).read_text().split(",")[0]
    edit(team / name("decision_result"), 1, f"{clip},0.5")
    with pytest.raises(InputError, match=r"line 1: '0\.5'"):
        team_results(team, truth)


def test_a_missing_file_and_a_file_without_ground_truth_are_named(folders):
    team, truth = folders
    (team / name("decision_result", "my_pump")).rename(team / "decision_result_my_pump_section_3_source_test.csv")
    with pytest.raises(
        InputError, match=r"decision_result_my_pump_section_3_source_test\.csv: there is no ground truth"
    ):
        team_results(team, truth)
    (team / "decision_result_my_pump_section_3_source_test.csv").unlink()
    with pytest.raises(InputError, match=r"decision_result_my_pump_section_03_source_test\.csv: is missing"):
        team_results(team, truth)


def test_other_files_of_a_team_are_left_alone(folders):
    team, truth = folders
    (team / "team_task2_1.meta.yaml").write_text("submission: {}\n")
    assert len(team_results(team, truth)) == len(CELLS)


def test_folders_without_what_they_should_hold_are_named(folders, tmp_path):
    team, truth = folders
    with pytest.raises(InputError, match="no ground_truth"):
        team_results(team, team)
    with pytest.raises(InputError, match="absent: no such folder"):
        team_results(tmp_path / "absent", truth)
    with pytest.raises(InputError, match="absent: no such folder"):
        team_results(team, tmp_path / "absent")
    shutil.copy(truth / name("ground_truth"), truth / "ground_truth_fan_section_05_test.csv")
    with pytest.raises(InputError):
        team_results(team, truth)


def test_a_ground_truth_of_one_class_gives_nan_for_its_cell_and_a_warning_that_names_it(folders, tmp_path):
    team, truth = folders
    path = truth / name("ground_truth")
    path.write_text(path.read_text().replace(",1\n", ",0\n"))
    with pytest.warns(UserWarning, match="fan section 03 source: no anomalous test clips"):
        score = evaluate_team(team, truth, tmp_path / "result.csv")
    assert "03,source,nan,nan" in (tmp_path / "result.csv").read_text()
    assert 0 < score < 1
