"""An explanation's mean is the score, its bins are where the score comes from, and pictures show them as they are."""

import os
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from click.testing import CliRunner
from conftest import PROJECT, tiny_detector
from torch import nn

from asd.cli import main
from asd.data.clips import clips_table
from asd.data.features import FeatureSettings, mel_frequencies
from asd.data.regions import fault_regions, region_bins
from asd.data.store import Shard, open_shard
from asd.detection import explanations
from asd.detection.detector import Detector, load_detector
from asd.detection.embeddings import clip_embeddings, in_a_plane
from asd.detection.explanations import baselines, explain, integrated_gradients, whole_clip
from asd.errors import InputError
from asd.models.density import DensityEstimator
from asd.plots.embeddings import embedding_map
from asd.plots.explanations import Explained, explanation_picture
from asd.tracking.explainer import Explainer

FEATURES = FeatureSettings(n_mels=16)


def clip(n: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(seed)) * 10 - 30


def density(architecture: str, n_frames: int = 5, **options: object) -> Detector:
    detector = tiny_detector("density")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "hidden_dims": 1}
    config = {"architecture": architecture, "n_sections": 3, "n_mels": 16, "n_frames": n_frames, "sizes": sizes}
    detector.model = DensityEstimator(**config).eval()
    detector.model.normalization.set(torch.linspace(-40, -20, 16), torch.linspace(5, 15, 16))
    detector.baseline = {3: torch.linspace(0, 2, 16)}
    vars(detector).update({"n_frames": n_frames} | options)
    return detector


@pytest.fixture(scope="module")
def shard(two_machines: Path, tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return open_shard(clips_table(two_machines), two_machines, "fan", FEATURES, tmp_path_factory.mktemp("store"))


def fan_clips(two_machines: Path) -> pd.DataFrame:
    clips = clips_table(two_machines)
    return clips[(clips["machine_type"] == "fan") & clips["section"].isin([0, 3])]


@pytest.mark.parametrize("architecture", ["ae", "made", "maf"])
@pytest.mark.parametrize("options", [{}, {"hop": 3}, {"hop": 7}, {"reduction": "max"}], ids=str)
def test_the_mean_of_a_density_s_map_is_the_score_minus_the_baseline(architecture: str, options: dict):
    detector, frames = density(architecture, **options), clip()
    explanation = explain(detector, frames, 3)
    assert explanation.shape == frames.shape
    assert explanation.mean() == pytest.approx(detector.score(frames, 3) - 1.0, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("architecture", ["ae", "made", "maf"])
def test_a_density_s_bin_is_the_sum_of_its_parts_in_all_windows(architecture: str):
    detector, frames = density(architecture, n_frames=3), clip(6)
    expected = np.zeros((6, 16))
    for start in range(4):
        with torch.no_grad():
            log_prob = detector.model.log_prob_per_bin(frames[None, start : start + 3], torch.tensor([1]))[0]
        expected[start : start + 3] -= log_prob.numpy() + np.linspace(0, 2, 16)
    expected *= 6 / (4 * 3)  # frames of the clip, over frames of all windows
    np.testing.assert_allclose(explain(detector, frames, 3), expected, rtol=1e-3, atol=1e-4)


def test_the_largest_bin_is_the_one_that_is_wrong():
    detector = density("ae")
    for parameter in detector.model.density.parameters():
        nn.init.zeros_(parameter)  # it reconstructs zeros, the mean of each band: the error is the deviation squared
    detector.baseline = {3: torch.ones(16)}
    frames = detector.model.normalization.mean + detector.model.normalization.std * clip().div(100).add(0.3)
    frames[20, 11] += 80
    explanation = explain(detector, frames, 3)
    assert np.unravel_index(explanation.argmax(), explanation.shape) == (20, 11)
    assert (explanation > 0).sum() == 1


@pytest.mark.parametrize("length", [20, 50, 13])
@pytest.mark.parametrize("reduction", ["mean", "max"])
def test_integrated_gradients_are_complete(length: int, reduction: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explanations, "STEPS", 512)  # an untrained network is rougher on the way than a trained one
    detector, frames = tiny_detector("classifier"), clip(length)
    detector.reduction = reduction
    detector.baseline = {7: torch.full((16,), -35.0)}
    detector.model.train()  # as a training left it: a BatchNorm would otherwise mix the points of the path
    explanation = explain(detector, frames, 7)
    change = detector.score(frames, 7) - detector.score(torch.full((20, 16), -35.0), 7)
    assert explanation.shape == (max(length, 20), 16)
    assert abs(change) > 0.01
    assert explanation.mean() == pytest.approx(change, rel=0.02)
    assert all(parameter.grad is None for parameter in detector.model.parameters())


@pytest.mark.parametrize("power", [1, 2, 3])
def test_integrated_gradients_of_a_polynomial_are_its_differences(power: int):
    weight, snippet, baseline = torch.randn(4, 6), torch.randn(4, 6), torch.randn(6)
    model = SimpleNamespace(anomaly_score=lambda frames, section: (weight * frames**power).sum(dim=(1, 2)))
    expected = 24 * weight * (snippet**power - baseline**power)
    attribution = integrated_gradients(model, snippet, baseline, index=0)
    torch.testing.assert_close(attribution, expected, rtol=1e-2, atol=1e-2)


def test_the_baseline_of_a_classifier_is_the_median_of_the_train_clips_mean_spectra(two_machines: Path, shard: Shard):
    clips, detector = fan_clips(two_machines), tiny_detector("classifier")
    detector.normalize_waveform = True
    found = baselines(detector, shard, clips)
    assert sorted(found) == [0, 3]
    for section, values in found.items():
        paths = clips.loc[(clips["section"] == section) & (clips["split"] == "train"), "path"]
        spectra = [
            shard.frames_of(path).mean(0) - 20 * np.log10(shard.table.loc[path, "rms"]) for path in paths.tolist()
        ]
        np.testing.assert_allclose(values, np.median(spectra, axis=0), atol=1e-3)


@pytest.mark.parametrize("kind", ["classifier", "density"])
def test_half_of_the_train_clips_of_a_section_exceed_the_baseline_of_a_band(
    kind: str, two_machines: Path, shard: Shard
):
    clips, detector = fan_clips(two_machines), tiny_detector(kind)
    detector.baseline = baselines(detector, shard, clips)
    if kind == "density":
        paths = clips.loc[(clips["section"] == 0) & (clips["split"] == "train"), "path"]
        detector.hop = detector.n_frames  # so that every frame counts once
        detector.baseline = baselines(detector, shard, clips)
        means = np.stack([explain(detector, whole_clip(detector, shard, path), 0).mean(0) for path in paths])
        assert len(paths) % 2 == 1
        np.testing.assert_array_equal((means > 1e-4).sum(axis=0), np.full(16, len(paths) // 2))
    assert all(values.shape == (16,) for values in detector.baseline.values())


@pytest.mark.parametrize("kind", ["classifier", "density"])
def test_a_detector_s_file_suffices_for_its_explanations(kind: str, tmp_path: Path):
    detector = tiny_detector(kind)
    detector.baseline = {0: torch.linspace(-1, 1, 16)}
    detector.save(tmp_path / "detector.pt")
    again = load_detector(tmp_path / "detector.pt")
    np.testing.assert_allclose(explain(again, clip(), 0), explain(detector, clip(), 0), rtol=1e-5, atol=1e-6)
    assert not np.allclose(explain(again, clip(), 0), explain(tiny_detector(kind), clip(), 0), atol=1e-2)


@pytest.mark.parametrize("kind", ["classifier", "density"])
def test_a_detector_from_before_there_were_baselines_compares_a_clip_with_itself(kind: str):
    detector = load_detector(PROJECT / "tests" / "earlier" / f"{kind}.pt")
    assert detector.baseline == {}
    n_mels = detector.features.n_mels
    steady = torch.linspace(-40, -20, n_mels).expand(100, n_mels)
    inner = slice(20, 80)  # at the ends, bins lie in fewer windows, and not at all places of a window
    np.testing.assert_allclose(explain(detector, steady, 3)[inner], 0, atol=1e-3)
    with_a_knock = steady + 30 * (torch.arange(100) == 50)[:, None]
    assert np.abs(explain(detector, with_a_knock, 3)[inner]).max() > 0.1


@pytest.mark.parametrize("kind", ["classifier", "density"])
def test_an_unknown_section_is_refused(kind: str):
    with pytest.raises(InputError, match="section 5"):
        explain(tiny_detector(kind), clip(), 5)


def test_the_regions_of_the_embedded_data_set_are_those_of_its_anomalous_clips(two_machines: Path):
    clips, regions = clips_table(two_machines), fault_regions(two_machines)
    anomalous = clips.loc[(clips["label"] == 1) & (clips["machine_type"] == "fan"), "path"]
    assert set(regions.loc[regions["path"].str.contains("fan"), "path"]) == set(anomalous)
    for _, rows in regions.groupby("path"):
        assert 0 < region_bins(rows, FEATURES, FEATURES.n_frames(16000)).mean() < 1


def test_a_data_set_that_knows_no_faults_has_no_regions(tmp_path: Path):
    regions = fault_regions(tmp_path)
    assert regions.empty and "low" in regions
    assert not region_bins(regions, FEATURES, 5).any()


def test_a_table_of_faults_without_a_column_or_with_a_word_for_a_number_is_named(tmp_path: Path):
    for columns, row in ((",end", ""), (",end,low,high", ",low,2")):
        (tmp_path / "faults.csv").write_text(f"path,fault,start{columns}\na.wav,rubbing,0,1{row}\n")
        with pytest.raises(InputError, match=r"faults\.csv: cannot be read as a table of path, fault, .*low"):
            fault_regions(tmp_path)


def test_bins_of_a_region_are_those_that_it_touches_in_time_and_contains_in_frequency():
    region = pd.DataFrame({"start": [0.5], "end": [0.6], "low": [1000.0], "high": [2000.0]})
    inside = region_bins(region, FEATURES, 60)
    time = np.arange(60) * 512 / 16000
    centre = mel_frequencies(FEATURES)
    np.testing.assert_array_equal(inside.any(axis=1), (time < 0.6) & (time + 0.064 > 0.5))
    np.testing.assert_array_equal(inside.any(axis=0), (centre >= 1000) & (centre <= 2000))


def explained(peak: float, **further: object) -> Explained:
    explanation = np.zeros((30, 16))
    explanation[10:20] = peak
    return Explained(f"peak {peak}", clip(30).numpy(), explanation, **further)


def test_maps_side_by_side_have_the_same_colours_and_white_is_zero():
    figure = explanation_picture([explained(1.0), explained(-8.0)], FEATURES)
    maps = [image for ax in figure.axes for image in ax.images if image.get_cmap().name == "RdBu_r"]
    assert [image.get_clim() for image in maps] == [(-8.0, 8.0)] * 2
    np.testing.assert_array_equal(maps[1].get_array(), explained(-8.0).explanation.T)
    plt.close(figure)


def test_a_picture_shows_regions_and_the_score_over_time_where_they_are_known():
    inside = np.zeros((30, 16), dtype=bool)
    inside[5:9, 3:6] = True
    plain = explanation_picture([explained(1.0)], FEATURES)
    full = explanation_picture([explained(0.0, inside=inside, over_time=(np.arange(3), np.ones(3)))], FEATURES)
    panels = [[ax for ax in figure.axes if ax.get_label() != "<colorbar>"] for figure in (plain, full)]
    assert [len(axes) for axes in panels] == [2, 3]
    (outline,) = panels[1][1].collections
    corners = outline.get_paths()[0].vertices
    hop = 512 / 16000
    np.testing.assert_allclose(corners[:, 0].min() / hop, 5, atol=0.51)
    np.testing.assert_allclose(corners[:, 0].max() / hop, 9, atol=0.51)
    np.testing.assert_allclose([corners[:, 1].min(), corners[:, 1].max()], [3, 6], atol=0.51)
    plt.close("all")


def test_a_clip_s_embedding_is_the_mean_over_its_snippets(shard: Shard):
    detector, paths = tiny_detector("classifier"), shard.table.index[:4]
    points = clip_embeddings(detector, shard, pd.Series(paths))
    assert points.shape == (4, 8)
    frames = torch.from_numpy(shard.frames_of(paths[2]))
    with torch.no_grad():
        first, second = (detector.model.embed(frames[None, i : i + 20]).mean((2, 3))[0] for i in (0, 10))
    np.testing.assert_allclose(points[2], (first + second) / 2, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="ae: has no embeddings; allowed: classifiers"):
        clip_embeddings(tiny_detector("density"), shard, pd.Series(paths))


def test_neighbours_stay_neighbours_in_the_plane():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 15)
    points = 20 * groups[:, None] + rng.normal(size=(30, 5))
    plane = in_a_plane(points)
    np.testing.assert_array_equal(plane, in_a_plane(points))
    centres = np.stack([plane[groups == group].mean(axis=0) for group in (0, 1)])
    nearest = np.linalg.norm(plane[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, groups)
    assert in_a_plane(points[:3]).shape == (3, 2)


def test_a_map_of_embeddings_has_a_panel_per_domain_and_fills_anomalies():
    clips = pd.DataFrame({"section": [0, 0, 1, 1], "domain": ["source", "target"] * 2})
    clips["label"] = pd.array([0, 1, 1, None], dtype="Int64")
    figure = embedding_map(np.arange(8.0).reshape(4, 2), clips)
    source, target = figure.axes
    assert (source.get_title(), target.get_title()) == ("source", "target")
    filled = {tuple(c.get_offsets()[0]): len(c.get_facecolors()) > 0 for c in source.collections + target.collections
              if len(c.get_offsets())}  # fmt: skip
    assert filled == {(0.0, 1.0): False, (2.0, 3.0): True, (4.0, 5.0): True, (6.0, 7.0): False}
    plt.close(figure)


@pytest.mark.parametrize("rule", ["mean", "min"])
def test_an_ensemble_s_map_is_made_of_its_members_maps_as_its_score_is_of_their_scores(
    two_machines: Path, tmp_path: Path, rule: str
):
    path = fan_clips(two_machines)["path"].iloc[0]
    members = {"a": tiny_detector("classifier"), "b": tiny_detector("density")}
    rows = {"machine_type": "fan", "section": 0, "held_out": False, "clip": ["x", "y", path]}
    rows["split"] = ["train", "train", "test"]
    scores = {"a": [0.0, 6.0, 9.0], "b": [-5.0, 5.0, 0.0]}  # b finds the clip normal, a does not
    tables = {name: pd.DataFrame(rows | {"run_id": name, "score": score}) for name, score in scores.items()}
    explainer = Explainer(tmp_path, two_machines, tables, rule=rule)
    assert explainer({"clip": path, "section": 0, "run_id": "a"}) is None  # there is no store
    explainer.store = SimpleNamespace(read=lambda run_id, name, reader: members[run_id])
    explainer.detector.cache_clear()
    scaled = {
        name: explainer({"clip": path, "section": 0, "run_id": name}) / np.std(scores[name][:2], ddof=1)
        for name in members
    }
    both = explainer({"clip": path, "section": 0, "run_id": "a+b"})
    expected = scaled["b"] if rule == "min" else (scaled["a"] + scaled["b"]) / 2
    np.testing.assert_allclose(both, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "in" / name for name in ("a/hum.wav", "b/hum.wav", "b/short.wav")]
    for path, n in zip(paths, (16000, 32000, 4000), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=n), 16000)
    return paths


def score(*arguments: object):
    return CliRunner().invoke(main, ["score", *map(str, arguments), "--section", "3"])


@pytest.mark.parametrize("kind", ["classifier", "density"])
def test_score_draws_one_picture_per_recording(kind: str, recordings: list[Path], tmp_path: Path):
    detector = tiny_detector(kind)
    detector.baseline = {3: torch.full((16,), -20.0)}
    detector.save(tmp_path / "detector.pt")
    told = score(tmp_path / "detector.pt", recordings[0], "--explain", tmp_path / "why.png")
    assert told.exit_code == 0 and "why.png: 1 picture" in told.stderr, told.output
    assert plt.imread(tmp_path / "why.png").shape[1] > 800
    assert "compared with itself" not in told.stderr
    told = score(tmp_path / "detector.pt", tmp_path / "in", "--explain", tmp_path / "new" / "pictures")
    assert told.exit_code == 0, told.output
    names = sorted(path.name for path in (tmp_path / "new" / "pictures").iterdir())
    assert names == ["hum-2.png", "hum.png", "short.png"]


def test_score_says_what_a_picture_cannot_be(recordings: list[Path], tmp_path: Path):
    tiny_detector("density").save(tmp_path / "detector.pt")
    told = score(tmp_path / "detector.pt", *recordings, "--explain", tmp_path / "why.png")
    assert told.exit_code == 2 and "3 recordings" in told.stderr and "folder" in told.stderr
    told = score(tmp_path / "detector.pt", recordings[0], "--window", 1, "--explain", tmp_path / "why.png")
    assert told.exit_code == 2 and "--plot" in told.stderr
    told = score(tmp_path / "detector.pt", recordings[0], "--explain", tmp_path / "why.png")
    assert told.exit_code == 0 and "compared with itself" in told.stderr


@pytest.mark.parametrize("name", ["a$^$.wav", os.fsdecode(b"\xff.wav")], ids=["formula", "no UTF-8"])
def test_a_picture_may_have_any_name_in_its_title(name: str, recordings: list[Path], tmp_path: Path):
    tiny_detector("density").save(tmp_path / "detector.pt")
    odd = recordings[2].rename(tmp_path / name)
    told = score(tmp_path / "detector.pt", odd, "--explain", tmp_path / "why.png")
    assert told.exit_code == 0 and (tmp_path / "why.png").is_file(), told.output


@pytest.mark.parametrize("options", [["--explain"], ["--window", 1, "--plot"]])
def test_a_format_that_no_picture_has_is_told_before_anything_is_scored(options, recordings, tmp_path: Path):
    tiny_detector("density").save(tmp_path / "detector.pt")
    told = score(tmp_path / "detector.pt", recordings[0], *options, tmp_path / "why.bmp")
    assert told.exit_code == 1 and not told.stdout
    assert f"{options[-1]}: {tmp_path}/why.bmp has the suffix .bmp; allowed: ." in told.stderr


def test_pictures_are_drawn_of_the_recordings_that_can_be_read(recordings: list[Path], tmp_path: Path):
    tiny_detector("density").save(tmp_path / "detector.pt")
    recordings[1].write_bytes(b"no sound")
    told = score(tmp_path / "detector.pt", *recordings, "--explain", tmp_path / "pictures")
    assert told.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["hum.png", "short.png"]
