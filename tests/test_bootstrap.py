"""Confidence intervals are reproducible, attainable, and cover what they should; comparisons are paired."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from test_metrics import one, score_table

from asd.errors import InputError
from asd.evaluation import bootstrap, cells, intervals, metrics


def test_the_same_seed_gives_the_same_intervals_in_any_order_of_rows_and_another_seed_others():
    table = score_table()
    first = bootstrap.confidence_intervals(table, resamples=50)
    again = bootstrap.confidence_intervals(table.sample(frac=1, random_state=1), resamples=50)
    other = bootstrap.confidence_intervals(table, resamples=50, seed=1)
    for a, b, c in zip(first, again, other, strict=True):
        pd.testing.assert_frame_equal(a, b)
        assert not a["auc_low"].equals(c["auc_low"])


def test_a_cell_has_the_same_interval_whatever_else_is_in_the_table():
    table = score_table()
    everything, _ = bootstrap.confidence_intervals(table, resamples=50)
    alone, _ = bootstrap.confidence_intervals(table[table.machine_type == "valve"], resamples=50)
    expected = everything[everything.machine_type == "valve"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, expected)


def test_draws_keep_the_size_of_both_classes_and_domains():
    clips = pd.DataFrame(
        {
            "machine_type": "fan",
            "section": 0,
            "domain": ["source"] * 5 + ["target"] * 4,
            "label": [0, 0, 0, 1, 1, 0, 1, 1, 1],
        }
    )
    weight = bootstrap._draws(clips, 200, 0)
    for domain in ("source", "target"):
        for label in (0, 1):
            rows = ((clips.domain == domain) & (clips.label == label)).to_numpy()
            np.testing.assert_array_equal(weight[:, rows].sum(axis=1), rows.sum())
    assert 0.9 < weight[:, :3].var() / (3 * (1 / 3) * (2 / 3)) < 1.1  # a multinomial's variance


def test_replicates_spread_as_a_plain_bootstrap_with_scikit_learn_does():
    table = score_table(n=30, machine_types=["fan"], sections=[0])
    cell = table[(table.split == "test") & (table.domain == "source")]
    random = np.random.default_rng(0)
    normal, anomalous = (cell.score[cell.label == label].to_numpy() for label in (0, 1))
    label = np.repeat([0, 1], 30)
    plain = [
        roc_auc_score(label, np.concatenate([random.choice(normal, 30), random.choice(anomalous, 30)]))
        for _ in range(500)
    ]
    drawn = bootstrap.replicates(table, resamples=1000).auc[0]
    assert drawn.mean() == pytest.approx(np.mean(plain), abs=0.01)
    assert drawn.std() == pytest.approx(np.std(plain), rel=0.1)


def test_intervals_of_means_cover_what_test_sets_of_this_size_give_on_average():
    rows = []
    for seed in range(40):
        table = score_table(seed=seed, n=60, machine_types=["fan"], sections=[0, 1, 2])
        _, means = bootstrap.confidence_intervals(table[table.domain == "source"], resamples=100)
        rows.append(one(means, machine_type=cells.ALL_MACHINES, mean="arithmetic mean"))
    rows = pd.DataFrame(rows)
    for name in ("auc", "pauc"):
        covered = rows[f"{name}_low"].le(rows[name].mean()) & rows[f"{name}_high"].ge(rows[name].mean())
        assert covered.mean() >= 0.85


def test_a_better_method_is_found_better_and_the_pairing_makes_the_interval_narrow():
    table = score_table(n=50)
    noise = np.random.default_rng(4).normal(size=len(table))
    worse = table.assign(score=table.score + 0.7 * noise, run_name="noisy")
    comparison = bootstrap.compare(table, worse, resamples=300)
    row = one(comparison, machine_type=cells.ALL_MACHINES, part="dev", mean="harmonic mean", metric="official_score")
    assert 0 < row.low < row.difference < row.high
    assert row.difference == pytest.approx(row.a - row.b)
    assert row.p_value < 0.05
    _, a = bootstrap.confidence_intervals(table, resamples=300)
    _, b = bootstrap.confidence_intervals(worse, resamples=300)
    where = {"machine_type": cells.ALL_MACHINES, "part": "dev", "mean": "harmonic mean"}
    a, b = one(a, **where), one(b, **where)
    unpaired = np.hypot(a.official_score_high - a.official_score_low, b.official_score_high - b.official_score_low)
    assert row.high - row.low < unpaired


def test_a_method_is_no_better_than_itself():
    table = score_table()
    comparison = bootstrap.compare(table, table.assign(score=2 * table.score + 1), resamples=50)
    assert (comparison.difference.abs() < 1e-12).all()
    assert (comparison.p_value == 1).all()


def test_methods_are_compared_on_the_same_clips_only():
    table = score_table()
    with pytest.raises(
        InputError, match=r"1 are in only one of the tables, the first is .*section_03_target_test_1_0019"
    ):
        bootstrap.compare(table, table.iloc[:-1])


def test_unlabelled_clips_that_only_one_method_has_scored_do_not_matter():
    table = score_table()
    labels = table["label"].where(table["section"] != 3)  # of the evaluation section, nobody knows them
    blind, dev = table.assign(label=labels), table[table["section"] != 3]
    comparison = bootstrap.compare(blind, dev.assign(score=-dev["score"]), resamples=50)
    assert set(comparison["part"]) == {"dev"}
    assert (comparison.loc[comparison["metric"] == "auc", "difference"] > 0).all()


def test_undefined_cells_stay_nan_and_do_not_spoil_the_means():
    table = score_table()
    lost = (table.machine_type == "fan") & (table.section == 1) & (table.domain == "target") & (table.label == 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results, means = bootstrap.confidence_intervals(table[~lost], resamples=50)
    assert np.isnan(one(results, machine_type="fan", section=1, domain="target").auc_low)
    row = one(means, machine_type="fan", part="dev", mean="target harmonic mean")
    assert row.auc_low < row.auc < row.auc_high


@pytest.mark.parametrize("test_clips", [True, False])
def test_without_labels_or_without_test_clips_there_is_nothing_to_bootstrap_and_no_failure(test_clips):
    table = score_table(n=4).assign(label=pd.NA)
    table = table if test_clips else table[table.split == "train"]
    results, means = bootstrap.confidence_intervals(table, resamples=10)
    comparison = bootstrap.compare(table, table, resamples=10)
    assert results["auc_low"].isna().all()
    assert means["official_score_high"].isna().all()
    assert comparison["p_value"].isna().all()
    assert len(results) == (18 if test_clips else 0)


# ---------------------------------------------------------------------------------------------- what is attainable


def cells_of(*cells: tuple[list[int], list[int]]) -> pd.DataFrame:
    """A score table of one machine type: normal and anomalous scores of a section each."""
    rows = [
        {"section": section, "label": label, "score": score}
        for section, scores in enumerate(cells)
        for label in (0, 1)
        for score in scores[label]
    ]
    table = pd.DataFrame(rows).assign(machine_type="fan", domain="source", split="test")
    return table.assign(clip=[f"{i:04d}.wav" for i in range(len(table))])


def perfect(n: int) -> tuple[list[int], list[int]]:
    return list(range(n)), list(range(n, 2 * n))


scores = st.lists(st.integers(0, 12), min_size=1, max_size=14)
some_cells = st.lists(st.tuples(scores, scores), min_size=1, max_size=3)
LOWEST = {"auc": 0, "pauc": metrics.MIN_PAUC, "official_score": 0}


@settings(max_examples=30, deadline=None)
@given(some_cells)
@example([perfect(8)])
@example([perfect(8)[::-1]])  # each anomalous clip scores below each normal one
@example([([0], [0])])
@example([perfect(1), ([5, 5, 5], [5, 5])])
def test_intervals_contain_what_was_measured_and_never_leave_what_is_attainable(cells):
    for frame in bootstrap.confidence_intervals(cells_of(*cells), resamples=30):
        for name in [name for name in LOWEST if f"{name}_low" in frame]:
            low, value, high = (frame[column].to_numpy() for column in (f"{name}_low", name, f"{name}_high"))
            assert (low >= LOWEST[name]).all() and (high <= 1).all()
            assert (low <= value).all() and (value <= high).all()


@settings(max_examples=20, deadline=None)
@given(some_cells, st.randoms(use_true_random=False))
def test_intervals_of_differences_contain_them_and_are_attainable_too(cells, random):
    table = cells_of(*cells)
    other = table.assign(score=[random.randint(0, 12) for _ in table.index])
    comparison = bootstrap.compare(table, other, resamples=30)
    reach = 1 - comparison["metric"].map(LOWEST)
    assert (comparison["low"] >= -reach - 1e-12).all() and (comparison["high"] <= reach + 1e-12).all()
    assert (comparison["low"] <= comparison["difference"]).all()
    assert (comparison["difference"] <= comparison["high"]).all()
    assert comparison["p_value"].between(0, 1).all()


def test_a_perfect_cell_is_the_less_sure_the_fewer_its_clips():
    results, means = bootstrap.confidence_intervals(cells_of(perfect(4), perfect(20), perfect(100)), resamples=30)
    source = results[results["domain"] == "source"]
    for name in ("auc", "pauc"):
        assert (source[f"{name}_high"] == 1).all()
        assert source[f"{name}_low"].is_monotonic_increasing and source[f"{name}_low"].between(0.5, 0.99).all()
    row = one(means, machine_type="fan", mean="source harmonic mean")
    assert row["official_score_high"] == 1
    assert source["pauc_low"].min() < row["official_score_low"] < 1


def test_perfect_cells_of_8_and_8_clips_cover_the_truth_though_all_their_draws_are_perfect():
    random, true = np.random.default_rng(0), stats.norm.cdf(3 / np.sqrt(2))  # 0.983
    label, n = np.repeat([0, 1], 8), np.array([8])
    covered, only_draws = [], []
    for _ in range(300):
        score = random.normal(size=16) + 3 * label
        draws = np.concatenate([bootstrap.resampled(random, 8, 100) for _ in range(2)], axis=1)
        areas = np.array(metrics.weighted_areas(label, score, np.ones((1, 16))))[:, 0]
        drawn = np.array(metrics.weighted_areas(label, score, draws))
        (low, _), (high, _) = (bound[0] for bound in intervals.cell_bounds(areas[None], drawn[None], n, n))
        covered.append(low <= true <= high)
        least, most = np.percentile(drawn[0], [2.5, 97.5])
        only_draws.append(least <= true <= most)
    assert np.mean(covered) >= 0.93
    assert np.mean(only_draws) < 0.6  # which is why there is more to it


@pytest.mark.parametrize(("k", "n"), [(0, 9), (3, 9), (37, 40), (40, 40)])
def test_bounds_of_a_cell_are_wilsons_where_the_draws_vary_as_a_proportion_does(k, n):
    share = k / n
    deviation = np.sqrt(share * (1 - share) / n)
    auc = share + deviation * np.array([-1, 1])  # draws of that mean and variance
    areas = np.array([[share, 0.7]])
    drawn = np.stack([auc, [0.6, 0.8]])[None]
    few = n if deviation == 0 else 10**6  # 4 n² / (2 n + 2) is the limit, and holds where draws do not vary
    low, high = intervals.cell_bounds(areas, drawn, np.array([few]), np.array([few]))
    if deviation:
        expected = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert (low[0, 0], high[0, 0]) == pytest.approx((expected.low, expected.high))
    else:
        limit, z = 4 * n**2 / (2 * n + 2), stats.norm.ppf(0.975)
        width = z**2 / (limit + z**2)  # of Wilson's interval of none or all
        assert high[0, 0] - low[0, 0] == pytest.approx(width)


def test_a_method_that_is_not_perfect_does_not_differ_from_itself_but_two_perfect_ones_may():
    usual, ideal = cells_of(([0, 2, 4, 6], [3, 5, 7, 9])), cells_of(perfect(4))
    same = bootstrap.compare(usual, usual, resamples=50)
    assert same["low"].to_numpy() == pytest.approx(0, abs=1e-12)
    assert same["high"].to_numpy() == pytest.approx(0, abs=1e-12)
    unknown = bootstrap.compare(ideal, ideal, resamples=50)
    assert (unknown["low"] < -0.05).all() and (unknown["high"] > 0.05).all() and (unknown["p_value"] == 1).all()


def test_the_p_value_is_below_5_percent_exactly_where_the_interval_excludes_zero():
    table = score_table(n=30)
    random = np.random.default_rng(2)
    for noise in (0.3, 0.6, 1.0):
        worse = table.assign(score=table.score + noise * random.normal(size=len(table)))
        comparison = bootstrap.compare(table, worse, resamples=100)
        excludes_zero = (comparison["low"] > 0) | (comparison["high"] < 0)
        assert excludes_zero.equals(comparison["p_value"] < 0.05)
        assert excludes_zero.any()
