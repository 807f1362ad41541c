"""Scores made comparable: across methods, to combine them, and across domains, to judge both by one threshold.

* ``z_scores`` and ``ensemble``: each run's scores in units of its own train scores, then the mean over runs, as in the
  CP-JKU submission to DCASE 2021 Task 2, or their minimum. Scores of source and target clips may come from different
  runs.
* ``by_domain``: the same per domain. Target clips score higher, normal or not, because the model knows them less; the
  few target train clips tell how much higher.
* ``by_neighbours``: relative to the nearest train clips in some embedding instead of those of the domain, so that no
  domain labels are needed. It is the idea of local density-based normalisation (Wilkinghoff et al., "Local
  density-based anomaly score normalization for domain generalization", IEEE TASLP 33, 2025), which divides a clip's
  distance to its nearest reference by that reference's own distance to its neighbours; here any score takes the place
  of the distance.

All are pure functions of score tables. They depend on the scores of train clips only, never on test clips or labels.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from asd.errors import InputError
from asd.evaluation.decisions import reference_scores

SECTION = ["machine_type", "section"]
CLIP = ["machine_type", "clip"]
RULES: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "min": np.min}  # how an ensemble combines z-scores


def units(clips: pd.DataFrame, held_out: bool) -> tuple[dict[int, float], float]:
    """Mean train score of each section, and the standard deviation about these means in all sections together.

    A section with two held-out clips has a mean, but hardly a deviation; hence σ² is the sum of all squared deviations
    from the sections' means, divided by the number of clips minus that of sections.

    Args:
        clips: score table of one run and one machine type, train clips included.
        held_out: take held-out train clips, where a section has any; else, and where held-out scores do not differ, all
            train clips.

    Raises:
        InputError: a section has no train clips, or the train scores do not differ within the sections.
    """
    for kept in (True, False) if held_out else (False,):
        means, squares, freedom, largest = {}, 0.0, 0, 0.0
        for section, rows in clips.groupby("section"):
            scores, _ = reference_scores(rows, kept)
            means[int(section)] = float(scores.mean())
            squares += float(((scores - scores.mean()) ** 2).sum())
            freedom += len(scores) - 1
            largest = max(largest, float(np.abs(scores).max()))
        deviation = float(np.sqrt(squares / max(freedom, 1)))
        if deviation > 1e-12 * largest:
            return means, deviation
    row = clips.iloc[0]
    raise InputError(
        f"score table of {row.get('run_name', 'a run')}: the train scores of {row['machine_type']} do not differ within"
        f" its sections; at least two different ones are needed for a scale"
    )


def z_scores(table: pd.DataFrame, held_out: bool = True) -> pd.DataFrame:
    """Replace each score by ``(score − mean) / deviation`` of the train scores of its machine type and section.

    Args:
        table: score table of one run, train clips included.
        held_out: see :func:`units`, also for the deviation, which is common to the sections of a machine type.

    Raises:
        InputError: names the section that has no train clips, or the machine type whose train scores are all equal.

    >>> clips = {"machine_type": "fan", "split": ["train"] * 4 + ["test"], "held_out": True}
    >>> table = pd.DataFrame(clips | {"section": [0, 0, 1, 1, 1], "score": [1.0, 3.0, 10.0, 12.0, 11.0]})
    >>> z_scores(table)["score"].round(4).tolist()
    [-0.7071, 0.7071, -0.7071, 0.7071, 0.0]
    """
    score = table["score"].to_numpy(dtype=float, copy=True)
    for rows in table.groupby("machine_type").indices.values():
        clips = table.iloc[rows]
        means, deviation = units(clips, held_out)
        score[rows] = (score[rows] - clips["section"].map(means).to_numpy()) / deviation
    return table.assign(score=score)


def ensemble(
    runs: Sequence[pd.DataFrame] | Mapping[str, Sequence[pd.DataFrame]],
    held_out: bool = True,
    rule: str = "mean",
    run_name: str = "ensemble",
) -> pd.DataFrame:
    """Mean or minimum of the z-scores of several runs.

    The minimum calls a clip anomalous only if all runs do, the mean if they do together.

    Args:
        runs: score tables, one per run, all of the same clips; or one such list per domain, ``{"source": […],
            "target": […]}``, for instance the pre-trained classifier for source and the fine-tuned one for target.
        held_out: see :func:`z_scores`.
        rule: one of ``RULES``.
        run_name: name of the result.

    Returns:
        A score table like any other, ``method`` "ensemble"; ``run_id`` joins those of all its runs by ``+``; a train
        clip counts as held out if no run was trained on it.

    Raises:
        InputError: no runs, an unknown rule, runs of different clips, a clip of a domain without runs; see also
            :func:`z_scores`.

    >>> clips = {"machine_type": "fan", "section": 0, "domain": "source", "split": ["train", "train", "test"]}
    >>> clips |= {"clip": ["a.wav", "b.wav", "c.wav"], "held_out": False}
    >>> aux = pd.DataFrame(clips | {"score": [0.0, 2.0, 4.0], "run_name": "aux", "run_id": "1"})
    >>> maf = pd.DataFrame(clips | {"score": [-500.0, 500.0, 500.0], "run_name": "maf", "run_id": "2"})
    >>> ensemble([aux, maf]).round(2)[["clip", "score", "run_id"]]
        clip  score run_id
    0  a.wav  -0.71    1+2
    1  b.wav   0.71    1+2
    2  c.wav   1.41    1+2
    >>> ensemble([aux, maf], rule="min")["score"].round(2).tolist()
    [-0.71, 0.71, 0.71]
    """
    if rule not in RULES:
        raise InputError(f"ensemble: rule {rule!r}; allowed: {' or '.join(RULES)}")
    if isinstance(runs, Mapping):
        parts = []
        for domain, tables in runs.items():
            whole = _combined(tables, held_out, rule)
            parts.append(whole[whole["domain"] == domain])
            other = set(whole["domain"].astype(object).fillna("")) - set(runs)
            if other:
                raise InputError(f"ensemble: clips of domain {sorted(other)[0]!r}, but runs for {sorted(runs)} only")
        combined = pd.concat(parts)
    else:
        combined = _combined(runs, held_out, rule)
    return combined.assign(method="ensemble", run_name=run_name).sort_values(CLIP, ignore_index=True)


def _combined(tables: Sequence[pd.DataFrame], held_out: bool, rule: str) -> pd.DataFrame:
    if not tables:
        raise InputError("ensemble: no runs given; give one score table or more")
    scaled = [z_scores(table.reset_index(drop=True), held_out).set_index(CLIP) for table in tables]
    first = scaled[0]
    for table in scaled:
        missing = first.index.symmetric_difference(table.index)
        if len(missing) or table.index.has_duplicates:
            clip = missing[0] if len(missing) else table.index[table.index.duplicated()][0]
            raise InputError(
                f"ensemble: {clip[1]} ({clip[0]}) is not listed exactly once in each run; {len(missing)} are missing"
                f" from some of the runs {[str(other['run_name'].iloc[0]) for other in scaled]}"
            )
    aligned = [table.loc[first.index] for table in scaled]
    return first.assign(
        score=RULES[rule]([table["score"] for table in aligned], axis=0),
        held_out=np.all([table["held_out"] for table in aligned], axis=0),
        run_id="+".join(str(table["run_id"].iloc[0]) for table in aligned),
        seed=pd.array([pd.NA] * len(first), dtype="Int64"),
    ).reset_index()


def by_domain(table: pd.DataFrame, held_out: bool = True) -> pd.DataFrame:
    """Replace each score by ``(score − mean of its domain's train scores) / deviation``, see :func:`units`.

    A section has three target train clips: enough for a mean, not for a deviation. Clips of a domain without train
    clips, or of unknown domain, take the section's mean.

    Args:
        table: score table of one run, train clips included.
        held_out: see :func:`z_scores`; target clips are never held out, so all of them are used.

    Raises:
        InputError: see :func:`z_scores`.
    """
    score = table["score"].to_numpy(dtype=float, copy=True)
    domain = table["domain"].astype(object).fillna("").to_numpy()
    for own in table.groupby("machine_type").indices.values():
        means, deviation = units(table.iloc[own], held_out)
        for section, positions in table.iloc[own].groupby("section").indices.items():
            rows = own[positions]
            clips = table.iloc[rows]
            mean = np.full(len(rows), means[int(section)])
            for name in ("source", "target"):
                here = domain[rows] == name
                if (clips["split"][here] == "train").any():
                    mean[here] = reference_scores(clips[here], held_out)[0].mean()
            score[rows] = (score[rows] - mean) / deviation
    return table.assign(score=score)


def by_neighbours(table: pd.DataFrame, embedding: ArrayLike, k: int = 3, *, divide: bool = False) -> pd.DataFrame:
    """Replace each score by its difference from the mean score of the ``k`` nearest train clips of its section.

    A train clip is not its own neighbour. There are three neighbours by default, as there are three target train clips.

    Args:
        table: score table of one run, train clips included, N rows.
        embedding: (N, E), one point per row of the table; nearest by Euclidean distance (normalise the points to
            length 1 for the order of the cosine distance).
        k: number of neighbours; fewer where a section has fewer.
        divide: ``score / level`` instead of ``score − level``: for scores that are positive distances, as in the paper.
            Log odds and log densities are logarithms already, of which a difference is taken.

    Raises:
        InputError: shapes that do not fit, non-finite embeddings, k < 1, a section with fewer than 2 train clips, or,
            with ``divide``, a level that is not positive.

    >>> clips = {"machine_type": "fan", "section": 0, "split": ["train", "train", "test"]}
    >>> table = pd.DataFrame(clips | {"score": [1.0, 2.0, 5.0]})
    >>> by_neighbours(table, np.array([[0.0], [1.0], [9.0]]), k=1)["score"].tolist()
    [-1.0, 1.0, 3.0]
    """
    embedding = np.asarray(embedding, dtype=float)
    if embedding.ndim != 2 or len(embedding) != len(table) or not np.isfinite(embedding).all():
        raise InputError(f"embedding: shape {embedding.shape}; allowed: ({len(table)}, E), one finite row per score")
    if k < 1:
        raise InputError(f"k: {k} neighbours; allowed: 1 or more")
    scores, train = table["score"].to_numpy(dtype=float), (table["split"] == "train").to_numpy()
    result = np.empty(len(table))
    for (machine_type, section), rows in table.groupby(SECTION).indices.items():
        known = rows[train[rows]]
        if len(known) < 2:
            raise InputError(
                f"by_neighbours: {machine_type} section {section:02d} has {len(known)} train clips; 2 or more"
            )
        distance = cdist(embedding[rows], embedding[known])
        distance[rows[:, None] == known] = np.inf
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : min(k, len(known) - 1)]
        level = scores[known][nearest].mean(axis=1)
        if divide and not (level > 0).all():
            raise InputError(
                f"by_neighbours: {machine_type} section {section:02d} has train scores that are not positive; "
                "dividing is for distances, subtract from log odds and log densities"
            )
        result[rows] = scores[rows] / level if divide else scores[rows] - level
    return table.assign(score=result)
