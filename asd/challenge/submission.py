"""A submission to the challenge (DCASE 2021 Task 2): score files, decision files and metadata, in a folder and a zip.

Everything that a challenge organiser would reject is checked before anything is written: each test clip of the
evaluation set must have one finite score and one decision, no other clip may have any, and no field of the metadata may
be missing. The number of parameters and the results on the development set are filled in. Equal content yields an equal
zip file, byte by byte.
"""

import re
import shutil
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pandas as pd
import yaml

from asd.data.ground_truth import FileKey
from asd.errors import InputError
from asd.evaluation.cells import check_table, evaluate_scores, part_of, summarise
from asd.files import replacing

SUBMISSION = ("label", "name", "abbreviation", "authors")
AUTHOR = ("lastname", "firstname", "affiliation")
DESCRIPTION = (
    "input_sampling_rate",
    "data_augmentation",
    "acoustic_features",
    "machine_learning_method",
    "aggregation_method",
    "domain_adaptation",
    "ensemble_method_subsystem_count",
    "decision_making",
    "external_data_usage",
)
FIELDS_THAT_MAY_BE_NULL = ("data_augmentation", "domain_adaptation", "external_data_usage")
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can hold; with the real one, no two would be equal


def write_submission(
    directory: Path | str,
    table: pd.DataFrame,
    clips: pd.DataFrame,
    parameters: Mapping[str, int],
    submission: Mapping[str, object],
    description: Mapping[str, object],
) -> tuple[Path, Path]:
    """Write ``directory/<label>/`` and ``directory/<label>.zip``.

    Args:
        directory: the parent folder; an earlier submission with the same label is replaced.
        table: score table of the final system for all machine types, with the column ``decision`` (see
            :mod:`asd.evaluation.decisions`); its labelled development clips yield the development results.
        clips: the clips table, restricted to the machine types of the submission: the clips that must be scored.
        parameters: for each machine type, the number of parameters of all models that it needs.
        submission: label, name, abbreviation and authors (a list of lastname, firstname, affiliation, and possibly
            more).
        description: the fields in ``DESCRIPTION``, and possibly more; those in ``FIELDS_THAT_MAY_BE_NULL`` may be None.

    Returns:
        The folder and the zip file. The folder contains ``<label>.meta.yaml`` and, for each machine type, section and
        domain of the evaluation set, ``anomaly_score_…_test.csv`` and ``decision_result_…_test.csv``, such as
        ``anomaly_score_fan_section_03_source_test.csv``.

    Raises:
        InputError: names the clip, file or field that is missing, duplicated or superfluous; nothing is written.
    """
    label = _check_fields(submission, description)
    files = _csv_files(_evaluation_rows(table, clips))
    machine_types = sorted(clips["machine_type"].unique())
    files[f"{label}.meta.yaml"] = _metadata(table, machine_types, parameters, submission, description)
    directory = Path(directory)
    folder, archive = directory / label, directory / f"{label}.zip"
    with replacing(archive) as temporary:
        with zipfile.ZipFile(temporary, "w") as packed:
            for name in sorted(files):
                info = zipfile.ZipInfo(f"{label}/{name}", ZIP_TIME)
                info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
                packed.writestr(info, files[name])
        _replace_folder(folder, files, marker=f"{label}.meta.yaml")
    return folder, archive


def _check_fields(submission: Mapping[str, object], description: Mapping[str, object]) -> str:
    required = [("submission", submission, SUBMISSION), ("description", description, DESCRIPTION)]
    authors = cast(Sequence[Mapping[str, object]], submission.get("authors") or [])
    required += [(f"submission: author {i + 1}", author, AUTHOR) for i, author in enumerate(authors)]
    for where, fields, names in required:
        for name in names:
            if name not in fields or (fields[name] in (None, "", []) and name not in FIELDS_THAT_MAY_BE_NULL):
                raise InputError(f"{where}: the field {name} is missing or empty; required: {', '.join(names)}")
    label = str(submission["label"])
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", label):
        raise InputError(
            f"submission: label {label!r}; allowed: letters, digits, _ and -, as in Name_Institute_task2_1"
        )
    return label


def _evaluation_rows(table: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """The table's rows of the evaluation set's test clips, checked against the clips table."""
    test = check_table(table)
    rows = test[test["part"] == "eval"]
    expected = clips[(clips["split"] == "test") & (part_of(clips["path"], clips["section"]) == "eval")]
    if expected.empty:
        raise InputError("submission: the clips table has no test clips of evaluation sections")
    key = ["machine_type", "clip"]
    both = rows[key].merge(expected.rename(columns={"path": "clip"})[key], how="outer", indicator="side")
    for side, fault in (("right_only", "has no score"), ("left_only", "has a score, but is not a clip to submit")):
        wrong = both[both["side"] == side]
        if not wrong.empty:
            row = wrong.iloc[0]
            raise InputError(f"submission: {row['clip']} ({row['machine_type']}) {fault}; {len(wrong)} such clips")
    if "decision" not in rows or not rows["decision"].isin([0, 1]).all():
        found = "the column is missing"
        if "decision" in rows:
            row = rows[~rows["decision"].isin([0, 1])].iloc[0]
            found = f"{row['decision']} of {row['clip']}"
        raise InputError(f"submission: decision: {found}; required: 0 or 1 for each test clip")
    unknown = rows[rows["domain"] == ""]
    if not unknown.empty:
        raise InputError(f"submission: {unknown.iloc[0]['clip']} has no domain, which the files are named after")
    return rows


def _csv_files(rows: pd.DataFrame) -> dict[str, str]:
    """Contents of the score and decision files by name, with rows sorted by clip."""
    files = {}
    for key, cell in rows.assign(name=rows["clip"].str.rpartition("/")[2]).groupby(
        ["machine_type", "section", "domain"]
    ):
        cell = cell.sort_values("name")
        if cell["name"].duplicated().any():
            duplicate = cell[cell["name"].duplicated()].iloc[0]
            raise InputError(f"submission: two clips of {key[0]} have the name {duplicate['name']}; names must differ")
        for kind, texts in (
            ("anomaly_score", [repr(float(score)) for score in cell["score"]]),
            ("decision_result", [str(int(decision)) for decision in cell["decision"]]),
        ):
            lines = (f"{name},{text}\n" for name, text in zip(cell["name"], texts, strict=True))
            files[FileKey(kind, *key).file_name] = "".join(lines)
    for machine_type, section, domain in (
        rows[["machine_type", "section", "domain"]].drop_duplicates().itertuples(index=False)
    ):
        other = FileKey("anomaly_score", machine_type, section, {"source": "target", "target": "source"}[domain])
        if other.file_name not in files:
            raise InputError(f"submission: {other.file_name} would be missing: no test clips of this domain")
    return files


def _metadata(
    table: pd.DataFrame,
    machine_types: list[str],
    parameters: Mapping[str, int],
    submission: Mapping[str, object],
    description: Mapping[str, object],
) -> str:
    """The text of the metadata file: the given fields, the number of parameters, development results in percent."""
    results = evaluate_scores(table)
    means = summarise(results)
    means = means[(means["part"] == "dev") & (means["mean"] == "harmonic mean")].set_index("machine_type")
    development = {}
    for machine_type in machine_types:
        if machine_type not in parameters:
            raise InputError(f"submission: parameters: {machine_type} is missing; found {sorted(parameters)}")
        if machine_type not in means.index or pd.isna(means.loc[machine_type, "auc"]):
            raise InputError(f"submission: {machine_type} has no results on development sections; score them too")
        row = means.loc[machine_type]
        development[machine_type] = {
            "auc_harmonic_mean": round(100 * float(row["auc"]), 2),
            "pauc_harmonic_mean": round(100 * float(row["pauc"]), 2),
        }
    content = {
        "submission": dict(submission),
        "system": {
            "description": dict(description),
            "complexity": {"total_parameters": sum(int(parameters[machine_type]) for machine_type in machine_types)},
        },
        "results": {"development_dataset": development},
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _replace_folder(folder: Path, files: Mapping[str, str], marker: str) -> None:
    """Write ``files`` into a new folder that replaces ``folder``, provided that it holds an old submission."""
    if folder.exists() and not (folder / marker).is_file():
        raise InputError(
            f"{folder}: exists without a {marker}, so it is not an earlier submission; remove or rename it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    suffix = uuid.uuid4().hex[:8]
    fresh, old = (folder.with_name(f".{folder.name}.{suffix}.{kind}") for kind in ("new", "old"))
    try:
        fresh.mkdir()
        for name, text in files.items():
            (fresh / name).write_text(text, encoding="utf-8", newline="\n")
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
