"""Evaluation finds all runs, labels and combines them, and says clearly what it cannot do."""

import pandas as pd
import pytest
from pydantic import ValidationError
from score_tables import run_table, write_scores

from asd.data.clips import clips_table
from asd.errors import InputError
from asd.evaluation.results import add_decisions, compare_with_best, evaluate, measure
from asd.evaluation.tables import (
    BASELINE,
    RunFacts,
    combine,
    of_machine,
    read_scores,
    run_ids,
    with_labels,
    without_debug_runs,
)
from asd.notebook.parameters import EvaluationParameters
from asd.tracking.facts import run_facts


@pytest.fixture(scope="module")
def clips(two_machines):
    return clips_table(two_machines)


def test_an_output_root_without_scores_says_what_to_run_first(tmp_path):
    with pytest.raises(InputError, match=r"no score tables in .*03_aux.ipynb out.ipynb -p machine_type fan"):
        read_scores(tmp_path, "fan")


def test_an_output_root_without_scores_of_the_machine_type_says_what_there_is(tmp_path, clips):
    write_scores(run_table(clips[clips["machine_type"] == "valve"], "aux"), tmp_path)
    with pytest.raises(InputError, match=r"\['valve'\], none of 'fan'.*-p machine_type fan"):
        read_scores(tmp_path, "fan")


def test_a_run_of_several_machine_types_is_read_as_one_table(tmp_path, clips):
    table = run_table(clips, "aux")
    write_scores(table, tmp_path)
    write_scores(run_table(clips[clips["machine_type"] == "fan"], "07"), tmp_path)
    found = read_scores(tmp_path, "fan")
    assert set(found) == {"aux", "07"}
    assert set(found["07"]["run_name"]) == {"07"}  # a name, not a number
    both = found["aux"].merge(table, on=["machine_type", "clip"])
    assert len(both) == len(table) and (both["score_x"] == both["score_y"]).all()


def test_the_ensembles_name_is_taken(tmp_path, clips):
    write_scores(run_table(clips, "ensemble"), tmp_path)
    with pytest.raises(InputError, match=r"ensemble\.csv: the name 'ensemble' is taken"):
        read_scores(tmp_path, "fan")


def test_labels_that_came_after_the_scores_are_joined(clips):
    before = run_table(clips, "aux").assign(label=pd.array([pd.NA] * len(clips), dtype="Int64"))
    after = with_labels({"aux": before}, clips, "fan")["aux"]
    pd.testing.assert_series_equal(after["label"], clips["label"], check_names=False)


def test_scores_of_clips_that_are_gone_are_stale(clips):
    some = clips[clips["section"] != 2]
    with pytest.raises(InputError, match=r"section_02.*run 'aux' has scored, is missing"):
        with_labels({"aux": run_table(clips, "aux")}, some, "fan")


def test_scores_of_other_machine_types_may_be_of_another_data_set(clips):
    table = run_table(clips, "aux")
    labelled = with_labels({"aux": table}, clips[clips["machine_type"] == "fan"], "fan")["aux"]
    pd.testing.assert_series_equal(labelled["label"], table["label"])


def test_debug_runs_are_left_out(clips):
    tables = {name: run_table(clips, name) for name in ("aux", "try")}
    facts = {"id-aux": RunFacts("demo"), "id-try": RunFacts("demo", debug=True)}
    kept, notes = without_debug_runs(tables, facts, "fan")
    assert set(kept) == {"aux"} and "try" in notes[0]
    with pytest.raises(InputError, match="debug runs only"):
        without_debug_runs({"try": tables["try"]}, facts, "fan")


def test_a_copied_ensemble_takes_part_like_any_other_table(tmp_path, clips):
    tables = {name: run_table(clips, name, seed) for seed, name in enumerate(("a", "b"))}
    together, _ = combine(tables, [], held_out=False)
    write_scores(tables["a"], tmp_path)
    write_scores(together.assign(run_name="copied"), tmp_path)
    found = read_scores(tmp_path, "fan")
    facts = run_facts(tmp_path, [run_id for table in found.values() for run_id in run_ids(table)])
    kept, notes = without_debug_runs(found, facts, "fan")
    assert set(kept) == {"a", "copied"} and notes == []
    evaluation = evaluate(
        kept, facts, false_alarm_rate=0.1, quantile=0.9, held_out=False, resamples=100, seed=0, notes=["known"]
    )
    assert set(evaluation.of("fan")) == {"a", "copied"} and evaluation.notes[0] == "known"
    assert set(evaluation.limits_of("fan", "copied")["section"]) == set(clips["section"])
    assert set(evaluation.cells_of("fan")["run_name"]) == {"a", "copied"}


def test_an_ensemble_with_a_debug_run_in_it_is_left_out(clips):
    tables = {"a": run_table(clips, "a"), "both": run_table(clips, "both").assign(run_id="id-a+id-try")}
    kept, _ = without_debug_runs(tables, {"id-a": RunFacts(), "id-try": RunFacts(debug=True)}, "fan")
    assert set(kept) == {"a"}


def test_without_a_store_nothing_is_known_of_runs_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert run_facts(tmp_path, ["a" * 32]) == {"a" * 32: RunFacts("unknown")}
    assert not list(tmp_path.iterdir())


def test_an_ensemble_of_all_runs_leaves_out_those_of_other_clips(clips):
    tables = {name: run_table(clips, name, seed) for seed, name in enumerate(("a", "b"))}
    tables["part"] = run_table(clips[clips["section"] < 3], "part")
    together, notes = combine(tables, [], held_out=False)
    assert set(together["run_id"]) == {"id-a+id-b"}
    assert [note for note in notes if "['part'] left out" in note]
    expected, _ = combine(tables, ["a", "b"], held_out=False)
    pd.testing.assert_frame_equal(together, expected)


def test_the_baseline_is_a_member_of_an_ensemble_only_if_it_is_named(clips):
    tables = {name: run_table(clips, name, seed) for seed, name in enumerate(("a", "b"))}
    tables[BASELINE] = run_table(clips, BASELINE, method=BASELINE)
    assert set(combine(tables, [], held_out=False)[0]["run_id"]) == {"id-a+id-b"}
    assert set(combine(tables, ["a", BASELINE], held_out=False)[0]["run_id"]) == {f"id-a+id-{BASELINE}"}
    alone, notes = combine({BASELINE: tables[BASELINE]}, [], held_out=False)
    assert alone is None and "there is 0" in notes[0]


def test_an_ensemble_may_take_other_runs_in_each_domain(clips):
    tables = {name: run_table(clips, name, seed) for seed, name in enumerate(("a", "b"))}
    mixed, _ = combine(tables, {"source": ["a"], "target": ["b"]}, held_out=False)
    for domain, name in (("source", "a"), ("target", "b")):
        alone, _ = combine(tables, [name], held_out=False)
        left, right = (t[t["domain"] == domain].set_index("clip")["score"] for t in (mixed, alone))
        pd.testing.assert_series_equal(left, right)


def test_an_ensemble_never_takes_itself(clips):
    tables = {name: run_table(clips, name, seed) for seed, name in enumerate(("a", "b"))}
    once, _ = combine(tables, [], held_out=False)
    again, _ = combine(tables | {"ensemble": once}, [], held_out=False)
    pd.testing.assert_frame_equal(again, once)


def test_an_ensemble_names_what_it_lacks(clips):
    fan, valve = (clips[clips["machine_type"] == name] for name in ("fan", "valve"))
    tables = {"a": run_table(clips, "a"), "b": run_table(fan, "b", 1)}
    together, notes = combine(tables, ["a", "b"], held_out=False)
    assert set(together["machine_type"]) == {"fan"} and notes == ["no ensemble for valve: no scores of b"]
    alone, notes = combine({"a": run_table(valve, "a")}, [], held_out=False)
    assert alone is None and "takes two runs" in notes[0]
    with pytest.raises(InputError, match="there is no run 'c'; allowed: a, b"):
        combine(tables, ["a", "c"], held_out=False)


def test_a_cell_of_one_class_is_nan_with_a_note_and_the_rest_is_measured(clips):
    table = run_table(clips, "aux")
    table = table[~((table["machine_type"] == "fan") & (table["section"] == 2) & (table["label"] == 1))]
    cells, means, notes = measure({"aux": table}, 100, 0)
    undefined = cells[cells["auc"].isna()]
    assert set(zip(undefined["machine_type"], undefined["section"], strict=True)) == {("fan", 2)}
    assert "fan section 02 source: no anomalous test clips" in notes[0]
    assert list(cells)[:6] == ["run_name", "machine_type", "section", "domain", "auc", "pauc"]
    assert means.loc[means["mean"] == "harmonic mean", "official_score"].notna().all()


def test_decisions_are_of_each_runs_own_thresholds(clips):
    tables = {"a": run_table(clips, "a"), "b": run_table(clips, "b").assign(score=lambda t: 100 + t["score"])}
    results, limits, _ = add_decisions(tables, 0.1, 0.9, held_out=False)
    assert (results["a"]["decision"] == results["b"]["decision"]).all()  # only shifted
    assert set(limits["run_name"]) == {"a", "b"}


def test_the_best_run_is_compared_with_each_other_one(clips):
    more = pd.concat([clips.assign(path=clips["path"] + f"-{i}") for i in range(10)], ignore_index=True)
    tables = {"good": run_table(more, "good", gap=3.0), "bad": run_table(more, "bad", 1, gap=0.2)}
    mine = of_machine(tables, "fan")
    _, means, _ = measure(tables, 100, 0)
    differences, notes = compare_with_best(mine, means, 200, 0)
    assert notes == [] and list(differences["part"]) == ["dev", "eval"]
    assert (differences["best"] == "good").all() and (differences["low"] > 0).all()
    bad = mine["bad"]
    shorter = mine | {"bad": bad.drop(bad.index[bad["split"] == "test"][0])}
    _, notes = compare_with_best(shorter, means, 100, 0)
    assert "same labelled test clips" in notes[0]


GIVEN = {
    "machine_type": "fan", "data_root": "", "output_root": "", "false_alarm_rate": 0.1, "percentile": 0.9,
    "held_out": False, "ensemble": [], "ensemble_rule": "mean",
    "resamples": 1000, "submission_run": "", "submission_label": "Doe_1", "authors": ["Doe, Jane, Institute"],
    "sample_rate": 16000, "n_fft": 1024, "hop_length": 512, "n_mels": 128, "consistent_with_librosa": False, "seed": 0,
}  # fmt: skip


@pytest.mark.parametrize("ensemble", [[], ["aux", "maf_1"], {"source": ["aux"], "target": ["ccsa", "maf"]}])
def test_an_ensemble_is_a_list_or_one_for_each_domain(ensemble):
    assert EvaluationParameters(**(GIVEN | {"ensemble": ensemble})).ensemble == ensemble


@pytest.mark.parametrize(
    "wrong",
    [
        {"percentile": 1.0},
        {"false_alarm_rate": 0.0},
        {"false_alarm_rate": 10},
        {"percentile": 90},
        {"held_out": "yes"},
        {"ensemble": {"source": ["aux"]}},
        {"ensemble": {"source": ["aux"], "target": []}},
        {"ensemble": "aux"},
        {"ensemble_rule": "max"},
        {"resamples": 10},
        {"submission_label": "../elsewhere"},
        {"authors": []},
        {"authors": ["Jane Doe"]},
        {"authors": ["Doe, Jane, Institute,"]},
        {"seed": -1},
        {"epochs": 3},
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        EvaluationParameters(**(GIVEN | wrong))
