"""The metrics of a score table: for every cell, and the challenge's means over them.

A *cell* is one machine type, section and domain: the unit for which the challenge computes metrics. The domain
``mixed`` holds the clips of both domains, as they come to a user with a single threshold; it is part of no mean but its
own, and never of the official score. *dev* and *eval* sections (``part``) are never averaged together.
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from asd.errors import InputError
from asd.evaluation.metrics import (
    _areas,
    arithmetic_mean,
    harmonic_mean,
    precision_recall_f1,
)

MIXED = "mixed"
ALL_MACHINES = "all machine types"
CELL = ["machine_type", "section", "domain", "part"]
METRICS = ["auc", "pauc", "precision", "recall", "f1"]


def part_of(clip: pd.Series, section: pd.Series) -> pd.Series:
    """The part of each clip: the folder ``dev_data`` or ``eval_data`` in its path, otherwise dev for sections 0 to 2.

    >>> part_of(pd.Series(["eval_data/fan/test/a.wav", "b.wav", "c.wav"]), pd.Series([0, 2, 3])).tolist()
    ['eval', 'dev', 'eval']
    """
    by_section = pd.Series(np.where(section <= 2, "dev", "eval"), index=section.index)
    return clip.str.extract(r"(?:^|/)(dev|eval)_data/", expand=False).fillna(by_section)


def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """Check a score table of one run (of any machine types) and return its test clips in a fixed order.

    Returns:
        The test clips, sorted by machine type, section, domain and clip, with the column ``part`` (see ``part_of``).

    Raises:
        InputError: a column is missing, a score of a train or test clip is not finite, a split, domain or label is not
            allowed, or a clip is listed twice.
    """
    missing = {"machine_type", "section", "domain", "split", "label", "clip", "score"} - set(table.columns)
    if missing:
        raise InputError(f"score table: columns {sorted(missing)} are missing; found {list(table.columns)}")
    invalid = table[~np.isfinite(table["score"].to_numpy(dtype=float))]
    if not invalid.empty:
        row = invalid.iloc[0]
        raise InputError(
            f"score table: {len(invalid)} scores are not finite, the first is {row['score']} of {row['clip']}"
        )
    duplicates = table[table.duplicated(["machine_type", "clip"])]
    if not duplicates.empty:
        raise InputError(
            f"score table: {duplicates.iloc[0]['clip']} is listed twice; give the table of one run at a time"
        )
    domain = table["domain"].astype(object).fillna("").astype(str)
    label = pd.to_numeric(table["label"]).astype("Int64")
    for name, mask, allowed in (
        ("split", ~table["split"].isin(["train", "test"]), "train or test"),
        ("domain", ~domain.isin(["source", "target", ""]), "source, target or empty"),
        ("label", label.notna() & ~label.isin([0, 1]), "0, 1 or empty"),
    ):
        if mask.any():
            row = table[mask.to_numpy(dtype=bool)].iloc[0]
            raise InputError(f"score table: {name} {str(row[name])!r} of {row['clip']}; allowed: {allowed}")
    checked = table.assign(domain=domain, label=label, part=part_of(table["clip"], table["section"]))
    return checked[checked["split"] == "test"].sort_values(["machine_type", "section", "domain", "clip"])


def cells(test: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Yield every cell of the checked test clips and its labelled clips; the last of each section is ``mixed``."""
    for (machine_type, part, section), clips in test.groupby(["machine_type", "part", "section"]):
        for domain in [name for name in ("source", "target") if name in set(clips["domain"])] + [MIXED]:
            chosen = clips if domain == MIXED else clips[clips["domain"] == domain]
            key = {"machine_type": machine_type, "section": section, "domain": domain, "part": part}
            yield key, chosen[chosen["label"].notna()]


def evaluate_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Metrics of every cell of a score table (one run, any machine types; see ``check_table`` for errors).

    Args:
        table: the score table; precision, recall and F1 need a column ``decision`` (0 or 1 for test clips).

    Returns:
        machine_type, section, domain (source, target, mixed), part (dev, eval), auc, pauc, precision, recall, f1,
        n_normal, n_anomalous. Metrics are NaN where a class has no labelled test clips; a warning names such cells,
        except those without any label.
    """
    rows, undefined = [], []
    for key, clips in cells(check_table(table)):
        label, score = clips["label"].to_numpy(dtype=int), clips["score"].to_numpy(dtype=float)
        n_anomalous = int(label.sum())
        row = {
            **key,
            **dict.fromkeys(METRICS, np.nan),
            "n_normal": label.size - n_anomalous,
            "n_anomalous": n_anomalous,
        }
        if row["n_normal"] and n_anomalous:
            row["auc"], row["pauc"] = _areas(label, score)
            if "decision" in clips:
                row["precision"], row["recall"], row["f1"] = precision_recall_f1(label, clips["decision"])
        elif label.size:
            lacking = "normal" if n_anomalous else "anomalous"
            undefined.append(
                f"{key['machine_type']} section {key['section']:02d} {key['domain']}: no {lacking} test clips"
            )
        rows.append(row)
    if undefined:
        warnings.warn("AUC and pAUC are undefined (NaN): " + "; ".join(undefined), stacklevel=2)
    return pd.DataFrame(rows, columns=[*CELL, *METRICS, "n_normal", "n_anomalous"])


MEANS: dict[str, tuple[Callable[..., np.ndarray], tuple[str, ...]]] = {
    "arithmetic mean": (arithmetic_mean, ("source", "target")),
    "harmonic mean": (harmonic_mean, ("source", "target")),
    "source harmonic mean": (harmonic_mean, ("source",)),
    "target harmonic mean": (harmonic_mean, ("target",)),
    "mixed harmonic mean": (harmonic_mean, (MIXED,)),
}


def mean_groups(results: pd.DataFrame) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Yield every reported mean and the mask of its cells: per machine type and over all, dev and eval separately.

    Means without cells are left out, except the harmonic mean, whose official score is then undefined.
    """
    for part in results["part"].unique():
        for machine_type in [*results["machine_type"].unique(), ALL_MACHINES]:
            in_group = (results["part"] == part) & (
                (results["machine_type"] == machine_type) | (machine_type == ALL_MACHINES)
            )
            for name, (_, domains) in MEANS.items():
                mask = (in_group & results["domain"].isin(domains)).to_numpy()
                if mask.any() or (name == "harmonic mean" and in_group.any()):
                    yield {"machine_type": machine_type, "part": part, "mean": name}, mask


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """The challenge's means over the cells of ``evaluate_scores``, per machine type and over all.

    Returns:
        machine_type (or "all machine types"), part, mean (its name), auc, pauc, precision, recall, f1, official_score,
        n_cells, n_undefined. ``official_score`` is the mean of all AUC and pAUC values together; the challenge's own is
        the harmonic mean over all machine types. Undefined cells are left out and counted in ``n_undefined``.
    """
    rows = []
    for key, mask in mean_groups(results):
        mean, chosen = MEANS[key["mean"]][0], results[mask]
        defined = chosen[chosen["auc"].notna()]
        values = {name: float(mean(defined[name])) for name in METRICS}
        values["official_score"] = float(mean(np.concatenate([defined["auc"], defined["pauc"]])))
        rows.append({**key, **values, "n_cells": len(defined), "n_undefined": len(chosen) - len(defined)})
    columns = ["machine_type", "part", "mean", *METRICS, "official_score", "n_cells", "n_undefined"]
    return pd.DataFrame(rows, columns=columns)
