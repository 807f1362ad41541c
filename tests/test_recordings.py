"""Recordings are read exactly or refused by name, in every container and however they are damaged."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asd.data.clips import clips_table
from asd.data.features import FeatureSettings, as_float
from asd.data.recordings import read_recording
from asd.data.store import open_shard
from asd.errors import InputError

RATE = 16000


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n_samples).astype(np.float32)


def written(path: Path, samples: np.ndarray, rate: int = RATE, **options) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def test_a_16_bit_file_gives_its_samples_as_they_are(tmp_path):
    samples = np.array([0, 1, -1, 32767, -32768], dtype=np.int16)
    for name in ("a.wav", "b.WAV"):
        read = read_recording(written(tmp_path / name, samples, subtype="PCM_16", format="WAV"), RATE)
        assert read.dtype == np.int16
        assert read.tolist() == samples.tolist()
    assert as_float(samples).tolist() == [0, 1 / 32768, -1 / 32768, 32767 / 32768, -1]


@pytest.mark.parametrize(
    ("subtype", "error"), [("PCM_U8", 2e-2), ("PCM_24", 1e-6), ("PCM_32", 1e-7), ("FLOAT", 0), ("DOUBLE", 0)]
)
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_files_of_other_bit_depths_give_floats(tmp_path, subtype, error, container):
    samples = noise(500)
    read = read_recording(written(tmp_path / "a.wav", samples, subtype=subtype, format=container), RATE)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, samples, atol=error, rtol=0)
    torch.testing.assert_close(as_float(read), torch.from_numpy(read))


def test_flac_is_exact(tmp_path):
    samples = np.array([0, 1, -1, 32767, -32768] * 50, dtype=np.int16)
    read = read_recording(written(tmp_path / "a.flac", samples), RATE)
    assert read.dtype == np.int16 and read.tolist() == samples.tolist()
    finer = written(tmp_path / "b.flac", noise(500), subtype="PCM_24")
    np.testing.assert_allclose(read_recording(finer, RATE), noise(500), atol=1e-6, rtol=0)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_sounds_alike(tmp_path, subtype):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    read = read_recording(written(tmp_path / "a.ogg", tone, subtype=subtype), RATE)
    assert read.dtype == np.float32 and len(read) == len(tone)
    middle = slice(2000, -2000)
    assert np.corrcoef(read[middle], tone[middle])[0, 1] > 0.99


@pytest.mark.parametrize("container", ["RF64", "FLAC", "OGG"])
def test_the_contents_decide_on_the_format_not_the_name(tmp_path, container):
    assert len(read_recording(written(tmp_path / "a.wav", noise(500), format=container), RATE)) == 500


def test_chunks_beside_the_samples_do_no_harm(tmp_path):
    path = written(tmp_path / "a.wav", np.arange(100, dtype=np.int16))
    whole = path.read_bytes()
    note = b"LIST" + (3).to_bytes(4, "little") + b"abc\0"
    path.write_bytes(whole[:12] + note + whole[12:] + note + b"more")
    assert read_recording(path, RATE).tolist() == list(range(100))


def test_a_clips_csv_may_name_recordings_of_all_kinds(tmp_path):
    files = {
        "a.flac": {},
        "b.ogg": {},
        "c.wav": {"format": "RF64"},
        "d.WAV": {"subtype": "PCM_24"},
        "e": {"format": "FLAC"},
    }
    lines = ["path,machine_type,section,domain,split,label"]
    for name, options in files.items():
        written(tmp_path / name, noise(5000), **options)
        lines.append(f"{name},press,0,source,train,normal")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    shard = open_shard(clips_table(tmp_path), tmp_path, "press", FeatureSettings(), tmp_path / "store")
    assert list(shard.table["samples"]) == [5000] * len(files)
    exact = shard.frames_of("d.WAV")
    for name in ("a.flac", "c.wav", "e"):  # 16 bits
        np.testing.assert_allclose(shard.frames_of(name), exact, atol=0.1)


NOT_A_NUMBER = np.array([0, np.nan, 0], dtype=np.float32)
INFINITE = np.array([0, np.inf, 0], dtype=np.float32)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "cannot be read as a recording"),
        (lambda path: path.write_bytes(b""), "cannot be read as a recording"),
        (lambda path: path.write_bytes(b"<html>404</html>" * 9), "cannot be read as a recording"),
        (lambda path: written(path, noise(0)), "holds no samples"),
        (lambda path: written(path, noise(200).reshape(100, 2)), "channels is 2; allowed: 1"),
        (lambda path: written(path, noise(100), 44100), "sample_rate is 44100; allowed: 16000"),
        (lambda path: written(path, noise(200).reshape(100, 2), format="FLAC"), "channels is 2; allowed: 1"),
        (lambda path: written(path, noise(100), 44100, format="OGG"), "sample_rate is 44100; allowed: 16000"),
        (lambda path: written(path, noise(100), format="AIFF"), "container is AIFF; allowed: WAV, WAVEX, RF64, FLAC"),
        (lambda path: written(path, noise(1000), subtype="IMA_ADPCM"), "encoding is IMA_ADPCM; allowed: PCM_16"),
        (lambda path: written(path, NOT_A_NUMBER, subtype="FLOAT"), "NaN or infinite"),
        (lambda path: written(path, INFINITE, subtype="DOUBLE"), "NaN or infinite"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_the_file(tmp_path, make, said):
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(InputError) as error:
        read_recording(path, RATE)
    assert str(path) in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("container", "encoding"),
    [
        *itertools.product(["WAV", "WAVEX", "RF64"], ["PCM_16", "PCM_24", "FLOAT"]),
        *itertools.product(["FLAC"], ["PCM_16", "PCM_24"]),
        *itertools.product(["OGG"], ["VORBIS", "OPUS"]),
    ],
)
def test_a_file_that_is_cut_short_anywhere_is_refused(tmp_path, container, encoding):
    path = written(
        tmp_path / "a", noise(50 if container in ("WAV", "WAVEX", "RF64") else 9000), subtype=encoding, format=container
    )
    whole = path.read_bytes()
    for length in {*range(0, len(whole), max(1, len(whole) // 300)), *range(len(whole) - 40, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"/a: (cannot be read|cut short|holds no samples)"):
            read_recording(path, RATE)
    path.write_bytes(whole)
    assert len(read_recording(path, RATE)) in (50, 9000)


def test_a_long_file_says_how_much_of_it_is_missing(tmp_path):
    path = written(tmp_path / "a.wav", noise(500), format="RF64")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"a\.wav: cut short: its header announces 1000 bytes of samples, it has 900"):
        read_recording(path, RATE)


HEADER = 44  # bytes before the samples of a plain wav file


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), min_size=1, max_size=4),
    kept=st.integers(0, HEADER + 200),
)
@example(changes=[(40, 0), (41, 0)], kept=HEADER + 200)  # no samples announced
@example(changes=[(43, 255)], kept=HEADER + 200)  # gigabytes announced
@example(changes=[(34, 8)], kept=HEADER + 200)  # 8 bits instead of 16
def test_a_damaged_header_gives_an_error_or_samples_that_are_in_the_file_and_nothing_else(tmp_path, changes, kept):
    samples = np.arange(-50, 50, dtype=np.int16)
    whole = written(tmp_path / "whole.wav", samples).read_bytes()
    assert len(whole) == HEADER + 2 * len(samples)
    content = bytearray(whole)
    for place, value in changes:
        content[place] = value
    path = tmp_path / "a.wav"
    path.write_bytes(content[:kept])
    try:
        read = read_recording(path, RATE)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert read.ndim == 1 and 0 < len(read) <= 2 * len(samples)
        assert np.isfinite(read).all()
        if read.dtype == np.int16:
            assert read.tobytes() in whole


@pytest.mark.parametrize("container", ["RF64", "FLAC", "OGG"])
def test_a_damaged_file_of_another_container_gives_an_error_or_finite_samples(tmp_path, container):
    whole = written(tmp_path / "whole", noise(4000), format=container).read_bytes()
    random, path = np.random.default_rng(0), tmp_path / "a"
    for _ in range(150):
        content = bytearray(whole)
        reach = 120 if random.random() < 0.5 else len(whole)  # half of the damages in the header
        for position in random.integers(reach, size=random.integers(1, 4)):
            content[position] = random.integers(256)
        path.write_bytes(content)
        try:
            read = read_recording(path, RATE)
        except InputError as error:
            assert str(path) in str(error)
        else:
            assert read.ndim == 1 and len(read) > 0 and np.isfinite(read).all()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200),
    head=st.sampled_from([b"", b"RIFF", b"RIFF\xff\xff\xff\x7fWAVEfmt ", b"RF64", b"fLaC", b"OggS"]),
)
def test_any_bytes_give_an_error_that_names_the_file_or_samples(tmp_path, content, head):
    path = tmp_path / "a.wav"
    path.write_bytes(head + content)
    try:
        assert len(read_recording(path, RATE)) <= len(content)
    except InputError as error:
        assert str(path) in str(error)
