"""Thresholds are quantiles of a gamma distribution where one fits, and sensible where none does."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from asd.errors import InputError
from asd.evaluation.decisions import above_threshold, fit_threshold, thresholds


def train_table(scores: dict[tuple[str, int], np.ndarray], held_out_share: float = 0.5) -> pd.DataFrame:
    frames = []
    for (machine_type, section), values in scores.items():
        n = len(values)
        frame = pd.DataFrame({"machine_type": machine_type, "section": section, "split": "train", "score": values})
        frame["held_out"] = np.arange(n) < held_out_share * n
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("location", [0.0, -40.0, 7.0])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_the_threshold_is_the_quantile_of_the_gamma_distribution_that_the_scores_come_from(location, quantile):
    scores = stats.gamma.rvs(3.0, location, 2.0, size=3000, random_state=0)
    fitted = fit_threshold(scores, quantile)
    assert fitted.fit == "gamma"
    assert fitted.threshold == pytest.approx(stats.gamma.ppf(quantile, 3.0, location, 2.0), abs=0.5)
    expected = stats.gamma.ppf(quantile, *stats.gamma.fit(scores))
    assert fitted.threshold == pytest.approx(expected, rel=1e-12)


def test_negative_scores_of_a_normal_distribution_have_a_threshold_near_the_normal_quantile():
    scores = np.random.default_rng(1).normal(-12, 0.5, size=1000)  # log odds look so
    assert fit_threshold(scores).threshold == pytest.approx(stats.norm.ppf(0.9, -12, 0.5), abs=0.06)


def test_a_fit_that_flags_nearly_all_train_clips_is_thrown_away():
    # 1% outliers: maximum likelihood puts the whole distribution on the smallest score.
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(size=990), random.normal(30, 1, size=10)])
    collapsed = stats.gamma.ppf(0.9, *stats.gamma.fit(scores))
    assert np.mean(scores > collapsed) > 0.9
    fitted = fit_threshold(scores)
    assert fitted.fit == "empirical"
    assert np.mean(scores > fitted.threshold) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [10, 30, 300])
@pytest.mark.parametrize("draw", ["normal", "gamma", "mirrored gamma", "exponential", "student", "two humps"])
def test_whatever_the_scores_most_train_clips_stay_normal(draw, n, seed):
    random = np.random.default_rng(seed)
    scores = {
        "normal": random.normal(size=n),
        "gamma": random.gamma(2, size=n),
        "mirrored gamma": -random.gamma(2, size=n) - 10,
        "exponential": random.exponential(size=n),
        "student": random.standard_t(2, size=n),
        "two humps": random.normal(size=n) + 20 * (random.random(n) < 0.3),
    }[draw]
    fitted = fit_threshold(scores)
    assert np.isfinite(fitted.threshold)
    assert np.mean(scores > fitted.threshold) <= 0.5


@pytest.mark.parametrize("scores", [[3.0], [3.0, 3.0], [-1.0] * 100])
def test_constant_scores_are_their_own_threshold_and_none_of_them_is_flagged(scores):
    fitted = fit_threshold(scores)
    assert (fitted.threshold, fitted.fit) == (scores[0], "empirical")


def test_two_scores_have_a_threshold_between_them_and_the_warning_names_the_section():
    table = train_table({("fan", 2): np.array([1.0, 2.0])}, held_out_share=1)
    with pytest.warns(UserWarning, match="fan section 02: quantile of the 2 scores"):
        limits = thresholds(table)
    assert limits.threshold.tolist() == [pytest.approx(1.9)]


@pytest.mark.parametrize(
    ("scores", "quantile", "said"),
    [
        ([], 0.9, "one or more"),
        ([1.0, np.nan], 0.9, "finite"),
        ([1.0, 2.0], 0, "quantile"),
        ([1.0, 2.0], 90, "quantile"),
    ],
)
def test_impossible_input_is_an_error(scores, quantile, said):
    with pytest.raises(InputError, match=said):
        fit_threshold(scores, quantile)


def test_thresholds_come_from_held_out_clips_or_from_all_train_clips():
    random = np.random.default_rng(3)
    scores = np.concatenate([random.gamma(2, size=200) + 5, random.gamma(2, size=200)])  # held out ones are higher
    table = train_table({("fan", 0): scores})
    test = table.head(3).assign(split="test", score=1e6)
    table = pd.concat([table, test], ignore_index=True)  # test clips have no say
    assert thresholds(table).iloc[0].threshold == fit_threshold(scores[:200]).threshold
    assert thresholds(table, held_out=False).iloc[0].threshold == fit_threshold(scores).threshold


def test_a_section_without_held_out_clips_takes_all_and_says_so():
    table = train_table({("fan", 0): np.random.default_rng(3).gamma(2, size=100)}, held_out_share=0)
    with pytest.warns(UserWarning, match="fan section 00: no held-out train clips"):
        limits = thresholds(table)
    assert limits.n_scores.tolist() == [100]


def test_a_section_without_train_clips_is_an_error_that_names_it():
    table = train_table({("fan", 4): np.ones(3)}).assign(split="test")
    with pytest.raises(InputError, match="fan section 04"):
        thresholds(table)


def test_each_section_decides_by_its_own_threshold():
    random = np.random.default_rng(5)
    table = train_table({("fan", 0): random.gamma(2, size=100), ("fan", 1): random.gamma(2, size=100) - 30})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        limits = thresholds(table)
    decided = table.assign(decision=above_threshold(table, limits))
    for row in limits.itertuples():
        rows = decided[decided.section == row.section]
        np.testing.assert_array_equal(rows.decision == 1, rows.score > row.threshold)
        assert 0 < rows.decision.mean() < 0.3
    with pytest.raises(InputError, match="fan section 01"):
        above_threshold(table, limits[limits.section == 0])
