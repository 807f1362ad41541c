"""The log-mel store: complete or absent, opened again without opening a wav file, small in memory."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import asd.data.store
from asd.data.clips import clips_table
from asd.data.features import FeatureSettings, as_float, log_mel
from asd.data.frames import Frames
from asd.data.recordings import read_recording
from asd.data.store import Shard, open_shard
from asd.errors import InputError

PROJECT = Path(__file__).resolve().parents[1]
FEATURES = FeatureSettings(n_mels=32)


@pytest.fixture
def root(two_machines: Path, tmp_path: Path) -> Path:
    """A few fan clips, those of one section, that a test may change."""
    root = tmp_path / "root"
    for path in clips_table(two_machines).query("machine_type == 'fan' and section == 0")["path"]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(two_machines / path, root / path)
    return root


@pytest.fixture
def no_wav_is_opened(monkeypatch: pytest.MonkeyPatch):
    """A function; after it has been called, reading a wav file is an error."""

    def refuse(path: Path, sample_rate: int) -> np.ndarray:
        raise AssertionError(f"{path} was opened")

    return lambda: monkeypatch.setattr(asd.data.store, "read_recording", refuse)


def opened(root: Path, store: Path, features: FeatureSettings = FEATURES, machine_type: str = "fan") -> Shard:
    return open_shard(clips_table(root), root, machine_type, features, store)


def shards(store: Path) -> list[Path]:
    return sorted(file.parent for file in store.rglob("shard.json"))


def leftovers(store: Path) -> list[Path]:
    return list(store.rglob("*.tmp"))


def assert_correct(shard: Shard, root: Path) -> None:
    """Compare with the features of every clip, computed again."""
    clips = clips_table(root)
    assert sorted(shard.table.index) == sorted(clips.loc[clips["machine_type"] == shard.machine_type, "path"])
    for path in shard.table.index:
        frames = log_mel(as_float(read_recording(root / path, shard.features.sample_rate)), shard.features).numpy()
        found = shard.frames_of(path)
        assert found.shape == frames.shape
        assert np.abs(found - frames).max() <= 0.002


# ------------------------------------------------------------------------------------------------------------- contents


def test_frames_equal_the_features_of_every_clip_to_0_002_decibels(two_machines, tmp_path):
    for features in (FeatureSettings(), FeatureSettings(n_fft=512, hop_length=500, n_mels=20)):
        shard = opened(two_machines, tmp_path, features)
        assert_correct(shard, two_machines)
        assert (shard.machine_type, shard.features, shard.frames.shape[1]) == ("fan", features, features.n_mels)


def test_clips_of_any_length_bit_depth_and_name_share_a_shard(root, tmp_path):
    names = ["section_00_source_train_normal_0100_NA.wav", "section_00_source_train_normal_0101_a,b 'c\" é.wav"]
    rng = np.random.default_rng(0)
    for name, n, subtype in zip(names, (1024, 50_001), ("FLOAT", "PCM_24"), strict=True):
        soundfile.write(root / "dev_data/fan/train" / name, rng.normal(scale=0.1, size=n), 16000, subtype=subtype)
    shard = opened(root, tmp_path / "store")
    assert_correct(shard, root)
    assert shard.table.loc[[f"dev_data/fan/train/{name}" for name in names], "samples"].tolist() == [1024, 50_001]
    assert shard.table.loc[[f"dev_data/fan/train/{name}" for name in names], "length"].tolist() == [1, 96]


def test_loudness_samples_and_statistics_are_those_of_each_clip(root, tmp_path):
    shard = opened(root, tmp_path / "store")
    for path, row in shard.table.iterrows():
        waveform, _ = soundfile.read(root / path)
        frames = log_mel(torch.from_numpy(waveform).float(), FEATURES).double().numpy()
        assert row["rms"] == pytest.approx(np.sqrt(np.mean(waveform**2)), rel=1e-6)
        assert row["samples"] == len(waveform)
        (mean, square) = shard.statistics_of(pd.Series([path]))[0]
        np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(square, (frames**2).mean(axis=0), rtol=1e-6)


# -------------------------------------------------------------------------------------------- found again, or rebuilt


def test_the_second_opening_opens_no_wav_file_and_gives_the_same(root, tmp_path, no_wav_is_opened):
    first = opened(root, tmp_path / "store")
    no_wav_is_opened()
    second = opened(root, tmp_path / "store")
    pd.testing.assert_frame_equal(first.table, second.table)
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.statistics, second.statistics)
    assert first.fingerprint(first.table.index) == second.fingerprint(first.table.index)


def test_another_spelling_of_the_data_root_or_another_order_of_the_clips_finds_the_same_shard(
    root, tmp_path, no_wav_is_opened, monkeypatch
):
    opened(root, tmp_path / "store")
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    monkeypatch.chdir(root / "dev_data")
    no_wav_is_opened()
    for same in (Path(".."), tmp_path / "link", f"{root}/"):
        opened(same, tmp_path / "store")
    open_shard(clips_table(root).sample(frac=1, random_state=0), root, "fan", FEATURES, tmp_path / "store")


CHANGES = ["touched", "other sound", "added", "removed", "renamed"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_wav_files_is_seen_and_the_fingerprint_changes_with_contents_and_names_alone(
    root, tmp_path, change
):
    before = opened(root, tmp_path / "store")
    path = root / before.table.index[-1]
    if change == "touched":
        os.utime(path, (1, 1))
    elif change == "other sound":
        samples = read_recording(path, 16000)
        soundfile.write(path, samples[::-1], 16000, subtype="PCM_16")
    elif change == "added":
        shutil.copyfile(path, path.with_name("section_00_source_train_normal_0100.wav"))
    elif change == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("section_00_source_train_normal_0100.wav"))
    after = opened(root, tmp_path / "store")
    assert_correct(after, root)
    same = before.fingerprint(before.table.index) == after.fingerprint(after.table.index)
    assert same == (change == "touched")
    assert len(shards(tmp_path / "store")) == 1  # the outdated shard is gone


def test_a_shard_that_is_open_stays_as_it_was_when_the_data_change(root, tmp_path):
    before = opened(root, tmp_path / "store")
    expected = np.array(before.frames)
    os.utime(root / before.table.index[0], (1, 1))
    opened(root, tmp_path / "store")
    np.testing.assert_array_equal(before.frames, expected)


def test_the_fingerprint_is_that_of_the_given_clips(root, tmp_path):
    shard = opened(root, tmp_path / "store")
    paths = shard.table.index[:3]
    assert shard.fingerprint(paths) == shard.fingerprint(paths[::-1])
    assert len({shard.fingerprint(shard.table.index[:n]) for n in range(1, 6)}) == 5


def test_other_settings_machine_types_roots_and_selections_have_shards_of_their_own(
    root, two_machines, tmp_path, no_wav_is_opened
):
    store, debug = tmp_path / "store", tmp_path / "store" / "debug"
    clips = clips_table(root)

    def open_all() -> None:
        for features in (FEATURES, FeatureSettings(n_mels=16)):
            opened(root, store, features)
        opened(two_machines, store)
        opened(two_machines, store, machine_type="valve")
        open_shard(clips.head(3), root, "fan", FEATURES, debug)

    open_all()
    assert len(shards(store)) == 5
    no_wav_is_opened()
    open_all()


def test_a_file_deleted_since_the_table_was_made_is_named(root, tmp_path):
    clips = clips_table(root)
    (root / clips["path"][0]).unlink()
    with pytest.raises(InputError, match=rf"{clips['path'][0]}: cannot be read \(No such file"):
        open_shard(clips, root, "fan", FEATURES, tmp_path / "store")


def test_a_shard_that_another_process_removes_meanwhile_is_rebuilt(root, tmp_path, monkeypatch):
    store = tmp_path / "store"
    opened(root, store)
    read_csv, removed = pd.read_csv, []

    def removing(path, **options):
        if not removed:
            removed.extend(shards(store))
            shutil.rmtree(removed[0])
        return read_csv(path, **options)

    monkeypatch.setattr(pd, "read_csv", removing)
    assert_correct(opened(root, store), root)
    assert shards(store) == removed


@pytest.mark.parametrize("damage", ["frames.i16", "clips.csv", "statistics.npy"])
def test_a_damaged_shard_is_an_error_that_says_what_to_do(root, tmp_path, damage):
    opened(root, tmp_path / "store")
    (shard,) = shards(tmp_path / "store")
    for spoil in (lambda file: os.truncate(file, 10), Path.unlink):
        spoil(shard / damage)
        with pytest.raises(InputError, match=f"{shard.name}: damaged; remove the folder"):
            opened(root, tmp_path / "store")
    shutil.rmtree(shard)
    assert_correct(opened(root, tmp_path / "store"), root)


# --------------------------------------------------------------------------------------------------- faulty wav files


def test_all_faulty_wav_files_are_named_in_one_message_and_nothing_is_left_behind(root, tmp_path):
    train = root / "dev_data/fan/train"
    first, second, third, fourth, *_ = sorted(train.iterdir())
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(b"")
    soundfile.write(third, np.zeros((4000, 2)), 16000)
    soundfile.write(fourth, np.zeros(1023), 16000)
    with pytest.raises(InputError) as error:
        opened(root, tmp_path / "store")
    message = str(error.value)
    assert message.startswith(f"4 of {len(clips_table(root))} recordings cannot be used:\n")
    for file, said in ((first, "cut short"), (second, "cannot be read"), (third, "channels"), (fourth, "1023 samples")):
        assert any(str(file) in line and said in line for line in message.splitlines())
    assert not shards(tmp_path / "store") and not leftovers(tmp_path / "store")


def test_a_wav_file_too_loud_for_the_store_is_an_error_instead_of_clipped_values(root, tmp_path):
    path = sorted((root / "dev_data/fan/train").iterdir())[0]
    soundfile.write(path, np.random.default_rng(0).normal(scale=1e6, size=4000), 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=rf"{path.name}: \d+ dB in a mel band; allowed: samples in ±1"):
        opened(root, tmp_path / "store")


def test_digital_silence_is_named_and_is_an_error_only_where_it_is_to_be_scaled(root, tmp_path):
    path = sorted((root / "dev_data/fan/train").iterdir())[0]
    soundfile.write(path, np.zeros(4000), 16000)
    with pytest.warns(UserWarning, match=f"1 clips are digital silence.*{path.name}"):
        shard = opened(root, tmp_path / "store")
    assert (shard.frames_of(str(path.relative_to(root))) == -100).all()
    paths = pd.Series(shard.table.index)
    Frames([(shard, paths)], "cpu")
    with pytest.raises(InputError, match=f"{path.name}: digital silence cannot be scaled"):
        Frames([(shard, paths)], "cpu", normalize_waveform=True)


# --------------------------------------------------------------------------------------- several processes, killed ones

OPEN = """
import sys
sys.path.insert(0, {project!r})
import time, asd.data.store
from asd.data.clips import clips_table
from asd.data.features import FeatureSettings
read = asd.data.store.read_recording
def slow(path, sample_rate):
    print(path, flush=True)
    time.sleep({pause})
    return read(path, sample_rate)
asd.data.store.read_recording = slow
asd.data.store.open_shard(clips_table({root!r}), {root!r}, "fan", FeatureSettings(n_mels=32), {store!r})
"""


def process_that_opens(root: Path, store: Path, pause: float) -> subprocess.Popen:
    """A process that builds the shard and prints each wav file that it reads."""
    code = OPEN.format(project=str(PROJECT), root=str(root), store=str(store), pause=pause)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_of_two_processes_that_need_the_same_shard_one_builds_it_and_the_other_waits(root, tmp_path, no_wav_is_opened):
    both = [process_that_opens(root, tmp_path / "store", pause=0.1) for _ in range(2)]
    read = sorted(len(process.communicate()[0].splitlines()) for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert read == [0, len(clips_table(root))]
    with_wavs = opened(root, tmp_path / "store")
    assert_correct(with_wavs, root)
    assert not leftovers(tmp_path / "store")


def test_after_a_sigkill_during_the_build_the_store_is_correct(root, tmp_path):
    store = tmp_path / "store"
    process = process_that_opens(root, store, pause=0.3)
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not shards(store)
    assert leftovers(store)  # the build had begun
    assert_correct(opened(root, store), root)
    assert len(shards(store)) == 1 and not leftovers(store)


def test_an_interrupted_build_leaves_nothing_behind(root, tmp_path, monkeypatch):
    def interrupted(path, sample_rate):
        raise KeyboardInterrupt

    monkeypatch.setattr(asd.data.store, "read_recording", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(root, tmp_path / "store")
    assert not shards(tmp_path / "store") and not leftovers(tmp_path / "store")


# ---------------------------------------------------------------------------------------------------------- a full disk


def assert_says_that_the_disk_is_full(root: Path, store: Path) -> None:
    with pytest.raises(InputError, match=r"fan: the log-mels cannot be written there \(.*\).* take .* GB"):
        opened(root, store)
    assert not shards(store) and not leftovers(store)


@pytest.mark.parametrize("step", ["mkdir", "replace", "fsync", "to_csv", "save"])
def test_a_disk_that_is_full_at_any_step_is_an_error_that_says_what_is_needed(root, tmp_path, monkeypatch, step):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = tmp_path / "store"
    with monkeypatch.context() as patch:
        owner = {"mkdir": Path, "replace": os, "fsync": os, "to_csv": pd.DataFrame, "save": np}[step]
        patch.setattr(owner, step, full)
        assert_says_that_the_disk_is_full(root, store)
    assert_correct(opened(root, store), root)


def test_a_small_disk_that_fills_up_gives_that_error_and_a_larger_one_the_store(root, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        assert_says_that_the_disk_is_full(root, disk / "store")
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        assert_correct(opened(root, disk / "store"), root)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# --------------------------------------------------------------------------------------------------------------- memory

N_CLIPS = 250  # of 30 s
MEMORY = """
import sys
sys.path.insert(0, {project!r})
import torch
torch.set_num_threads(1)
from pathlib import Path
from asd.training.batches import section_batches
from asd.data.clips import clips_table
from asd.data.features import FeatureSettings, log_mel
from asd.data.frames import Frames, LabelledFrames
from asd.data.store import open_shard

def anonymous():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])

clips, features = clips_table({root!r}), FeatureSettings()
log_mel(torch.zeros(16000), features)
start = anonymous()
shard = open_shard(clips, {root!r}, "fan", features, {store!r})
built = anonymous()
frames = Frames([(shard, clips["path"])], "cpu")
section = torch.zeros(len(frames), dtype=torch.long)
for batch in section_batches(LabelledFrames(frames, section), 2, 100, 16, seed=0, epoch=0, outliers=frames):
    pass
print(shard.frames.nbytes // 1024, built - start, anonymous() - start)
"""


def test_own_memory_stays_far_below_the_size_of_the_data_while_building_and_drawing(tmp_path):
    folder = tmp_path / "fan" / "train"
    folder.mkdir(parents=True)
    samples = np.random.default_rng(0).normal(scale=1000, size=30 * 16000).astype(np.int16)
    soundfile.write(folder / "section_00_source_train_normal_0000.wav", samples, 16000)
    for i in range(1, N_CLIPS):
        os.link(
            folder / "section_00_source_train_normal_0000.wav", folder / f"section_00_source_train_normal_{i:04}.wav"
        )
    code = MEMORY.format(project=str(PROJECT), root=str(tmp_path), store=str(tmp_path / "store"))
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    size, building, drawing = map(int, printed.split())  # KiB
    assert size > 200 * N_CLIPS
    assert building < 0.75 * size
    assert drawing < 0.75 * size
