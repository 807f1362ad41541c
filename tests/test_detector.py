"""A detector's file holds all that scoring needs, and nothing else is ever opened in its place."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny_detector

from asd.data.features import FeatureSettings
from asd.detection.detector import load_detector
from asd.errors import InputError


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
