"""Long recordings and streams: every window scores like a file of its own, in constant memory, and as it comes."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import termios
import tracemalloc
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from conftest import PROJECT, tiny_detector
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.cli import main
from asd.detection.detector import KINDS, Decision, Detector
from asd.detection.streams import ScoredWindow, Segments, cut, raw_blocks
from asd.errors import InputError
from asd.plots.timeline import Recording, score_over_time

RATE = 16000


def run(*arguments: object, given: bytes = b""):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=given)


def rows(told) -> list[dict[str, str]]:
    assert told.exit_code == 0, told.output
    return list(csv.DictReader(io.StringIO(told.stdout)))


def calibrated(architecture: str = "ae", **changed: object) -> Detector:
    """An untrained detector whose held-out scores are those of noise, of another loudness in each section."""
    import torch

    detector = tiny_detector("classifier" if architecture == "classifier" else "density")
    if architecture != "classifier":
        detector.config = detector.config | {"architecture": architecture}
        torch.manual_seed(0)
        detector.model = KINDS["density"](**detector.config).eval()
    for name, value in changed.items():
        setattr(detector, name, value)
    random = np.random.default_rng(1)
    for number, gain in zip(detector.sections, (0.01, 0.1, 0.5), strict=True):
        clips = (gain * random.normal(size=(30, RATE))).astype(np.float32)
        scores = [detector.score(detector.frames(clip), number) for clip in clips]
        scale = {"trained_mean": float(np.mean(scores)), "trained_std": float(np.std(scores))}
        detector.statistics[number] |= scale | {"held_out_scores": sorted(scores)}
    return detector


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "detector.pt"
    calibrated().save(path)
    return path


def sound(seconds: float, loud: slice = slice(0, 0)) -> np.ndarray:
    """Noise, with a tone in between: 16-bit samples."""
    n = round(seconds * RATE)
    samples = 0.1 * np.random.default_rng(0).normal(size=n)
    tone = 0.5 * np.sin(np.arange(n) * 0.7)
    samples[loud] += tone[loud]
    return (32767 * samples.clip(-1, 1)).astype(np.int16)


@pytest.fixture
def long(tmp_path) -> Path:
    path = tmp_path / "long.wav"
    soundfile.write(path, sound(4.3, slice(20000, 40000)), RATE)
    return path


@pytest.mark.parametrize(
    ("architecture", "changed"),
    [
        ("classifier", {}),
        ("ae", {}),
        ("made", {}),
        ("maf", {}),
        ("ae", {"normalize_waveform": True}),
        ("ae", {"reduction": "max"}),
    ],
)
def test_a_window_scores_like_a_file_of_its_samples(architecture, changed, long, tmp_path):
    path = tmp_path / "detector.pt"
    calibrated(architecture, **changed).save(path)
    windows = rows(run("score", path, long, "--section", 3, "--window", 1, "--hop", 0.37))
    samples = soundfile.read(long, dtype="int16")[0]
    assert len(windows) == 10
    (tmp_path / "cut").mkdir()
    for i, window in enumerate(windows):
        start, end = (round(float(window[name]) * RATE) for name in ("start", "end"))
        assert end - start == RATE and (start == round(i * 0.37 * RATE) or end == len(samples))
        soundfile.write(tmp_path / "cut" / f"{i:02}.wav", samples[start:end], RATE)
    files = rows(run("score", path, tmp_path / "cut", "--section", 3))
    for name in ("score", "p_value"):
        windowed, filed = ([float(row[name]) for row in table] for table in (windows, files))
        np.testing.assert_allclose(windowed, filed, rtol=1e-4)
    assert [row["decision"] for row in windows] == [row["decision"] for row in files]


def test_containers_and_the_raw_stream_give_the_same_rows(detector, long, tmp_path):
    samples = soundfile.read(long, dtype="int16")[0]
    options = ("--section", 3, "--window", 1)
    expected = [row | {"file": ""} for row in rows(run("score", detector, long, *options))]
    kinds = {"a.flac": {}, "b.wav": {"format": "RF64"}, "c.wav": {"subtype": "PCM_24"}, "d.wav": {"subtype": "FLOAT"}}
    for name, kind in kinds.items():
        soundfile.write(tmp_path / name, samples / 32768, RATE, **kind)
        found = [row | {"file": ""} for row in rows(run("score", detector, tmp_path / name, *options))]
        assert found == expected, name
    raw = run("score", detector, "-", *options, given=samples.astype("<i2").tobytes())
    assert [row | {"file": ""} for row in rows(raw)] == expected


@given(
    sizes=st.lists(st.integers(1, 30), max_size=12),
    length=st.integers(1, 20),
    step=st.floats(1, 20).filter(lambda step: step >= 1),
)
def test_windows_do_not_depend_on_the_pieces_in_which_samples_arrive(sizes, length, step):
    step = min(step, length)
    samples = np.arange(sum(sizes), dtype=np.int16)
    pieces = np.split(samples, np.cumsum(sizes)[:-1]) if sizes else []
    found = [(start, window.tolist()) for start, window in cut(pieces, length, step)]
    starts = [s for i in range(len(samples) + 1) if (s := round(i * step)) + length <= len(samples)]
    if len(samples) and (not starts or starts[-1] + length < len(samples)):
        starts.append(max(0, len(samples) - length))
    assert found == [(start, samples[start : start + length].tolist()) for start in starts]
    assert {i for _, window in found for i in window} == set(range(len(samples))), "nothing is left out"


def test_memory_does_not_grow_with_the_length():
    block = np.zeros(RATE, np.int16)
    tracemalloc.start()
    n_windows = sum(1 for _ in cut((block.copy() for _ in range(3600)), 10 * RATE, 5 * RATE))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_windows == 719 and peak < 4 * 10 * block.nbytes  # an hour has 3600 blocks


def test_the_end_is_heard_and_a_short_recording_is_one_window(detector, tmp_path):
    for seconds, spans in ((2.3, [(0, 1), (1, 2), (1.3, 2.3)]), (2.0, [(0, 1), (1, 2)]), (0.7, [(0, 0.7)])):
        soundfile.write(tmp_path / "a.wav", sound(seconds), RATE)
        told = rows(run("score", detector, tmp_path / "a.wav", "--section", 3, "--window", 1, "--hop", 1))
        assert [(float(row["start"]), float(row["end"])) for row in told] == spans


def test_rows_of_a_stream_appear_while_it_goes_on(detector):
    command = [sys.executable, "-c", "from asd.cli import main; main()", "score", str(detector), "-", "--window", "1"]
    process = subprocess.Popen([*command, "--section", "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(sound(1.5).tobytes())
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"file,start,end")
    assert process.stdout.readline().startswith(b"-,0.000,1.000")
    assert process.stdout.readline().startswith(b"-,0.500,1.500")
    assert process.poll() is None
    assert process.communicate()[0] == b"" and process.returncode == 0


def test_ctrl_c_ends_a_stream_but_not_what_is_done_with_it(detector, tmp_path):
    picture = tmp_path / "score.png"
    command = [sys.executable, "-c", "from asd.cli import main; main()", "score", str(detector), "-", "--window", "1"]
    process = subprocess.Popen(
        [*command, "--section", "3", "--plot", str(picture)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=PROJECT,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(sound(1).tobytes())
    process.stdin.flush()
    assert [process.stdout.readline()[:7] for _ in range(2)] == [b"file,st", b"-,0.000"]
    process.send_signal(signal.SIGINT)
    told = process.communicate()[1].decode()
    assert process.returncode == 0 and "-: no anomalous segments" in told and picture.exists()


# ------------------------------------------------------------------------------------------------------------- segments


@given(
    alarms=st.lists(st.booleans(), max_size=20),
    length=st.integers(1, 9),
    step=st.integers(1, 9),
)
def test_segments_are_the_alarming_windows_that_hang_together(alarms, length, step):
    step = min(step, length)
    segments, ended, numbers = Segments(), [], []
    for i, alarm in enumerate(alarms):
        window = ScoredWindow(i * step, i * step + length, Decision(float(i), 0.1, alarm), None)
        number, segment = segments.add(window)
        numbers.append(number)
        ended += [segment] if segment else []
    ended += [segment] if (segment := segments.end()) else []
    groups: list[list[int]] = []
    for i in np.flatnonzero(alarms).tolist():
        joins = groups and ((i - groups[-1][-1]) * step < length or i == groups[-1][-1] + 1)
        groups = [*groups[:-1], [*groups[-1], i]] if joins else [*groups, [i]]
    found = [(s.number, s.start, s.end, s.highest) for s in ended]
    assert found == [(n, g[0] * step, g[-1] * step + length, g[-1]) for n, g in enumerate(groups, 1)]
    assert numbers == [next((n for n, g in enumerate(groups, 1) if i in g), 0) for i in range(len(alarms))]


def test_a_fault_in_a_long_recording_is_told_with_its_start_and_end_and_drawn(detector, tmp_path):
    path, picture = tmp_path / "long.wav", tmp_path / "score.png"
    soundfile.write(path, sound(20, slice(8 * RATE, 12 * RATE)), RATE)
    told = run("score", detector, path, "--section", 3, "--window", 1, "--false-alarm-rate", 0.04, "--plot", picture)
    table = rows(told)
    inside = [row for row in table if float(row["start"]) >= 8 and float(row["end"]) <= 12]
    assert {row["decision"] for row in inside} == {"anomalous"} and len({row["segment"] for row in inside}) == 1
    assert all((row["segment"] != "") == (row["decision"] == "anomalous") for row in table)
    (segment,) = {row["segment"] for row in inside}
    members = [row for row in table if row["segment"] == segment]
    start, end = float(members[0]["start"]), float(members[-1]["end"])
    assert f"{path}: anomalous from {start:g} s to {end:g} s, score up to" in told.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_shows_scores_threshold_and_segments():
    recordings = [
        Recording("a", [0, 5], [10, 15], [1.0, 3.0], 2.0, [(5, 15)]),
        Recording("b", [0], [9], [1.0], np.inf, []),
    ]
    first, second = score_over_time(recordings).axes
    curve, limit = first.get_lines()
    assert curve.get_xydata().tolist() == [[5, 1], [10, 3]] and set(limit.get_ydata()) == {2.0}
    (span,) = first.patches
    assert (span.get_x(), span.get_x() + span.get_width()) == (5, 15)
    assert len(second.get_lines()) == 1 and not second.patches
    plt.close("all")


# -------------------------------------------------------------------------------------- sections, formats, bad input


def test_the_section_is_read_from_the_name_or_fitted_and_the_row_says_which(detector, tmp_path):
    trained = calibrated()
    for name, gain in (("section_03_0001.flac", 0.01), ("quiet.wav", 0.01), ("loud.wav", 0.5)):
        soundfile.write(tmp_path / name, gain * np.random.default_rng(5).normal(size=RATE).clip(-2, 2), RATE)
    told = run("score", detector, tmp_path)
    table = {Path(row["file"]).name: row for row in rows(told)}
    named = table["section_03_0001.flac"]
    assert (named["section"], named["section_from"]) == ("3", "name")
    for name in ("quiet.wav", "loud.wav"):
        frames = trained.frames(soundfile.read(tmp_path / name, dtype="int16")[0])
        p_values = {n: trained.decide(trained.score(frames, n), n).p_value for n in trained.sections}
        assert table[name]["section_from"] == "fit"
        assert float(table[name]["p_value"]) == pytest.approx(max(p_values.values()), rel=1e-3)
        assert p_values[int(table[name]["section"])] == max(p_values.values())
    assert table["loud.wav"]["section"] == "7"
    assert "2 of 3 recordings: no --section, and none in the file's name" in told.stderr


def test_a_broken_recording_is_named_the_others_are_scored_and_the_exit_code_is_1(detector, tmp_path):
    for name in ("a.wav", "b.wav", "section_05_0001.wav", "z.wav"):
        soundfile.write(tmp_path / name, sound(1), RATE)
    os.truncate(tmp_path / "b.wav", 9000)
    for options in ((), ("--window", 0.5), ("--fdr", 0.5)):
        told = run("score", detector, tmp_path, *options)
        assert told.exit_code == 1
        assert f"Error: {tmp_path / 'b.wav'}: cut short" in told.stderr
        assert f"{tmp_path / 'section_05_0001.wav'}: its name tells section 5; allowed: [0, 3, 7]" in told.stderr
        names = {row["file"] for row in csv.DictReader(io.StringIO(told.stdout))}
        assert names == {str(tmp_path / "a.wav"), str(tmp_path / "z.wav")}


def test_damage_in_the_middle_of_a_long_recording_ends_it_there(detector, tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, sound(20), RATE)
    os.truncate(path, path.stat().st_size // 2)
    told = run("score", detector, path, "--section", 3, "--window", 1, "--hop", 1)
    assert told.exit_code == 1 and f"Error: {path}: cut short" in told.stderr
    assert len(told.stdout.splitlines()) > 5


def test_windows_with_samples_that_are_no_numbers_have_no_score(detector, tmp_path):
    samples = (sound(4) / 32768).astype(np.float32)
    samples[RATE + 100] = np.nan
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    told = run("score", detector, path, "--section", 3, "--window", 1, "--hop", 1)
    decisions = [row["decision"] for row in csv.DictReader(io.StringIO(told.stdout))]
    assert told.exit_code == 1 and [decision == "none" for decision in decisions] == [False, True, False, False]
    assert f"Error: {path}: from 1 s to 2 s: samples reach nan" in told.stderr


def test_json_lines_and_tables_say_the_same_as_csv(long, tmp_path):
    path = tmp_path / "detector.pt"
    tiny_detector("density").save(path)  # without p-values
    (row,) = rows(run("score", path, long, "--section", 3))
    (line,) = run("score", path, long, "--section", 3, "--format", "jsonl").stdout.splitlines()
    parsed = json.loads(line)
    assert parsed.pop("p_value") is None and row.pop("p_value") == "nan"
    assert parsed.pop("score") == pytest.approx(float(row.pop("score")), rel=1e-5)
    assert {name: str(value) for name, value in parsed.items()} == row
    header, body = run("score", path, long, "--section", 3, "--format", "table").stdout.splitlines()
    assert header.split() == ["file", "score", "p_value", "decision", "section", "section_from"]
    assert body.split()[0] == row["file"] and body.split()[3:] == [row["decision"], "3", "given"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{long}", "--window", "1", "--hop", "2"], "--hop: 2 s; allowed: more than 0 and at most the window's 1 s"),
        (["{long}", "--window", "1", "--hop", "0"], "--hop: 0 s"),
        (["{long}", "--window", "0.01"], "--window: 0.01 s; allowed: at least 0.064 s"),
        (["{long}", "--window", "nan"], "--window: nan s"),
        (["{long}", "--hop", "1"], "--hop needs --window"),
        (["{long}", "--plot", "a.png"], "--plot needs --window"),
        (["{long}", "--window", "1", "--fdr", "0.1"], "give one"),
        (["-"], "- (standard input) needs --window"),
        (["-", "--window", "1"], "-: the stream holds no samples"),
        (["{long}", "--window", "1", "--section", "1"], "section 1 is unknown to this detector; allowed: [0, 3, 7]"),
        (["{other}", "--window", "1"], "sample_rate is 44100; allowed: 16000"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, said, detector, long, tmp_path):
    soundfile.write(tmp_path / "other.wav", sound(1), 44100)
    told = run("score", detector, *(a.format(long=long, other=tmp_path / "other.wav") for a in arguments))
    assert told.exit_code in (1, 2) and isinstance(told.exception, SystemExit)
    assert said in told.stderr and told.stdout == ""


def test_a_file_on_standard_input_is_no_raw_stream(detector, long):
    told = run("score", detector, "-", "--window", 1, given=long.read_bytes())
    assert told.exit_code == 1 and "begins like a WAV file; allowed: 16-bit little-endian" in told.stderr
    with pytest.raises(InputError, match="FLAC"):
        next(raw_blocks(io.BytesIO(b"fLaC....")))


@settings(deadline=None)
@given(data=st.binary(min_size=4, max_size=40), size=st.integers(1, 7))
def test_a_raw_stream_gives_its_samples_however_it_is_chopped(data, size):
    class Dripping(io.BytesIO):
        def read1(self, n: int = -1, /) -> bytes:
            return super().read1(size)

    data = b"\0\0" + data  # like no file
    with pytest.warns(UserWarning, match="within a sample") if len(data) % 2 else nothing():
        found = np.concatenate(list(raw_blocks(Dripping(data))))
    assert found.tolist() == np.frombuffer(data[: len(data) // 2 * 2], "<i2").tolist()


def nothing():
    from contextlib import nullcontext

    return nullcontext()


def test_a_progress_bar_is_shown_on_a_terminal_only(detector, tmp_path):
    for i in range(12):
        soundfile.write(tmp_path / f"{i:02}.wav", sound(0.2), RATE)
    quiet = run("score", detector, tmp_path, "--section", 3)
    assert quiet.exit_code == 0 and quiet.stderr == ""
    seen, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    command = [sys.executable, "-c", "from asd.cli import main; main()", "score", str(detector), str(tmp_path)]
    told = subprocess.run([*command, "--section", "3"], stdout=subprocess.PIPE, stderr=terminal, cwd=PROJECT)
    os.close(terminal)
    assert told.stdout.decode() == quiet.stdout and b"12/12" in os.read(seen, 65536)
    os.close(seen)
