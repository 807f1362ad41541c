"""A training draws from what its parameters ask for; if the data do not have it, an error says so before training."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from asd.data.clips import clips_table
from asd.errors import InputError
from asd.training.data import DEBUG_CLIPS, TrainingData, training_data
from asd.training.devices import find_device

CPU = torch.device("cpu")
ONE_SECTION = "its sections are to be told apart"


@pytest.fixture
def ask(two_machines, tmp_path):
    """Ask for training data with some parameters changed; the store lies in the test's folder."""

    def asked(root: Path = two_machines, clips=None, other_machines: bool = False, **changed) -> TrainingData:
        parameters = SimpleNamespace(
            **{
                "machine_type": "fan",
                "data": root,
                "outputs": tmp_path / "outputs",
                "sections": [],
                "sample_rate": 16000,
                "n_fft": 1024,
                "hop_length": 512,
                "n_mels": 16,
                "consistent_with_librosa": False,
                "validation_fraction": 0.2,
                "snippet_length": None,
                "snippet_hop_size": 0.32,
                "normalize_waveform": False,
                "least_frames": 1,
                "debug": False,
            }
            | changed
        )
        clips = clips_table(root) if clips is None else clips
        return training_data(
            parameters,
            clips,
            CPU,
            other_machines=other_machines,
            several_sections=ONE_SECTION,
            progress=lambda line: None,
        )

    return asked


def recording(root: Path, path: str, seconds: float) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(scale=0.1, size=round(16000 * seconds))
    soundfile.write(root / path, noise, 16000)


@pytest.fixture
def mixed_lengths(tmp_path) -> Path:
    """Two machine types: clips of the fan last 1 s, in section 1 they last 2 s; clips of the pump last 0.3 s."""
    root = tmp_path / "mixed"
    for section, seconds in ((0, 1.0), (1, 2.0)):
        for i in range(3):
            recording(root, f"fan/train/section_0{section}_source_train_normal_{i:04d}.wav", seconds)
    recording(root, "fan/source_test/section_00_source_test_normal_0000.wav", 0.5)
    recording(root, "pump/train/section_00_source_train_normal_0000.wav", 0.3)
    return root


def test_train_clips_are_divided_into_source_held_out_and_target(ask, two_machines):
    data = ask()
    clips = data.clips
    assert set(clips["machine_type"]) == {"fan"}
    assert data.sections == [0, 1, 2, 3, 4, 5]
    assert [len(part) for part in (data.source, data.held_out, data.target)] == [6 * 4, 6 * 1, 6 * 2]
    assert data.is_held_out.sum() == 6
    held = clips[data.is_held_out]
    assert set(held["split"]) == {"train"} and set(held["domain"]) == {"source"}
    for part, rows in (
        (data.held_out, held),
        (data.target, clips[(clips["split"] == "train") & (clips["domain"] == "target")]),
        (data.source, clips[(clips["split"] == "train") & (clips["domain"] == "source") & ~data.is_held_out]),
    ):
        assert part.section.tolist() == rows["section"].tolist()
        first = part.frames.crop(torch.tensor([0]), torch.tensor([0]), 30)[0]
        np.testing.assert_array_equal(first, data.shard.frames_of(rows["path"].iloc[0]))
    assert (data.n_frames, data.hop, data.others) == (30, 10, None)
    assert list(data.fingerprint) == ["fan"]


def test_sections_are_given_by_their_index_among_the_chosen_ones(ask):
    data = ask(sections=[1, 4])
    assert data.sections == [1, 4]
    assert set(data.clips["section"]) == {1, 4}
    assert sorted(data.source.section.tolist()) == [0] * 4 + [1] * 4


def test_the_fingerprint_names_every_machine_type_that_is_drawn_from_and_changes_with_the_choice(ask):
    everything = ask(other_machines=True).fingerprint
    assert list(everything) == ["fan", "valve"]
    assert ask().fingerprint == {"fan": everything["fan"]}
    assert ask(sections=[0, 1]).fingerprint["fan"] != everything["fan"]
    assert ask(n_mels=8).fingerprint["fan"] == everything["fan"]  # it identifies the recordings, not their features


def test_proxy_outliers_are_the_train_clips_of_all_other_machine_types(ask, two_machines):
    data = ask(other_machines=True)
    clips = clips_table(two_machines)
    expected = clips[(clips["machine_type"] == "valve") & (clips["split"] == "train")]
    assert len(data.others) == len(expected)
    assert not (set(data.shard.table.index) & set(expected["path"]))


def test_without_a_validation_fraction_or_target_clips_these_parts_are_none(ask, two_machines):
    clips = clips_table(two_machines)
    data = ask(clips=clips[clips["domain"] == "source"], validation_fraction=0.0)
    assert data.held_out is None and data.target is None
    assert list(data.held_out_batches()) == []
    assert len(data.source) == 6 * 5


def test_held_out_batches_hold_the_beginning_of_every_held_out_clip(ask):
    data = ask(snippet_length=0.3)
    frames, section = (torch.cat(parts) for parts in zip(*data.held_out_batches(), strict=True))
    assert section.tolist() == data.held_out.section.tolist()
    held = data.clips.loc[data.is_held_out, "path"]
    for snippet, path in zip(frames, held, strict=True):
        np.testing.assert_array_equal(snippet, data.shard.frames_of(path)[: data.n_frames])


def test_debug_uses_few_clips_of_every_kind_and_a_store_of_its_own(ask, tmp_path):
    full = ask()
    data = ask(debug=True, other_machines=True)
    kinds = data.clips.groupby(["section", "domain", "split", "label"], dropna=False).size()
    assert kinds.max() <= DEBUG_CLIPS
    assert len(data.clips) < len(full.clips)
    assert set(data.clips["section"]) == set(full.clips["section"])
    assert data.fingerprint["fan"] != full.fingerprint["fan"]
    assert len(list((tmp_path / "outputs" / "features").rglob("shard.json"))) == 3  # the full store still exists


# ------------------------------------------------------------------------------------------- what the data do not have


def test_an_unknown_machine_type_or_section_is_an_error_that_lists_the_known_ones(ask):
    with pytest.raises(InputError, match=r"machine_type: 'pump' is unknown; allowed here: \['fan', 'valve'\]"):
        ask(machine_type="pump")
    with pytest.raises(InputError, match=r"sections: fan has no section \[6\]; allowed: \[0, 1, 2, 3, 4, 5\]"):
        ask(sections=[0, 6])


def test_one_section_alone_cannot_be_told_apart(ask):
    with pytest.raises(InputError, match=rf"fan has only one section \(03\); {ONE_SECTION}"):
        ask(sections=[3])


@pytest.mark.parametrize("left", ["nothing", "test clips"])
def test_proxy_outliers_need_train_clips_of_another_machine_type(ask, two_machines, left):
    clips = clips_table(two_machines)
    if left == "nothing":
        clips = clips[clips["machine_type"] == "fan"]
    else:
        clips = clips[(clips["machine_type"] == "fan") | (clips["split"] == "test")]
    with pytest.raises(InputError, match=r"proxy_outliers: .* has train clips of no machine type but fan"):
        ask(clips=clips, other_machines=True)
    assert ask(clips=clips).others is None


@pytest.mark.parametrize("seconds", [1.03, 60, 0.01])
def test_a_snippet_longer_than_the_shortest_train_clip_or_shorter_than_a_frame_is_an_error(ask, seconds):
    with pytest.raises(InputError, match=rf"snippet_length: {seconds} s make \d+ frames; allowed: 0\.064 to 0\.992 s"):
        ask(snippet_length=seconds)


def test_clips_of_different_lengths_are_drawn_from_in_snippets_that_fit_into_the_shortest(ask, mixed_lengths):
    data = ask(mixed_lengths, other_machines=True)
    assert data.n_frames == 30
    assert sorted(set(data.source.frames.length.tolist())) == [30, 61]
    assert data.others.length.tolist() == [8]
    assert data.others.crop(torch.tensor([0]), torch.tensor([0]), 30).shape == (1, 30, 16)  # wrapped around
    with pytest.raises(InputError, match="shortest train clip of fan"):
        ask(mixed_lengths, snippet_length=2.0)


def test_the_only_train_clip_of_a_section_is_trained_on_and_not_held_out(ask, mixed_lengths):
    for i in (1, 2):
        (mixed_lengths / f"fan/train/section_01_source_train_normal_{i:04d}.wav").unlink()
    data = ask(mixed_lengths, validation_fraction=0.5)
    assert data.source.section.tolist().count(1) == 1
    assert 1 not in data.held_out.section.tolist()


def test_a_silent_train_clip_that_is_to_be_scaled_is_named(ask, mixed_lengths):
    path = mixed_lengths / "fan/train/section_01_source_train_normal_0002.wav"
    soundfile.write(path, np.zeros(32000), 16000)
    with pytest.warns(UserWarning, match="digital silence"), pytest.raises(InputError, match=path.name):
        ask(mixed_lengths, normalize_waveform=True)
    assert len(ask(mixed_lengths).clips) == 7


def test_an_unavailable_device_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find_device("auto") == torch.device("cuda")
    with pytest.raises(InputError, match="'cuda:1' is not available: 1 CUDA devices"):
        find_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert find_device("auto") == find_device("cpu") == CPU
    with pytest.raises(InputError, match="'cuda' is not available"):
        find_device("cuda")
