"""CCSA: the reference's numbers, the plain double loop over pairs, and the places where a gradient could break."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asd.training.ccsa import ccsa, mean_squared_differences

SOURCE_SECTION, TARGET_SECTION = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 1, 1])


def naive(source: Tensor, target: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """The two terms in the precision of the embeddings, from the definition: a loop over the pairs."""
    semantic = contrastive = torch.zeros((), dtype=source.dtype)
    for a, section in zip(source, SOURCE_SECTION, strict=True):
        for b, other in zip(target, TARGET_SECTION, strict=True):
            distance = (a - b).square().mean().sqrt()
            if section == other:
                semantic = semantic + distance**2
            else:
                contrastive = contrastive + torch.relu(margin - distance) ** 2
    n = len(source) * len(target)
    return semantic / n, contrastive / n


def embeddings(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, *shape, generator=generator, dtype=dtype, requires_grad=True) for n in (5, 3))


@pytest.mark.parametrize("margin", [0.5, 1.0])
def test_terms_equal_the_reference(shared: Path, margin: float):
    oracle = np.load(shared / "oracle" / f"ccsa_margin{margin}.npz")
    inputs = (torch.tensor(oracle[k]) for k in ("source", "target", "source_section", "target_section"))
    semantic, contrastive = ccsa(*inputs, margin)
    assert semantic.item() == pytest.approx(oracle["semantic_per_source"].mean(), rel=1e-4)
    assert contrastive.item() == pytest.approx(oracle["contrastive_per_source"].mean(), rel=1e-4)
    assert (0.5 * semantic + 0.5 * contrastive).item() == pytest.approx(oracle["da_loss"].item(), rel=1e-4)


@pytest.mark.parametrize("shape", [(4, 3, 2), (9001,)], ids=["one block of columns", "several blocks"])
def test_terms_and_gradients_equal_the_double_loop(shape: tuple[int, ...]):
    source, target = embeddings(*shape)
    for ours, theirs in zip(
        ccsa(source, target, SOURCE_SECTION, TARGET_SECTION, 2.0), naive(source, target, 2.0), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
        gradients = (torch.autograd.grad(term, (source, target), retain_graph=True) for term in (ours, theirs))
        for gradient, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(gradient, expected)


def test_gradients_equal_finite_differences():
    source, target = embeddings(3, 2)
    assert torch.autograd.gradcheck(
        lambda s, t: ccsa(s, t, SOURCE_SECTION, TARGET_SECTION, margin=2.0), (source, target)
    )


def test_different_sections_beyond_the_margin_are_left_alone():
    source, target = embeddings(50)
    _, contrastive = ccsa(source, target, SOURCE_SECTION, TARGET_SECTION, margin=0.5)
    assert contrastive == 0
    assert not any(g.any() for g in torch.autograd.grad(contrastive, (source, target)))


@pytest.mark.parametrize(("apart", "tolerance"), [(1e-3, 1e-6), (2e-2, 1e-5)], ids=["a thousandth", "two hundredths"])
def test_float32_is_accurate_for_embeddings_that_differ_by(apart: float, tolerance: float):
    source, _ = embeddings(9001, dtype=torch.float32)
    noise = torch.randn(3, 9001, generator=torch.Generator().manual_seed(1))
    target = (source[:3] + apart * noise).detach().requires_grad_()
    exact = [x.detach().double().requires_grad_() for x in (source, target)]
    terms, expected = ccsa(source, target, SOURCE_SECTION, TARGET_SECTION, 0.5), naive(*exact, 0.5)
    torch.testing.assert_close(
        mean_squared_differences(source, target).diagonal(), torch.full((3,), apart**2), rtol=0.1, atol=0
    )
    for term, exact_term in zip(terms, expected, strict=True):
        torch.testing.assert_close(term.double(), exact_term, rtol=1e-6, atol=0)
        gradients = torch.autograd.grad(term, (source, target), retain_graph=True)
        for gradient, exact_gradient in zip(
            gradients, torch.autograd.grad(exact_term, exact, retain_graph=True), strict=True
        ):
            assert (gradient - exact_gradient).abs().max() <= tolerance * exact_gradient.abs().max()


@pytest.mark.parametrize(
    ("source_section", "target_section"),
    [([0, 0, 1], [0, 1]), ([0, 0, 0], [0, 0]), ([0, 0, 0], [1, 1])],
    ids=["both kinds of pairs", "no different-section pair", "no same-section pair"],
)
def test_gradients_of_equal_embeddings_are_zero(source_section: list[int], target_section: list[int]):
    embedding = torch.randn(9001, generator=torch.Generator().manual_seed(0))
    source, target = embedding.repeat(3, 1).requires_grad_(), embedding.repeat(2, 1).requires_grad_()
    semantic, contrastive = ccsa(source, target, torch.tensor(source_section), torch.tensor(target_section), 0.5)
    different = (torch.tensor(source_section).unsqueeze(1) != torch.tensor(target_section)).float().mean()
    assert semantic == 0
    torch.testing.assert_close(contrastive, 0.25 * different)
    for gradient in torch.autograd.grad(semantic + contrastive, (source, target)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-15)


@pytest.mark.parametrize("sections", [(0, 0), (0, 1)], ids=["no different-section pair", "no same-section pair"])
def test_a_term_without_pairs_is_zero_and_gradients_are_finite(sections: tuple[int, int]):
    source, target = embeddings(40)
    terms = ccsa(source, target, torch.full((5,), sections[0]), torch.full((3,), sections[1]), margin=2.0)
    assert [bool(term == 0) for term in terms] == [sections[0] != sections[1], sections[0] == sections[1]]
    for gradient in torch.autograd.grad(sum(terms), (source, target)):
        assert gradient.isfinite().all()
        assert gradient.any()


def test_autocast_changes_nothing():
    source, target = embeddings(9001, dtype=torch.float32)
    plain = ccsa(source, target, SOURCE_SECTION, TARGET_SECTION, 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = ccsa(source, target, SOURCE_SECTION, TARGET_SECTION, 2.0)
    assert autocast[0].dtype == torch.float32
    assert plain == autocast
    half = ccsa(source.bfloat16(), target.bfloat16(), SOURCE_SECTION, TARGET_SECTION, 2.0)
    torch.testing.assert_close(half, plain, rtol=1e-2, atol=0)
