"""From the runs of a final system to a complete challenge submission, checked with the official evaluation.

:mod:`asd.challenge.submission` writes what it is given; this module gathers it. The number of parameters and the
description come from the runs' detectors; the machine types are those with evaluation sections and scores.
"""

import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pandas as pd
from filelock import FileLock

from asd.challenge.official import evaluate_team
from asd.challenge.submission import AUTHOR, write_submission
from asd.data.clips import walk
from asd.data.encoder_names import short_name
from asd.data.encoders import EncoderSettings
from asd.data.features import FeatureSettings
from asd.data.ground_truth import parse_file_name
from asd.data.spectra import SpectrumSettings
from asd.detection.detector import Detector, load_detector
from asd.errors import InputError
from asd.evaluation.cells import MIXED, evaluate_scores, part_of
from asd.evaluation.metrics import official_score
from asd.evaluation.tables import noted, run_ids
from asd.files import replacing

METHODS = {
    "aux": "classification of sections",
    "ccsa": "classification of sections, fine-tuned",
    "ae": "autoencoder",
    "made": "masked autoencoder for distribution estimation (MADE)",
    "maf": "masked autoregressive flow (MAF)",
}


def evaluation_clips(table: pd.DataFrame, clips: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The clips of the machine types that can be submitted, and one sentence per reason why others cannot.

    >>> clips = pd.DataFrame(
    ...     {"path": ["fan/a.wav", "valve/b.wav"], "machine_type": ["fan", "valve"], "section": [3, 3], "split": "test"}
    ... )
    >>> scores = clips[clips["machine_type"] == "fan"]
    >>> submittable, notes = evaluation_clips(scores, clips)
    >>> submittable["path"].tolist()
    ['fan/a.wav']
    >>> notes
    ['valve: evaluation sections, but no scores of this system']
    """
    is_eval = (part_of(clips["path"], clips["section"]) == "eval") & (clips["split"] == "test")
    with_eval = set(clips["machine_type"][is_eval])
    scored = set(table["machine_type"])
    notes = []
    for names, reason in (
        (scored - with_eval, "no test clips of evaluation sections in the data root"),
        (with_eval - scored, "evaluation sections, but no scores of this system"),
    ):
        if names:
            notes.append(f"{', '.join(sorted(names))}: {reason}")
    return clips[clips["machine_type"].isin(with_eval & scored)], notes


def detectors_of(table: pd.DataFrame, output_root: Path) -> list[Detector]:
    """The detectors of all runs whose scores are in a table.

    Raises:
        InputError: a run is not in the store.
    """
    from asd.tracking.mlflow_store import Store, known_runs
    from asd.tracking.runs import DETECTOR

    ids = run_ids(table)
    if unknown := sorted(set(ids) - set(known_runs(output_root, ids))):
        raise InputError(f"run {unknown[0]} is not in the store, but its detector is needed to describe the system")
    store = Store(output_root)
    return [load_detector(store.artifact(run_id, DETECTOR)) for run_id in ids]


def description(detectors: Sequence[Detector], n_runs: int, quantile: float) -> dict[str, object]:
    """The metadata's description of a system, as far as it can be derived from its detectors."""
    methods = list(dict.fromkeys(detector.method for detector in detectors))
    rates = sorted({detector.features.sample_rate for detector in detectors})
    features = list(dict.fromkeys(detector.features for detector in detectors))
    encoders = [f"pretrained encoder {short_name(f.encoder)}" for f in features if isinstance(f, EncoderSettings)]
    log_mels = ["log-mel energies"] if any(isinstance(f, FeatureSettings) for f in features) else []
    spectra = ["spectra"] if any(isinstance(f, SpectrumSettings) for f in features) else []
    return {
        "input_sampling_rate": ", ".join(f"{rate / 1000:g}kHz" for rate in rates),
        "data_augmentation": None,
        "acoustic_features": ", ".join([*log_mels, *spectra, *encoders]),
        "machine_learning_method": ", ".join(METHODS.get(method, method) for method in methods),
        "aggregation_method": ", ".join(sorted({detector.reduction for detector in detectors})) + " over snippets",
        "domain_adaptation": "CCSA fine-tuning" if any(m.partition("-")[0] == "ccsa" for m in methods) else None,
        "ensemble_method_subsystem_count": n_runs,
        "decision_making": f"{quantile:g} quantile of a gamma distribution",
        "external_data_usage": ", ".join(encoders) or None,
    }


def write_entry(
    directory: Path,
    table: pd.DataFrame,
    clips: pd.DataFrame,
    output_root: Path,
    label: str,
    authors: Sequence[str],
    quantile: float,
) -> tuple[Path, Path]:
    """Write a submission with :func:`asd.challenge.submission.write_submission`.

    Args:
        directory: the parent folder.
        table: score table of the final system, with the column ``gamma_decision``.
        clips: the clips returned by :func:`evaluation_clips`.
        output_root: folder of the store.
        label: label of the submission.
        authors: one "lastname, firstname, affiliation" per author.
        quantile: quantile of the decision threshold, in (0, 1).

    Returns:
        The folder and the zip file.

    Raises:
        InputError: names what is missing.
    """
    table = table.assign(decision=table["gamma_decision"])
    submitted = {name: rows for name, rows in table.groupby("machine_type") if name in set(clips["machine_type"])}
    if not submitted:
        raise InputError("there are no evaluation sections (03 to 05 in the challenge) with scores to submit")
    detectors = {name: detectors_of(rows, output_root) for name, rows in submitted.items()}
    parameters = {
        name: sum(weight.numel() for detector in machine_detectors for weight in detector.model.parameters())
        for name, machine_detectors in detectors.items()
    }
    name = str(table["run_name"].iloc[0])
    people = [dict(zip(AUTHOR, map(str.strip, author.split(",")), strict=True)) for author in authors]
    submission = {"label": label, "name": name, "abbreviation": name, "authors": people}
    system = description(list(chain.from_iterable(detectors.values())), max(map(len, detectors.values())), quantile)
    final = pd.concat(submitted.values(), ignore_index=True)
    (folder, archive), _ = noted(write_submission, directory, final, clips, parameters, submission, system)
    return folder, archive


def check_entry(
    folder: Path, table: pd.DataFrame, clips: pd.DataFrame, data_root: Path
) -> tuple[float, float, Path] | None:
    """Evaluate a written submission as the organisers would.

    The ground truth files of the submitted machine types are copied to ``ground_truth/`` beside the submission, and the
    official result is written to ``<label>_result.csv`` there.

    Returns:
        The official evaluator's score, the score computed from the table (both 0 to 1) and the folder of the ground
        truth; None if the data root lacks ground truth files for any submitted machine type, section and domain.
    """
    truth = folder.parent / "ground_truth"
    submitted_files = [parse_file_name(path.name) for path in folder.glob("anomaly_score_*.csv")]
    expected = {key._replace(kind="ground_truth") for key in submitted_files if key is not None}
    found = {
        key: data_root / subfolder / file
        for subfolder, files in walk(data_root)
        for file in files
        if (key := parse_file_name(file)) is not None and key in expected
    }
    if not expected or set(found) != expected:
        return None
    with FileLock(f"{truth}.lock"):  # another 06_evaluation may be about to write there
        shutil.rmtree(truth, ignore_errors=True)
        for key, path in found.items():
            with replacing(truth / key.file_name) as temporary:
                shutil.copyfile(path, temporary)
        score, _ = noted(evaluate_team, folder, truth, folder.parent / f"{folder.name}_result.csv")
    submitted = table[table["machine_type"].isin(clips["machine_type"])]
    results, _ = noted(evaluate_scores, submitted)
    cells = results[(results["part"] == "eval") & (results["domain"] != MIXED)].dropna(subset="auc")
    return score, official_score(cells["auc"], cells["pauc"]), truth
