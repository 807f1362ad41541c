"""The leaderboard averages over seeds, keeps dev and eval apart, and puts only equals beside published results."""

import numpy as np
import pandas as pd
import pytest
from score_tables import run_table
from sklearn.metrics import roc_auc_score

from asd.data.clips import clips_table
from asd.evaluation.results import measure
from asd.evaluation.tables import RunFacts, combine
from asd.report.leaderboard import (
    ANCHORS,
    CHALLENGE_CLIPS,
    MACHINE_TYPES,
    beside_baseline,
    by_machine_type,
    comparable,
    leaderboard,
    missing,
    published,
    systems,
)


@pytest.fixture(scope="module")
def clips(two_machines):
    clips = clips_table(two_machines)
    return clips[clips["section"].isin([0, 2, 4])].reset_index(drop=True)


@pytest.fixture(scope="module")
def tables(clips):
    """Two seeds of a method, one with another parameter, and an ensemble of the three."""
    runs = {name: run_table(clips, name, seed) for seed, name in enumerate(("aux_0", "aux_1", "aux_deep"))}
    return runs | {"ensemble": combine(runs, [], held_out=False)[0]}


@pytest.fixture(scope="module")
def facts():
    return {
        "id-aux_0": RunFacts("demo", parameters={"seed": "0", "rho_f": "12"}),
        "id-aux_1": RunFacts("demo", parameters={"seed": "1", "rho_f": "12"}),
        "id-aux_deep": RunFacts("custom", parameters={"seed": "1", "rho_f": "24"}),
    }


def test_run_names_that_differ_in_the_seed_only_are_one_system(tables, facts):
    expected = {"aux_0": "aux", "aux_1": "aux", "aux_deep": "aux_deep", "ensemble": "ensemble"}
    assert systems(tables, facts) == expected


def test_a_sweep_is_not_called_like_a_run_with_other_parameters(tables, facts):
    renamed = {"aux_0": tables["aux_0"], "aux_1": tables["aux_1"], "aux": tables["aux_deep"]}
    assert systems(renamed, facts) == {"aux_0": "aux_0", "aux_1": "aux_0", "aux": "aux"}


def test_runs_of_unknown_parameters_stand_for_themselves(tables):
    assert systems(tables, {}) == {name: name for name in tables}


def test_seeds_may_cover_different_machine_types(tables, facts):
    fan = tables["aux_1"][tables["aux_1"]["machine_type"] == "fan"]
    assert systems(tables | {"aux_1": fan}, facts)["aux_1"] == "aux"


@pytest.fixture
def fine_tuned(clips):
    """Two seeds of a method that starts from another one, each from its own run; a third start is different."""
    parents = {
        "0" * 32: {"seed": "0", "lr": "1"},
        "1" * 32: {"seed": "1", "lr": "1"},
        "2" * 32: {"seed": "2", "lr": "9"},
    }
    names = [f"ccsa-seed{seed}" for seed in range(3)]
    tables = {name: run_table(clips, name, seed, method="ccsa") for seed, name in enumerate(names)}
    children = {f"id-{name}": {"seed": name[-1], "alpha": "2", "run_id": name[-1] * 32} for name in names}
    return tables, {run_id: RunFacts("demo", parameters=p) for run_id, p in (parents | children).items()}


def test_runs_that_start_from_different_runs_are_one_system_if_those_differ_in_the_seed_only(fine_tuned):
    tables, facts = fine_tuned
    assert systems(tables, facts) == {"ccsa-seed0": "ccsa", "ccsa-seed1": "ccsa", "ccsa-seed2": "ccsa-seed2"}


def test_runs_that_start_from_runs_that_nobody_knows_stand_for_themselves(fine_tuned):
    tables, facts = fine_tuned
    facts = {run_id: known for run_id, known in facts.items() if run_id.startswith("id-")}
    assert systems(tables, facts) == {name: name for name in tables}


def test_a_system_has_mean_and_spread_over_its_seeds(tables, facts):
    _, means, _ = measure(tables, 100, 0)
    board = leaderboard(tables, means, facts).set_index(["part", "system"])
    each = []
    for name in ("aux_0", "aux_1"):
        values = []
        test = tables[name][tables[name]["split"] == "test"]
        for _, cell in test[test["section"] <= 2].groupby(["machine_type", "section", "domain"]):
            label, score = cell["label"].astype(int), cell["score"]
            values += [roc_auc_score(label, score), roc_auc_score(label, score, max_fpr=0.1)]
        each.append(100 / np.mean(1 / np.maximum(values, np.finfo(float).eps)))
    row = board.loc[("dev", "aux")]
    assert row["official score"] == pytest.approx(np.mean(each))
    assert row["spread"] == pytest.approx(np.std(each, ddof=1))
    assert row["runs"] == 2 and row["machine types"] == 2
    assert np.isnan(board.loc[("dev", "ensemble"), "spread"])
    assert board.loc[("dev", "ensemble"), "settings"] == "mixed"


def test_the_heat_map_has_a_hole_where_scores_are_missing(tables, facts):
    fan = {"aux_deep": tables["aux_deep"][tables["aux_deep"]["machine_type"] == "fan"]}
    some = tables | fan
    _, means, _ = measure(some, 100, 0)
    values = by_machine_type(some, means, facts, "eval")
    assert values.loc["aux_deep"].isna().to_dict() == {"fan": False, "valve": True}
    assert missing(some) == ["aux_deep has no scores of valve"]


def board_of(settings: str, part: str, clips: int, machine_types: int = 7) -> pd.DataFrame:
    row = {"system": "ours", "part": part, "official score": 60.0, "spread": 0.5, "settings": settings}
    return pd.DataFrame([row | {"machine types": machine_types, "test clips": clips}])


@pytest.mark.parametrize("part", ["dev", "eval"])
def test_only_full_settings_on_the_challenges_data_stand_beside_published_results(part):
    whole = CHALLENGE_CLIPS[part]
    assert len(comparable(board_of("dcase2021", part, whole))) == 1
    assert set(published(board_of("dcase2021", part, whole))["whose"]) == {"ours", "published"}
    for other in (
        board_of("demo", part, whole),
        board_of("custom", part, whole),
        board_of("unknown", part, whole),
        board_of("mixed", part, whole),
        board_of("dcase2021", part, 1344),  # of the embedded data set
        board_of("dcase2021", part, whole, machine_types=6),
    ):
        assert comparable(other).empty
        assert set(published(other)["whose"]) == {"published"}


def test_comparable_systems_stand_beside_the_baseline_by_machine_type_and_no_others():
    values = pd.DataFrame(60.0, index=["ours", "demo"], columns=[*MACHINE_TYPES, "bldc"])
    beside = beside_baseline(board_of("dcase2021", "dev", CHALLENGE_CLIPS["dev"]), values)
    assert list(beside.index) == ["AE (published)", "ours"] and list(beside) == MACHINE_TYPES
    assert beside_baseline(board_of("demo", "dev", 1344), values).empty


def test_the_baseline_by_machine_type_is_close_to_its_official_score():
    anchor = ANCHORS.set_index(["system", "part"]).loc[("official AE baseline", "dev"), "official score"]
    values = pd.DataFrame(60.0, index=["ours"], columns=MACHINE_TYPES)
    row = beside_baseline(board_of("dcase2021", "dev", CHALLENGE_CLIPS["dev"]), values).loc["AE (published)"]
    assert 1 / np.mean(1 / row) == pytest.approx(anchor, abs=0.2)  # they are two trainings of the same baseline
