"""The classifier as an anomaly detector: scores that keep their order, and each kind of normalisation."""

import pytest
import torch

from asd.models.classifier import SectionClassifier
from asd.models.normalization import KINDS, Normalization


def classifier(normalize: str = "batchnorm") -> SectionClassifier:
    torch.manual_seed(0)
    return SectionClassifier(n_sections=3, n_mels=24, normalize=normalize, rho_f=5, rho_t=5, base_channels=2)


def frames(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 40, 24, generator=torch.Generator().manual_seed(1)) * 10 - 40


def with_logits(logits: torch.Tensor) -> SectionClassifier:
    model = classifier()
    model.forward = lambda frames: logits
    return model


def test_the_score_is_the_log_odds_against_the_snippets_own_section():
    logits = torch.randn(7, 3, dtype=torch.float64)
    section = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    own = logits.softmax(dim=1)[torch.arange(7), section]
    score = with_logits(logits).anomaly_score(frames(7), section)
    torch.testing.assert_close(score, torch.log((1 - own) / own).float())


def test_scores_of_confident_snippets_keep_their_order_where_the_softmax_saturates():
    logits = torch.tensor([[200.0, 0, 0], [300, 0, 0], [0, 200, 0], [0, 300, 0]])
    own = torch.zeros(4, dtype=torch.long)
    score = with_logits(logits).anomaly_score(frames(), own)
    assert score.isfinite().all()
    assert score[1] < score[0] < score[2] < score[3]
    saturated = 1 - logits.softmax(dim=1)[:, 0]
    assert saturated[0] == saturated[1] and saturated[2] == saturated[3]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_normalisation_gives_logits_and_gradients_and_restores_its_state(kind):
    model = classifier(kind)
    model(frames()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    other = classifier(kind)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(frames()), model.eval()(frames()))
    assert model.embed(frames()).shape[:2] == (4, 8)


def test_batchnorm_uses_one_mean_and_variance_for_all_bands():
    normalised = Normalization("batchnorm", 24)(frames())
    one_channel = torch.nn.BatchNorm2d(1)(frames().unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(normalised, one_channel)
    assert normalised.mean().abs() < 1e-4 and (normalised.std() - 1).abs() < 1e-2


@pytest.mark.parametrize("kind", ["mean_std", "mean_std_learnable"])
def test_mean_std_normalises_every_band_by_the_given_mean_and_std(kind):
    layer = Normalization(kind, 24)
    mean, std = torch.randn(24), torch.rand(24) + 0.5
    layer.set(mean, std)
    torch.testing.assert_close(layer(frames()), (frames() - mean) / std)
    assert len(list(layer.parameters())) == (2 if kind == "mean_std_learnable" else 0)
    assert set(layer.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize("kind", ["batchnorm", "none"])
def test_the_other_kinds_ignore_the_given_mean_and_std(kind):
    layer = Normalization(kind, 24)
    before = layer(frames())
    layer.set(torch.ones(24), torch.ones(24))
    torch.testing.assert_close(layer(frames()), before)


def test_none_leaves_the_frames_as_they_are():
    assert torch.equal(Normalization("none", 24)(frames()), frames())
