"""Log-mel features: the reference's numbers, librosa's, and wav files that are read correctly or refused by name."""

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from asd.data.features import FeatureSettings, from_fixed, log_mel, mel_frequencies, to_fixed

RATE = 16000
PROJECT = Path(__file__).resolve().parents[1]


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n_samples).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------- log-mels


@pytest.mark.parametrize(("consistent", "name"), [(False, "default"), (True, "consistent_with_librosa")])
def test_log_mels_equal_the_reference(shared, consistent, name):
    oracle = np.load(shared / "oracle" / "log_mel.npz")
    frames = log_mel(torch.from_numpy(oracle["waveform"]), FeatureSettings(consistent_with_librosa=consistent))
    expected = oracle[f"log_mel_{name}"].T
    assert frames.shape == expected.shape == (61, 128)
    assert np.abs(frames.numpy() - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    "chosen", [FeatureSettings(), FeatureSettings(44100, 2048, 700, 64)], ids=["16 kHz", "44.1 kHz"]
)
@pytest.mark.parametrize("consistent", [False, True])
def test_librosa_computes_the_same(chosen, consistent):
    chosen = FeatureSettings(chosen.sample_rate, chosen.n_fft, chosen.hop_length, chosen.n_mels, consistent)
    waveform = noise(40000)
    kind = {} if consistent else {"htk": True, "norm": None}
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=chosen.sample_rate,
        n_fft=chosen.n_fft,
        hop_length=chosen.hop_length,
        n_mels=chosen.n_mels,
        center=False,
        **kind,
    )
    expected = 10 * np.log10(np.maximum(power, 1e-10)).T
    frames = log_mel(torch.from_numpy(waveform), chosen).numpy()
    assert frames.shape == expected.shape
    np.testing.assert_allclose(frames, expected, atol=5e-3)


def test_a_batch_of_waveforms_gives_the_frames_of_each():
    waveforms = torch.from_numpy(np.stack([noise(5000, seed) for seed in range(3)]))
    together = log_mel(waveforms, FeatureSettings())
    assert together.shape == (3, 8, 128)
    for waveform, frames in zip(waveforms, together, strict=True):
        torch.testing.assert_close(log_mel(waveform, FeatureSettings()), frames, rtol=0, atol=1e-4)


def test_silence_is_at_the_floor_of_minus_100_decibels():
    assert (log_mel(torch.zeros(2048), FeatureSettings()) == -100).all()


def test_a_tone_is_loudest_in_the_band_whose_centre_is_its_frequency():
    centres = mel_frequencies(FeatureSettings())
    band = 90
    tone = torch.sin(2 * torch.pi * centres[band] * torch.arange(4096) / RATE)
    assert set(log_mel(tone, FeatureSettings()).argmax(dim=1).tolist()) == {band}


def test_frames_of_seconds_and_samples_are_whole_frames_without_padding():
    default = FeatureSettings()
    assert [default.frames(seconds) for seconds in (10, 0.192, 2, 0.064, 0.06)] == [311, 5, 61, 1, 0]
    assert default.n_samples(5) == 3072
    assert [default.hops(seconds) for seconds in (0.032, 1, 0.001)] == [1, 31, 1]
    for n in (0, 1023, 1024, 1535, 1536, 20001):
        assert default.n_frames(n) == (log_mel(torch.zeros(n), default).shape[0] if n >= 1024 else 0)


def test_different_settings_have_different_keys():
    variants = [{}, {"sample_rate": 8000}, {"n_fft": 512}, {"hop_length": 256}, {"n_mels": 64}]
    variants.append({"consistent_with_librosa": True})
    assert len({FeatureSettings(**variant).key for variant in variants}) == len(variants)
    assert FeatureSettings(n_mels=128).key == FeatureSettings().key


def test_the_fixed_point_form_is_exact_to_0_002_decibels_and_stays_within_its_range():
    frames = torch.linspace(-127.9, 127.9, 100_001)
    stored = to_fixed(frames)
    assert stored.dtype == torch.int16
    assert (from_fixed(stored) - frames).abs().max() <= 0.002
    assert from_fixed(to_fixed(torch.tensor([-1e9, 1e9]))).tolist() == [-128, pytest.approx(128, abs=0.01)]


# ---------------------------------------------------------------------------------------------------- CPU-only torch


def fresh_process(code: str, *folders: Path) -> str:
    """What the code prints in a process of its own, with the folders first on its path."""
    path = [str(folder) for folder in (*folders, PROJECT)]
    code = f"import sys; sys.path[:0] = {path}\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_package_imports_in_a_fresh_process_with_any_build_of_torch():
    printed = fresh_process(
        "import torch; from asd.data.features import FeatureSettings, log_mel\n"
        "print(tuple(log_mel(torch.zeros(2048), FeatureSettings()).shape))"
    )
    assert printed == "(3, 128)"


@pytest.mark.parametrize(("cuda", "printed"), [(None, ""), ("13.0", "the real extension")])
def test_torchaudios_extension_is_replaced_only_where_torch_has_no_cuda(tmp_path, cuda, printed):
    package = tmp_path / "torchaudio"  # one that prints when its extension is loaded
    package.mkdir()
    (package / "__init__.py").write_text("from . import _extension")
    (package / "_extension.py").write_text("print('the real extension')")
    (package / "functional.py").write_text("melscale_fbanks = None")
    code = f"import torch; torch.version.cuda = {cuda!r}; import asd.data.mel_filters"
    assert fresh_process(code, tmp_path) == printed
