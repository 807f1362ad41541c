"""What results say, in sentences: which run is best, what is certain about it, and which one to submit.

Prose that depends on results is written from them, so that a notebook never contradicts its own output.
"""

from collections.abc import Iterator

import pandas as pd

from asd.evaluation.cells import ALL_MACHINES
from asd.evaluation.tables import BASELINE, ENSEMBLE, Tables

LEARNS_NOTHING = "which learns nothing"


def _official_scores(means: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """For each part the official scores of the runs in percent, the best first."""
    harmonic = means[means["mean"] == "harmonic mean"].dropna(subset="official_score")
    for part, rows in harmonic.groupby("part"):
        yield str(part), (100 * rows.set_index("run_name")["official_score"]).sort_values(ascending=False)


def ranking(means: pd.DataFrame) -> list[str]:
    """Which run is the best of one machine type, and where ensemble and baseline are; one sentence per part.

    Args:
        means: rows of :func:`asd.evaluation.results.measure` (means) of one machine type.
    """
    sentences = []
    for part, score in _official_scores(means):
        best, sentence = score.index[0], f"{part} sections: {score.index[0]} is best with {score.iloc[0]:.1f} %"
        if len(score) > 1 and ENSEMBLE in score.index:
            single = score.drop(ENSEMBLE)
            sentence += (
                f", ahead of the best single run, {single.index[0]} ({single.iloc[0]:.1f} %)"
                if best == ENSEMBLE
                else f"; the ensemble reaches {score[ENSEMBLE]:.1f} %"
            )
        if BASELINE in score.index[1:]:
            sentence += f"; {BASELINE}, {LEARNS_NOTHING}, {score[BASELINE]:.1f} %"
        elif best == BASELINE:
            sentence += f", though it is the one {LEARNS_NOTHING}"
        sentences.append(sentence)
    return sentences


def in_order(means: pd.DataFrame) -> list[str]:
    """The official scores of all runs, the best first; one line per part.

    >>> rows = {"part": "dev", "mean": "harmonic mean", "run_name": ["ae", "aux"], "official_score": [0.55, 0.65]}
    >>> in_order(pd.DataFrame(rows))
    ['dev sections: aux 65.0 %, ae 55.0 %']
    """
    return [
        f"{part} sections: {', '.join(f'{name} {value:.1f} %' for name, value in score.items())}"
        for part, score in _official_scores(means)
    ]


def differences_in_words(differences: pd.DataFrame) -> list[str]:
    """Which runs the best one is certainly better than, and which not; one sentence per part.

    Args:
        differences: rows of :func:`asd.evaluation.results.compare_with_best`.

    >>> rows = {"part": "dev", "best": "ccsa", "other": ["aux", "ae"], "difference": [0.01, 0.09]}
    >>> differences_in_words(pd.DataFrame(rows | {"low": [-0.02, 0.05], "high": [0.04, 0.13]}))
    ['dev sections: ccsa is better than ae; its lead over aux may be chance']
    """
    sentences = []
    for part, rows in differences.groupby("part"):
        better = rows.loc[rows["low"] > 0, "other"].tolist()
        unsure = rows.loc[rows["low"] <= 0, "other"].tolist()
        halves = [f"is better than {', '.join(better)}"] if better else []
        halves += [f"its lead over {', '.join(unsure)} may be chance"] if unsure else []
        sentence = f"{part} sections: {rows['best'].iloc[0]} {'; '.join(halves)}"
        sentences.append(sentence if better else sentence.replace(" its lead", " leads, but its lead", 1))
    return sentences


def to_submit(tables: Tables, means: pd.DataFrame, machine_type: str) -> tuple[str, str]:
    """Which run to submit where none is named, and why: the best one of the development sections.

    Their labels are known to a team before it submits. Chosen by these, a run's score of the evaluation sections is an
    honest estimate; had these taken part in the choice, it would be too good. Runs that cover the most machine types
    come first. The baseline is no candidate unless there is nothing else. Without labelled development sections it is
    the ensemble, if there is one, which does not depend on a single run.

    Args:
        tables: score tables by run name.
        means: their means, see :func:`asd.evaluation.results.measure`.
        machine_type: that the run must have scored.
    """
    scored = {name: set(table["machine_type"]) for name, table in tables.items()}
    candidates = [name for name in tables if machine_type in scored[name]]
    candidates = [name for name in candidates if tables[name]["method"].iloc[0] != BASELINE] or candidates
    widest = max(len(scored[name]) for name in candidates)
    candidates = [name for name in candidates if len(scored[name]) == widest]
    if len(candidates) == 1:
        return candidates[0], "there is no other run of as many machine types"
    overall = dict(_official_scores(means[means["machine_type"] == ALL_MACHINES]))
    if "dev" in overall and len(score := overall["dev"][overall["dev"].index.isin(candidates)]):
        return score.index[0], f"the best run on the development sections ({score.iloc[0]:.1f} %)"
    chosen = ENSEMBLE if ENSEMBLE in candidates else candidates[0]
    return chosen, "without labels of development sections there is nothing to choose by"
