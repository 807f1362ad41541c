"""The challenge's official evaluation of any team's submission folder (DCASE 2021 Task 2).

A team submits ``anomaly_score_…_test.csv`` and ``decision_result_…_test.csv`` for each machine type, section and domain
of the evaluation set (see :mod:`asd.data.ground_truth`). The result is a single CSV file in the official evaluator's
layout: a block per machine type, one with the means over all of them, and the official score last. The evaluation is
strict: each clip of the ground truth must have exactly one score and one decision, and there must be nothing else.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from asd.data.ground_truth import FileKey, parse_file_name, read_clip_values, read_ground_truth
from asd.errors import InputError
from asd.evaluation.cells import MEANS, METRICS, MIXED, evaluate_scores
from asd.evaluation.metrics import official_score
from asd.files import replacing

HEADER = ["AUC", "pAUC", "precision", "recall", "F1 score"]
OVERALL = " over all machine types, sections, and domains"


def evaluate_team(team_dir: Path | str, ground_truth_dir: Path | str, out_file: Path | str) -> float:
    """Evaluate a submission, write the official evaluator's CSV file, and return the official score (0 to 1).

    Raises:
        InputError: see :func:`team_results`; nothing is written.
    """
    results = team_results(team_dir, ground_truth_dir)
    write_results(results, out_file)
    return _score(results)


def team_results(team_dir: Path | str, ground_truth_dir: Path | str) -> pd.DataFrame:
    """Metrics of a submission, one row per machine type, section and domain of the ground truth.

    Returns:
        Columns machine_type, section, domain, auc, pauc, precision, recall, f1, n_normal and n_anomalous, sorted as in
        the official result: by machine type, domain, section. Cells with only one class are NaN, with a warning.

    Raises:
        InputError: names the file and row: a file is missing or has no ground truth; a clip of the ground truth is
            missing; a row is not a clip of the ground truth or is listed twice; a value is not a number; a decision is
            not 0 or 1.
    """
    team_dir = Path(team_dir)
    if not team_dir.is_dir():
        raise InputError(f"{team_dir}: no such folder; expected a team's anomaly_score_*.csv and decision_result_*.csv")
    truth = read_ground_truth(ground_truth_dir)
    if truth.empty:
        raise InputError(f"{ground_truth_dir}: no ground_truth_*.csv; there is nothing to evaluate against")
    cells = {key: rows for key, rows in truth.groupby(["machine_type", "section", "domain"])}
    if any(domain == "" for _, _, domain in cells):
        raise InputError(
            f"{ground_truth_dir}: a ground truth file names no domain; the 2021 layout has source and target"
        )
    _check_files(team_dir, ground_truth_dir, set(cells))
    tables = []
    for key, rows in cells.items():
        clips = rows["clip"].to_numpy()
        score, decision = (
            _read(team_dir / FileKey(kind, *key).file_name, clips) for kind in ("anomaly_score", "decision_result")
        )
        tables.append(rows.assign(score=score, decision=decision.astype(int), split="test"))
    table = pd.concat(tables, ignore_index=True)
    results = evaluate_scores(table)
    results = results[results["domain"] != MIXED].drop(columns="part")
    return results.sort_values(["machine_type", "domain", "section"], ignore_index=True)


def _check_files(team_dir: Path, ground_truth_dir: Path | str, cells: set[tuple[str, int, str]]) -> None:
    """Check that the files of all cells exist, and no others of their kind: a misspelt name appears as one of each."""
    expected = {FileKey(kind, *cell).file_name for cell in cells for kind in ("anomaly_score", "decision_result")}
    found = {path.name for path in team_dir.iterdir()}
    surplus = sorted(name for name in found - expected if name.startswith(("anomaly_score_", "decision_result_")))
    if surplus:
        key = parse_file_name(surplus[0])
        allowed = f"a file name like {min(expected)}" if key is None else f"the files of {ground_truth_dir}"
        raise InputError(
            f"{team_dir / surplus[0]}: there is no ground truth for this file ({len(surplus)} such); allowed: {allowed}"
        )
    missing = sorted(expected - found)
    if missing:
        raise InputError(f"{team_dir / missing[0]}: is missing, and {len(missing) - 1} more of {len(expected)} files")


def _read(path: Path, clips: np.ndarray) -> np.ndarray:
    """The values in ``path``, (N,), in the order of ``clips``, (N,)."""
    rows = read_clip_values(path, binary=path.name.startswith("decision_result_")).set_index("clip")
    surplus = rows[~rows.index.isin(clips)]
    if not surplus.empty:
        raise InputError(
            f"{path}, line {surplus['line'].iloc[0]}: {surplus.index[0]} is not a clip of the ground truth"
        )
    missing = [clip for clip in clips if clip not in rows.index]
    if missing:
        raise InputError(f"{path}: the row of {missing[0]} is missing ({len(missing)} of {len(clips)} clips)")
    return rows.loc[clips, "value"].to_numpy()


def _score(results: pd.DataFrame) -> float:
    defined = results.dropna(subset="auc")
    return official_score(defined["auc"], defined["pauc"])


def write_results(results: pd.DataFrame, out_file: Path | str) -> None:
    """Write the output of :func:`team_results` as the official evaluator does: same blocks, labels and order."""
    lines: list[list[str]] = []
    for machine_type, rows in results.groupby("machine_type"):
        lines += [[machine_type], ["section", "domain", *HEADER]]
        lines += [
            [f"{row.section:02d}", row.domain, *_texts([getattr(row, name) for name in METRICS])]
            for row in rows.itertuples()
        ]
        lines += [*_means(rows, ""), []]
    lines += [["", "", *HEADER], *_means(results, OVERALL), [], ["official score", "", *_texts([_score(results)])], []]
    with replacing(out_file) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def _means(results: pd.DataFrame, over: str) -> list[list[str]]:
    defined = results.dropna(subset="auc")
    lines = []
    for name, (mean, domains) in MEANS.items():
        if MIXED not in domains:
            rows = defined[defined["domain"].isin(domains)]
            lines.append([name + over, "", *_texts([float(mean(rows[metric])) for metric in METRICS])])
    return lines


def _texts(values: list[float]) -> list[str]:
    return [repr(float(value)) for value in values]
