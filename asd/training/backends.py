"""Fitting a backend (:mod:`asd.models.backends`) to the embeddings of normal train clips.

The target domain has a handful of clips per section, the source domain many. Three things keep them from being drowned:
each domain is measured by itself and the nearer one counts; SMOTE adds target embeddings; local density normalisation
measures every reference by its own neighbourhood.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from asd.errors import needs_extra
from asd.models.backends import SOURCE, TARGET, Backend, Gaussians, LocalOutlierFactor, Neighbours
from asd.training.batches import seeded

with needs_extra("course"):
    from sklearn.covariance import LedoitWolf
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

SMOTE_NEIGHBOURS = 2  # a synthetic clip lies between a target clip and one of so many others
LEAST_LEVEL = 1e-6  # of a cosine distance: two train clips may be the same
LEAST_VARIANCE = 1e-9  # of embeddings of length 1, for the same reason
RIDGE = 0.1  # of a mixture, in parts of the embeddings' mean variance: few clips span few of the dimensions


@dataclass(frozen=True)
class BackendSettings:
    """How embeddings are judged.

    Attributes:
        kind: which of BACKENDS.
        neighbours: k, of ``knn`` and ``lof``.
        components: normal distributions of the mixture, for ``gmm``.
        smote: fill up the target embeddings of each section to the number of its source embeddings.
        density_neighbours: K of the local density normalisation of ``knn``; 0: none.
    """

    kind: str
    neighbours: int = 1
    components: int = 1
    smote: bool = False
    density_neighbours: int = 0


def smote(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` synthetic points between neighbours: x + u (y − x), y one of the two nearest of x, u uniform in [0, 1).

    Chawla et al., *SMOTE: synthetic minority over-sampling technique*, JAIR 16, 2002. A single point is repeated.

    Args:
        points: (N, D), at least one.
        count: number of points to make.
        generator: of the random numbers.

    Returns:
        (count, D).

    Example:
        >>> made = smote(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), 50, seeded(0))
        >>> bool(torch.allclose(made[:, 1], 2 * made[:, 0])), made.min() >= 0, made[:, 1].max() <= 2
        (True, tensor(True), tensor(True))
    """
    start = torch.randint(len(points), (count,), generator=generator)
    if len(points) == 1:
        return points[start]
    distance = torch.cdist(points, points).fill_diagonal_(torch.inf)
    nearest = distance.topk(min(SMOTE_NEIGHBOURS, len(points) - 1), dim=1, largest=False).indices
    choice = torch.randint(nearest.shape[1], (count,), generator=generator)
    end = nearest[start, choice]
    share = torch.rand(count, 1, generator=generator)
    return points[start] + share * (points[end] - points[start])


def fit_backend(
    settings: BackendSettings, embeddings: Tensor, section: Tensor, is_target: Tensor, seed: int
) -> tuple[Backend, dict]:
    """Fit a backend to every section.

    Args:
        settings: which one, and how.
        embeddings: (N, D), of normal train clips.
        section: (N,) index of each one's section, all from 0 to the largest one.
        is_target: (N,) whether it is of the target domain.
        seed: of SMOTE and of the mixture's initialisation.

    Returns:
        The backend, and its arguments.
    """
    points = normalize(embeddings.float().cpu(), dim=1)
    sections = []
    for s in range(int(section.max()) + 1):
        own, domain = points[section == s], is_target[section == s].long()
        missing = int((domain == SOURCE).sum() - (domain == TARGET).sum())
        if settings.smote and 0 < missing < len(domain):  # there are target clips, and fewer of them
            made = smote(own[domain == TARGET], missing, seeded(seed, "SMOTE", s))
            own = torch.cat([own, normalize(made, dim=1)])
            domain = torch.cat([domain, torch.full((missing,), TARGET)])
        if len(own) == 1 and settings.kind in ("lof", "gmm"):  # which take two: a distance, a variance
            own, domain = own.repeat(2, 1), domain.repeat(2)
        sections.append((own, domain))
    fit = {"knn": _fit_neighbours, "lof": _fit_lof, "gmm": _fit_mixture, "mahalanobis": _fit_mahalanobis}
    config = {"n_sections": len(sections), "n_dimensions": points.shape[1]}
    return fit[settings.kind](settings, sections, config, seed)


Sections = list[tuple[Tensor, Tensor]]  # of each section the embeddings (N, D) and their domains (N,)


def _references(backend: Neighbours | LocalOutlierFactor, sections: Sections) -> None:
    for s, (points, domain) in enumerate(sections):
        backend.reference[s, : len(points)] = points
        backend.domain[s, : len(points)] = domain


def _fit_neighbours(settings: BackendSettings, sections: Sections, config: dict, seed: int) -> tuple[Backend, dict]:
    n = max(len(points) for points, _ in sections)
    config |= {"n_references": n, "k": settings.neighbours}
    backend = Neighbours(**config)
    _references(backend, sections)
    for s, (points, _) in enumerate(sections):
        k = min(settings.density_neighbours, len(points) - 1)
        if k > 0:
            distance = (1 - points @ points.T).fill_diagonal_(torch.inf)
            level = distance.topk(k, dim=1, largest=False).values.mean(dim=1)
            backend.level[s, : len(points)] = level.clamp(min=LEAST_LEVEL)
    return backend, config


def _fit_lof(settings: BackendSettings, sections: Sections, config: dict, seed: int) -> tuple[Backend, dict]:
    sizes = [len(points) for points, _ in sections]
    k = max(1, min(settings.neighbours, min(sizes) - 1))  # a section may have few references
    config |= {"n_references": max(sizes), "k": k}
    backend = LocalOutlierFactor(**config)
    _references(backend, sections)
    for s, (points, _) in enumerate(sections):
        distance = torch.cdist(points, points).fill_diagonal_(torch.inf)
        nearest, index = distance.topk(min(k, len(points)), dim=1, largest=False)
        reach = nearest[:, -1]
        density = 1 / (torch.maximum(reach[index], nearest).mean(dim=1) + 1e-10)
        backend.reach[s, : len(points)], backend.density[s, : len(points)] = reach, density
    return backend, config


def _fit_mahalanobis(settings: BackendSettings, sections: Sections, config: dict, seed: int) -> tuple[Backend, dict]:
    """One mean per domain, and the covariance of both around their means, by Ledoit and Wolf (2004)."""
    config |= {"n_components": 2, "mixture": False}
    backend = Gaussians(**config)
    for s, (points, domain) in enumerate(sections):
        centred = points.clone()
        for name in domain.unique().tolist():
            backend.mean[s, name] = points[domain == name].mean(dim=0)
            centred[domain == name] -= backend.mean[s, name]
            backend.log_weight[s, name] = 0.0
        covariance = torch.from_numpy(LedoitWolf(assume_centered=True).fit(centred.double().numpy()).covariance_)
        lower = torch.linalg.cholesky(covariance + LEAST_VARIANCE * torch.eye(len(covariance)))
        backend.factor[s] = torch.linalg.inv(lower).T.float()
    return backend, config


def _fit_mixture(settings: BackendSettings, sections: Sections, config: dict, seed: int) -> tuple[Backend, dict]:
    config |= {"n_components": settings.components, "mixture": True}
    backend = Gaussians(**config)
    for s, (points, _) in enumerate(sections):
        k, ridge = min(settings.components, len(points)), RIDGE * float(points.var(dim=0).mean())
        mixture = GaussianMixture(k, reg_covar=max(ridge, LEAST_VARIANCE), random_state=seed % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # more components than distinct embeddings
            mixture.fit(points.double().numpy())
        backend.mean[s, :k] = torch.from_numpy(mixture.means_)
        backend.factor[s, :k] = torch.from_numpy(mixture.precisions_cholesky_)
        backend.log_weight[s, :k] = torch.from_numpy(mixture.weights_).log()
    return backend, config
