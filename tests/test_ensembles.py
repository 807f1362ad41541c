"""Scores become comparable across runs and domains, by what train clips tell and nothing else."""

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestNeighbors
from test_metrics import one

from asd.errors import InputError
from asd.evaluation.cells import ALL_MACHINES, evaluate_scores, summarise
from asd.evaluation.ensembles import by_domain, by_neighbours, ensemble, z_scores


def run(name: str = "aux", seed: int = 0, scale: float = 1.0, shift: float = 0.0, n_train: int = 30) -> pd.DataFrame:
    """A run's score table: target clips score 3 higher; every fifth source train clip is held out."""
    random = np.random.default_rng(seed)
    rows = []
    for machine_type in ("fan", "valve"):
        for section in (0, 1):
            for domain, split, label, n in (
                ("source", "train", 0, n_train),
                ("target", "train", 0, 3),
                *((domain, "test", label, 25) for domain in ("source", "target") for label in (0, 1)),
            ):
                for i in range(n):
                    rows.append(
                        {
                            "machine_type": machine_type,
                            "section": section,
                            "domain": domain,
                            "split": split,
                            "label": label,
                            "clip": f"data/{machine_type}/{split}/section_{section:02d}_{domain}_{label}_{i:04d}.wav",
                            "score": scale * (random.normal() + 1.5 * label + 3 * (domain == "target")) + shift,
                            "method": name,
                            "run_name": name,
                            "run_id": f"{name}-id",
                            "seed": seed,
                            "held_out": split == "train" and domain == "source" and i % 5 == 0,
                        }
                    )
    return pd.DataFrame(rows)


def looped_z_scores(table: pd.DataFrame, machine_type: str, held_out: bool) -> dict[str, float]:
    """The definition, clip by clip: (s − μ) / σ, μ of the section, σ about these means in all sections."""
    reference: dict[int, list[float]] = {}
    for row in table.itertuples():
        if row.machine_type == machine_type and row.split == "train" and (row.held_out or not held_out):
            reference.setdefault(row.section, []).append(row.score)
    mu = {section: sum(scores) / len(scores) for section, scores in reference.items()}
    squares = sum((score - mu[section]) ** 2 for section, scores in reference.items() for score in scores)
    sigma = (squares / (sum(map(len, reference.values())) - len(reference))) ** 0.5
    own = table[table["machine_type"] == machine_type]
    return {row.clip: (row.score - mu[row.section]) / sigma for row in own.itertuples()}


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("rule", ["mean", "min"])
def test_an_ensemble_is_the_mean_or_minimum_of_scores_in_units_of_train_clips(rule: str, held_out: bool):
    tables = [run("aux"), run("made", seed=1, scale=100.0, shift=-7.0)]
    found = ensemble(tables, held_out, rule).set_index("clip")["score"]
    for machine_type in ("fan", "valve"):
        members = [looped_z_scores(table, machine_type, held_out) for table in tables]
        for clip in members[0]:
            scores = [scaled[clip] for scaled in members]
            assert found[clip] == pytest.approx(min(scores) if rule == "min" else sum(scores) / len(scores))


@pytest.mark.parametrize("rule", ["mean", "min"])
def test_the_unit_of_a_run_s_scores_does_not_matter(rule: str):
    scores = [ensemble([run("a"), run("b", 1, scale=scale)], rule=rule)["score"] for scale in (1.0, 1000.0)]
    np.testing.assert_allclose(*scores)


def test_z_scores_of_held_out_clips_have_mean_0_in_every_section_and_deviation_1_in_all():
    table = run()
    table.loc[table["section"] == 1, "score"] *= 10  # sections share one deviation
    scaled = z_scores(table)
    for _, clips in scaled[scaled["held_out"]].groupby("machine_type"):
        by_section = clips.groupby("section")["score"]
        np.testing.assert_allclose(by_section.mean(), 0, atol=1e-12)
        assert by_section.var(ddof=1).mean() == pytest.approx(1)  # as many clips in each
        assert by_section.std().iloc[1] > 5 * by_section.std().iloc[0]


def test_z_scores_leave_the_ranking_within_a_section_as_it_was_and_the_input_untouched():
    table = run()
    before = table.copy()
    results = evaluate_scores(z_scores(table))
    pd.testing.assert_frame_equal(table, before)
    np.testing.assert_allclose(results.auc, evaluate_scores(table).auc)


def test_an_ensemble_takes_rows_in_any_order():
    a, b = run("aux"), run("made", seed=1, scale=1e4, shift=-1e6)
    mean = ensemble([a, b.sample(frac=1, random_state=0)])
    expected = (z_scores(a).set_index("clip").score + z_scores(b).set_index("clip").score) / 2
    np.testing.assert_allclose(mean.set_index("clip").score, expected[mean["clip"]], rtol=1e-9)
    assert set(mean.method) == {"ensemble"}
    assert set(mean.run_id) == {"aux-id+made-id"}
    assert set(run().columns) == set(mean.columns)


def test_an_ensemble_of_independent_runs_is_better_than_each():
    runs = [run(name, seed) for seed, name in enumerate("abcd")]
    mean = summarise(evaluate_scores(ensemble(runs)))
    score = one(mean, machine_type=ALL_MACHINES, mean="harmonic mean").official_score
    for table in runs:
        alone = one(summarise(evaluate_scores(table)), machine_type=ALL_MACHINES, mean="harmonic mean").official_score
        assert score > alone + 0.05


def test_source_and_target_clips_may_come_from_different_runs():
    a, b = run("aux"), run("ccsa", seed=1)
    mixed = ensemble({"source": [a], "target": [b]}).set_index("clip")
    for table, domain in ((a, "source"), (b, "target")):
        expected = z_scores(table)[table.domain == domain].set_index("clip").score
        np.testing.assert_allclose(mixed.score[expected.index], expected)
    assert len(mixed) == len(a)


def test_a_clip_is_held_out_of_an_ensemble_if_no_run_was_trained_on_it():
    a, b = run("aux"), run("made", seed=1)
    b["held_out"] = (b.split == "train") & (b.domain == "source") & b["clip"].str.contains("000[05]")
    mean = ensemble([a, b]).set_index("clip")
    both = a.set_index("clip").held_out & b.set_index("clip").held_out
    assert (mean.held_out == both[mean.index]).all()
    assert 0 < both.sum() < a.held_out.sum()


def test_runs_of_different_clips_make_no_ensemble():
    a = run()
    with pytest.raises(InputError, match="section_01_target_1_0024"):
        ensemble([a, run("made").iloc[:-1]])
    with pytest.raises(InputError, match="exactly once in each run"):
        ensemble([pd.concat([a, a.tail(1)]), pd.concat([a, a.tail(1)])])
    with pytest.raises(InputError, match="no runs"):
        ensemble([])
    with pytest.raises(InputError, match="rule 'max'; allowed: mean or min"):
        ensemble([a], rule="max")
    with pytest.raises(InputError, match="domain 'target'"):
        ensemble({"source": [a]})


def test_train_scores_that_are_all_equal_have_no_scale_and_the_machine_type_is_named():
    table = run()
    table.loc[(table.machine_type == "valve") & (table.split == "train"), "score"] = -2.5
    for function in (z_scores, by_domain):
        with pytest.raises(InputError, match=r"aux.* the train scores of valve do not differ within its sections"):
            function(table)


def test_one_held_out_clip_per_section_gives_no_scale_so_all_train_clips_do():
    table = run(n_train=4)  # one held out per section
    pd.testing.assert_frame_equal(z_scores(table), z_scores(table, held_out=False))


def test_a_section_without_train_clips_is_named():
    table = run()
    table = table[(table.split == "test") | (table.machine_type == "fan")]
    with pytest.raises(InputError, match="no train clips of valve section 00"):
        z_scores(table)


def test_normalisation_by_domain_moves_both_domains_to_one_level_and_helps_a_single_threshold():
    table = run()
    normalised = by_domain(table)
    test = normalised[(normalised.split == "test") & (normalised.label == 0)].groupby("domain").score.mean()
    assert abs(test["target"] - test["source"]) < 1
    before, after = (
        one(summarise(evaluate_scores(scores)), machine_type=ALL_MACHINES, mean="mixed harmonic mean").auc
        for scores in (table, normalised)
    )
    assert after > before + 0.1
    a, b = evaluate_scores(table), evaluate_scores(normalised)
    separate = a.domain != "mixed"
    np.testing.assert_allclose(a.auc[separate], b.auc[separate])  # the ranking within a domain is as it was


def test_without_target_train_clips_normalisation_by_domain_is_the_z_score():
    table = run()
    table = table[(table.split == "test") | (table.domain == "source")]
    target = (table.domain == "target").to_numpy()
    np.testing.assert_allclose(by_domain(table).score[target], z_scores(table).score[target])


def test_neighbours_are_those_of_scikit_learn_and_a_clip_is_not_its_own():
    table = run().query("machine_type == 'fan' and section == 0").reset_index(drop=True)
    embedding = np.random.default_rng(2).normal(size=(len(table), 5))
    known = np.flatnonzero(table.split == "train")
    search = NearestNeighbors(n_neighbors=4).fit(embedding[known])
    others = search.kneighbors(embedding, return_distance=False)
    scores = table.score.to_numpy()
    normalised = by_neighbours(table, embedding, k=3).score
    for i in range(len(table)):
        neighbours = [j for j in known[others[i]] if j != i][:3]
        assert normalised[i] == pytest.approx(scores[i] - scores[neighbours].mean())


def test_divided_by_neighbours_a_distance_is_the_published_ratio():
    # One cloud ten times as wide as the other; the score is the distance to the nearest train clip.
    random = np.random.default_rng(0)
    width, n = np.repeat([1.0, 10.0], 60), 120
    points = random.normal(size=(n, 2)) * width[:, None] + np.repeat([0.0, 1000.0], 60)[:, None]
    split = np.where(np.arange(n) % 2 == 0, "train", "test")
    known = points[split == "train"]
    distance = np.linalg.norm(points[:, None] - known[None], axis=2)
    distance[distance == 0] = np.inf
    table = pd.DataFrame({"machine_type": "fan", "section": 0, "split": split, "score": distance.min(axis=1)})
    ratio = by_neighbours(table, points, k=1, divide=True).score
    nearest = distance.argmin(axis=1)
    own = table.score[split == "train"].to_numpy()
    np.testing.assert_allclose(ratio, table.score / own[nearest])
    wide = (width == 10) & (split == "test")
    narrow = (width == 1) & (split == "test")
    assert table.score[wide].median() > 5 * table.score[narrow].median()
    assert ratio[wide].median() < 2 * ratio[narrow].median()


def test_neighbours_level_domains_without_knowing_them():
    table = run()
    embedding = np.column_stack(
        [np.where(table.domain == "target", 100.0, 0.0), np.random.default_rng(1).random(len(table))]
    )
    normalised = by_neighbours(table.assign(domain=""), embedding, k=2)
    level = normalised[(table.split == "test") & (table.label == 0)].score.groupby(table.domain).mean()
    assert abs(level["target"] - level["source"]) < 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embedding": np.zeros((3, 2))}, "embedding: shape"),
        ({"embedding": np.full((266, 2), np.nan)}, "finite row"),
        ({"k": 0}, "k: 0"),
        ({"divide": True}, "not positive"),
    ],
)
def test_impossible_neighbours_are_errors(change, said):
    table = run().query("machine_type == 'fan'")
    arguments = {"embedding": np.random.default_rng(0).normal(size=(len(table), 2)), "k": 3} | change
    with pytest.raises(InputError, match=said):
        by_neighbours(table, **arguments)


def test_two_train_clips_are_enough_for_neighbours_and_one_is_not():
    table = pd.DataFrame(
        {"machine_type": "fan", "section": 0, "split": ["train", "train", "test"], "score": [1.0, 2.0, 5.0]}
    )
    embedding = np.array([[0.0], [1.0], [9.0]])
    assert by_neighbours(table, embedding).score.tolist() == [-1, 1, 3]
    with pytest.raises(InputError, match="fan section 00 has 1 train clips"):
        by_neighbours(table.iloc[1:], embedding[1:])
