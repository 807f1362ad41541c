"""Scores of windows of whole clips, and the density's picture in the plane."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asd.data.clips import clips_table
from asd.data.features import FeatureSettings
from asd.data.store import Shard, open_shard
from asd.detection.detector import Detector
from asd.detection.explanations import window_scores
from asd.models.density import DensityEstimator
from asd.plots.density import plane

N_MELS = 8


@pytest.fixture(scope="module")
def shard(two_machines: Path, tmp_path_factory: pytest.TempPathFactory) -> Shard:
    features = FeatureSettings(n_mels=N_MELS)
    return open_shard(clips_table(two_machines), two_machines, "fan", features, tmp_path_factory.mktemp("store"))


def detector(architecture: str, n_frames: int, shard: Shard, **options: object) -> Detector:
    torch.manual_seed(0)
    config = {"architecture": architecture, "n_sections": 2, "n_mels": N_MELS, "n_frames": n_frames, "sizes": {}}
    config["sizes"] = {"hidden_size": 16, "hidden_dims": 1}
    model = DensityEstimator(**config).eval()
    model.normalization.set(torch.linspace(-20, -5, N_MELS), torch.linspace(3, 6, N_MELS))
    values = {"hop": 1, "reduction": "mean", "normalize_waveform": False, "sections": [3, 4]} | options
    return Detector(
        method=architecture, machine_type="fan", kind="density", config=config, model=model, features=shard.features,
        n_frames=n_frames, **values,
    )  # fmt: skip


def test_a_clip_s_score_is_the_mean_or_the_maximum_over_time(shard: Shard):
    clip = shard.table.index[0]
    frames = torch.from_numpy(shard.frames_of(clip))
    for reduction, reduce in (("mean", np.mean), ("max", np.max)):
        trained = detector("made", 5, shard, reduction=reduction)
        over_time = window_scores(trained, shard, clip, section=3)
        assert over_time.shape == (len(frames) - 4,)
        assert trained.score(frames, 3) == pytest.approx(reduce(over_time), rel=1e-5)
        sparse = window_scores(detector("made", 5, shard, hop=4), shard, clip, section=3)
        np.testing.assert_allclose(sparse, over_time[::4], rtol=1e-4)


def test_the_section_is_a_condition(shard: Shard):
    trained, clip = detector("made", 5, shard), shard.table.index[0]
    first, second = (window_scores(trained, shard, clip, section) for section in (3, 4))
    assert not np.allclose(first, second)


def test_a_clip_shorter_than_a_window_is_repeated(shard: Shard):
    clip = shard.table.index[0]
    n = len(shard.frames_of(clip))
    trained = detector("ae", n + 4, shard)
    assert window_scores(trained, shard, clip, section=3).shape == (1,)


class Normal(nn.Module):
    """The standard normal distribution of two numbers."""

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=1)


def test_the_plane_shows_and_integrates_the_density():
    figure, ax = plt.subplots()
    inside = torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor([-2.0, 2.0])).diff().item() ** 2
    assert plane(ax, Normal(), "normal", reach=2, steps=201) == pytest.approx(inside, rel=0.01)
    image = ax.images[0].get_array()
    assert image[100, 100] == image.max() == pytest.approx(1 / (2 * np.pi))
    plt.close(figure)
