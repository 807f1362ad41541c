"""CCSA: classification and contrastive semantic alignment of the source and the target domain.

Motiian et al., *Unified deep supervised domain adaptation and generalization*, ICCV 2017: with few target samples, do
not match the domains' distributions but pairs of samples. A source and a target clip of the same section should have
close embeddings, those of different sections should be at least a margin apart.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROUNDING = 1e-14  # of |a|² + |b|²: the difference that rounding in float64 leaves between equal embeddings


def ccsa(
    source: Tensor, target: Tensor, source_section: Tensor, target_section: Tensor, margin: float
) -> tuple[Tensor, Tensor]:
    """The semantic and the contrastive term, S and C, of embeddings; the loss is ½ S + ½ C.

    With d the root mean square difference of two embeddings, and sums over all pairs of a source and a target clip,
    S = Σ d² of the same section / (Bs · Bt), C = Σ max(0, margin − d)² of different sections / (Bs · Bt).
    A term without any pair is 0. Gradients are finite everywhere; at d = 0, where there is no direction to push apart,
    they are 0.

    Args:
        source, target: embeddings (Bs, …) and (Bt, …) of the same further shape. They should be float32: no loss can
            restore what half precision has lost.
        source_section, target_section: sections, (Bs,) and (Bt,).
        margin: distance from which on clips of different sections are left alone.

    Returns:
        S and C, scalars.

    Example:
        One source clip at 0; a target clip of its section at 0.3, one of another section at 0.4:

        >>> source, target = torch.tensor([[0.0]]), torch.tensor([[0.3], [0.4]])
        >>> ccsa(source, target, torch.tensor([0]), torch.tensor([0, 1]), margin=1.0)  # 0.3² / 2, (1 − 0.4)² / 2
        (tensor(0.0450), tensor(0.1800))
    """
    squared = mean_squared_differences(source, target)
    apart = squared > 0
    distance = torch.where(apart, squared, 1).sqrt() * apart  # without the infinite slope of the root at 0
    same = source_section.unsqueeze(1) == target_section
    semantic = torch.where(same, squared, 0).mean()
    contrastive = torch.where(same, 0, torch.relu(margin - distance).square()).mean()
    return semantic, contrastive


def mean_squared_differences(source: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of each source and each target embedding, (Bs, …) and (Bt, …): (Bs, Bt).

    Computed from matrix products, ``|a − b|² = |a|² + |b|² − 2ab``, in a fraction of the time and memory that all
    differences would take. Where embeddings are close, the subtraction cancels most digits. So it is done in float64,
    and so are the gradients, a block of columns at a time: there is never a float64 copy of the embeddings. (Float32
    would do for pairs that are far apart, but to ask whether they are, the host would have to wait for a GPU in every
    step.) The result is float32, or float64 for float64 embeddings.

    Example:
        >>> mean_squared_differences(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([[0.5000],
                [2.0000]])
    """
    return _MeanSquaredDifferences.apply(source.flatten(1), target.flatten(1))


class _MeanSquaredDifferences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor) -> Tensor:
        product = torch.zeros(len(source), len(target), dtype=torch.float64, device=source.device)
        norms = torch.zeros_like(product)
        for _, a, b in _blocks(source, target):
            norm_a, norm_b = torch.linalg.vector_norm(a, dim=1), torch.linalg.vector_norm(b, dim=1)
            norms += norm_a.square().unsqueeze(1) + norm_b.square()
            product.addmm_(a, b.T)
        squared = norms - 2 * product
        squared = torch.where(squared < ROUNDING * norms, 0, squared)
        ctx.save_for_backward(source, target)
        return (squared / source.shape[1]).to(torch.promote_types(source.dtype, torch.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        source, target = ctx.saved_tensors
        weight = gradient.double() * (2 / source.shape[1])
        of_source, of_target = weight.sum(dim=1, keepdim=True), weight.sum(dim=0).unsqueeze(1)
        source_gradient, target_gradient = torch.empty_like(source), torch.empty_like(target)
        for columns, a, b in _blocks(source, target):  # Σ w (a − b) = (Σ w) a − Σ w b
            source_gradient[:, columns] = (of_source * a).addmm_(weight, b, alpha=-1)
            target_gradient[:, columns] = (of_target * b).addmm_(weight.T, a, alpha=-1)
        return source_gradient, target_gradient


def _blocks(source: Tensor, target: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of columns in float64: on a CPU narrow enough for the cache, elsewhere few wide ones."""
    width = 2**13 if source.device.type == "cpu" else 2**18
    for start in range(0, source.shape[1], width):
        columns = slice(start, start + width)
        yield columns, source[:, columns].double(), target[:, columns].double()
