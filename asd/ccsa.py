"""CCSA: classification and contrastive semantic alignment of the source and the target domain.

Motiian et al., *Unified deep supervised domain adaptation and generalization*, ICCV 2017: with few target samples, do
not match the domains' distributions but pairs of samples. A source and a target clip of the same section shall have
close embeddings, those of different sections shall be a margin apart.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

ROUNDING = 1e-14  # of |a|² + |b|²: what is left of equal embeddings in float64


def ccsa(
    source: Tensor, target: Tensor, source_section: Tensor, target_section: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """The semantic and the contrastive term, S and C, of embeddings; the loss is ½ S + ½ C.

    With d the root mean square difference of two embeddings, over all pairs of a source and a target clip:
    S = Σ d² of the same section / (Bs · Bt), C = Σ max(0, margin − d)² of different sections / (Bs · Bt).
    A term without any pair is 0. Gradients are finite everywhere; at d = 0, where the push has no direction, it is 0.

    Args:
        source, target: embeddings (Bs, …) and (Bt, …) of any, but equal, further shape. Give float32: what a half
            precision embedding has lost, no loss can bring back.
        source_section, target_section: sections, (Bs,) and (Bt,).
        margin: distance from which on different sections are left alone.
    """
    squared = mean_squared_differences(source, target)
    apart = squared > 0
    distance = torch.where(apart, squared, 1).sqrt() * apart  # the root's slope at 0 is infinite: keep it out
    same = source_section.unsqueeze(1) == target_section
    semantic = torch.where(same, squared, 0).mean()
    contrastive = torch.where(same, 0, torch.relu(margin - distance).square()).mean()
    return semantic, contrastive


def mean_squared_differences(source: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of each source and each target embedding, (Bs, …) and (Bt, …): (Bs, Bt).

    From matrix products, |a − b|² = |a|² + |b|² − 2ab, in a small part of the time and memory that all the differences
    would take. The subtraction cancels most digits where embeddings are close, so it is done in float64, a block of
    columns at a time: there is never a copy of the embeddings in float64. The result is float32, or float64 for such
    embeddings.
    """
    return _MeanSquaredDifferences.apply(source.flatten(1), target.flatten(1))


class _MeanSquaredDifferences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, source: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(source, target)
        product = torch.zeros(len(source), len(target), dtype=torch.float64, device=source.device)
        norms = torch.zeros_like(product)
        for _, a, b in _blocks(source, target):
            norm_a, norm_b = torch.linalg.vector_norm(a, dim=1), torch.linalg.vector_norm(b, dim=1)
            norms += norm_a.square().unsqueeze(1) + norm_b.square()
            product.addmm_(a, b.T)
        squared = norms - 2 * product
        squared[squared < ROUNDING * norms] = 0
        return (squared / source.shape[1]).to(torch.promote_types(source.dtype, torch.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        source, target = ctx.saved_tensors
        weight = gradient.double() * (2 / source.shape[1])
        of_source, of_target = weight.sum(dim=1, keepdim=True), weight.sum(dim=0).unsqueeze(1)
        source_gradient, target_gradient = torch.empty_like(source), torch.empty_like(target)
        products = _buffer(source), _buffer(target)
        for columns, a, b in _blocks(source, target):
            width = a.shape[1]
            from_target = torch.mm(-weight, b, out=products[0][:, :width])
            from_source = torch.mm(-weight.T, a, out=products[1][:, :width])
            source_gradient[:, columns] = from_target.addcmul_(of_source, a)
            target_gradient[:, columns] = from_source.addcmul_(of_target, b)
        return source_gradient, target_gradient


def _blocks(source: Tensor, target: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of columns in float64: where they stand, and copies in two buffers, made anew in each step."""
    a, b = _buffer(source), _buffer(target)
    n = source.shape[1]
    for start in range(0, n, a.shape[1]):
        columns = slice(start, min(start + a.shape[1], n))
        width = columns.stop - start
        yield columns, a[:, :width].copy_(source[:, columns]), b[:, :width].copy_(target[:, columns])


def _buffer(x: Tensor) -> Tensor:
    """Room for a block of columns of x: on a CPU so narrow that it stays in the cache, else wide, for few kernels."""
    width = 2**13 if x.device.type == "cpu" else 2**18
    return torch.empty(len(x), width, dtype=torch.float64, device=x.device)
