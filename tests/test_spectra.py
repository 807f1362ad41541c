"""The spectrum of a whole clip as 07_angular's front end: against numpy, and from wav files to a detector's score."""

import numpy as np
import pytest
import torch
from test_params import parameter_cell

from asd.data.clips import clips_table
from asd.data.recordings import read_recording
from asd.data.spectra import SpectrumSettings
from asd.detection.backends import with_backend
from asd.detection.detector import load_detector
from asd.detection.explanations import explain
from asd.detection.scoring import build_detector, score_table
from asd.errors import InputError
from asd.models.angular import AngularNetwork
from asd.notebook.cells import assignments
from asd.notebook.parameters import AngularParameters
from asd.training.angular import AngularTraining, angular_batches
from asd.training.backends import BackendSettings
from asd.training.data import training_data
from asd.training.machines import all_machines

CPU = torch.device("cpu")
SPECTRUM = {
    "branches": ["spectrum"],
    "feature_exchange": False,
    "machine_type": "fan",
    "dimensions": 8,
    "subclusters": 2,
}


def parameters(**changed) -> AngularParameters:
    return AngularParameters(**assignments(parameter_cell("07_angular")) | SPECTRUM | changed)


@pytest.mark.parametrize("length", [1000, 1001])
def test_a_spectrum_is_the_power_of_numpys_fourier_transform(length):
    waveform = np.random.default_rng(0).normal(scale=0.1, size=2 * length + 3).astype(np.float32)
    found = SpectrumSettings(16000, length).compute(torch.from_numpy(waveform)).numpy()
    for number in range(2):
        power = np.abs(np.fft.rfft(waveform[number * length :][:length], norm="ortho")) ** 2
        np.testing.assert_allclose(found[number], 10 * np.log10(power + 1e-6), atol=1e-3)
    assert found.shape == (2, length // 2 + 1)


def test_from_wav_files_to_a_detector_that_scores_like_its_table(two_machines, tmp_path):
    p = parameters(data_root=str(two_machines), output_root=str(tmp_path), device="cpu")
    clips = clips_table(two_machines)
    machines = all_machines(p, clips, CPU, lambda line: None)
    features = machines.train.frames.features
    assert features == SpectrumSettings(16000, 16000) and machines.n_frames == 1, "clips of 1 s"
    config = {"n_mels": features.width, "n_frames": 1, "branches": ["spectrum"], "dimensions": 8}
    config |= {"rho_f": 5, "rho_t": 5, "base_channels": 2}
    torch.manual_seed(0)
    network = AngularNetwork(**config)
    model = AngularTraining(network, "adacos", len(machines.classes), 2, False, False)
    batch = next(iter(angular_batches(machines.train, len(machines.classes), 1, 8, mixup=0.5, seed=0, epoch=0)))
    terms = model.terms(batch)
    terms["loss"].backward()
    assert all(w.grad is not None and w.grad.abs().max() > 0 for w in network.parameters())
    data = training_data(p, clips, CPU, other_machines=False, features=features, progress=lambda line: None)
    whole, whole_config = with_backend("angular", config, network, data, BackendSettings("knn"), seed=0)
    detector = build_detector(p, data, "angular", "embedding", whole_config, whole)
    table = score_table(detector, data, "spectrum", "", seed=0)
    detector.save(tmp_path / "detector.pt")
    loaded = load_detector(tmp_path / "detector.pt")
    assert loaded.features == features
    row = table[table["split"] == "test"].iloc[0]
    frames = loaded.frames(read_recording(two_machines / row["clip"], 16000))
    assert loaded.score(frames, row["section"]) == pytest.approx(row["score"], abs=1e-5)
    with pytest.raises(InputError, match="needs log-mels, and the frames of angular are spectra"):
        explain(loaded, frames, row["section"])


@pytest.mark.parametrize("snippet_length, samples", [(None, 16000), (0.5, 8000)])
def test_a_spectrum_spans_a_snippet(two_machines, tmp_path, snippet_length, samples):
    p = parameters(data_root=str(two_machines), output_root=str(tmp_path), snippet_length=snippet_length)
    machines = all_machines(p, clips_table(two_machines), CPU, lambda line: None)
    assert machines.train.frames.features.window == samples
    assert set(machines.train.frames.length.tolist()) == {16000 // samples}


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"branches": ["spectrum", "frames"]}, "'spectrum' stands alone"),
        ({"statistics_exchange": True}, "statistics_exchange"),
        ({"feature_exchange": True}, "feature_exchange"),
        ({"branches": ["frames"], "batch_size": 2}, "batch_size 2"),
    ],
)
def test_what_a_single_spectrum_cannot_have_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        parameters(**changed)


@pytest.mark.parametrize("changed", [{"loss": "subspace"}, {"subclusters": 1}])
def test_two_classes_need_a_loss_whose_scale_is_not_zero(two_machines, tmp_path, changed):
    p = parameters(data_root=str(two_machines), output_root=str(tmp_path), sections=[0], **changed)
    with pytest.raises(InputError, match=r"loss, subclusters: of two classes, .* learns nothing"):
        all_machines(p, clips_table(two_machines), CPU, lambda line: None)
