"""The ONNX graph of a detector says what the detector says, with onnxruntime alone, and alarms where it cannot."""

import json
import re
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from conftest import PROJECT, tiny_detector

import asd
from asd.cli import main
from asd.data.features import FeatureSettings
from asd.detection import edge
from asd.detection.detector import KINDS, Detector, load_detector
from asd.errors import InputError

pytestmark = pytest.mark.xdist_group("export")  # an export takes seconds: one process makes them all
METHODS = ("aux", "ccsa", "ae", "made", "maf")
README = (PROJECT / "README.md").read_text()
LENGTHS = (1024, 1536, 3000, 16000, 30001)  # samples: one frame, fewer frames than a snippet has, and more


def noise(n_samples: int = 16000, seed: int = 0, scale: float = 0.1) -> np.ndarray:
    """A clip of noise, whose level changes on the way."""
    samples = np.random.default_rng(seed).normal(scale=scale, size=n_samples)
    return (samples * np.linspace(0.2, 1.8, n_samples)).astype(np.float32)


def make_detector(method: str) -> Detector:
    """A detector of sections 0, 3 and 7; each method with settings of its own, so that all of them are met."""
    detector = tiny_detector("classifier" if method in ("aux", "ccsa") else "density")
    detector.method = method
    if method == "ccsa":
        detector.config |= {"normalize": "mean_std_learnable"}
        detector.normalize_waveform, detector.reduction = True, "max"
    if method == "made":
        detector.config |= {"architecture": "made", "sizes": {"hidden_size": 100, "hidden_dims": 1, "n_gaussians": 3}}
        detector.features = replace(detector.features, consistent_with_librosa=True)
    if method == "maf":
        detector.config |= {"architecture": "maf", "sizes": {"hidden_size": 100, "hidden_dims": 2}}
        detector.features, detector.hop = FeatureSettings(n_fft=1000, hop_length=300, n_mels=16), 2
    detector.model = fitted(KINDS[detector.kind](**detector.config))
    return detector if method == "maf" else calibrated(detector)  # one without: it decides by its threshold


def fitted(model: torch.nn.Module) -> torch.nn.Module:
    """With statistics and weights in all layers as training leaves them, neither 0 nor 1."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if "running_var" in name or name.endswith("std"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif "running_mean" in name or name.endswith(("mean", "beta", "log_gamma")):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    for module in model.modules():
        if hasattr(module, "normalization"):
            module.normalization.set(torch.full((16,), -5.0), torch.full((16,), 6.0))
    return model.eval()


def calibrated(detector: Detector, n: int = 22) -> Detector:
    """Section 0 has ``n`` held-out clips of its own, the others too few: they are judged by all sections' clips."""
    for section, statistics in detector.statistics.items():
        seeds = range(100 * section, 100 * section + (n if section == 0 else 5))
        scores = [detector.score(detector.frames(noise(9000, seed, 0.1 + seed % 7 / 70)), section) for seed in seeds]
        statistics |= {"held_out_scores": sorted(scores)}
        statistics |= {"trained_mean": float(np.mean(scores)), "trained_std": float(np.std(scores))}
    return detector


class Exported:
    """Detectors and the graphs that ``asd export`` has made of them, each made once."""

    def __init__(self, folder: Path):
        self.folder, self.told = folder, {}

    def __call__(self, method: str) -> tuple[Detector, Path]:
        source, path = self.folder / method / "detector.pt", self.folder / f"{method}.onnx"
        if method not in self.told:
            make_detector(method).save(source)
            self.told[method] = CliRunner().invoke(main, ["export", str(source), str(path)])
        assert self.told[method].exit_code == 0, self.told[method].output
        return load_detector(source), path


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Exported:
    return Exported(tmp_path_factory.mktemp("exported"))


def run(path: Path, waveform: np.ndarray, section: int) -> tuple[float, float, bool]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return tuple(value.item() for value in session.run(None, {"waveform": waveform, "section": np.array(section)}))


def expected(detector: Detector, waveform: np.ndarray, section: int, rate: float | None = None):
    return detector.decide(detector.score(detector.frames(waveform), section), section, rate)


def assert_alike(detector: Detector, found, told, section: int) -> None:
    scale = max(abs(told.score), detector.calibration.scale(section)[1])
    assert abs(found[0] - told.score) <= 1e-4 * scale
    np.testing.assert_equal(found[1], told.p_value)
    assert found[2] is told.anomalous


# ------------------------------------------------------------------------------------------------- what the graph says


@pytest.mark.parametrize("method", METHODS)
def test_the_graph_gives_score_p_value_and_decision_of_the_detector(exported, method):
    detector, path = exported(method)
    decisions = set()
    for i, n_samples in enumerate(LENGTHS):
        for section in detector.sections:
            waveform = noise(n_samples, seed=i, scale=0.1 + 0.05 * i)
            told = expected(detector, waveform, section)
            assert_alike(detector, run(path, waveform, section), told, section)
            decisions.add(told.anomalous)
    assert method != "aux" or decisions == {True, False}


def test_a_section_is_judged_by_its_own_held_out_clips_where_they_suffice(exported):
    detector, path = exported("ae")
    assert [detector.calibration.pooled(section) for section in (0, 3, 7)] == [False, True, True]
    described = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(described["n_calibration"]) == [22, 32, 32]


def test_without_calibration_scores_the_threshold_decides_and_there_is_no_p_value(exported):
    _, path = exported("maf")
    score, p_value, anomalous = run(path, noise(), 3)
    assert np.isnan(p_value) and anomalous == (score > 0.5)
    assert "decided by the gamma threshold" in exported.told["maf"].stderr


def test_the_readmes_lines_run_where_there_is_neither_torch_nor_asd(exported, tmp_path):
    detector, path = exported("ae")
    (tmp_path / "fan.onnx").symlink_to(path)
    np.save(tmp_path / "noise.npy", noise())
    (snippet,) = re.findall(r"^    import numpy, onnxruntime\n(?:    .*\n)+", README, re.MULTILINE)
    code = (
        "import sys\nfor name in ('torch', 'asd', 'onnx', 'onnxscript', 'scipy', 'pandas'): sys.modules[name] = None\n"
        f"import numpy\nsamples = numpy.load('noise.npy')\n{textwrap.dedent(snippet)}print(score, p_value, anomalous)"
    )
    told = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    score, p_value, anomalous = told.stdout.split()
    here = expected(detector, noise(), 0)
    assert float(score) == pytest.approx(here.score, rel=1e-4) and float(p_value) == pytest.approx(here.p_value)
    assert anomalous == str(here.anomalous)


def test_the_file_is_one_valid_graph_that_says_what_it_was_made_from(exported):
    detector, path = exported("ccsa")
    graph = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(graph, full_check=True)
    assert not any(tensor.external_data for tensor in graph.graph.initializer)
    described = {entry.key: entry.value for entry in graph.metadata_props}
    assert described["format"] == "asd edge 1" and described["version"] == asd.__version__
    assert (described["machine_type"], described["method"]) == ("fan", "ccsa")
    assert json.loads(described["sections"]) == [0, 3, 7]
    assert FeatureSettings(**json.loads(described["features"])) == detector.features
    assert json.loads(described["normalize_waveform"]) is True and described["reduction"] == "max"
    assert "(samples,)" in graph.doc_string


# ------------------------------------------------------------------------------------------------- what it cannot judge

NOT_FINITE = noise()
NOT_FINITE[5000] = np.nan
UNUSABLE = {
    "unknown section": (noise(), 1),
    "negative section": (noise(), -1),
    "no samples": (noise(0), 0),
    "too few samples": (noise(1023), 0),
    "not a number": (NOT_FINITE, 0),
    "infinite": (np.where(np.isnan(NOT_FINITE), np.float32(np.inf), NOT_FINITE), 0),
    "overflow": (np.where(np.isnan(NOT_FINITE), np.float32(1e30), NOT_FINITE), 0),
    "out of range": (noise() * np.float32(3e7), 0),
    "silence": (np.zeros(16000, dtype=np.float32), 0),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_the_detector_refuses_has_no_score_and_alarms(exported, case):
    detector, path = exported("ccsa")  # the one that scales clips to RMS 1
    with pytest.raises(InputError):
        expected(detector, *UNUSABLE[case])
    score, p_value, anomalous = run(path, *UNUSABLE[case])
    assert np.isnan(score) and np.isnan(p_value) and anomalous is True


def test_silence_is_scored_where_it_need_not_be_scaled(exported):
    detector, path = exported("ae")
    told = expected(detector, *UNUSABLE["silence"])
    assert_alike(detector, run(path, *UNUSABLE["silence"]), told, 0)


# --------------------------------------------------------------------------------------- the same computation, in torch


@pytest.mark.parametrize("normalize", ["batchnorm", "mean_std", "mean_std_learnable", "none"])
@pytest.mark.parametrize("reduction", ["mean", "max"])
def test_every_setting_of_a_detector_is_followed(normalize, reduction):
    detector = tiny_detector("classifier")
    detector.config |= {"normalize": normalize}
    detector.model = fitted(KINDS["classifier"](**detector.config))
    detector.reduction, detector.hop, detector.normalize_waveform = reduction, 7, normalize == "none"
    model = edge.EdgeModel(calibrated(detector, n=1))
    for n_samples in LENGTHS:
        found = [value.item() for value in model(torch.from_numpy(noise(n_samples)), torch.tensor(7))]
        assert_alike(detector, found, expected(detector, noise(n_samples), 7), 7)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.6])
def test_the_stated_rate_decides(rate):
    detector = calibrated(tiny_detector("density"))
    model = edge.EdgeModel(detector, rate)
    for section in (0, 3):
        scores = detector.calibration.scores(section) * detector.calibration.scale(section)[1]
        scores += detector.calibration.scale(section)[0]  # ties with all calibration scores included
        told = detector.calibration.decide(section, scores, rate)
        index = torch.tensor(detector.sections.index(section))
        found = [model.decide(torch.tensor(score), index) for score in scores]
        np.testing.assert_array_equal([p_value.item() for p_value, _ in found], told.p_value)
        np.testing.assert_array_equal([anomalous.item() for _, anomalous in found], told.anomalous)


def test_a_float32_p_value_would_not_do():
    """With 9 held-out clips the smallest p-value is 0.1, which in float32 is above 0.1."""
    detector = tiny_detector("density")
    one = {"held_out_scores": list(map(float, range(9))), "trained_mean": 0.0, "trained_std": 1.0, "threshold": 1.0}
    detector.statistics = {0: one, 3: one | {"held_out_scores": []}, 7: one | {"held_out_scores": []}}
    p_value, anomalous = edge.EdgeModel(detector).decide(torch.tensor(99.0).double(), torch.tensor(0))
    assert p_value.dtype == torch.float64 and p_value.item() == 0.1 and anomalous


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "detector.pt"
    calibrated(tiny_detector("density"), n=1).save(path)
    return path


def failed(arguments: list[object], *words: str) -> None:
    told = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert told.exit_code == 1 and told.output.startswith("Error: "), told.output
    for word in words:
        assert word in told.output


@pytest.mark.parametrize("package", edge.PACKAGES)
def test_without_the_extra_it_says_what_to_install(saved, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    failed([saved, tmp_path / "out.onnx"], package, "pip install", ".[export]")
    assert not (tmp_path / "out.onnx").exists()


def test_the_extra_holds_what_the_export_needs():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]["export"]) == set(edge.PACKAGES)


def test_bad_input_is_named_and_nothing_is_written(saved, tmp_path):
    out = tmp_path / "out.onnx"
    out.write_text("as it was")
    failed([tmp_path / "absent.pt", out], "absent.pt")
    failed([out, out], str(out), "cannot be read")
    failed([saved, out, "--false-alarm-rate", 1.5], "1.5", "between 0 and 1")
    trained = load_detector(saved)
    del trained.statistics[3]
    trained.save(tmp_path / "uncalibrated.pt")
    failed([tmp_path / "uncalibrated.pt", out], "section 3: no calibration")
    assert out.read_text() == "as it was"


def test_a_graph_that_scores_otherwise_than_the_detector_is_not_written(exported, tmp_path, monkeypatch):
    detector, path = exported("ae")
    out = tmp_path / "out.onnx"
    out.write_text("as it was")
    other = make_detector("ae")
    other.model.normalization.mean += 1
    monkeypatch.setattr(edge, "graph_of", lambda model: onnx.load(path))
    with pytest.raises(InputError, match="is not the detector's"):
        edge.export(other, out)
    assert out.read_text() == "as it was" and [file.name for file in tmp_path.iterdir()] == ["out.onnx"]
    edge.export(detector, out, run_id="abc")
    described = onnxruntime.InferenceSession(out).get_modelmeta().custom_metadata_map
    assert described["run_id"] == "abc" and [file.name for file in tmp_path.iterdir()] == ["out.onnx"]
