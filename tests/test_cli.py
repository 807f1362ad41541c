"""The command line does its work, or ends with a message and exit code 1, never with a traceback."""

import csv
import io

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import tiny_detector
from scipy import stats

from asd.cli import main
from asd.data.clips import clips_table


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rows(told) -> list[dict[str, str]]:
    """What was printed as CSV."""
    return list(csv.DictReader(io.StringIO(told.stdout, newline="")))


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
    assert all(command in told.output for command in ("mini", "download", "evaluate", "runs", "score", "doctor"))


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
    trained = tiny_detector("classifier")
    for row, path in zip(rows(told), (wav, other), strict=True):
        samples, _ = soundfile.read(path, dtype="int16")
        expected = trained.score(trained.frames(samples), 3)
        assert row["file"] == str(path) and float(row["score"]) == pytest.approx(expected, rel=1e-5)
        assert row["p_value"] == "nan" and row["decision"] == ("anomalous" if expected > 0.5 else "normal")
        assert (row["section"], row["section_from"]) == ("3", "given")
    assert "no scores of held-out clips: decided by the gamma threshold" in told.stderr


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A detector that is calibrated by its scores of 30 pieces of noise."""
    path = tmp_path_factory.mktemp("calibrated") / "detector.pt"
    detector = tiny_detector("classifier")
    waveforms = np.random.default_rng(1).normal(scale=0.1, size=(10, 32000)).astype(np.float32)
    noise = [detector.score(detector.frames(gain * waveform), 3) for waveform in waveforms for gain in (0.9, 1, 1.1)]
    scale = {"trained_mean": float(np.mean(noise)), "trained_std": float(np.std(noise))}
    for statistics in detector.statistics.values():
        statistics |= scale | {"held_out_scores": sorted(noise)}
    detector.save(path)
    return path


def test_score_prints_csv_whatever_the_names_are(calibrated, wav, tmp_path):
    strange = tmp_path / 'a, "b"\nc.wav'
    strange.write_bytes(wav.read_bytes())
    told = run("score", calibrated, wav, strange, "--section", 3)
    first, second = rows(told)
    assert [first.pop("file"), second.pop("file")] == [str(wav), str(strange)]
    assert first == second and told.stderr == ""


def test_a_stated_rate_decides_by_the_p_value(calibrated, wav):
    (row,) = rows(run("score", calibrated, wav, "--section", 3))
    p_value = float(row["p_value"])
    assert 0 < p_value < 1
    for rate, verdict in ((p_value * 1.01, "anomalous"), (p_value * 0.99, "normal")):
        told = run("score", calibrated, wav, "--section", 3, "--false-alarm-rate", rate)
        assert rows(told)[0]["decision"] == verdict
    told = run("score", calibrated, wav, "--section", 3, "--false-alarm-rate", 0.001)
    assert told.exit_code == 0 and "the smallest is 0.0323, so no clip alarms" in told.stderr
    failed(run("score", calibrated, wav, "--section", 3, "--false-alarm-rate", 1.5), "--false-alarm-rate: 1.5")


def test_the_false_discovery_rate_is_of_all_recordings_together(calibrated, wav):
    few = run("score", calibrated, *[wav] * 3, "--section", 3, "--fdr", 0.9)
    p_values = [float(row["p_value"]) for row in rows(few)]
    expected = stats.false_discovery_control(p_values) <= 0.9
    assert [row["decision"] == "anomalous" for row in rows(few)] == expected.tolist()
    strict = run("score", calibrated, *[wav] * 3, "--section", 3, "--fdr", 0.05)
    assert "a single anomalous recording among 3 needs a p-value of 0.017" in strict.stderr
    both = run("score", calibrated, wav, "--section", 3, "--fdr", 0.1, "--false-alarm-rate", 0.1)
    assert both.exit_code == 2 and "give one of them" in both.output


def test_a_false_discovery_rate_needs_p_values(detector, wav):
    failed(run("score", detector, wav, "--section", 3, "--fdr", 0.1), "needs a p-value for each clip")


def test_a_recording_whose_score_would_not_be_finite_is_named(detector, tmp_path):
    samples = np.random.default_rng(0).normal(scale=0.1, size=32000)
    samples[1000] = 1e30
    soundfile.write(tmp_path / "loud.wav", samples, 16000, subtype="FLOAT")
    failed(run("score", detector, tmp_path / "loud.wav", "--section", 3), "loud.wav", "samples reach 1e+30", "±1")


def test_samples_that_are_no_longer_in_1_get_a_word(calibrated, tmp_path):
    path = tmp_path / "scale.wav"
    soundfile.write(path, 3000 * np.random.default_rng(0).normal(size=32000), 16000, subtype="FLOAT")
    for option in ([], ["--fdr", 0.5]):
        told = run("score", calibrated, path, "--section", 3, *option)
        assert told.exit_code == 0 and rows(told)[0]["file"] == str(path)
        assert f"{path}: samples reach 1." in told.stderr and "far beyond ±1" in told.stderr


def failed(told, *words: str) -> None:
    assert told.exit_code == 1 and isinstance(told.exception, SystemExit)
    assert told.output.startswith("Error: ")
    for word in words:
        assert word in told.output


def test_score_of_an_unknown_section_says_which_there_are(detector, wav):
    failed(run("score", detector, wav, "--section", 1), "section 1", "[0, 3, 7]")


def test_score_of_something_else_names_the_file(detector, wav, tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("no sound at all")
    failed(run("score", detector, text, "--section", 3), str(text))
    failed(run("score", detector, tmp_path / "absent.wav", "--section", 3), "absent.wav")


def test_score_with_a_foreign_detector_names_the_file(wav):
    failed(run("score", wav, wav, "--section", 3), str(wav), "cannot be read")


def test_evaluate_without_a_submission_says_what_it_looked_for(tmp_path):
    told = run("evaluate", tmp_path / "team", "--ground-truth", tmp_path, "--out", tmp_path / "result.csv")
    failed(told, str(tmp_path / "team"), "anomaly_score_")
    assert not (tmp_path / "result.csv").exists()


def test_evaluate_writes_the_official_result(submission, tmp_path):
    (team, truth, result), out = submission, tmp_path / "result.csv"
    told = run("evaluate", team, "--ground-truth", truth, "--out", out)
    assert told.exit_code == 0, told.output
    expected = result.read_text().strip().splitlines()[-1].split(",")
    last = out.read_text().strip().splitlines()[-1].split(",")
    assert last[0] == "official score" == expected[0]
    numbers = [[float(field) for field in row[1:] if field] for row in (last, expected)]
    np.testing.assert_allclose(*numbers, atol=1e-9)
