"""Encoders from elsewhere: their frames are those of the packages, and take the place of log-mels everywhere."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import PROJECT

from asd.data.clips import clips_table
from asd.data.encoders import EncoderSettings, encoder_settings, opened
from asd.data.features import FeatureSettings, as_float
from asd.data.recordings import read_recording
from asd.data.spectra import SpectrumSettings
from asd.data.speech_encoder import SpeechEncoder
from asd.data.store import clip_frames
from asd.detection.backends import averaging, with_backend
from asd.detection.detector import Detector, load_detector
from asd.detection.edge import EdgeModel
from asd.detection.explanations import baselines, explain
from asd.detection.recordings import decide_recording
from asd.detection.scoring import build_detector, score_table
from asd.detection.streams import Windowing, score_windows
from asd.errors import InputError
from asd.evaluation.decisions import calibrate
from asd.notebook.cells import assignments
from asd.notebook.groups import FeatureParameters
from asd.notebook.inputs import feature_parameters, feature_settings
from asd.notebook.parameters import BackendParameters
from asd.tracking.starts import ENCODER_CLIPS, find_start
from asd.training.backends import BackendSettings
from asd.training.data import TrainingData, training_data

GIVEN = {
    "machine_type": "fan", "run_name": "", "run_id": "", "start": "speech", "backend": "knn", "neighbours": 1,
    "components": 1, "smote": False, "density_neighbours": 0, "device": "cpu", "seed": 0, "debug": False,
    "retrain": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def opened_anew():
    """No test sees what another one has loaded."""
    yield
    opened.cache_clear()


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    """Noise in ±1, at 16 kHz, growing louder, with the resolution of 16 bits."""
    n = round(16000 * seconds)
    samples = np.random.default_rng(seed).normal(size=n) * np.linspace(0.01, 0.2, n)
    return torch.from_numpy((samples * 32768).round().clip(-32768, 32767).astype(np.float32) / 32768)


@pytest.fixture
def speech() -> EncoderSettings:
    pytest.importorskip("pyopen_wakeword", reason="pyopen-wakeword is not installed: no wheel fits every machine")
    return encoder_settings("speech")


# ---- the speech embedding ------------------------------------------------------------------------


def test_speech_frames_are_those_that_the_package_streams(speech):
    from pyopen_wakeword import OpenWakeWordFeatures

    waveform, streamed = noise(2), []
    features = OpenWakeWordFeatures.from_builtin()
    features.new_audio_samples = 0  # it would begin with eight seconds of silence
    for chunk in (waveform.numpy() * 32768).astype(np.int16)[: 25 * 1280].reshape(25, 1280):
        streamed += [embedding.reshape(96) for embedding in features.process_streaming(chunk.tobytes())]
    found = speech.compute(waveform)
    assert len(streamed) >= 15
    np.testing.assert_allclose(found[: len(streamed)], np.stack(streamed), atol=2e-3)


def test_a_speech_frame_depends_on_its_window_alone(speech, monkeypatch):
    monkeypatch.setattr(SpeechEncoder, "longest", 5)  # frames that are computed together
    waveform = noise(2)
    assert speech.width == 96
    assert speech.hop_length == 0.08 * 16000
    frames = speech.compute(waveform)
    assert frames.shape == (speech.n_frames(len(waveform)), 96)
    for i in (0, 1, 4, 5, len(frames) - 1):
        own = waveform[i * speech.hop_length :][: speech.window]
        torch.testing.assert_close(speech.compute(own)[0], frames[i], atol=2e-3, rtol=0)


@pytest.mark.parametrize("n_samples", [12512, 12513, 13791, 13792, 16000])
def test_as_many_speech_frames_as_their_number_says(speech, n_samples):
    assert len(speech.compute(torch.zeros(n_samples))) == speech.n_frames(n_samples) == 1 + (n_samples - 12512) // 1280


def test_without_the_package_an_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyopen_wakeword", None)
    with pytest.raises(InputError, match=r"encoder speech needs the package pyopen-wakeword.*pip install .*pretrained"):
        encoder_settings("speech")


# ---- torchaudio ----------------------------------------------------------------------------------


TINY = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(8, 10, 5), (8, 8, 8), (8, 8, 8)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 4,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 2,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 16,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
    "aux_num_out": None,
}


@pytest.fixture
def tiny_bundle(monkeypatch, tmp_path) -> Path:
    """A checkpoint of the bundle ``TINY``, whose network gives a frame every 20 ms."""
    from torchaudio import models, pipelines

    bundle = pipelines.Wav2Vec2Bundle(
        _path="tiny.pth", _params=TINY, _sample_rate=16000, _normalize_waveform=True, _model_type="Wav2Vec2"
    )
    monkeypatch.setattr(pipelines, "TINY", bundle, raising=False)
    torch.manual_seed(0)
    torch.save(models.wav2vec2_model(**TINY).state_dict(), tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def mean_of_four(frames: torch.Tensor) -> torch.Tensor:
    """The mean of every four rows, one after the other."""
    return torch.stack([sum(frames[i + j] for j in range(4)) / 4 for i in range(0, len(frames) // 4 * 4, 4)])


def test_a_bundles_frames_are_torchaudios_averaged_over_80_ms(tiny_bundle):
    from torchaudio import models

    settings, waveform = encoder_settings(f"torchaudio:TINY:{tiny_bundle}"), noise(1)
    network = models.wav2vec2_model(**TINY).eval()
    network.load_state_dict(torch.load(tiny_bundle, weights_only=True))
    n_frames = settings.n_frames(len(waveform))
    piece = waveform[: settings.n_samples(n_frames)]
    piece = (piece - piece.mean()) / (piece.var(correction=0) + 1e-5).sqrt()
    with torch.no_grad():
        expected = mean_of_four(network.extract_features(piece[None])[0][-1][0])
    assert (settings.hop_length, settings.width, n_frames) == (1280, 16, 12)
    torch.testing.assert_close(settings.compute(waveform), expected)


def test_a_missing_checkpoint_is_never_downloaded(tiny_bundle, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: pytest.fail("a download"))
    tiny_bundle.unlink()
    with pytest.raises(InputError, match=r"no file .*mine.pth. Fetch https://download.pytorch.org/.*/tiny.pth .*save"):
        encoder_settings(f"torchaudio:TINY:{tiny_bundle}")


def test_a_checkpoint_of_another_network_or_with_code_is_refused(tiny_bundle):
    torch.save({"weight": torch.zeros(2)}, tiny_bundle)
    with pytest.raises(InputError, match=r"cannot be loaded .*Missing key"):
        encoder_settings(f"torchaudio:TINY:{tiny_bundle}")
    torch.save(torch.nn.Linear(1, 1), tiny_bundle)
    with pytest.raises(InputError, match=r"cannot be loaded .*Fetch"):
        encoder_settings(f"torchaudio:TINY:{tiny_bundle}")


def test_an_unknown_bundle_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"there is no bundle WAV2VEC; allowed: .*WAV2VEC2_BASE"):
        encoder_settings("torchaudio:WAV2VEC:/base.pth")


# ---- transformers --------------------------------------------------------------------------------


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="of the extra [pretrained], too large for the tests")


@pytest.fixture
def tiny_ast(transformers, tmp_path) -> Path:
    """An AST of 5 × 7 patches, with random weights."""
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_length=82, num_mel_bins=56
    )
    transformers.ASTModel(config).save_pretrained(tmp_path / "ast")
    transformers.ASTFeatureExtractor(num_mel_bins=56, max_length=82).save_pretrained(tmp_path / "ast")
    return tmp_path / "ast"


@torch.no_grad()
def test_the_frames_of_ast_are_patches_averaged_over_frequency_without_padding(transformers, tiny_ast):
    settings, waveform = encoder_settings(f"transformers:{tiny_ast}"), noise(0.9)
    extractor = transformers.ASTFeatureExtractor.from_pretrained(tiny_ast)
    network = transformers.ASTModel.from_pretrained(tiny_ast).eval()
    assert (settings.hop_length, settings.width) == (1600, 16)
    pieces = [waveform[: settings.n_samples(7)], waveform[7 * 1600 :][: settings.n_samples(1)]]
    expected = []
    for piece, n_frames in zip(pieces, (7, 1), strict=True):
        inputs = extractor(piece.numpy(), sampling_rate=16000, return_tensors="pt")
        hidden = network(**inputs).last_hidden_state[0]
        assert len(hidden) == 2 + 5 * 7
        for time in range(n_frames):
            expected.append(sum(hidden[2 + 7 * frequency + time] for frequency in range(5)) / 5)
    torch.testing.assert_close(settings.compute(waveform), torch.stack(expected))


@torch.no_grad()
def test_networks_of_raw_waveforms_are_averaged_over_80_ms(transformers, tmp_path):
    torch.manual_seed(0)
    network = transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8, 8),
            conv_kernel=(10, 8, 8), conv_stride=(5, 8, 8), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        )
    ).eval()  # fmt: skip
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    network.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    settings, waveform = encoder_settings(f"transformers:{tmp_path}"), noise(1)
    piece = waveform[: settings.n_samples(settings.n_frames(len(waveform)))]
    inputs = extractor(piece.numpy(), sampling_rate=16000, return_tensors="pt")
    torch.testing.assert_close(settings.compute(waveform), mean_of_four(network(**inputs).last_hidden_state[0]))


def test_a_folder_that_lacks_something_is_refused(transformers, tiny_ast):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_ast / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, tiny_ast / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks the weights layernorm.weight. Fetch"):
        encoder_settings(f"transformers:{tiny_ast}")
    (tiny_ast / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"cannot be loaded .*Fetch a model .*--local-dir"):
        encoder_settings(f"transformers:{tiny_ast}")


def test_models_of_another_rate_or_kind_are_refused(transformers, tiny_ast):
    path = tiny_ast / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sampling_rate": 8000}))
    with pytest.raises(InputError, match="takes 8000 Hz; allowed: 16000 Hz"):
        encoder_settings(f"transformers:{tiny_ast}")


def test_a_missing_folder_is_named_before_any_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"there is no .*ast/config.json. Fetch a model .*hf download .*/ast"):
        encoder_settings(f"transformers:{tmp_path}/ast")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"needs the package transformers.*pip install"):
        encoder_settings(f"transformers:{tmp_path}")


# ---- the store -----------------------------------------------------------------------------------


def test_the_store_keeps_embeddings_of_any_scale_to_a_relative_error_of_1_in_2048(speech, two_machines):
    for scale in (1e-2, 1.0, 1e3):
        frames = speech.compute(noise(1)) * scale
        torch.testing.assert_close(speech.restored(speech.stored(frames)), frames, rtol=1 / 2048, atol=0)
    path = next((two_machines / "dev_data" / "fan" / "train").iterdir())
    stored, row = clip_frames(path, speech)
    exact = speech.compute(as_float(read_recording(path, 16000)))
    assert stored.dtype == np.int16
    torch.testing.assert_close(speech.restored(torch.from_numpy(stored)), exact, rtol=1 / 2048, atol=0)
    np.testing.assert_allclose(row["mean"], exact.double().mean(0), rtol=1e-6)


def test_frames_are_kept_by_weights_not_by_the_place_where_they_lie(tiny_bundle, tmp_path):
    first = encoder_settings(f"torchaudio:TINY:{tiny_bundle}")
    (tmp_path / "moved").mkdir()
    moved = tiny_bundle.rename(tmp_path / "moved" / "mine.pth")
    second = encoder_settings(f"torchaudio:TINY:{moved}")
    assert first != second
    assert first.key == second.key
    assert replace(first, digest="0" * 16).key != first.key


def test_log_mels_are_kept_where_they_were():
    assert FeatureSettings().key == "898bbdcb"  # as before there were encoders


# ---- detectors -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(two_machines, tmp_path_factory) -> TrainingData:
    """The fan clips as frames of the speech encoder."""
    pytest.importorskip("pyopen_wakeword", reason="pyopen-wakeword is not installed: no wheel fits every machine")
    roots = {"data_root": str(two_machines), "output_root": str(tmp_path_factory.mktemp("outputs"))}
    start = find_start(BackendParameters(**GIVEN | roots))
    clips, cpu = clips_table(two_machines), torch.device("cpu")
    return training_data(start.clips, clips, cpu, other_machines=False, features=start.features)


@pytest.fixture(scope="module")
def detector(data) -> Detector:
    model, whole = with_backend(*averaging(), data, BackendSettings("knn"), 0)
    p = find_start(BackendParameters(**GIVEN | {"data_root": "", "output_root": ""})).clips
    made = build_detector(p, data, "speech-knn", "embedding", whole, model)
    made.statistics = calibrate(score_table(made, data, "speech-knn", "", 0))
    return made


def test_scores_are_the_distances_of_mean_embeddings_from_the_nearest_train_clip(data, detector, speech, two_machines):
    table = score_table(detector, data, "speech-knn", "", 0)
    means = []
    for clip in table["clip"]:
        mean = speech.compute(as_float(read_recording(two_machines / clip, 16000)))[: data.n_frames].double().mean(0)
        means.append((mean / mean.norm()).numpy())
    table["mean"] = means
    for row in table.iloc[::7].itertuples():
        own = table[(table["section"] == row.section) & (table["split"] == "train") & ~table["held_out"]]
        nearest = min(1 - row.mean @ reference for reference in own["mean"])
        assert row.score == pytest.approx(nearest, abs=2e-5)


def test_a_saved_detector_scores_recordings_and_streams_and_holds_no_weights(data, detector, two_machines, tmp_path):
    detector.save(tmp_path / "detector.pt")
    loaded = load_detector(tmp_path / "detector.pt")
    assert loaded.features == detector.features
    content = torch.load(tmp_path / "detector.pt", weights_only=True)
    assert all(name.startswith("backend.") for name in content["state"])
    row = score_table(detector, data, "speech-knn", "", 0).iloc[-1]
    decision, _ = decide_recording(loaded, two_machines / row["clip"])
    assert decision.score == pytest.approx(row["score"], abs=1e-6)
    assert 0 < decision.p_value <= 1
    samples = read_recording(two_machines / row["clip"], 16000)
    (window,) = score_windows(loaded, np.split(samples, 4), Windowing(1.0, 1.0), section=int(row["section"]))
    assert window.decision == decision
    with pytest.raises(InputError, match=r"--window: 0.5 s; allowed: at least 0.782 s"):
        Windowing(0.5, 0.5).check(loaded.features)


@pytest.mark.parametrize("fault", ["short", "nan", "far beyond 1"])
def test_what_cannot_be_heard_is_refused(detector, fault):
    waveform = {"short": torch.zeros(12511), "nan": noise(1) * torch.nan, "far beyond 1": noise(1) * 1e38}[fault]
    with pytest.raises(InputError, match=r"12511 samples; one frame takes 12512|samples reach"):
        detector.frames(waveform.numpy())


def test_a_detector_with_other_weights_or_none_says_what_to_fetch(detector, tmp_path, monkeypatch):
    other = replace(detector, features=replace(detector.features, digest="0123456789abcdef"))
    other.save(tmp_path / "other.pt")
    digest = detector.features.digest
    message = rf"other.pt: .*speech has weights of the digest {digest}; needed: .*0123456789abcdef.*pyopen-wakeword"
    with pytest.raises(InputError, match=message):
        load_detector(tmp_path / "other.pt")
    opened.cache_clear()
    monkeypatch.setitem(sys.modules, "pyopen_wakeword", None)
    with pytest.raises(InputError, match=r"other.pt: the encoder speech needs the package pyopen-wakeword"):
        load_detector(tmp_path / "other.pt")


@pytest.mark.parametrize(
    "use",
    [
        lambda detector: explain(detector, torch.zeros(3, 96), 0),
        lambda detector: EdgeModel(detector),
    ],
    ids=["an explanation", "the export"],
)
def test_what_needs_mel_bands_refuses_an_encoder(detector, use: Callable[[Detector], object]):
    with pytest.raises(InputError, match=r"needs log-mels, and the frames of speech-knn are embeddings of speech"):
        use(detector)
    assert baselines(detector, None, None) == {}


# ---- 08_backends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["wav2vec", "speech:1", "transformers:", "torchaudio:WAV2VEC2_BASE", "angular-knn"])
def test_another_start_is_answered_with_what_is_allowed(start):
    message = r"'aux', 'ccsa', 'angular', or an encoder: 'speech', 'transformers:<folder>' or 'torchaudio:"
    with pytest.raises(ValueError, match=message):
        BackendParameters(**GIVEN | {"data_root": "", "output_root": "", "start": start})


def test_an_encoder_has_no_run():
    with pytest.raises(ValueError, match="no run has the encoder 'speech'; allowed: an empty string"):
        BackendParameters(**GIVEN | {"data_root": "", "output_root": "", "run_id": "0" * 32})


def test_the_clips_of_an_encoder_are_those_of_03_aux():
    cells = nbformat.read(PROJECT / "notebooks" / "03_aux.ipynb", 4).cells
    defaults = assignments(next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])))
    assert {name: defaults[name] for name in ENCODER_CLIPS} == ENCODER_CLIPS


def test_the_parameters_of_any_front_end_are_valid_and_those_of_log_mels_lead_back_to_them():
    form = {"samples": 400, "hop_length": 400, "dimensions": 16}
    for features in (
        FeatureSettings(n_mels=64),
        SpectrumSettings(16000, 32000),
        EncoderSettings("speech", "0", **form),
    ):
        given = {"machine_type": "fan", "data_root": "", "output_root": ""} | feature_parameters(features)
        p = FeatureParameters.model_validate(given)
        assert (p.sample_rate, p.n_fft, p.n_mels) == (16000, features.window, features.width)
        if isinstance(features, FeatureSettings):
            assert feature_settings(p) == features
