"""A stated false-alarm rate is kept by exchangeable scores, on average and as precisely as theory says."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from asd.errors import InputError
from asd.evaluation.calibration import FEWEST_ALONE, Calibration
from asd.evaluation.conformal import (
    binomial_interval,
    discoveries,
    false_alarm_interval,
    n_above,
    p_values,
    smallest_rate,
)
from asd.evaluation.decisions import calibrate, decide
from asd.evaluation.promises import (
    CONFORMAL,
    GAMMA,
    TARGET_CLIPS,
    broken_promises,
    realised,
    summary,
    target_p_values,
    trains_on_target,
)
from asd.evaluation.results import add_decisions

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False)
SCORES = st.lists(FINITE, min_size=1, max_size=30)
DRAWS = 4000  # of a simulation: a share has a standard error of at most 0.5 / sqrt(DRAWS)


@given(SCORES, SCORES)
def test_p_values_count_the_held_out_scores_that_are_at_least_as_high(calibration, scores):
    expected = [(1 + sum(c >= score for c in calibration)) / (len(calibration) + 1) for score in scores]
    np.testing.assert_array_equal(p_values(calibration, scores), expected)


@given(SCORES, SCORES)
def test_a_higher_score_never_has_a_larger_p_value(calibration, scores):
    assert (np.diff(p_values(calibration, sorted(scores))) <= 0).all()


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_smallest_rate_is_the_smallest_p_value_and_lets_one_clip_in_n_plus_1_alarm(n, percent):
    assert smallest_rate(n) == p_values(np.zeros(n), [1.0])[0]
    rate = percent / 301
    attainable = [k for k in range(n + 2) if k / (n + 1) <= rate]
    assert n_above(n, rate) == max(attainable)


@pytest.mark.parametrize("n", [1, 2, 9, 36])
@pytest.mark.parametrize("draw", ["normal", "ties", "all equal", "heavy tail"])
def test_p_values_of_exchangeable_scores_are_super_uniform(draw, n):
    random = np.random.default_rng(n)
    scores = {
        "normal": random.normal(size=(DRAWS, n + 1)),
        "ties": random.integers(3, size=(DRAWS, n + 1)),
        "all equal": np.zeros((DRAWS, n + 1)),
        "heavy tail": random.standard_cauchy(size=(DRAWS, n + 1)),
    }[draw]
    p = np.array([p_values(row[1:], row[:1])[0] for row in scores])
    for rate in (0.05, 0.1, 0.25, 0.5, 0.9):
        error = np.sqrt(rate * (1 - rate) / DRAWS)
        assert np.mean(p <= rate) <= rate + 4 * error
        if draw in ("normal", "heavy tail"):  # without ties it is exact
            exact = n_above(n, rate) / (n + 1)
            assert abs(np.mean(p <= rate) - exact) <= 4 * max(error, 1 / DRAWS)


@pytest.mark.parametrize(("n", "m"), [(9, 16), (36, 16), (100, 200)])
def test_false_alarms_lie_in_the_predicted_interval_as_often_as_it_says(n, m):
    random, low_high = np.random.default_rng(0), false_alarm_interval(n, m, 0.1)
    alarms = [np.sum(p_values(random.normal(size=n), random.normal(size=m)) <= 0.1) for _ in range(DRAWS)]
    inside = np.mean((low_high[0] <= np.array(alarms)) & (np.array(alarms) <= low_high[1]))
    assert inside >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / DRAWS)


def test_scores_that_are_not_finite_have_no_p_value():
    for calibration, scores in (([1.0, np.nan], [1.0]), ([1.0], [np.inf])):
        with pytest.raises(InputError, match="not finite"):
            p_values(calibration, scores)


# ------------------------------------------------------------------------------------------------ sections and pooling


def statistics(held_out: dict[int, list[float]], **changed: float) -> dict[int, dict]:
    kept = {"trained_mean": 0.0, "trained_std": 1.0, "threshold": 0.0} | changed
    return {section: kept | {"held_out_scores": scores} for section, scores in held_out.items()}


@given(st.lists(st.lists(FINITE, max_size=5), min_size=1, max_size=4), SCORES, st.floats(0.01, 0.99))
def test_a_clip_alarms_exactly_where_its_p_value_is_at_most_the_rate_and_above_the_threshold(held_out, scores, rate):
    calibration = Calibration(statistics(dict(enumerate(held_out)), trained_mean=3.0, trained_std=0.5))
    p_value, anomalous = calibration.decide(0, scores, rate)
    if not sum(map(len, held_out)):
        assert np.isnan(p_value).all() and (anomalous == (np.array(scores) > 0)).all()
        return
    np.testing.assert_array_equal(anomalous, p_value <= rate)
    distance = np.array(scores) - calibration.threshold(0, rate)
    clear = np.abs(distance) > 1e-6 * (1 + np.abs(scores))
    np.testing.assert_array_equal(anomalous[clear], (distance > 0)[clear])


def test_a_section_with_enough_held_out_clips_is_judged_by_its_own():
    own = list(range(FEWEST_ALONE))
    calibration = Calibration(statistics({0: own, 1: own[:-1]}))
    assert not calibration.pooled(0) and len(calibration.scores(0)) == FEWEST_ALONE
    assert calibration.pooled(1) and len(calibration.scores(1)) == 2 * FEWEST_ALONE - 1


def test_a_score_and_its_copy_with_rounding_errors_have_the_same_p_value():
    random = np.random.default_rng(0)
    held_out = random.normal(50, 2, size=30)
    calibration = Calibration(statistics({0: held_out.tolist()}, trained_mean=50.0, trained_std=2.0))
    for error in (-1e-6, 0, 1e-6):
        np.testing.assert_array_equal(
            calibration.decide(0, held_out * (1 + error / 50), 0.1).p_value,
            calibration.decide(0, held_out, 0.1).p_value,
        )


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_pooled_sections_keep_the_rate_on_average_up_to_the_stated_bound(spread):
    """The bound of the module's docstring: (k + K − 1) / (n + K), reached where sections do not overlap."""
    random, sections, each, rate = np.random.default_rng(1), 6, 6, 0.1
    n, draws = sections * each, 1000
    k = n_above(n, rate)
    alarms = []
    for _ in range(draws):
        shift = random.normal(scale=spread, size=(sections, 1))
        held_out, new = shift + random.normal(size=(sections, each)), shift + random.normal(size=(sections, 1))
        calibration = Calibration(statistics({s: held_out[s].tolist() for s in range(sections)}))
        alarms.append(np.mean([calibration.decide(s, new[s], rate).anomalous[0] for s in range(sections)]))
    error = np.std(alarms) / np.sqrt(draws)
    assert np.mean(alarms) <= (k + sections - 1) / (n + sections) + 4 * error
    if spread == 0:
        assert abs(np.mean(alarms) - k / (n + 1)) <= 4 * error


def test_a_rate_that_cannot_be_had_is_told_with_the_one_that_can():
    calibration = Calibration(statistics({0: [1.0, 2.0, 3.0]}))
    assert not calibration.decide(0, [99.0], 0.1).anomalous[0]
    assert "0.1 cannot be had from 3 held-out clips, the smallest is 0.25" in calibration.shortfall(0, 0.1)
    assert calibration.shortfall(0, 0.25) == "" and calibration.decide(0, [99.0], 0.25).anomalous[0]
    assert calibration.rate(0) == 0.25 and calibration.decide(0, [99.0]).anomalous[0]  # none stated


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2.0, float("nan"), True, "0.1", None])
def test_impossible_rates_are_refused(rate):
    calibration = Calibration(statistics({0: [1.0, 2.0]}))
    if rate is not None:
        with pytest.raises(InputError, match=r"false_alarm_rate: .*between 0 and 1"):
            calibration.decide(0, [1.0], rate)
    with pytest.raises(InputError, match=r"fdr: .*between 0 and 1"):
        discoveries([0.5], rate)


def test_an_unknown_section_is_named():
    with pytest.raises(InputError, match=r"section 7.*allowed: \[0\]"):
        Calibration(statistics({0: [1.0]})).decide(7, [1.0], 0.1)


# -------------------------------------------------------------------------------------------------------- many clips


def test_the_false_discovery_rate_is_kept_by_conformal_p_values():
    random, false, fdr = np.random.default_rng(0), [], 0.2
    for _ in range(500):
        held_out, scores = random.normal(size=200), random.normal(size=50)
        scores[:10] += 4
        alarms = discoveries(p_values(held_out, scores), fdr)
        false.append(alarms[10:].sum() / max(alarms.sum(), 1))
    assert np.mean(false) <= fdr + 4 * np.std(false) / np.sqrt(500)
    assert alarms[:10].mean() > 0.5


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.01, 0.99))
def test_discoveries_are_those_of_the_step_up_procedure(p, fdr):
    alarms = discoveries(p, fdr)
    ordered = np.sort(p)
    passing = [i for i in range(len(p)) if ordered[i] <= fdr * (i + 1) / len(p) * (1 - 1e-9)]
    limit = ordered[passing[-1]] if passing else -1
    assert (alarms[np.array(p, dtype=float) <= limit]).all()
    assert (np.array(p)[alarms] <= fdr * (1 + 1e-9)).all()


def test_discoveries_need_p_values():
    with pytest.raises(InputError, match="fdr: needs a p-value for each clip"):
        discoveries([np.nan, 0.5], 0.1)


@given(st.integers(1, 200), st.data())
def test_a_binomial_interval_holds_the_share_and_stays_within_0_and_1(trials, data):
    hits = data.draw(st.integers(0, trials))
    low, high = binomial_interval(hits, trials)
    assert 0 <= low <= hits / trials <= high <= 1
    if hits > 0:
        assert low == pytest.approx(stats.beta.ppf(0.025, hits, trials - hits + 1), abs=1e-9)


# ------------------------------------------------------------------------------------------------------ score tables


def run(
    name: str = "aux",
    method: str = "aux",
    gap: float = 6.0,
    sections: int = 3,
    shift: float = 4.0,
    seed: int = 0,
    new: int = 100,
):
    """A run whose scores of held-out and new source clips are exchangeable; those trained on are lower."""
    random, rows = np.random.default_rng(seed), []
    for section in range(sections):
        for domain, split, label, n, held_out, mean in (
            ("source", "train", 0, 40, False, -1.0),
            ("source", "train", 0, 30, True, 0.0),
            ("target", "train", 0, 3, False, shift),
            ("source", "test", 0, new, False, 0.0),
            ("source", "test", 1, new, False, gap),
            ("target", "test", 0, new, False, shift),
            ("target", "test", 1, new, False, shift + gap),
        ):
            part = pd.DataFrame({"score": 10 * section + random.normal(mean, 1, size=n)})
            clip = [f"{section}_{domain}_{split}_{label}_{held_out}_{i}.wav" for i in range(n)]
            rows.append(
                part.assign(section=section, domain=domain, split=split, label=label, held_out=held_out, clip=clip)
            )
    table = pd.concat(rows, ignore_index=True)
    return table.assign(machine_type="fan", method=method, run_name=name, run_id=f"id-{name}", seed=seed)


def test_a_table_is_decided_by_its_held_out_clips_alone():
    table = run()
    decided, limits = decide(table, 0.1)
    for section, rows in decided.groupby("section"):
        expected = p_values(rows["score"][rows["held_out"]], rows["score"] - 1e-4)
        np.testing.assert_allclose(rows["p_value"], expected)
        limit = limits[limits["section"] == section].iloc[0]
        np.testing.assert_array_equal(rows["decision"] == 1, rows["score"] > limit["alarm_above"])
        assert limit["n_calibration"] == 30 and not limit["pooled"]
    altered = table.assign(score=table["score"].where(table["held_out"] | (table["split"] == "test"), 1e3))
    again, _ = decide(altered, 0.1)
    new = table["split"] == "test"
    pd.testing.assert_series_equal(again["decision"][new], decided["decision"][new])


def test_without_held_out_clips_the_gamma_threshold_decides_and_a_note_says_so():
    table = run().assign(held_out=False)
    decided, _, notes = add_decisions({"aux": table}, 0.1, 0.9, held_out=False)
    assert decided["aux"]["p_value"].isna().all()
    pd.testing.assert_series_equal(decided["aux"]["decision"], decided["aux"]["gamma_decision"], check_names=False)
    assert [note for note in notes if "aux, fan (3 sections): no scores of held-out clips" in note]


def test_the_statistics_of_a_detector_keep_what_earlier_ones_kept():
    kept = calibrate(run())
    assert set(kept) == {0, 1, 2}
    held_out = run().query("held_out and section == 1")["score"]
    assert kept[1]["held_out_scores"] == sorted(held_out) and kept[1]["n_clips"] == 30
    assert kept[1]["mean"] == pytest.approx(held_out.mean())
    assert {"mean", "std", "threshold", "n_clips", "trained_mean", "trained_std"} <= set(kept[1])


def test_false_alarms_are_counted_by_cell_and_rule():
    decided, limits, _ = add_decisions({"aux": run()}, 0.1, 0.9, held_out=False)
    cells = realised(decided, limits, 0.1)
    assert len(cells) == 3 * 2 * 2 + 3  # sections, domains, rules; the remedy in the target domain alone
    table = decided["aux"]
    for row in cells[cells["rule"] != TARGET_CLIPS].itertuples():
        clips = table[(table["section"] == row.section) & (table["domain"] == row.domain) & (table["split"] == "test")]
        column = {CONFORMAL: "decision", GAMMA: "gamma_decision"}[row.rule]
        assert row.false_alarms == clips.query("label == 0")[column].sum()
        assert row.found == clips.query("label == 1")[column].sum()
        assert (row.low, row.high) == false_alarm_interval(30, 100, 0.1)
    rates = summary(cells, ["domain", "rule"]).set_index(["domain", "rule"])
    assert rates.loc[("source", CONFORMAL), "normal"] == 300
    assert rates.loc[("source", CONFORMAL), "kept"] == 1 and rates.loc[("source", CONFORMAL), "recall"] > 0.95
    assert rates.loc[("target", CONFORMAL), "rate"] > 0.9  # nothing is promised there
    assert rates.loc[("target", TARGET_CLIPS), "rate"] < 0.2


def test_a_rate_that_is_not_kept_is_told_with_the_machine_type():
    kept, leaky = run("aux"), run("ae", "ae")
    leaky["score"] -= 3.0 * leaky["held_out"]  # held-out clips like those trained on, test clips of other recordings
    decided, limits, _ = add_decisions({"aux": kept, "ae": leaky}, 0.1, 0.9, held_out=False)
    (sentence,) = broken_promises(realised(decided, limits, 0.1), 0.1)
    assert sentence.startswith("ae, fan: ") and "of 300 normal source clips alarm, at a stated rate of 0.1" in sentence


def test_the_few_target_clips_calibrate_within_reason():
    """Shifts differ between sections; over many draws the realised rate stays at the stated one."""
    rates = []
    for seed in range(25):
        table = run(seed=seed, sections=6, gap=0.0, new=30).query("split == 'train' or domain == 'target'")
        table = table.assign(score=table["score"] + 2.0 * table["section"] * (table["domain"] == "target"))
        p = target_p_values(table)[(table["split"] == "test")]
        rates.append(np.mean(p <= 0.1))
    assert np.mean(rates) <= 0.1 + 4 * np.std(rates) / 5
    assert target_p_values(table)[table["domain"] != "target"].isna().all()


def test_target_clips_calibrate_no_run_that_was_trained_on_them():
    tables = {"aux": run("aux"), "ae": run("ae", "ae"), "ccsa": run("ccsa", "ccsa"), "mine": run("mine", "other")}
    tables["ensemble"] = run("ensemble", "ensemble").assign(run_id="id-aux+id-ae")
    tables["all"] = run("all", "ensemble").assign(run_id="id-aux+id-ccsa")
    tables["lost"] = run("lost", "ensemble").assign(run_id="id-aux+id-gone")
    unfit = {name for name in tables if trains_on_target(tables, name)}
    assert unfit == {"ccsa", "mine", "all", "lost"}
