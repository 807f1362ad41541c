"""Fusion of methods that hear different things: their scores in units of what normal clips get, then mean or minimum.

Like :func:`asd.evaluation.ensembles.ensemble`, except for the units, which are made for few held-out clips: a section
with two of them has a mean, but hardly a spread, so the spread is that of all sections of the machine type. The minimum
calls a clip anomalous only if all methods do, the mean if they do together.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from asd.errors import InputError
from asd.evaluation.decisions import reference_scores
from asd.evaluation.ensembles import CLIP

RULES: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "min": np.min}


def self_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Replace each score by (s − μ) / σ: μ of its section's held-out clips, σ of their deviations in all sections.

    σ² is the sum of squared deviations from the sections' means over the number of clips minus that of sections, of one
    machine type. Where nothing was held out, all train clips take their place.

    Args:
        table: score table of one run, train clips included.

    Raises:
        InputError: a section without train clips, or a machine type whose reference scores do not differ.

    >>> clips = {"machine_type": "fan", "split": ["train"] * 4 + ["test"], "held_out": [True] * 4 + [False]}
    >>> table = pd.DataFrame(clips | {"section": [0, 0, 1, 1, 1], "score": [1.0, 3.0, 10.0, 12.0, 11.0]})
    >>> self_scores(table)["score"].round(4).tolist()
    [-0.7071, 0.7071, -0.7071, 0.7071, 0.0]
    """
    score = table["score"].to_numpy(dtype=float, copy=True)
    for machine_type, own in table.groupby("machine_type").indices.items():
        squares, freedom = 0.0, 0
        for rows in table.iloc[own].groupby("section").indices.values():
            reference, _ = reference_scores(table.iloc[own[rows]], held_out=True)
            score[own[rows]] -= reference.mean()
            squares += float(((reference - reference.mean()) ** 2).sum())
            freedom += len(reference) - 1
        if not squares > 0:
            run = table["run_name"].iloc[0] if "run_name" in table else "a run"
            raise InputError(
                f"score table of {run}: the held-out scores of {machine_type} do not differ within its sections; two"
                " different ones are needed for a scale"
            )
        score[own] /= np.sqrt(squares / freedom)
    return table.assign(score=score)


def fused(tables: Sequence[pd.DataFrame], rule: str = "mean", run_name: str = "fusion") -> pd.DataFrame:
    """One score table from several: mean or minimum over methods of the scores of :func:`self_scores`.

    Args:
        tables: score tables, one per run, all of the same clips.
        rule: ``mean`` or ``min``.
        run_name: name of the result.

    Returns:
        A score table like any other, ``method`` "fusion"; ``run_id`` joins those of all its runs by ``+``; a train clip
        counts as held out if no run was trained on it.

    Raises:
        InputError: fewer than one table, tables of different clips, an unknown rule; see also :func:`self_scores`.
    """
    if rule not in RULES or not tables:
        raise InputError(f"fusion: rule {rule!r} of {len(tables)} tables; allowed: {' or '.join(RULES)}, of 1 or more")
    scaled = [self_scores(table.reset_index(drop=True)).set_index(CLIP).sort_index() for table in tables]
    first = scaled[0]
    for table in scaled[1:]:
        if not table.index.equals(first.index):
            names = [str(other["run_name"].iloc[0]) for other in scaled]
            raise InputError(f"fusion: the runs {names} have not scored the same clips")
    return first.assign(
        score=RULES[rule]([table["score"] for table in scaled], axis=0),
        held_out=np.all([table["held_out"] for table in scaled], axis=0),
        run_id="+".join(str(table["run_id"].iloc[0]) for table in scaled),
        method="fusion",
        run_name=run_name,
        seed=pd.array([pd.NA] * len(first), dtype="Int64"),
    ).reset_index()[list(tables[0].columns)]
