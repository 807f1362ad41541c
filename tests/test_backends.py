"""Backends of embeddings, against scikit-learn and against their definitions as plain loops."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from asd.models.backends import BACKENDS
from asd.training.backends import RIDGE, BackendSettings, fit_backend, smote
from asd.training.batches import seeded


def clips(n_sections: int = 3, n_source: int = 20, n_target: int = 3, dimensions: int = 6) -> tuple:
    """Embeddings of train clips with their sections and domains; the last section has fewer."""
    torch.manual_seed(0)
    sizes = [(n_source - 4 * (s == n_sections - 1), n_target) for s in range(n_sections)]
    section = torch.cat([torch.full((a + b,), s) for s, (a, b) in enumerate(sizes)])
    is_target = torch.cat([torch.tensor([False] * a + [True] * b) for a, b in sizes])
    points = torch.randn(len(section), dimensions) + 2 * section[:, None] + is_target[:, None]
    return points, section, is_target


def test_clips() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(40, 6) + 1, torch.arange(40) % 3


test_clips.__test__ = False


def fitted(**settings):
    return fit_backend(BackendSettings(**settings), *clips(), seed=0)[0]


def unit(points: torch.Tensor) -> np.ndarray:
    x = points.double().numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def by_section(oracle) -> np.ndarray:
    """Scores of the test clips by ``oracle(source, target, queries)`` on unit vectors, section by section."""
    points, section, is_target = clips()
    queries, own = test_clips()
    scores = np.empty(len(queries))
    for s in range(3):
        source, target = (unit(points[(section == s) & (is_target == name)]) for name in (False, True))
        scores[own == s] = oracle(source, target, unit(queries[own == s]))
    return scores


def agrees(backend, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(backend.score(*test_clips()), expected, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_section_of_a_single_clip_has_finite_scores(kind: str):
    points, section = torch.randn(5, 6, generator=seeded(0)), torch.tensor([0, 1, 1, 1, 1])
    backend, _ = fit_backend(BackendSettings(kind, components=2), points, section, torch.zeros(5).bool(), seed=0)
    near, far = backend.score(torch.stack([points[0], -points[0]]), torch.zeros(2).long())
    assert near < far < torch.inf


@pytest.mark.parametrize("k", [1, 2, 5])
def test_neighbours_are_those_of_scikit_learn_and_the_nearer_domain_counts(k: int):
    def oracle(source, target, queries):
        distances = []
        for references in (source, target):
            search = NearestNeighbors(n_neighbors=min(k, len(references)), metric="cosine").fit(references)
            distances.append(search.kneighbors(queries)[0].mean(axis=1))
        return np.minimum(*distances)

    agrees(fitted(kind="knn", neighbours=k), by_section(oracle))


def test_local_density_normalisation_is_its_definition():
    def oracle(source, target, queries):
        references = np.concatenate([source, target])
        scores = []
        for x in queries:
            ratios = []
            for i, y in enumerate(references):
                to_others = sorted(1 - y @ other for j, other in enumerate(references) if j != i)
                ratios.append((1 - x @ y) / np.mean(to_others[:4]))
            scores.append(min(ratios))
        return scores

    agrees(fitted(kind="knn", density_neighbours=4), by_section(oracle), 1e-3)


@pytest.mark.parametrize("k", [1, 4])
def test_the_local_outlier_factor_is_that_of_scikit_learn(k: int):
    def oracle(source, target, queries):
        lof = LocalOutlierFactor(n_neighbors=k, novelty=True).fit(np.concatenate([source, target]))
        return -lof.score_samples(queries)

    agrees(fitted(kind="lof", neighbours=k), by_section(oracle), 1e-3)


def test_the_mixture_is_that_of_scikit_learn():
    def oracle(source, target, queries):
        references = unit(torch.from_numpy(np.concatenate([source, target])).float())
        ridge = RIDGE * float(references.var(axis=0, ddof=1).mean())
        return -GaussianMixture(2, reg_covar=ridge, random_state=0).fit(references).score_samples(queries)

    agrees(fitted(kind="gmm", components=2), by_section(oracle), 1e-3)


def test_the_mahalanobis_distance_is_that_of_scikit_learn_from_the_nearer_domains_mean():
    def oracle(source, target, queries):
        centred = np.concatenate([source - source.mean(axis=0), target - target.mean(axis=0)])
        covariance = LedoitWolf(assume_centered=True).fit(centred)
        return np.minimum(*(covariance.mahalanobis(queries - own.mean(axis=0)) for own in (source, target)))

    agrees(fitted(kind="mahalanobis"), by_section(oracle), 1e-3)


def test_synthetic_target_clips_lie_between_a_target_clip_and_one_of_its_two_nearest():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [50.0, 50.0]])
    made = smote(points, 500, seeded(3))
    nearest = {0: (1, 2), 1: (0, 2), 2: (0, 1), 3: (2, 1)}
    for point in made:
        candidates = []
        for i, ends in nearest.items():
            for j in ends:
                share = (point - points[i]) @ (points[j] - points[i]) / (points[j] - points[i]).square().sum()
                off_line = (points[i] + share * (points[j] - points[i]) - point).norm()
                candidates.append(bool(off_line < 1e-4 and -1e-6 <= share <= 1))
        assert any(candidates)
    assert torch.equal(smote(points[:1], 3, seeded(0)), points[:1].expand(3, 2))


def test_smote_fills_the_target_domain_up_to_the_source_domain():
    backend = fitted(kind="knn", smote=True)
    for s, n in enumerate((20, 20, 16)):
        assert [(backend.domain[s] == name).sum().item() for name in (0, 1)] == [n, n]
    without = fitted(kind="knn").score(*test_clips())
    assert (backend.score(*test_clips()) <= without + 1e-6).all(), "more references, smaller distances"


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_section_without_target_clips_can_be_scored(kind: str):
    points, section, is_target = clips()
    kept = ~((section == 1) & is_target)
    settings = BackendSettings(kind, smote=True)
    backend, config = fit_backend(settings, points[kept], section[kept], is_target[kept], seed=0)
    assert backend.score(*test_clips()).isfinite().all()
    restored = BACKENDS[kind](**config)
    restored.load_state_dict(backend.state_dict())
    assert torch.equal(restored.score(*test_clips()), backend.score(*test_clips()))


@pytest.mark.parametrize("kind", BACKENDS)
def test_only_the_direction_of_an_embedding_counts(kind: str):
    backend, (queries, section) = fitted(kind=kind, neighbours=2), test_clips()
    torch.testing.assert_close(backend.score(3 * queries, section), backend.score(queries, section))


@pytest.mark.parametrize("kind", BACKENDS)
def test_identical_train_clips_give_finite_scores(kind: str):
    points = torch.ones(6, 4)
    settings = BackendSettings(kind, neighbours=2, components=2, density_neighbours=2)
    backend, _ = fit_backend(settings, points, torch.zeros(6).long(), torch.zeros(6).bool(), seed=0)
    assert backend.score(torch.eye(4), torch.zeros(4).long()).isfinite().all()
