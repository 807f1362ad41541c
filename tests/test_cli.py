"""The command line does its work, or ends with a message and exit code 1, never with a traceback."""

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import tiny_detector

from asd.cli import main
from asd.data.clips import clips_table


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "detector.pt"
    tiny_detector("classifier").save(path)
    return path


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).normal(scale=0.1, size=32000), 16000)
    return path


def test_help_lists_the_commands():
    told = run("--help")
    assert told.exit_code == 0
    assert all(command in told.output for command in ("mini", "download", "evaluate", "score", "doctor"))


def test_mini_makes_a_data_set_in_the_challenges_layout(tmp_path):
    told = run("mini", tmp_path / "data", "--train-source", 2, "--train-target", 1, "--test", 1, "--duration", 0.5)
    assert told.exit_code == 0 and str(tmp_path / "data") in told.output
    clips = clips_table(tmp_path / "data")
    assert clips["machine_type"].nunique() == 7 and set(clips["section"]) == set(range(6))
    assert len(clips) == 7 * 6 * (2 + 1 + 2 * 2)


def test_score_tells_score_and_decision_of_each_recording(detector, wav, tmp_path):
    other = tmp_path / "tone.wav"
    soundfile.write(other, 0.5 * np.sin(np.arange(32000) / 10), 16000)
    told = run("score", detector, wav, other, "--section", 3)
    assert told.exit_code == 0, told.output
    trained, lines = tiny_detector("classifier"), told.stdout.splitlines()
    for line, path in zip(lines, (wav, other), strict=True):
        name, score, p_value, verdict = line.rsplit(",", 3)
        samples, _ = soundfile.read(path, dtype="int16")
        expected = trained.score(trained.frames(samples), 3)
        assert name == str(path) and float(score) == pytest.approx(expected, rel=1e-5)
        assert p_value == "nan" and verdict == ("anomalous" if expected > 0.5 else "normal")
    assert "no scores of held-out clips: decided by the gamma threshold" in told.stderr


def failed(told, *words: str) -> None:
    assert told.exit_code == 1 and isinstance(told.exception, SystemExit)
    assert told.output.startswith("Error: ")
    for word in words:
        assert word in told.output


def test_score_of_an_unknown_section_says_which_there_are(detector, wav):
    failed(run("score", detector, wav, "--section", 1), str(wav), "section 1", "[0, 3, 7]")


def test_score_of_something_else_names_the_file(detector, wav, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("no sound at all")
    failed(run("score", detector, text, "--section", 3), str(text))
    failed(run("score", detector, tmp_path / "absent.wav", "--section", 3), "absent.wav")


def test_score_with_a_foreign_detector_names_the_file(wav):
    failed(run("score", wav, wav, "--section", 3), str(wav), "a file of another kind")


def test_evaluate_without_a_submission_says_what_it_looked_for(tmp_path):
    told = run("evaluate", tmp_path / "team", "--ground-truth", tmp_path, "--out", tmp_path / "result.csv")
    failed(told, str(tmp_path / "team"), "anomaly_score_")
    assert not (tmp_path / "result.csv").exists()


def test_evaluate_reproduces_the_official_result(shared, tmp_path):
    folder, out = shared / "oracle" / "official_evaluator", tmp_path / "result.csv"
    told = run("evaluate", folder / "example_team", "--ground-truth", folder / "ground_truth", "--out", out)
    assert told.exit_code == 0, told.output
    expected = (folder / "example_team_result.csv").read_text().strip().splitlines()[-1].split(",")
    last = out.read_text().strip().splitlines()[-1].split(",")
    assert last[0] == "official score" == expected[0]
    numbers = [[float(field) for field in row[1:] if field] for row in (last, expected)]
    np.testing.assert_allclose(*numbers, atol=1e-9)
