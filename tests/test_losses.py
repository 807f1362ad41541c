"""The losses: the reference's numbers, independent formulas, and gradients that stay finite."""

from pathlib import Path

import numpy as np
import pytest
import torch

from asd.training import losses


def assert_equals_oracle(actual: torch.Tensor, expected: np.ndarray) -> None:
    difference = np.abs(actual.detach().numpy() - expected).max()
    assert difference <= 1e-4 * np.abs(expected).max()


@pytest.fixture(scope="module")
def classification_oracle(shared: Path) -> dict[str, np.ndarray]:
    return dict(np.load(shared / "oracle" / "classification_losses.npz"))


def test_classification_equals_the_reference(classification_oracle):
    o = {k: torch.tensor(v) for k, v in classification_oracle.items()}
    assert_equals_oracle(losses.classification(o["logits"], o["section"]), classification_oracle["cross_entropy"])
    target = losses.mixed_target(o["section"], o["other_section"], o["mix_factor"], n_classes=6)
    assert_equals_oracle(losses.classification(o["logits"], target), classification_oracle["cross_entropy_mixed"])


def test_uniform_cross_entropy_equals_the_reference(classification_oracle):
    loss = losses.uniform_cross_entropy(torch.tensor(classification_oracle["proxy_logits"]))
    assert_equals_oracle(loss, classification_oracle["proxy_uniform_cross_entropy"])


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_margin_ranking_equals_the_reference(shared: Path, margin: float):
    oracle = np.load(shared / "oracle" / f"margin_ranking_margin{margin}.npz")
    loss = losses.margin_ranking(torch.tensor(oracle["inlier_logp"]), torch.tensor(oracle["outlier_logp"]), margin)
    assert len(loss) == 16
    assert_equals_oracle(loss.mean(), oracle["loss"])


def test_cross_entropies_equal_their_definition():
    random = np.random.default_rng(0)
    logits, section, other, r = (
        random.normal(scale=3, size=(16, 6)),
        random.integers(6, size=16),
        random.integers(6, size=16),
        random.uniform(size=16),
    )
    log_p = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(16)
    of_section, of_other = -log_p[rows, section], -log_p[rows, other]
    given = torch.tensor(logits)
    assert_equals_oracle(losses.classification(given, torch.tensor(section)), of_section)
    target = losses.mixed_target(torch.tensor(section), torch.tensor(other), torch.tensor(r), n_classes=6)
    assert_equals_oracle(losses.classification(given, target), r * of_section + (1 - r) * of_other)
    assert_equals_oracle(losses.uniform_cross_entropy(given), -log_p.sum(axis=1) / 6)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_margin_ranking_equals_its_definition_for_pairs_of_equal_index(margin: float):
    inlier, outlier = np.random.default_rng(0).normal(size=(2, 20))
    expected = [max(0.0, margin - (a - b)) for a, b in zip(inlier, outlier[:16], strict=False)]
    assert 0 < np.count_nonzero(expected) < 16
    assert_equals_oracle(losses.margin_ranking(torch.tensor(inlier), torch.tensor(outlier[:16]), margin), expected)


def test_mixed_target_of_one_section_with_itself_is_that_section():
    section = torch.tensor([0, 3, 5])
    target = losses.mixed_target(section, torch.tensor([0, 3, 1]), torch.tensor([0.3, 0.9, 0.25]), n_classes=6)
    torch.testing.assert_close(target.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(target[:2], torch.eye(6)[section[:2]])
    torch.testing.assert_close(target[2], torch.tensor([0, 0.75, 0, 0, 0, 0.25]))


def test_uniform_cross_entropy_is_smallest_where_no_section_is_preferred():
    logits = torch.zeros(1, 6, requires_grad=True)
    loss = losses.uniform_cross_entropy(logits)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(loss, torch.full((1,), np.log(6), dtype=torch.float32))
    torch.testing.assert_close(gradient, torch.zeros(1, 6))


def test_losses_of_half_precision_logits_are_float32_under_autocast():
    logits = torch.randn(4, 6, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = [
            losses.classification(logits, torch.arange(4)),
            losses.classification(logits, losses.mixed_target(torch.arange(4), torch.ones(4).long(), torch.rand(4), 6)),
            losses.uniform_cross_entropy(logits),
            losses.margin_ranking(logits[:, 0], logits[:, 1], 0.5),
        ]
    assert [r.dtype for r in results] == [torch.float32] * 4
    torch.testing.assert_close(results[0], losses.classification(logits.float(), torch.arange(4)))
