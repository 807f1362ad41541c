"""The figures of decisions: what they mark is what the rules say, and nothing to draw is no error."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from asd.evaluation.alarms import smallest_k
from asd.plots.decisions import alarm_rules, faults_found, promises, thresholds

RATES = pd.DataFrame({"domain": ["source", "target"], "rate": [0.1, 0.3], "rate_low": [0.05, 0.2]})
RATES = RATES.assign(rate_high=[0.2, 0.4], recall=[0.5, 0.6], rule="conformal", run_name="aux")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_diamonds_mark_the_smallest_k_that_is_silent_enough():
    for ax in alarm_rules(RATES, 10.0).axes:
        marked = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"]
        assert marked == [smallest_k(rate, 10.0, 60, 1) for rate in (0.2, 0.4)]


def test_each_fault_has_its_share_and_interval():
    shares = pd.DataFrame({"fault": ["rub", "knock"], "clips": [4, 2], "found": [1, 2], "share": [0.25, 1.0]})
    (ax,) = faults_found(shares.assign(low=[0.1, 0.3], high=[0.7, 1.0])).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["rub (1 of 4)", "knock (2 of 2)"]
    (bars,) = ax.collections
    np.testing.assert_allclose([segment[:, 0] for segment in bars.get_segments()], [[0.1, 0.7], [0.3, 1.0]])


def test_without_labelled_clips_the_figures_are_empty():
    assert not alarm_rules(RATES.iloc[:0], 10.0).legends
    assert len(promises(RATES.iloc[:0], 0.1).axes) == 2


def test_a_section_of_equal_scores_has_its_threshold_drawn():
    table = pd.DataFrame({"section": 0, "domain": "source", "split": "train", "label": 0, "score": [1.0, 1.0]})
    limits = pd.DataFrame({"section": [0], "held_out": False, "fit": "empirical", "threshold": 1.0})
    (ax,) = thresholds(table.assign(held_out=[True, False]), limits.assign(alarm_above=np.inf)).axes
    assert ax.get_xlim()[0] < 1 < ax.get_xlim()[1]
