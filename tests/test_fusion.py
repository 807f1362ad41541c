"""Fusion of score tables: the definition as a plain loop, and what it refuses."""

import numpy as np
import pandas as pd
import pytest

from asd.errors import InputError
from asd.evaluation.fusion import fused, self_scores
from asd.evaluation.score_table import COLUMNS


def table(seed: int, scale: float = 1.0) -> pd.DataFrame:
    random, rows = np.random.default_rng(seed), []
    for section in (0, 1):
        for i in range(12):
            split = "train" if i < 8 else "test"
            label, held_out = int(i > 9), i in (1, 4, 6) if section else i in (2, 3)
            score = scale * (random.normal() + 5 * section + label)
            rows.append(["fan", section, "source", split, label, f"{section}-{i}.wav", score])
            rows[-1] += [f"method {seed}", f"run {seed}", f"id{seed}", 0, held_out]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize("rule", ["mean", "min"])
def test_fusion_is_the_mean_or_minimum_of_scores_in_units_of_held_out_clips(rule: str):
    tables = [table(0), table(1, scale=100.0)]
    expected = {}
    for one in tables:
        held, deviations = one[one["held_out"]], []
        for _, clips in held.groupby("section"):
            deviations += list(clips["score"] - clips["score"].mean())
        sigma = np.sqrt(np.sum(np.square(deviations)) / (len(deviations) - 2))
        for row in one.itertuples():
            mu = held.loc[held["section"] == row.section, "score"].mean()
            expected.setdefault(row.clip, []).append((row.score - mu) / sigma)
    reduce = {"mean": np.mean, "min": np.min}[rule]
    found = fused(tables, rule)
    assert list(found.columns) == COLUMNS
    assert set(found["method"]) == {"fusion"} and set(found["run_id"]) == {"id0+id1"}
    for row in found.itertuples():
        assert row.score == pytest.approx(reduce(expected[row.clip]))


def test_the_unit_of_a_method_does_not_matter():
    units = [fused([table(0), table(1, scale=s)])["score"].to_numpy() for s in (1.0, 1000.0)]
    np.testing.assert_allclose(*units)


def test_without_held_out_clips_all_train_clips_count():
    scores = self_scores(table(0).assign(held_out=False))
    train = scores[scores["split"] == "train"]
    assert train.groupby("section")["score"].mean().abs().max() < 1e-9


def test_what_cannot_be_fused_is_named():
    with pytest.raises(InputError, match=r"rule 'max' .*allowed: mean or min"):
        fused([table(0)], "max")
    with pytest.raises(InputError, match="of 0 tables"):
        fused([])
    with pytest.raises(InputError, match=r"runs \['run 0', 'run 1'\] have not scored the same clips"):
        fused([table(0), table(1).iloc[1:]])
    with pytest.raises(InputError, match="run 0: the held-out scores of fan do not differ"):
        fused([table(0).assign(score=1.0)])
