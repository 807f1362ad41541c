"""Confidence intervals are reproducible, cover what they should, and comparisons are paired."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from test_metrics import one, score_table

from asd.errors import InputError
from asd.evaluation import bootstrap, metrics


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
        rows.append(one(means, machine_type=metrics.ALL_MACHINES, mean="arithmetic mean"))
    rows = pd.DataFrame(rows)
    for name in ("auc", "pauc"):
        covered = rows[f"{name}_low"].le(rows[name].mean()) & rows[f"{name}_high"].ge(rows[name].mean())
        assert covered.mean() >= 0.85


def test_a_better_method_is_found_better_and_the_pairing_makes_the_interval_narrow():
    table = score_table(n=50)
    noise = np.random.default_rng(4).normal(size=len(table))
    worse = table.assign(score=table.score + 0.7 * noise, run_name="noisy")
    comparison = bootstrap.compare(table, worse, resamples=300)
    row = one(comparison, machine_type=metrics.ALL_MACHINES, part="dev", mean="harmonic mean", metric="official_score")
    assert 0 < row.low < row.difference < row.high
    assert row.difference == pytest.approx(row.a - row.b)
    assert row.p_value < 0.05
    _, a = bootstrap.confidence_intervals(table, resamples=300)
    _, b = bootstrap.confidence_intervals(worse, resamples=300)
    where = {"machine_type": metrics.ALL_MACHINES, "part": "dev", "mean": "harmonic mean"}
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
    with pytest.raises(InputError, match=r"1 are in one table alone, the first is .*section_03_target_test_1_0019"):
        bootstrap.compare(table, table.iloc[:-1])


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
