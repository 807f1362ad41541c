"""Alarms per day: counted by enumeration, and rules of k of n that keep what they are chosen for."""

from itertools import product

import pandas as pd
import pytest

from asd.evaluation.alarms import alarms_per_day, by_fault, in_words, k_of_n, plan, smallest_k


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 4), (2, 4), (4, 4), (3, 5)])
def test_k_of_n_is_the_sum_over_all_outcomes(k: int, n: int):
    rate, chance = 0.3, 0.0
    for outcome in product((True, False), repeat=n):
        if sum(outcome) >= k:
            chance += rate ** sum(outcome) * (1 - rate) ** (n - sum(outcome))
    assert k_of_n(rate, k, n) == pytest.approx(chance)


def test_a_day_has_8640_clips_of_ten_seconds():
    assert alarms_per_day(0.1, 10) == pytest.approx(864)
    assert alarms_per_day(0.1, 10, k=1, n=2) == pytest.approx(4320 * 0.19)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.4, 1.0])
def test_the_smallest_k_keeps_the_limit_and_the_next_smaller_one_does_not(rate: float):
    k = smallest_k(rate, 10, n=60, per_day=1)
    assert alarms_per_day(rate, 10, k, 60) <= 1
    assert k == 1 or alarms_per_day(rate, 10, k - 1, 60) > 1


RATES = pd.DataFrame(
    {"domain": ["source", "target"], "rate": [0.1, 0.4], "rate_high": [0.12, 0.5], "recall": [0.6, 0.7]}
)


def test_a_plan_alarms_at_most_as_often_as_it_may_and_longer_windows_find_more():
    rows = plan(RATES, 10, n=(6, 60, 360))
    assert (rows["false alarms per day"] <= 1).all()
    assert rows["minutes"].tolist() == [1, 10, 60] * 2
    for _, domain in rows.groupby("domain"):
        assert domain["faults found"].is_monotonic_increasing
    found = rows.set_index(["domain", "n"])["faults found"]
    assert found["source", 60] > 0.99 > found["target", 60]


def test_the_words_say_what_a_day_brings_and_that_some_rules_do_not_exist():
    clip_by_clip, _, source, target, _ = in_words(RATES, 10, 0.1)
    assert "864 false alarms per day, 288 per shift" in clip_by_clip
    assert f"{smallest_k(0.12, 10, 60, 1)} of 60 clips (10 min): at most 1 false alarm per day" in source
    assert "40 % false alarms (up to 50 % is possible), 70 % of the anomalies found" in target
    hopeless = in_words(RATES.assign(rate_high=1.0), 10, 0.1)[2]
    assert hopeless.strip() == "No rule k of 60 is silent enough."


def test_faults_are_counted_once_per_clip_and_the_one_found_least_comes_first():
    table = pd.DataFrame(
        {"clip": list("abcde"), "split": "test", "label": [1, 1, 1, 0, 1], "decision": [1, 0, 1, 1, 1]}
    )
    regions = pd.DataFrame({"path": ["a", "a", "b", "c"], "fault": ["rub", "rub", "rub", "knock"]})
    shares = by_fault(table, regions).set_index("fault")
    assert shares[["clips", "found", "share"]].T.to_dict("list") == {"rub": [2, 1, 0.5], "knock": [1, 1, 1.0]}
    assert list(shares.index) == ["rub", "knock"]
    assert by_fault(table, regions.iloc[:0]).empty
