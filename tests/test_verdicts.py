"""Sentences are written from results, and the run to submit is chosen without a look at the evaluation sections."""

import pandas as pd
import pytest

from asd.evaluation.cells import ALL_MACHINES
from asd.evaluation.verdicts import differences_in_words, ranking, to_submit


def means(part: str = "dev", machine_type: str = ALL_MACHINES, **scores: float) -> pd.DataFrame:
    rows = {"part": part, "machine_type": machine_type, "mean": "harmonic mean", "run_name": list(scores)}
    return pd.DataFrame(rows | {"official_score": list(scores.values())})


def tables(**machine_types: list[str]) -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame({"machine_type": types, "method": name}) for name, types in machine_types.items()}


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"ae": 0.8, "ensemble": 0.7}, "ae is best with 80.0 %; the ensemble reaches 70.0 %"),
        ({"ae": 0.8, "ensemble": 0.9}, "ensemble is best with 90.0 %, ahead of the best single run, ae (80.0 %)"),
        ({"ae": 0.8, "aux": 0.9}, "aux is best with 90.0 %"),
        ({"ae": 0.8, "mahalanobis": 0.6}, "ae is best with 80.0 %; mahalanobis, which learns nothing, 60.0 %"),
        ({"ae": 0.5, "mahalanobis": 0.6}, "mahalanobis is best with 60.0 %, though it is the one which learns nothing"),
    ],
)
def test_the_ranking_says_where_ensemble_and_baseline_are(scores, said):
    assert ranking(means(**scores)) == [f"dev sections: {said}"]


def test_without_a_score_there_is_no_ranking():
    assert ranking(means(ae=float("nan"))) == []


def test_a_lead_that_may_be_chance_is_called_so():
    rows = pd.DataFrame({"part": "eval", "best": "aux", "other": ["ae", "maf"], "low": [-0.1, -0.2]})
    assert differences_in_words(rows) == ["eval sections: aux leads, but its lead over ae, maf may be chance"]


BOTH = ["fan", "valve"]


def test_the_best_run_of_the_development_sections_is_submitted_whatever_the_evaluation_sections_say():
    scores = pd.concat([means(aux=0.7, ensemble=0.6), means("eval", aux=0.5, ensemble=0.9)])
    name, why = to_submit(tables(aux=BOTH, ensemble=BOTH), scores, "fan")
    assert (name, why) == ("aux", "the best run on the development sections (70.0 %)")


def test_a_run_of_more_machine_types_is_submitted_before_a_better_one_of_fewer():
    scores = means(aux=0.9, ccsa=0.6, ae=0.7)
    assert to_submit(tables(aux=["fan"], ccsa=BOTH, ae=BOTH), scores, "fan")[0] == "ae"
    assert to_submit(tables(aux=["fan"], ccsa=BOTH, ae=["valve"]), scores, "fan")[0] == "ccsa"
    assert to_submit(tables(aux=["valve"], ccsa=["fan"]), scores, "fan")[0] == "ccsa"  # the other has no scores of fan


def test_the_baseline_is_submitted_only_if_there_is_nothing_else():
    scores = means(aux=0.6, mahalanobis=0.8)
    assert to_submit(tables(mahalanobis=BOTH, aux=BOTH), scores, "fan")[0] == "aux"
    assert to_submit(tables(mahalanobis=BOTH), scores, "fan")[0] == "mahalanobis"


def test_without_labelled_development_sections_the_ensemble_is_submitted():
    name, why = to_submit(tables(aux=BOTH, ensemble=BOTH), means("eval", aux=0.9, ensemble=0.5), "fan")
    assert name == "ensemble" and "nothing to choose by" in why
