"""A detector's file holds all that scoring needs, and nothing else is ever opened in its place."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from click.testing import CliRunner
from conftest import tiny_detector
from mlflow.exceptions import MlflowException

from asd.cli import main
from asd.data.features import FeatureSettings
from asd.detection.detector import load_detector
from asd.errors import InputError
from asd.evaluation.decisions import decide


@pytest.fixture(params=["classifier", "density"])
def detector(request):
    return tiny_detector(request.param)


def frames(n: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(seed)) * 10 - 30


def test_a_detector_read_from_its_file_gives_the_same_scores(detector, tmp_path):
    detector.save(tmp_path / "detector.pt")
    again = load_detector(tmp_path / "detector.pt")
    assert again.score(frames(), 3) == detector.score(frames(), 3)
    assert (again.sections, again.features, again.statistics) == (
        detector.sections,
        detector.features,
        detector.statistics,
    )


def test_a_clips_score_is_the_mean_or_the_maximum_over_its_snippets(detector):
    windows = detector.window_scores(frames(), 0)
    assert len(windows) == (40 - detector.n_frames) // detector.hop + 1
    assert detector.score(frames(), 0) == pytest.approx(float(windows.mean()))
    detector.reduction = "max"
    assert detector.score(frames(), 0) == pytest.approx(float(windows.max()))


def test_clips_scored_together_get_the_scores_that_each_gets_alone(detector):
    several = torch.stack([frames(seed=i) for i in range(3)])
    together = detector.window_scores(several, 3)
    alone = torch.stack([detector.window_scores(one, 3) for one in several])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_clip_shorter_than_a_snippet_is_repeated(detector):
    short = frames(detector.n_frames - 1)
    repeated = torch.cat([short, short])[: detector.n_frames]
    assert detector.score(short, 0) == pytest.approx(detector.score(repeated, 0))


def test_the_classifiers_score_is_a_monotone_function_of_the_softmax_that_does_not_saturate():
    model = tiny_detector("classifier").model
    logits = torch.tensor([[0.0, 1.0, 2.0], [9.0, 0.0, 0.0], [40.0, 0.0, 0.0], [60.0, 0.0, 0.0]])
    model.forward = lambda frames: logits
    score = model.anomaly_score(torch.zeros(4), torch.zeros(4, dtype=torch.long)).double()
    expected = torch.logit(1 - logits.double().softmax(1)[:, 0])
    assert torch.allclose(score[:2], expected[:2], atol=1e-3)  # further on the softmax is 1, also in float64
    assert score[3] < score[2] < score[1] < score[0]


def test_an_unknown_section_is_refused_and_the_known_ones_are_named(detector):
    with pytest.raises(InputError, match=r"section 5 .*allowed: \[0, 3, 7\]"):
        detector.score(frames(), 5)


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "text", "foreign", "code", "other weights"])
def test_anything_but_a_whole_detector_is_refused_by_name(detector, tmp_path, damage):
    path = tmp_path / "detector.pt"
    detector.save(path)
    content = torch.load(path, weights_only=True)
    ran = tmp_path / "ran"

    class Code:
        def __reduce__(self):
            return (ran.write_text, ("it ran",))

    if damage == "absent":
        path.unlink()
    elif damage in ("empty", "cut"):
        path.write_bytes(path.read_bytes()[: {"empty": 0, "cut": -200}[damage]])
    elif damage == "text":
        path.write_text("not a detector")
    elif damage == "foreign":
        torch.save({"state_dict": {}}, path)
    elif damage == "code":
        torch.save(content | {"method": Code()}, path)
    else:
        del content["state"][next(iter(content["state"]))]
        torch.save(content, path)
    with pytest.raises(InputError, match=r"detector\.pt: "):
        load_detector(path)
    assert not ran.exists()


def test_a_failed_save_leaves_the_earlier_file_as_it_was(detector, tmp_path, monkeypatch):
    path = tmp_path / "detector.pt"
    detector.save(path)
    before = path.read_bytes()

    def full(content, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        detector.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_normalised_waveforms_score_alike_at_any_loudness():
    detector = tiny_detector("density")
    detector.features, detector.normalize_waveform = FeatureSettings(n_mels=16), True
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    loud, quiet = (detector.score(detector.frames(gain * sound), 0) for gain in (1.0, 0.1))
    assert loud == pytest.approx(quiet, rel=1e-3)
    with pytest.raises(InputError, match="silence"):
        detector.frames(np.zeros(16000, np.float32))


def test_score_tables_come_back_as_they_were_written(tmp_path):
    from asd.evaluation.score_table import COLUMNS, read_table, write_table

    table = pd.DataFrame(
        {
            "machine_type": "NA",
            "section": [0, 1],
            "domain": ["source", ""],
            "split": "test",
            "clip": ["a/1.wav", "a/2.wav"],
        }
    )
    table = table.assign(
        label=pd.array([1, None], dtype="Int64"), score=[0.1 + 0.2, -1e-9], method="nan", run_name="07", run_id="007",
        seed=0, held_out=False,
    )[COLUMNS]  # fmt: skip
    write_table(table, tmp_path / "aux.csv")
    assert read_table(tmp_path / "aux.csv")["run_name"].tolist() == ["07", "07"]
    pd.testing.assert_frame_equal(read_table(tmp_path / "aux.csv"), table, check_dtype=False)
    assert read_table(tmp_path / "aux.csv")["label"].isna().tolist() == [False, True]


def test_a_waveform_of_two_channels_is_refused():
    with pytest.raises(InputError, match=r"shape \(16000, 2\); allowed: \(samples,\), one channel"):
        tiny_detector("density").frames(np.zeros((16000, 2), np.float32))


HEADER = "machine_type,section,domain,split,label,clip,score,method,run_name,run_id,seed,held_out\n"


def test_what_a_score_table_leaves_open_is_not_held_out(tmp_path):
    from asd.evaluation.score_table import read_table

    rows = [f"fan,0,source,train,0,{i}.wav,1.5,gmm,gmm,,,{text}\n" for i, text in enumerate(("True", "False", "", "0"))]
    (tmp_path / "gmm.csv").write_text(HEADER + "".join(rows))
    assert read_table(tmp_path / "gmm.csv")["held_out"].tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("fan,0,source,test,0,a.wav,1.5,gmm,gmm,,,maybe", "line 2: held_out is 'maybe'; allowed: True, False or empty"),
        ("fan,0,source,test,0,a.wav,high,gmm,gmm,,,", "cannot be read as a score table .*high"),
        ("fan,a,source,test,0,a.wav,1.5,gmm,gmm,,,", "cannot be read as a score table .*a"),
        ("fan,0.5,source,test,0,a.wav,1.5,gmm,gmm,,,", "cannot be read as a score table"),
        ("fan,0,source,test,0,a.wav,NaN,gmm,gmm,,,", "line 2: no score"),
    ],
)
def test_a_score_table_with_impossible_values_is_named(tmp_path, row, said):
    from asd.evaluation.score_table import read_table

    (tmp_path / "gmm.csv").write_text(HEADER + row + "\n")
    with pytest.raises(InputError, match=rf"gmm\.csv.* {said}"):
        read_table(tmp_path / "gmm.csv")


# --------------------------------------------------------------------------------------------------------- decisions

SECTIONS = [0, 3]
RATES = (0.3, 0.6, None)  # of which 0.6 makes some clips alarm and others not


@pytest.fixture(scope="module")
def scored(two_machines, tmp_path_factory):
    """A detector of two sections, calibrated and saved; the clips, and the score table as evaluation reads it."""
    from asd.data.clips import clips_table
    from asd.data.selection import held_out_clips
    from asd.data.store import open_shard
    from asd.detection.scoring import score_clips
    from asd.evaluation.decisions import calibrate
    from asd.evaluation.score_table import COLUMNS, read_table, write_table

    folder = tmp_path_factory.mktemp("scored")
    detector = tiny_detector("density")
    clips = clips_table(two_machines)
    shard = open_shard(clips, two_machines, "fan", detector.features, folder / "features")
    clips = clips[(clips["machine_type"] == "fan") & clips["section"].isin(SECTIONS)].reset_index(drop=True)
    run = {"method": "ae", "run_name": "ae", "run_id": "1", "seed": 0, "held_out": held_out_clips(clips, 0.6)}
    table = clips.assign(score=score_clips(detector, shard, clips), **run).rename(columns={"path": "clip"})[COLUMNS]
    detector.statistics = calibrate(table)
    detector.save(folder / "detector.pt")
    write_table(table, folder / "ae.csv")
    return folder / "detector.pt", read_table(folder / "ae.csv"), two_machines


def served(path: Path):
    """The model that MLflow would serve."""
    from asd.detection.serving import ServedDetector

    model = ServedDetector()
    model.load_context(SimpleNamespace(artifacts={"detector": str(path)}))
    return model


@pytest.mark.parametrize("rate", RATES)
def test_evaluation_asd_score_and_the_served_model_decide_alike_about_every_clip(scored, rate):
    path, table, root = scored
    stated = load_detector(path).calibration.rate(0) if rate is None else rate
    decided, _ = decide(table, stated)
    assert decided["held_out"].sum() == 6
    assert rate != 0.6 or set(decided["decision"]) == {0, 1}
    for section, clips in decided.groupby("section"):
        wavs = [str(root / clip) for clip in clips["clip"]]
        option = [] if rate is None else ["--false-alarm-rate", str(rate)]
        told = CliRunner().invoke(main, ["score", str(path), *wavs, "--section", str(section), *option])
        assert told.exit_code == 0, told.output
        lines = list(csv.reader(told.stdout.splitlines()))[1:]
        rows = pd.DataFrame({"waveform": [soundfile.read(wav)[0] for wav in wavs], "section": section})
        answers = served(path).predict(None, rows, None if rate is None else {"false_alarm_rate": rate})
        np.testing.assert_allclose([float(line[2]) for line in lines], clips["p_value"], rtol=1e-3)
        np.testing.assert_allclose(answers["p_value"], clips["p_value"])
        assert [line[3] == "anomalous" for line in lines] == (clips["decision"] == 1).tolist()
        assert answers["anomalous"].tolist() == clips["decision"].tolist()


def test_a_recording_scores_as_it_did_in_the_store(scored):
    path, table, root = scored
    detector = load_detector(path)
    for row in table.iloc[::7].itertuples():
        waveform = soundfile.read(root / row.clip, dtype="int16")[0]
        assert detector.score(detector.frames(waveform), row.section) == pytest.approx(row.score, rel=1e-5)


def test_a_detector_of_an_earlier_version_decides_by_its_threshold(detector):
    assert detector.decide(0.6, 3) == (0.6, pytest.approx(float("nan"), nan_ok=True), True)
    assert not detector.decide(0.4, 3).anomalous
    assert "gamma threshold" in detector.calibration.shortfall(3)


@pytest.mark.parametrize("loud", [1e30, 3e7])
def test_samples_far_beyond_1_are_refused(detector, loud):
    detector.features = FeatureSettings(n_mels=16)
    waveform = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    waveform[5000] = loud
    with pytest.raises(InputError, match=r"samples reach .*allowed: ±1"):
        detector.frames(waveform)


def test_a_score_that_is_not_finite_is_refused(detector):
    with pytest.raises(InputError, match="score is nan"):
        detector.score(torch.full((40, 16), float("nan")), 0)


@pytest.mark.parametrize(
    ("waveform", "section", "said"),
    [
        ("recording.wav", 0, "one channel of finite samples.*given was a str"),
        (None, 0, "given was a NoneType"),
        ({"path": "recording.wav"}, 0, "given was a dict"),
        ([[0.1], [0.1, 0.2]], 0, "one channel of finite samples"),
        ([[0.1, 0.2]] * 2000, 0, "one channel of finite samples"),
        (["0.1"] * 2000, 0, "one channel of finite samples"),
        ([10**400] * 2000, 0, "one channel of finite samples"),
        ([0.1, None] * 2000, 0, "one channel of finite samples"),
        ([0.1, float("inf")] * 2000, 0, "one channel of finite samples"),
        ([1e30] * 2000, 0, "samples reach 1e.30; allowed: ±1"),
        ([], 0, "the waveform has 0 samples"),
        ([0.1] * 2000, 0.7, "section: 0.7; allowed: a whole number"),
        ([0.1] * 2000, 10**400, "section: out of range"),
        ([0.1] * 2000, float("nan"), "section: out of range"),
        ([0.1] * 2000, "0", "section: '0'; allowed: a whole number"),
        ([0.1] * 2000, None, "section: 'None'"),
        ([0.1] * 2000, 1, r"section 1 is unknown.*\[0, 3, 7\]"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_whatever_a_request_holds_the_served_model_says_what_is_wrong(scored, waveform, section, said):
    with pytest.raises(MlflowException, match=said) as refusal:
        served(scored[0]).predict(None, pd.DataFrame({"waveform": [waveform], "section": [section]}, dtype=object))
    assert refusal.value.get_http_status_code() == 400


def test_the_served_model_takes_whole_numbers_however_they_are_written_and_knows_no_nan(detector, tmp_path):
    detector.save(tmp_path / "detector.pt")  # without calibration scores
    rows = pd.DataFrame(
        {"waveform": [[0, 1] * 2000, np.full(4000, 0.1), (0.1,) * 4000], "section": [3, 3.0, np.int64(3)]}
    )
    answers = served(tmp_path / "detector.pt").predict(None, rows.astype(object))
    assert answers["p_value"].tolist() == [None] * 3
    json.dumps(answers.to_dict("records"), allow_nan=False)
    for wrong in (pd.DataFrame({"waveform": [[0.1]]}), [0.1], None):
        with pytest.raises(MlflowException, match="rows of waveform and section"):
            served(tmp_path / "detector.pt").predict(None, wrong)
    with pytest.raises(MlflowException, match=r"false_alarm_rate: 2.0; allowed"):
        served(tmp_path / "detector.pt").predict(None, rows.astype(object), {"false_alarm_rate": 2.0})
