"""The losses, pure functions of tensors: section classification and the two ways to use proxy outliers.

All are computed at least in float32, whatever the autocast around them, and are not reduced: one number per sample or
pair, for the caller to average.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot


def classification(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of logits (B, C) with class indices (B,) or class probabilities (B, C): (B,).

    Example:
        >>> classification(torch.zeros(2, 4), torch.tensor([0, 3]))  # log 4: the network has no idea
        tensor([1.3863, 1.3863])
    """
    return cross_entropy(_exact(logits), target, reduction="none")


def mixed_target(section: Tensor, other_section: Tensor, mix_factor: Tensor, n_classes: int) -> Tensor:
    """Class probabilities of mixtures of two clips: r for the first one's section, 1 − r for the other's.

    Args:
        section, other_section: class indices (B,); where they are equal, the class gets the sum, 1.
        mix_factor: the first clip's share r in [0, 1], (B,).
        n_classes: number of classes.

    Returns:
        (B, n_classes), rows sum to 1.

    Example:
        >>> mixed_target(torch.tensor([0, 1]), torch.tensor([2, 1]), torch.tensor([0.75, 0.75]), 3)
        tensor([[0.7500, 0.0000, 0.2500],
                [0.0000, 1.0000, 0.0000]])
    """
    r = mix_factor.unsqueeze(1)
    return r * one_hot(section, n_classes) + (1 - r) * one_hot(other_section, n_classes)


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Cross entropy of logits (B, C) with the uniform distribution, the target of a proxy outlier: (B,).

    An outlier belongs to none of the sections, so the network should not prefer any (Hendrycks et al., *Deep anomaly
    detection with outlier exposure*, ICLR 2019).

    Example:
        >>> uniform_cross_entropy(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))  # undecided, and too sure
        tensor([0.6931, 2.0181])
    """
    return -_exact(logits).log_softmax(dim=1).mean(dim=1)


def margin_ranking(inlier_log_prob: Tensor, outlier_log_prob: Tensor, margin: float) -> Tensor:
    """max(0, margin − (inlier − outlier)) for pairs of equal index, as many as the shorter of (N,) and (M,) has.

    Both are log-densities divided by the number of dimensions, and so is ``margin``: inliers should be that much more
    likely than proxy outliers (Hendrycks et al., ICLR 2019, section 4.4).

    Example:
        >>> margin_ranking(torch.tensor([-1.0, -1.0]), torch.tensor([-1.2, -3.0]), margin=0.5)
        tensor([0.3000, 0.0000])
    """
    n = min(len(inlier_log_prob), len(outlier_log_prob))
    return torch.relu(margin - (_exact(inlier_log_prob[:n]) - _exact(outlier_log_prob[:n])))


def _exact(x: Tensor) -> Tensor:
    """``x`` in float32, or in its own precision where that is higher."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
