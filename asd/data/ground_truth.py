"""The challenge's CSV files of one value a clip, read strictly: no row is lost or taken for another.

The labels of the evaluation clips were published after the challenge (Zenodo record 5257674), one file a machine type,
section and domain: ``ground_truth_{machine_type}_section_{SS}_{source|target}_test.csv``, no header, rows
``name.wav,0`` or ``name.wav,1`` (1 = anomaly). Later years leave out the domain. Teams hand in their scores and
decisions in files of the same form (``anomaly_score_…``, ``decision_result_…``).
"""

import csv
import math
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from asd.errors import InputError

_NAME = re.compile(r"(ground_truth|anomaly_score|decision_result)_(.+)_section_(\d+)(?:_(source|target))?_test\.csv")


class FileKey(NamedTuple):
    """What the name of such a file says; ``domain`` is empty where the name has none."""

    kind: str  # "ground_truth", "anomaly_score" or "decision_result"
    machine_type: str
    section: int
    domain: str

    @property
    def file_name(self) -> str:
        """The name of the file, its section in two digits."""
        domain = f"_{self.domain}" if self.domain else ""
        return f"{self.kind}_{self.machine_type}_section_{self.section:02d}{domain}_test.csv"


def parse_file_name(name: str) -> FileKey | None:
    """What the file name ``name`` says, or None if it is not one of the three kinds."""
    match = _NAME.fullmatch(name)
    return match and FileKey(match[1], match[2], int(match[3]), match[4] or "")


def read_clip_values(path: Path | str, *, binary: bool = False) -> pd.DataFrame:
    """Read one file of rows ``name.wav,value``.

    Args:
        path: the CSV file, UTF-8, no header.
        binary: whether only the values 0 and 1 are allowed.

    Returns:
        One row a clip in the file's order: ``clip`` (str), ``value`` (float, finite), ``line`` (int, from 1).

    Raises:
        InputError: names file and line where the file is missing, empty or no text, a row has not two fields, a value
            is no finite number (or not 0 or 1), or a clip stands twice.
    """
    path = Path(path)
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), strict=True))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV text in UTF-8: {error}") from error
    seen: dict[str, int] = {}
    records = []
    for line, row in enumerate(rows, start=1):
        if not any(field.strip() for field in row):
            continue  # blank lines, mostly at the end, say nothing
        if len(row) != 2 or not row[0].strip():
            raise InputError(f"{path}, line {line}: found {','.join(row)!r}; a row is: name.wav,value")
        clip, text = row[0].strip(), row[1].strip()
        value = _number(text)
        if not math.isfinite(value) or (binary and value not in (0, 1)):
            raise InputError(f"{path}, line {line}: {text!r} for {clip}; allowed: {'0 or 1' if binary else 'a number'}")
        if clip in seen:
            raise InputError(f"{path}, line {line}: {clip} stands already on line {seen[clip]}; one row a clip")
        seen[clip] = line
        records.append((clip, value, line))
    if not records:
        raise InputError(f"{path}: has no rows; expected one row name.wav,value a clip")
    return pd.DataFrame(records, columns=["clip", "value", "line"])


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)  # Python alone reads 1_0 as ten
    except ValueError:
        return math.nan


def read_ground_truth_file(path: Path | str) -> pd.DataFrame:
    """Read one ground truth file; returns and raises what ``read_ground_truth`` does."""
    path = Path(path)
    key = parse_file_name(path.name)
    if key is None or key.kind != "ground_truth":
        raise InputError(
            f"{path}: the name says no machine type and section; "
            "allowed: ground_truth_{machine_type}_section_{SS}_{source|target}_test.csv"
        )
    values = read_clip_values(path, binary=True)
    return pd.DataFrame(
        {
            "machine_type": key.machine_type,
            "section": key.section,
            "domain": key.domain,
            "clip": values["clip"],
            "label": values["value"].astype(int),
        }
    )


def read_ground_truth(folder: Path | str) -> pd.DataFrame:
    """Read every ``ground_truth_*.csv`` in ``folder``.

    Returns:
        One row a clip: ``machine_type`` (str), ``section`` (int) and ``domain`` (str) as the file's name says,
        ``clip`` (str, the wav file's name; unique within a machine type) and ``label`` (int, 0 normal, 1 anomalous).
        No rows where there is no such file.

    Raises:
        InputError: names file and row, see ``read_clip_values``; also for a clip that two files of a machine type name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the one that holds ground_truth_*.csv")
    paths = sorted(folder.glob("ground_truth_*.csv"))
    if not paths:
        return pd.DataFrame(
            {
                "machine_type": pd.Series(dtype=str),
                "section": pd.Series(dtype=int),
                "domain": pd.Series(dtype=str),
                "clip": pd.Series(dtype=str),
                "label": pd.Series(dtype=int),
            }
        )
    table = pd.concat([read_ground_truth_file(path).assign(file=str(path)) for path in paths], ignore_index=True)
    twice = table[table.duplicated(["machine_type", "clip"], keep=False)].sort_values(["machine_type", "clip"])
    if not twice.empty:
        first, second = twice.iloc[0], twice.iloc[1]
        raise InputError(
            f"{second['file']}: {second['clip']} ({second['machine_type']}) stands in {first['file']} too; "
            "one label a clip"
        )
    return table.drop(columns="file")
