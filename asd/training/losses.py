"""The losses, pure functions of tensors: section classification and the two ways to use proxy outliers.

All are computed in float32 at least, whatever the autocast around them, and come unreduced, one number a sample or
pair, so that the caller may log what it averages.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot


def classification(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of logits (B, C): (B,).

    ``target`` holds class indices (B,), or probabilities (B, C) such as :func:`mixed_target` makes.
    """
    return cross_entropy(_exact(logits), target, reduction="none")


def mixed_target(section: Tensor, other_section: Tensor, mix_factor: Tensor, n_classes: int) -> Tensor:
    """Class probabilities of a mixture of two clips: (B, n_classes).

    ``section``, ``other_section``: class indices (B,); ``mix_factor``: the first clip's part r in [0, 1], (B,). The
    section gets r and the other one 1 − r; where they are the same it gets their sum, 1.
    """
    r = mix_factor.unsqueeze(1)
    return r * one_hot(section, n_classes) + (1 - r) * one_hot(other_section, n_classes)


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Cross entropy of logits (B, C) to the uniform distribution, the target of a proxy outlier: (B,).

    An outlier belongs to none of the sections, so the network shall not prefer any (Hendrycks et al., *Deep anomaly
    detection with outlier exposure*, ICLR 2019).
    """
    return -_exact(logits).log_softmax(dim=1).mean(dim=1)


def margin_ranking(inlier_log_prob: Tensor, outlier_log_prob: Tensor, margin: float) -> Tensor:
    """max(0, margin − (inlier − outlier)) for pairs of the same index, cut to the shorter of (N,) and (M,).

    Both are log-densities divided by the number of dimensions, and so is ``margin``: inliers shall be that much more
    likely than proxy outliers (Hendrycks et al., ICLR 2019, section 4.4).
    """
    n = min(len(inlier_log_prob), len(outlier_log_prob))
    return torch.relu(margin - (_exact(inlier_log_prob[:n]) - _exact(outlier_log_prob[:n])))


def _exact(x: Tensor) -> Tensor:
    """``x`` in float32, or wider if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
