"""The embedded data set: names, counts, labels and bytes, and what happens when something is there already."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from filelock import FileLock

from asd.data.clips import clips_table
from asd.demo import dataset as mini
from asd.demo.clips import MACHINE_TYPES, SHIFTS, Clip
from asd.demo.faults import mistimed
from asd.demo.machines import MACHINES, record
from asd.demo.physics import Recording, rms
from asd.demo.surroundings import hilly_spectrum
from asd.errors import InputError

SMALL = {"machine_types": ["valve"], "train_source": 3, "train_target": 1, "test": 2, "duration": 0.5}
FAULTS = [(machine_type, fault) for machine_type in MACHINE_TYPES for fault in MACHINES[machine_type].faults]


def digests(folder: Path) -> dict[str, str]:
    """Path → hash of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mini.make(tmp_path_factory.mktemp("mini") / "data", **SMALL)


@pytest.fixture(scope="module")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of full length, a few of each kind."""
    types = {"machine_types": ["pump", "ToyTrain"]}
    return mini.make(tmp_path_factory.mktemp("mini") / "data", train_source=2, train_target=1, test=4, **types)


def test_counts_are_as_asked_for_in_every_cell(small: Path) -> None:
    table = clips_table(small)
    cells = Counter(zip(table["section"], table["domain"], table["split"], table["label"], strict=True))
    assert cells == {
        (section, domain, split, label): count
        for section in range(6)
        for domain, split, label, count in (
            ("source", "train", 0, 3), ("target", "train", 0, 1),
            ("source", "test", 0, 2), ("source", "test", 1, 2), ("target", "test", 0, 2), ("target", "test", 1, 2),
        )
    }  # fmt: skip
    assert set(table["machine_type"]) == {"valve"}


def test_names_are_the_challenges(small: Path) -> None:
    names = set(digests(small))
    assert "dev_data/valve/source_test/section_00_source_test_normal_0001.wav" in names
    assert "dev_data/valve/target_test/section_02_target_test_anomaly_0000.wav" in names
    assert "eval_data/valve/source_test/section_03_source_test_0003.wav" in names
    assert "ground_truth/ground_truth_valve_section_05_target_test.csv" in names
    assert not any("eval_data" in name and "_test_" in name and "nor" in name for name in names)
    sections = {part: {name.split("section_")[1][:2] for name in names if part in name} for part in ("dev_", "eval_")}
    assert sections == {"dev_": {"00", "01", "02"}, "eval_": {"03", "04", "05"}}


def test_train_clips_carry_the_conditions_they_were_made_under(small: Path) -> None:
    table = clips_table(small)
    train = table[table["split"] == "train"].groupby(["section", "domain"])["attribute"].agg(set)
    assert (table.loc[table["split"] == "test", "attribute"] == "").all()
    assert all(a.startswith("speed_") and "_load_" in a for attributes in train for a in attributes)
    for section, shift in enumerate(SHIFTS):
        source, target = train[section, "source"], train[section, "target"]
        assert not source & target, f"section {section} shifts in {shift}"
        if shift in ("background", "microphone"):
            assert all(f"_{shift}_" in attribute for attribute in source | target)


@pytest.mark.parametrize("domain", ["source", "target"])
def test_the_speed_in_the_name_is_the_speed_in_the_sound(domain: str) -> None:
    """The fan's partials lie at multiples of its nominal pitch times the speed."""
    product = MACHINES["fan"].product(4)
    speeds, numbers = np.arange(0.85, 1.25, 0.0025), np.arange(1, len(product.voice) + 1)
    errors = []
    for i in range(8):
        samples, attribute, _ = mini.sound(Clip("fan", 4, domain, "train", 0, i), 2.0, 0)
        level = np.log(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) + 1)
        level = np.convolve(level, np.ones(9) / 9, "same") - np.convolve(level, np.ones(101) / 101, "same")
        match = [level[np.round(2 * product.pitch * speed * numbers).astype(int)].sum() for speed in speeds]
        errors.append(abs(100 * speeds[np.argmax(match)] - int(attribute.split("_")[1])))
    assert np.median(errors) < 1.0


def test_partials_are_sinusoids_at_multiples_of_the_rotation() -> None:
    r = Recording(np.random.default_rng(0), 16_000)
    amplitudes = np.zeros(300)
    amplitudes[[0, 6, 299]] = 1.0, 0.5, 1.0
    power = np.abs(np.fft.rfft(r.partials(r.rotation(40.0, wander=0.0), amplitudes))) ** 2
    assert set(np.flatnonzero(power > power.max() / 1000)) == {40, 280}  # 300 × 40 Hz would alias


def test_no_two_backgrounds_are_alike() -> None:
    """Their spectra differ by several dB, and in more ways than the train clips of a section could show."""
    levels = np.array([20 * np.log10(hilly_spectrum(np.random.default_rng(i), 3200, -4.0)) for i in range(200)])
    levels = levels[:, np.geomspace(20, 1600, 128).astype(int)]  # 100 Hz to 8 kHz
    assert levels.std(0).min() > 2
    spread = np.linalg.svd(levels - levels.mean(0), compute_uv=False) ** 2
    assert (np.cumsum(spread) / spread.sum() < 0.9).sum() >= 6  # so many directions do not hold 90% of it


@pytest.mark.parametrize("machine_type", MACHINE_TYPES)
def test_products_combine_builds_and_drives(machine_type: str) -> None:
    """Six different products, of which no single trait tells all."""
    products = [MACHINES[machine_type].product(section) for section in range(6)]
    assert len({(tuple(p.voice), p.rate) for p in products}) == 6
    assert len({tuple(p.voice) for p in products}) == 3
    assert len({p.rate for p in products}) == 2


def bare(machine_type: str, fault: str, section: int, seed: int, severity: float = 0.7) -> tuple[np.ndarray, Recording]:
    """The machine's own sound without a background, 2 s of it; the same for all faults but for the fault."""
    r = Recording(np.random.default_rng(seed), 32_000, fault, severity)
    return MACHINES[machine_type].sound(r, MACHINES[machine_type].product(section), 0.5), r


def spectrogram(sound: np.ndarray) -> np.ndarray:
    """Power (times, frequencies) in steps of 32 ms and 15.6 Hz."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, 1024)[::512]
    return np.abs(np.fft.rfft(windows * np.hanning(1024))) ** 2


@pytest.mark.parametrize(("machine_type", "fault"), FAULTS)
def test_a_fault_changes_the_sound_but_hardly_its_level(machine_type: str, fault: str) -> None:
    ratios = []
    for section in (0, 1, 5):
        healthy, r = bare(machine_type, "", section, 7)
        faulty, _ = bare(machine_type, fault, section, 7)
        assert r.regions == []
        assert rms(faulty - healthy) > 0.05 * rms(healthy)
        ratios.append(rms(faulty) / rms(healthy))
    assert 20 * abs(np.log10(np.median(ratios))) < 1.5  # dB


@pytest.mark.parametrize(("machine_type", "fault"), FAULTS)
def test_a_fault_is_heard_where_it_was_noted(machine_type: str, fault: str) -> None:
    """Where the sounds with and without it differ: mostly in the noted regions, whatever part of the whole they are."""
    inside, whole = 0.0, 0.0
    for section in (1, 4):
        healthy, faulty = (bare(machine_type, name, section, 3) for name in ("", fault))
        difference = np.abs(np.sqrt(spectrogram(faulty[0])) - np.sqrt(spectrogram(healthy[0]))) ** 2
        time, hertz = np.arange(len(difference)) * 0.032, np.arange(513) * 15.625
        noted = np.zeros_like(difference, dtype=bool)
        for region in faulty[1].regions:
            assert 0 <= region.start < region.end <= 2.0
            assert 0 <= region.low < region.high <= 8000
            when = (time + 0.064 > region.start) & (time < region.end)
            noted |= when[:, None] & (hertz > region.low - 32) & (hertz < region.high + 32)
        inside, whole = inside + difference[noted].sum(), whole + difference.sum()
    assert inside > 0.7 * whole


@pytest.mark.parametrize(("machine_type", "fault"), FAULTS)
def test_a_broken_machine_can_be_heard_as_if_it_were_whole(machine_type: str, fault: str) -> None:
    """With severity 0 the clip has the same background and conditions, so that only the fault makes the difference."""
    setting, power = Clip(machine_type, 0, "source", "test", 1, 0).setting(np.random.default_rng(0)), []
    for severity in (0.0, 1.0):
        clip, r = record(np.random.default_rng(5), machine_type, 0, setting, 32_000, fault, severity)
        assert bool(r.regions) == bool(severity)
        power.append(np.log(spectrogram(clip) + 1e-9))
    assert 0.5 < np.corrcoef(power[0].ravel(), power[1].ravel())[0, 1] < 0.9999


@pytest.mark.parametrize(("kind", "added", "removed"), [("missing", 0, 1), ("late", 1, 1), ("doubled", 1, 0)])
def test_strokes_go_missing_come_late_or_twice(kind: str, added: int, removed: int) -> None:
    r = Recording(np.random.default_rng(0), 64_000, "fault", 0.5)
    times = np.arange(10) * 6400.0
    assert (mistimed(r, "another", times, kind, 100.0, 2000.0) == times).all()
    wrong = mistimed(r, "fault", times, kind, 100.0, 2000.0)
    count = len(r.regions)
    assert 0 < count < 10
    assert len(set(wrong) - set(times)) == added * count
    assert len(set(times) - set(wrong)) == removed * count


def test_evaluation_numbers_say_nothing_about_the_label(tmp_path: Path) -> None:
    mini.make(tmp_path / "data", **SMALL | {"test": 20, "duration": 0.2, "train_source": 1, "train_target": 0})
    orders = set()
    for path in sorted((tmp_path / "data" / "ground_truth").iterdir()):
        rows = [line.split(",") for line in path.read_text().splitlines()]
        section, domain = path.stem.split("_")[-3:-1]
        assert [name for name, _ in rows] == [f"section_{section}_{domain}_test_{i:04d}.wav" for i in range(40)]
        labels = "".join(label for _, label in rows)
        assert labels.count("1") == 20
        assert 4 < labels[:20].count("1") < 16
        orders.add(labels)
    assert len(orders) == 6  # each cell has an order of its own


def test_ground_truth_names_the_clips_that_sound_anomalous(small: Path) -> None:
    """The clip behind each number is the one that the label's own generator makes."""
    clips = [Clip("valve", 4, "target", "test", label, i) for label in (0, 1) for i in range(2)]
    expected = {mini.sound(clip, 0.5, 0)[0].tobytes(): clip.label for clip in clips}
    truth = (small / "ground_truth/ground_truth_valve_section_04_target_test.csv").read_text().split()
    found = {}
    for name, label in (row.split(",") for row in truth):
        samples, _ = soundfile.read(small / "eval_data/valve/target_test" / name, dtype="int16")
        found[samples.tobytes()] = int(label)
    assert found == expected


def test_clips_are_mono_16_bit_and_neither_clipped_nor_silent_nor_equal(pumps: Path) -> None:
    levels, seen = {}, set()
    for path in pumps.rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 1, "PCM_16", 32000)
        samples, _ = soundfile.read(path)
        assert np.abs(samples).max() < 0.99
        levels.setdefault(path.parts[-3], []).append(10 * np.log10(np.mean(samples**2)))
        seen.add(samples.tobytes())
    assert len(seen) == sum(map(len, levels.values())) == 2 * 6 * (3 + 16)
    for machine_type, level in levels.items():
        assert min(level) > -35 and max(level) < -12, machine_type
        assert np.std(level) > 0.5, f"{machine_type}: all clips equally loud"


@pytest.mark.parametrize("machine_type", MACHINE_TYPES)
def test_no_anomalous_clip_is_without_a_fault(machine_type: str) -> None:
    """In every clip of 2 s something is broken, and only in those: labels are never wrong."""
    for i in range(12):
        clips = [Clip(machine_type, i % 6, ("source", "target")[i % 2], "test", label, i) for label in (0, 1)]
        healthy, broken = ([region.end - region.start for region in mini.sound(clip, 2.0, 0)[2]] for clip in clips)
        assert healthy == []
        assert max(broken) > 0.02


def test_every_anomalous_clip_and_no_other_is_listed_with_its_fault(pumps: Path) -> None:
    faults, clips = pd.read_csv(pumps / mini.FAULTS), clips_table(pumps)
    assert list(faults.columns) == ["path", "fault", "start", "end", "low", "high"]
    assert set(faults["path"]) == set(clips.loc[clips["label"] == 1, "path"])
    assert (faults.groupby("path")["fault"].nunique() == 1).all()
    found = faults.merge(clips, on="path").groupby("machine_type")["fault"].agg(set)
    assert found.to_dict() == {name: set(MACHINES[name].faults) for name in ("pump", "ToyTrain")}
    assert ((faults["start"] >= 0) & (faults["start"] < faults["end"]) & (faults["end"] <= 2)).all()
    assert ((faults["low"] >= 0) & (faults["low"] < faults["high"]) & (faults["high"] <= 8000)).all()


def test_bytes_depend_on_the_seed_alone(small: Path, tmp_path: Path) -> None:
    """Not on the number of workers, nor on which other machine types or how many clips are made."""
    expected = {name: digest for name, digest in digests(small).items() if name.endswith(".wav")}
    alone = mini.make(tmp_path / "alone", **SMALL, workers=1)
    assert digests(alone) == digests(small)
    more = SMALL | {"machine_types": ["ToyCar", "valve"], "train_source": 4}
    beside = digests(mini.make(tmp_path / "beside", **more, workers=3))
    assert expected.items() <= beside.items()
    other = digests(mini.make(tmp_path / "other", **SMALL, seed=1))
    assert not {d for name, d in other.items() if name.endswith(".wav")} & set(expected.values())


def test_a_complete_data_set_is_left_alone(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert mini.make(small, **SMALL) == small
    assert mini.make(str(small), **SMALL | {"machine_types": ("valve",)}) == small
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


@pytest.mark.parametrize(("key", "value"), [("seed", 3), ("test", 1), ("machine_types", ["fan"]), ("duration", 1.0)])
def test_other_options_are_refused_and_named(small: Path, key: str, value: object) -> None:
    before = digests(small)
    with pytest.raises(InputError, match=rf"other options: {key} .*asked for"):
        mini.make(small, **SMALL | {key: value})
    assert digests(small) == before


def test_an_older_version_is_refused_and_says_what_to_delete(tmp_path: Path) -> None:
    root = mini.make(tmp_path / "data", **SMALL | {"test": 0})
    contents = json.loads((root / mini.CONTENTS).read_text())
    (root / mini.CONTENTS).write_text(json.dumps(contents | {"version": 1}))
    before = digests(root)
    with pytest.raises(InputError, match=rf"version 1 .*rm -r {root}\)"):
        mini.make(root, **SMALL | {"test": 0})
    assert digests(root) == before


def test_a_folder_with_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"no embedded data set"):
        mini.make(tmp_path, **SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_file_in_its_place_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("precious")
    with pytest.raises(InputError, match=r"no embedded data set"):
        mini.make(tmp_path / "data", **SMALL)
    assert (tmp_path / "data").read_text() == "precious"


def test_a_disk_that_is_too_small_is_found_out_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))(total=10**9, used=10**9 - 10**5, free=10**5)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"needs \d+ MB, and the disk has 0 MB left"):
        mini.make(tmp_path / "data", **SMALL)
    assert not (tmp_path / "data").exists()


def test_an_empty_folder_is_filled(tmp_path: Path, small: Path) -> None:
    (tmp_path / "data").mkdir()
    assert digests(mini.make(tmp_path / "data", **SMALL)) == digests(small)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"machine_types": ["fan", "toaster"]}, r"machine_types: .*toaster.*allowed.*gearbox"),
        ({"machine_types": "fan"}, r"machine_types: 'fan'; allowed is a list"),
        ({"machine_types": []}, r"machine_types: \[\]"),
        ({"train_source": 0}, r"train_source: 0; allowed are whole numbers from 1"),
        ({"test": -1}, r"test: -1"),
        ({"test": 2.5}, r"test: 2.5"),
        ({"seed": -1}, r"seed: -1"),
        ({"duration": 0.0}, r"duration: 0.0; allowed"),
        ({"duration": float("nan")}, r"duration: nan; allowed"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_made(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mini.make(tmp_path / "data", **SMALL | options)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_no_data_set_and_the_next_call_makes_it(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def fail(clip: Clip, duration: float, seed: int) -> None:
        made.append(clip)
        if len(made) > 5:
            raise OSError("no space left on device")
        return sound(clip, duration, seed)

    sound = mini.sound
    monkeypatch.setattr(mini, "sound", fail)
    with pytest.raises(OSError, match="no space left"):
        mini.make(tmp_path / "data", **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {".data.lock"}
    monkeypatch.undo()
    assert digests(mini.make(tmp_path / "data", **SMALL)) == digests(small)


def test_killed_half_way_it_is_made_anew(tmp_path: Path, small: Path) -> None:
    command = f"from asd.demo import dataset; dataset.make({str(tmp_path / 'data')!r}, test=500)"
    process = subprocess.Popen([sys.executable, "-c", command])
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.wav")) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "data").exists()
    assert list(tmp_path.rglob("*.wav"))
    assert digests(mini.make(tmp_path / "data", **SMALL)) == digests(small)
    assert {path.name for path in tmp_path.iterdir()} <= {"data", ".data.lock"}


def test_of_two_processes_one_makes_it_and_the_other_waits(tmp_path: Path, small: Path) -> None:
    command = f"from asd.demo import dataset; dataset.make({str(tmp_path / 'data')!r}, **{SMALL!r})"
    with FileLock(tmp_path / ".data.lock"):  # both must come to wait, or the first would be ready before the second
        processes = [subprocess.Popen([sys.executable, "-c", command]) for _ in range(2)]
        time.sleep(1.0)
        assert [process.poll() for process in processes] == [None, None]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert digests(tmp_path / "data") == digests(small)


def test_what_it_holds_is_said_in_the_folder(small: Path) -> None:
    assert json.loads((small / mini.CONTENTS).read_text()).items() >= SMALL.items()
