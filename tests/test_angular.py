"""The angular embedding: each formula against its definition as a plain loop."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from asd.models.angular import AngularNetwork
from asd.training.angular import (
    LEAST_STD,
    AngularBatch,
    AngularTraining,
    SubclusterAdaCos,
    SubspaceLoss,
    feature_exchange,
    statistics_exchange,
)

CLASSES, CENTRES, DIMENSIONS = 4, 3, 8


def network(*branches: str) -> AngularNetwork:
    torch.manual_seed(0)
    return AngularNetwork(24, 40, list(branches or ("frames", "statistics")), 4, rho_f=5, rho_t=5, base_channels=2)


def frames(n: int = 6) -> torch.Tensor:
    return torch.randn(n, 40, 24, generator=torch.Generator().manual_seed(1)) * 10 - 40


def batch() -> AngularBatch:
    torch.manual_seed(2)
    target = torch.rand(6, CLASSES).softmax(dim=1)
    exchanged = torch.tensor([True, False, True, False, False, True])
    changed, kept = torch.tensor([1, 3, 4]), torch.tensor([0, 2, 5])
    return AngularBatch(frames(), target, torch.tensor([3, 4, 5, 0, 1, 2]), exchanged, changed, kept)


def test_sub_cluster_adacos_is_its_definition():
    loss = SubclusterAdaCos(CLASSES, CENTRES, DIMENSIONS, trainable=False)
    embedding = torch.randn(5, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    target = torch.rand(5, CLASSES).softmax(dim=1)
    scale = math.sqrt(2) * math.log(CLASSES * CENTRES - 1)
    for x, y, found in zip(embedding.tolist(), target.tolist(), loss(embedding, target).tolist(), strict=True):
        terms = np.zeros(CLASSES)
        for c in range(CLASSES):
            for w in loss.centre[c].tolist():
                terms[c] += math.exp(scale * np.dot(x, w) / (np.linalg.norm(x) * np.linalg.norm(w)))
        assert found == pytest.approx(-np.dot(y, np.log(terms / terms.sum())), rel=1e-5)


def test_the_subspace_loss_measures_angles_to_the_span_of_the_centres():
    loss = SubspaceLoss(CLASSES, CENTRES, DIMENSIONS, trainable=False)
    embedding = torch.randn(5, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    scale = math.sqrt(2) * math.log(CLASSES - 1)
    for x, found in zip(embedding.numpy(), loss.log_prob(embedding).detach().numpy(), strict=True):
        x = x / np.linalg.norm(x)
        cosines = []
        for centres in loss.centre.detach().numpy():
            weights = np.linalg.lstsq(centres.T, x, rcond=None)[0]
            nearest = centres.T @ weights  # of the span, by least squares
            cosines.append(x @ nearest / np.linalg.norm(nearest))
        terms = np.exp(scale * np.array(cosines))
        np.testing.assert_allclose(found, np.log(terms / terms.sum()), rtol=1e-4)


@pytest.mark.parametrize("loss", [SubclusterAdaCos, SubspaceLoss])
def test_probabilities_sum_to_one_and_only_trainable_centres_have_gradients(loss: type):
    fixed, trained = (loss(CLASSES, CENTRES, DIMENSIONS, trainable) for trainable in (False, True))
    embedding = torch.randn(5, DIMENSIONS, requires_grad=True)
    torch.testing.assert_close(fixed.log_prob(embedding).exp().sum(dim=1), torch.ones(5))
    (fixed(embedding, torch.eye(CLASSES)[[0, 1, 2, 3, 0]]) + trained.log_prob(embedding)[:, 0]).sum().backward()
    assert fixed.centre.grad is None
    assert trained.centre.grad.abs().sum() > 0 and embedding.grad.abs().sum() > 0


def test_exchanged_features_have_half_of_each_clips_classes_in_their_own_thirds():
    b = batch()
    parts = [torch.randn(6, 4), torch.randn(6, 4)]
    embedding, target = feature_exchange(parts, b.target, b.other, b.features_exchanged)
    for i, j in enumerate(b.other.tolist()):
        if b.features_exchanged[i]:
            expected = [parts[0][i], parts[1][j]], [torch.zeros(CLASSES), b.target[i] / 2, b.target[j] / 2]
        else:
            expected = [parts[0][i], parts[1][i]], [b.target[i], torch.zeros(CLASSES), torch.zeros(CLASSES)]
        torch.testing.assert_close(embedding[i], torch.cat(expected[0]))
        torch.testing.assert_close(target[i], torch.cat(expected[1]))
    torch.testing.assert_close(target.sum(dim=1), torch.ones(6))


def test_exchanged_statistics_are_the_other_clips_and_the_course_over_time_is_kept():
    b = batch()
    exchanged = statistics_exchange(b.frames, b.other)
    for i, j in enumerate(b.other.tolist()):
        torch.testing.assert_close(exchanged[i].mean(dim=0), b.frames[j].mean(dim=0), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(exchanged[i].std(dim=0), b.frames[j].std(dim=0), rtol=1e-4, atol=1e-3)
        for band in range(24):
            correlation = np.corrcoef(exchanged[i, :, band], b.frames[i, :, band])[0, 1]
            assert correlation == pytest.approx(1, abs=1e-4)
    silent = torch.full((2, 5, 3), -100.0)
    assert statistics_exchange(silent, torch.tensor([1, 0])).isfinite().all() and LEAST_STD > 0


def test_the_loss_is_the_sum_of_its_terms_and_reaches_every_weight():
    model = AngularTraining(network(), "adacos", CLASSES, CENTRES, with_features=True, with_statistics=True)
    terms = model.terms(batch())
    assert set(terms) == {"loss", "classes", "features", "statistics", "accuracy"}
    torch.testing.assert_close(terms["loss"], terms["classes"] + terms["features"] + terms["statistics"])
    terms["loss"].backward()
    missing = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert missing == ["fixed.centre"]


def test_a_batch_in_which_a_single_clip_exchanges_its_statistics_is_trained_on():
    model = AngularTraining(network(), "adacos", CLASSES, CENTRES, with_features=False, with_statistics=True)
    alone = replace(batch(), statistics_exchanged=torch.tensor([2]), statistics_kept=torch.tensor([0, 1, 3, 4, 5]))
    assert model.terms(alone)["statistics"] == 0


def test_a_louder_clip_or_another_microphone_does_not_change_what_the_frames_branch_hears():
    model = network("frames").eval()
    microphone = torch.linspace(-9, 9, 24)  # dB per band
    torch.testing.assert_close(model.embedding(frames() + microphone), model.embedding(frames()), rtol=1e-4, atol=1e-4)


def test_the_statistics_branch_does_not_hear_the_order_of_the_frames():
    model, order = network("statistics").eval(), torch.randperm(40)
    torch.testing.assert_close(model.embedding(frames()[:, order]), model.embedding(frames()), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network("frames").eval().embedding(frames()[:, order]), model.embedding(frames()))


@pytest.mark.parametrize("branches", [("frames",), ("statistics",), ("modulations", "frames", "statistics")])
def test_each_branch_has_an_embedding_of_length_one(branches: tuple):
    model = network(*branches).eval()
    embedding = model.embedding(frames())
    assert embedding.shape == (6, model.dimensions)
    for part in embedding.split(4, dim=1):
        torch.testing.assert_close(part, normalize(part, dim=1))


def test_the_modulations_branch_hears_how_fast_a_sound_repeats_and_not_when_it_begins():
    model = network("modulations").eval()
    torch.testing.assert_close(
        model.embedding(frames().roll(13, dims=1)), model.embedding(frames()), rtol=1e-3, atol=1e-4
    )
    time = torch.arange(40)[:, None]
    slow, fast = (10 * torch.cos(2 * torch.pi * time * k / 40).expand(1, 40, 24) for k in (3, 12))
    assert (model.embedding(slow) - model.embedding(fast)).norm() > 0.1
    bins = torch.fft.rfft(slow[0], dim=0).abs()[1:]
    assert bins.argmax(dim=0).unique().tolist() == [2], "the third of the rhythms that fit into a snippet"
