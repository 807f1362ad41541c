"""Backends: what is known of normal embeddings, and how far from it another embedding lies.

A classifier's logits tell its sections apart; a *backend* asks something else of the same network: is there anything
normal that this clip's embedding resembles? Each of the four is fitted per section on the embeddings of normal train
clips (:mod:`asd.training.backends`) and evaluated here in torch, so that a detector needs nothing else.

Embeddings are scaled to length 1 first: only their direction counts. ``score`` maps embeddings (B, D) and the index of
each one's section (B,) to anomaly scores (B,). Everything that fitting finds out is a buffer; sections may differ in
their number of references, and rows that are left over are marked as absent.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

SOURCE, TARGET = 0, 1  # a reference's domain
ABSENT = -1  # in the place of a domain: this row holds no reference


class References(nn.Module):
    """Normal embeddings that are kept as they are, with the domain of each.

    Args:
        n_sections: number of sections.
        n_references: largest number of references that a section has.
        n_dimensions: D, of an embedding.
        k: number of neighbours.
    """

    reference: Tensor
    domain: Tensor

    def __init__(self, n_sections: int, n_references: int, n_dimensions: int, k: int):
        super().__init__()
        self.k = k
        self.register_buffer("reference", torch.zeros(n_sections, n_references, n_dimensions))
        self.register_buffer("domain", torch.full((n_sections, n_references), ABSENT))


class Neighbours(References):
    """Distance to the nearest references of either domain: k-nearest neighbours.

    The distance is the cosine distance d(x, y) = 1 − ⟨x, y⟩, half the squared Euclidean distance of unit vectors. A
    domain's distance is the mean over its k nearest references (all of them where it has fewer), and the score is the
    smaller one of the two domains, so that three target clips weigh as much as a thousand source clips.

    With ``level``, each distance is divided by that of the reference to its own neighbours, min_y d(x, y) / level(y):
    local density-based normalisation (Wilkinghoff et al., *Local density-based anomaly score normalization for domain
    generalization*, IEEE TASLP 33, 2025).

    Args:
        n_sections, n_references, n_dimensions, k: as for :class:`References`.

    Example:
        >>> backend = Neighbours(n_sections=1, n_references=2, n_dimensions=2, k=1)
        >>> _ = backend.reference.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        >>> _ = backend.domain.copy_(torch.tensor([[SOURCE, TARGET]]))
        >>> backend.score(torch.tensor([[2.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 0]))
        tensor([0., 1.])
    """

    level: Tensor

    def __init__(self, n_sections: int, n_references: int, n_dimensions: int, k: int):
        super().__init__(n_sections, n_references, n_dimensions, k)
        self.register_buffer("level", torch.ones(n_sections, n_references))

    def score(self, embedding: Tensor, section: Tensor) -> Tensor:
        """Embeddings (B, D) of the sections (B,) → scores (B,)."""
        x = normalize(embedding.float(), dim=1)
        distance = (1 - torch.einsum("bd,bnd->bn", x, self.reference[section])) / self.level[section]
        domain, k = self.domain[section], min(self.k, distance.shape[1])
        scores = []
        for name in (SOURCE, TARGET):
            nearest = distance.masked_fill(domain != name, torch.inf).topk(k, dim=1, largest=False).values
            found = nearest.isfinite()
            mean = nearest.masked_fill(~found, 0).sum(dim=1) / found.sum(dim=1)  # 0 / 0 is NaN: no such references
            scores.append(mean.nan_to_num(nan=torch.inf))
        return torch.minimum(*scores)


class LocalOutlierFactor(References):
    """How much thinner the references lie around an embedding than around its neighbours.

    Breunig et al., *LOF: identifying density-based local outliers*, SIGMOD 2000: with the Euclidean distance d and the
    distance k(y) of a reference to its k-th neighbour, the reachability distance is r(x, y) = max(k(y), d(x, y)), the
    local reachability density ρ(x) = 1 / mean_y r(x, y) over the k nearest references, and the score
    mean_y ρ(y) / ρ(x).

    Args:
        n_sections, n_references, n_dimensions, k: as for :class:`References`; every section has more than k references.
    """

    reach: Tensor
    density: Tensor

    def __init__(self, n_sections: int, n_references: int, n_dimensions: int, k: int):
        super().__init__(n_sections, n_references, n_dimensions, k)
        self.register_buffer("reach", torch.zeros(n_sections, n_references))  # k(y)
        self.register_buffer("density", torch.zeros(n_sections, n_references))  # ρ(y)

    def score(self, embedding: Tensor, section: Tensor) -> Tensor:
        """Embeddings (B, D) of the sections (B,) → scores (B,)."""
        x = normalize(embedding.float(), dim=1)
        distance = (x[:, None] - self.reference[section]).norm(dim=2)
        distance = distance.masked_fill(self.domain[section] == ABSENT, torch.inf)
        nearest, index = distance.topk(self.k, dim=1, largest=False)
        reachability = torch.maximum(self.reach[section].gather(1, index), nearest)
        return self.density[section].gather(1, index).mean(dim=1) * (reachability.mean(dim=1) + 1e-10)


class Gaussians(nn.Module):
    """Normal distributions per section: a mixture's −log density, or the distance from the nearest mean.

    Args:
        n_sections: number of sections.
        n_components: largest number of components that a section has.
        n_dimensions: D, of an embedding.
        mixture: whether the score is −log Σ_k w_k N(x; μ_k, Σ_k); else it is the smallest squared Mahalanobis
            distance, min_k (x − μ_k)ᵀ Σ_k⁻¹ (x − μ_k), with one component for each domain.

    Example:
        >>> backend = Gaussians(n_sections=1, n_components=1, n_dimensions=2, mixture=False)
        >>> _ = backend.factor.copy_(torch.eye(2))
        >>> _ = backend.log_weight.zero_()
        >>> backend.score(torch.tensor([[3.0, 4.0]]), torch.tensor([0])).round()  # scaled to length 1; the mean is 0
        tensor([1.])
    """

    mean: Tensor
    factor: Tensor
    log_weight: Tensor

    def __init__(self, n_sections: int, n_components: int, n_dimensions: int, mixture: bool):
        super().__init__()
        self.mixture = mixture
        self.register_buffer("mean", torch.zeros(n_sections, n_components, n_dimensions))
        # F with Σ⁻¹ = F Fᵀ, as scikit-learn's ``precisions_cholesky_``
        self.register_buffer("factor", torch.zeros(n_sections, n_components, n_dimensions, n_dimensions))
        self.register_buffer("log_weight", torch.full((n_sections, n_components), -torch.inf))  # of an absent component

    def score(self, embedding: Tensor, section: Tensor) -> Tensor:
        """Embeddings (B, D) of the sections (B,) → scores (B,)."""
        x = normalize(embedding.float(), dim=1)
        own = one_hot(section, len(self.mean)).to(x)
        # from all sections' components, as there are few: no factor is copied for a clip
        whitened = torch.einsum("bskd,skde->bske", x[:, None, None] - self.mean, self.factor)
        distance = torch.einsum("bs,bsk->bk", own, whitened.square().sum(dim=3))
        log_weight = self.log_weight[section]
        if not self.mixture:
            return distance.masked_fill(log_weight == -torch.inf, torch.inf).amin(dim=1)
        log_det = self.factor.diagonal(dim1=2, dim2=3).log().sum(dim=2)[section]
        constant = log_weight + log_det - 0.5 * x.shape[1] * math.log(2 * math.pi)
        return -(constant - 0.5 * distance).logsumexp(dim=1)


Backend = Neighbours | LocalOutlierFactor | Gaussians
BACKENDS: dict[str, type[Backend]] = {
    "knn": Neighbours,
    "lof": LocalOutlierFactor,
    "gmm": Gaussians,
    "mahalanobis": Gaussians,
}
