"""Frames and batches: crops equal slices, mixtures equal mixed sounds, and every epoch draws what it should."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from asd.data.clips import clips_table
from asd.data.features import FeatureSettings, as_float, log_mel
from asd.data.frames import Frames, LabelledFrames, gathered
from asd.data.recordings import read_recording
from asd.data.store import Shard, open_shard
from asd.training.batches import cycled, mix, section_batches, seeded, shuffled, window_batches

FEATURES = FeatureSettings(n_mels=16)
LENGTHS = {"fan": (61, 40, 61, 7, 30), "valve": (20, 61, 33)}  # frames of each clip
SECTIONS = torch.tensor([0, 1, 2, 0, 1])  # of the fan's clips


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for machine_type, lengths in LENGTHS.items():
        for i, n_frames in enumerate(lengths):
            path = root / machine_type / "train" / f"section_00_source_train_normal_{i:04d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            loudness = 0.02 * (1 + i) * np.linspace(0.5, 1.5, FEATURES.n_samples(n_frames) + 100)
            soundfile.write(path, loudness * rng.normal(size=len(loudness)), 16000)
    return root


@pytest.fixture(scope="module")
def shards(root, tmp_path_factory) -> dict[str, Shard]:
    store, clips = tmp_path_factory.mktemp("store"), clips_table(root)
    return {machine_type: open_shard(clips, root, machine_type, FEATURES, store) for machine_type in LENGTHS}


def paths(shard: Shard) -> pd.Series:
    return pd.Series(shard.table.index)


@pytest.fixture(scope="module")
def fan(shards) -> Frames:
    return Frames([(shards["fan"], paths(shards["fan"]))], "cpu")


@pytest.fixture(scope="module")
def everything(shards) -> Frames:
    return Frames([(shard, paths(shard)) for shard in shards.values()], "cpu")


class Numbered(Frames):
    """Clips whose frames all hold (clip number, position), so that a batch shows what was drawn."""

    def __init__(self, lengths, n_samples: int = 160_000, first: int = 0):
        self.length, self.first = torch.tensor(lengths), first
        self.samples = torch.full_like(self.length, n_samples)
        self.device, self.features = torch.device("cpu"), FeatureSettings()

    def crop(self, clip, offset, n_frames):
        position = (offset[:, None] + torch.arange(n_frames)) % self.length[clip, None]
        return torch.stack([(clip[:, None] + self.first).expand_as(position), position], dim=-1).float()


def drawn(frames: torch.Tensor) -> list[int]:
    return frames[:, 0, 0].int().tolist()


# --------------------------------------------------------------------------------------------------------------- frames


def test_frames_gathered_in_one_memory_as_on_a_gpu_give_the_same_crops(everything, shards):
    resident = Frames([(shard, paths(shard)) for shard in shards.values()], "cpu")
    resident.mapped = [
        gathered(resident.mapped, *(a.numpy() for a in (resident.part, resident.start, resident.period)), "cpu")
    ]
    resident.start, resident.part = resident.period.cumsum(0) - resident.period, torch.zeros_like(resident.part)
    clip, offset = torch.arange(len(everything)), torch.arange(len(everything)) % 7
    assert torch.equal(resident.crop(clip, offset, 50), everything.crop(clip, offset, 50))


def test_a_crop_equals_a_slice_of_the_clips_frames(fan, shards):
    clip, offset = torch.tensor([0, 4, 1, 0]), torch.tensor([0, 12, 25, 46])
    crops = fan.crop(clip, offset, 15)
    assert crops.shape == (4, 15, 16)
    for crop, i, start in zip(crops, clip.tolist(), offset.tolist(), strict=True):
        np.testing.assert_array_equal(crop, shards["fan"].frames_of(shards["fan"].table.index[i])[start : start + 15])


def test_a_clip_shorter_than_the_crop_wraps_around_and_is_never_padded(fan, shards):
    (crop,) = fan.crop(torch.tensor([3]), torch.tensor([5]), 20)
    whole = shards["fan"].frames_of(shards["fan"].table.index[3])
    np.testing.assert_array_equal(crop, np.concatenate([whole[5:], whole, whole, whole[:4]]))


def test_several_shards_are_one_sequence_of_clips(fan, everything, shards):
    assert len(everything) == 8
    assert everything.length.tolist() == [*LENGTHS["fan"], *LENGTHS["valve"]]
    assert everything.shortest() == 7
    valve = Frames([(shards["valve"], paths(shards["valve"]))], "cpu")
    crops = everything.crop(torch.tensor([6, 2, 7, 0, 5]), torch.tensor([1, 2, 3, 4, 5]), 10)
    torch.testing.assert_close(crops[[1, 3]], fan.crop(torch.tensor([2, 0]), torch.tensor([2, 4]), 10), rtol=0, atol=0)
    others = valve.crop(torch.tensor([1, 2, 0]), torch.tensor([1, 3, 5]), 10)
    torch.testing.assert_close(crops[[0, 2, 4]], others, rtol=0, atol=0)


def test_clips_are_numbered_in_the_given_order(fan, shards):
    turned = Frames([(shards["fan"], paths(shards["fan"])[::-1])], "cpu")
    assert turned.length.tolist() == list(LENGTHS["fan"])[::-1]
    torch.testing.assert_close(
        turned.crop(torch.tensor([0]), torch.tensor([3]), 9), fan.crop(torch.tensor([4]), torch.tensor([3]), 9)
    )


def test_random_crops_start_equally_often_at_every_frame_from_which_they_fit():
    clips = Numbered([12, 3])
    starts = clips.random_crop(torch.zeros(8000, dtype=torch.long), 9, seeded(0))[:, 0, 1].int().tolist()
    counts = Counter(starts)
    assert sorted(counts) == [0, 1, 2, 3]
    assert min(counts.values()) > 1800
    short = clips.random_crop(torch.ones(300, dtype=torch.long), 9, seeded(0))[:, 0, 1].int().tolist()
    assert set(short) == {0, 1, 2}


@pytest.mark.parametrize("normalize_waveform", [False, True])
def test_mean_and_std_are_those_of_all_frames_together(everything, shards, normalize_waveform):
    parts = [(shard, paths(shard)) for shard in shards.values()]
    frames = Frames(parts, "cpu", normalize_waveform)
    every = [frames.crop(torch.tensor([i]), torch.tensor([0]), n)[0] for i, n in enumerate(frames.length.tolist())]
    every = torch.cat(every).double().numpy()
    mean, std = frames.mean_std()
    np.testing.assert_allclose(mean, every.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(std, every.std(axis=0), atol=1e-3)


def test_the_std_of_a_band_that_never_changes_is_floored(shards):
    shard = shards["fan"]
    statistics = shard.statistics.copy()
    statistics[:, 0, 3], statistics[:, 1, 3] = -100, 10_000
    constant = Shard("fan", FEATURES, shard.frames, shard.table, statistics)
    _, std = Frames([(constant, paths(shard))], "cpu").mean_std()
    assert std[3] == pytest.approx(1e-4 * std.max().item())


def test_normalize_waveform_equals_scaling_the_waveform_to_rms_1(root, shards):
    shard = shards["fan"]
    frames = Frames([(shard, paths(shard))], "cpu", normalize_waveform=True)
    for i, path in enumerate(shard.table.index):
        waveform = as_float(read_recording(root / path, 16000))
        expected = log_mel(waveform / waveform.square().mean().sqrt(), FEATURES)
        (crop,) = frames.crop(torch.tensor([i]), torch.tensor([0]), len(expected))
        torch.testing.assert_close(crop, expected, rtol=0, atol=0.0025)


# --------------------------------------------------------------------------------------------------------- random draws


def test_a_shuffle_holds_every_number_once_in_batches_of_nearly_equal_size():
    batches = shuffled(100, 32, seeded(0))
    assert [len(batch) for batch in batches] == [25, 25, 25, 25]
    assert sorted(torch.cat(batches).tolist()) == list(range(100))
    assert [len(batch) for batch in shuffled(5, 32, seeded(0))] == [5]


@pytest.mark.parametrize(("n", "count"), [(3, 16), (7, 5), (50, 16), (1, 4)])
def test_cycled_uses_every_number_before_it_repeats_one_wherever_the_sequence_is_cut(n, count):
    whole = cycled(n, 0, 10 * count, 0, "name")
    pieces = [cycled(n, position, count, 0, "name") for position in range(0, 10 * count, count)]
    assert torch.cat(pieces).tolist() == whole.tolist()
    for start in range(0, 10 * count - n + 1, n):
        assert sorted(whole[start : start + n].tolist()) == list(range(n))


def test_streams_of_different_names_or_seeds_differ():
    streams = [cycled(50, 0, 50, *identity).tolist() for identity in ((0, "a"), (1, "a"), (0, "b"))]
    assert streams[0] != streams[1] != streams[2] != streams[0]
    assert streams[0] == cycled(50, 0, 50, 0, "a").tolist()


# ------------------------------------------------------------------------------------------------------------- sections


def epoch_of(number: int = 0, seed: int = 0, batch_size: int = 8, n: int = 30, **options) -> list:
    source = LabelledFrames(Numbered([40] * n), torch.arange(n) % 3)
    return list(section_batches(source, 3, 10, batch_size, seed=seed, epoch=number, **options))


def test_an_epoch_has_every_source_clip_once_with_its_section():
    batches = epoch_of()
    assert [batch.n_source for batch in batches] == [8, 8, 7, 7]
    clips = [clip for batch in batches for clip in drawn(batch.frames)]
    assert sorted(clips) == list(range(30))
    for batch in batches:
        assert batch.frames.shape == (batch.n_source, 10, 2)
        assert batch.section.argmax(dim=1).tolist() == [clip % 3 for clip in drawn(batch.frames)]
        assert (batch.section.sum(dim=1) == 1).all()


def test_batches_are_the_same_for_the_same_seed_and_epoch_and_differ_for_others():
    proxies = Numbered([50] * 40, first=100)

    def content(number: int, seed: int) -> torch.Tensor:
        return torch.cat([batch.frames for batch in epoch_of(number, seed, outliers=proxies, pairwise_mixing=True)])

    assert torch.equal(content(3, 7), content(3, 7))
    assert not torch.equal(content(3, 7), content(4, 7))
    assert not torch.equal(content(3, 7), content(3, 8))


def test_a_batch_larger_than_the_set_is_the_whole_set():
    (batch,) = epoch_of(
        batch_size=1000, outliers=Numbered([5] * 4), target=LabelledFrames(Numbered([9]), torch.tensor([1]))
    )
    assert batch.n_source == 30
    assert batch.frames.shape == (90, 10, 2)


def test_all_proxy_outliers_are_used_before_one_is_repeated_even_across_epochs():
    proxies = Numbered([50] * 40, first=100)
    seen = [
        clip
        for number in range(4)
        for batch in epoch_of(number, outliers=proxies)
        for clip in drawn(batch.frames[batch.n_source :])
    ]
    assert len(seen) == 120
    for start in (0, 40, 80):
        assert sorted(seen[start : start + 40]) == list(range(100, 140))


def test_the_few_target_clips_are_repeated_with_their_sections_to_match_the_source_clips():
    target = LabelledFrames(Numbered([40] * 9, first=100), torch.arange(9) // 3)
    outliers = Numbered([40] * 5, first=200)
    counts = Counter()
    for batch in epoch_of(target=target, outliers=outliers):
        assert len(batch.frames) == 3 * batch.n_source
        assert len(batch.section) == 2 * batch.n_source
        source, targets, others = (drawn(part) for part in batch.frames.split(batch.n_source))
        assert max(source) < 100 <= min(targets) <= max(targets) < 200 <= min(others)
        assert batch.section[batch.n_source :].argmax(dim=1).tolist() == [(clip - 100) // 3 for clip in targets]
        counts.update(targets)
    assert set(counts.values()) <= {3, 4}  # 30 draws of 9 clips
    assert len(counts) == 9


# ----------------------------------------------------------------------------------------------------- pairwise mixing


def test_mixing_powers_equals_mixing_the_waveforms_of_independent_sounds_on_average():
    rng = np.random.default_rng(0)
    first, second = (torch.from_numpy(rng.normal(scale=scale, size=3_000_000)).float() for scale in (0.1, 0.03))
    features = FeatureSettings()
    for share in (0.1, 0.5, 0.8):
        mixed = log_mel(share * first + (1 - share) * second, features)
        ours = mix(log_mel(first, features)[None], log_mel(second, features)[None], torch.tensor([share]))[0]
        power = [(10 ** (frames.double() / 10)).mean(dim=0).log10() * 10 for frames in (mixed, ours)]
        audible = (power[0] > -90).numpy()  # a band without a filter has no power
        assert audible.sum() > 120
        np.testing.assert_allclose(power[0][audible], power[1][audible], atol=0.25)


def test_a_mixture_with_a_share_of_one_is_the_first_clip_and_a_mixture_of_silence_is_at_the_floor():
    frames, others = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(mix(frames, others, torch.ones(2)), frames, rtol=0, atol=1e-5)
    torch.testing.assert_close(mix(frames, others, torch.zeros(2)), others, rtol=0, atol=1e-5)
    silence = torch.full((1, 2, 3), -100.0)
    assert (mix(silence, silence, torch.tensor([0.5])) == -100).all()


@pytest.mark.parametrize("n", [2, 30])
def test_every_source_clip_is_mixed_with_another_one_and_the_targets_sum_to_1(n, monkeypatch):
    mixtures = []

    def noted(first, second, share):
        mixtures.append((drawn(first), drawn(second), share))
        return first

    monkeypatch.setattr("asd.training.batches.mix", noted)
    partners = set()
    for number in range(10):
        mixtures.clear()
        batches = epoch_of(number, n=n, pairwise_mixing=True)
        assert sorted(clip for first, _, _ in mixtures for clip in first) == list(range(n))
        for batch, (first, second, share) in zip(batches, mixtures, strict=True):
            assert all(a != b for a, b in zip(first, second, strict=True))
            partners.update(second)
            torch.testing.assert_close(batch.section.sum(dim=1), torch.ones(len(first)))
            expected = torch.zeros(len(first), 3)
            for i, (a, b, r) in enumerate(zip(first, second, share.tolist(), strict=True)):
                expected[i, a % 3] += r
                expected[i, b % 3] += 1 - r
            torch.testing.assert_close(batch.section, expected)
    assert partners == set(range(n))


# -------------------------------------------------------------------------------------------------------------- windows


def windows_of(number: int = 0, n: int = 4, batch_size: int = 50, n_sections: int = 3, **options) -> list:
    clips = LabelledFrames(Numbered([311] * n), torch.arange(n) % n_sections)
    return list(window_batches(clips, n_sections, 5, batch_size, seed=0, epoch=number, **options))


def test_an_epoch_has_53_random_windows_of_every_clip_of_10_s():
    batches = windows_of()
    clips = [clip for batch in batches for clip in drawn(batch.frames)]
    assert Counter(clips) == dict.fromkeys(range(4), 53)
    starts = torch.cat([batch.frames[:, 0, 1] for batch in batches])
    assert starts.min() < 20 and starts.max() > 286 and starts.max() <= 306
    for batch in batches:
        assert batch.n_inliers == len(batch.frames) <= 50
        assert batch.section.tolist() == [clip % 3 for clip in drawn(batch.frames)]


def test_each_clip_gives_as_many_windows_as_fit_into_it_side_by_side():
    clips = Numbered([61, 3, 311])
    clips.samples = torch.tensor([32_000, 2048, 160_000])
    batches = window_batches(LabelledFrames(clips, torch.zeros(3, dtype=torch.long)), 1, 5, 512, seed=0, epoch=0)
    counts = Counter(clip for batch in batches for clip in drawn(batch.frames))
    assert counts == {0: 11, 1: 1, 2: 53}


def test_windows_differ_between_epochs_but_not_between_calls():
    first, again, later = (torch.cat([batch.frames for batch in windows_of(number)]) for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_real_clips_give_windows_of_their_frames(fan, shards):
    (batch,) = window_batches(LabelledFrames(fan, SECTIONS), 3, 5, 512, seed=0, epoch=0)
    every = torch.cat([torch.from_numpy(shards["fan"].frames_of(path)) for path in shards["fan"].table.index])
    runs = every.unfold(0, 5, 1).transpose(1, 2)
    assert batch.frames.shape[1:] == (5, 16)
    assert all((runs == window).flatten(1).all(dim=1).any() for window in batch.frames)


def test_an_outlier_of_the_same_machine_is_claimed_for_each_wrong_section_equally_often_and_never_for_its_own():
    counts = Counter()
    for number in range(20):
        for batch in windows_of(number, other_sections=True, n_sections=4):
            clips, said = drawn(batch.frames[batch.n_inliers :]), batch.section[batch.n_inliers :].tolist()
            assert len(clips) == batch.n_inliers
            counts.update((section - clip) % 4 for clip, section in zip(clips, said, strict=True))
    assert sorted(counts) == [1, 2, 3]
    assert min(counts.values()) > 0.9 * max(counts.values())


def test_an_outlier_of_another_machine_is_claimed_for_any_section():
    others = Numbered([311] * 9, first=100)
    counts, clips = Counter(), []
    for number in range(20):
        for batch in windows_of(number, other_machines=others):
            assert min(drawn(batch.frames[batch.n_inliers :])) >= 100
            clips += drawn(batch.frames[batch.n_inliers :])
            counts.update(batch.section[batch.n_inliers :].tolist())
    assert sorted(counts) == [0, 1, 2]
    assert min(counts.values()) > 0.9 * max(counts.values())
    assert sorted(clips[:9]) == sorted(clips[9:18]) == list(range(100, 109))


def test_outliers_of_the_same_and_of_other_machines_are_drawn_clip_by_clip_from_one_pool():
    others = Numbered([311] * 6, first=100)
    counts, section_of = Counter(), {}
    for batch in windows_of(other_sections=True, other_machines=others):
        assert len(batch.frames) == len(batch.section) == 2 * batch.n_inliers
        for clip, said in zip(
            drawn(batch.frames[batch.n_inliers :]), batch.section[batch.n_inliers :].tolist(), strict=True
        ):
            counts[clip] += 1
            section_of.setdefault(clip, set()).add(said)
    assert set(counts) == {0, 1, 2, 3, *range(100, 106)}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(clip % 3 not in section_of[clip] for clip in range(4))
