"""The course's results so far: which runs they list, and that the baseline takes part in everything but ensembles."""

from pathlib import Path

import pandas as pd
import pytest
from score_tables import run_table, write_scores

from asd.errors import InputError
from asd.evaluation.cells import evaluate_scores
from asd.evaluation.tables import BASELINE, combine, read_scores
from asd.report.so_far import results_so_far


def clips(n: int = 8, sections: tuple[int, ...] = (0, 4)) -> pd.DataFrame:
    """As many train, normal and anomalous clips in every section and domain."""
    rows = [
        {"machine_type": "fan", "section": section, "domain": domain, "split": split, "label": label}
        for section in sections
        for domain in ("source", "target")
        for split, label in [("train", 0)] * n + [("test", 0)] * n + [("test", 1)] * n
    ]
    return pd.DataFrame(rows).assign(path=[f"{i}.wav" for i in range(len(rows))])


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """An output root with scores of a baseline and of four runs."""
    runs = {"maf": "maf", "aux_wide": "aux", "aux": "aux", BASELINE: BASELINE, "theirs": "another toolkit's"}
    for seed, (name, method) in enumerate(runs.items()):
        write_scores(run_table(clips(), name, seed, method=method), tmp_path)
    return tmp_path


def test_there_is_one_row_per_run_in_the_order_of_the_course(outputs):
    assert list(results_so_far(outputs, "fan").index) == [BASELINE, "aux", "aux_wide", "maf", "theirs"]


def test_a_mean_is_that_over_the_sections_and_lies_in_its_interval(outputs):
    value, interval = results_so_far(outputs, "fan").loc["aux", ("eval", "AUC target")].split(" ")
    cells = evaluate_scores(read_scores(outputs, "fan")["aux"])
    cells = cells[(cells["domain"] == "target") & (cells["part"] == "eval")]
    assert float(value) == pytest.approx(100 * cells["auc"].mean(), abs=0.051)
    low, high = map(float, interval.strip("()").split("–"))
    assert low < float(value) < high


def test_without_labels_nothing_is_claimed(outputs):
    unlabelled = run_table(clips(sections=(0,)), "blind").assign(label=pd.NA)
    write_scores(unlabelled, outputs)
    assert set(results_so_far(outputs, "fan").loc["blind"]) == {"–"}


def test_a_machine_type_without_scores_is_named(tmp_path):
    with pytest.raises(InputError, match="no score tables of 'fan'"):
        results_so_far(tmp_path, "fan")


def test_an_ensemble_has_no_untrained_member_unless_it_is_named(outputs):
    tables = read_scores(outputs, "fan")
    assert BASELINE not in combine(tables, [], False)[0]["run_id"].iloc[0]
    assert BASELINE in combine(tables, ["aux", BASELINE], False)[0]["run_id"].iloc[0]
    baseline_and_a_run = {name: tables[name] for name in ("aux", BASELINE)}
    together, (note,) = combine(baseline_and_a_run, [], False)
    assert together is None
    assert "there is 1" in note
