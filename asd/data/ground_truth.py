"""The challenge's CSV files of one value per clip, read strictly: no row is lost or mistaken for another.

The labels of the evaluation clips were published after the challenge (Zenodo record 5257674), in one file per machine
type, section and domain: ``ground_truth_{machine_type}_section_{SS}_{source|target}_test.csv``, without a header, with
rows ``name.wav,0`` or ``name.wav,1`` (1 = anomaly). Later years omit the domain. Teams submit their scores and
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
    """What the name of such a file says; ``domain`` is empty where the name has none.

    Example:
        >>> FileKey("decision_result", "fan", 3, "target").file_name
        'decision_result_fan_section_03_target_test.csv'
    """

    kind: str  # "ground_truth", "anomaly_score" or "decision_result"
    machine_type: str
    section: int
    domain: str

    @property
    def file_name(self) -> str:
        """The name of the file, with its section in two digits."""
        domain = f"_{self.domain}" if self.domain else ""
        return f"{self.kind}_{self.machine_type}_section_{self.section:02d}{domain}_test.csv"


def parse_file_name(name: str) -> FileKey | None:
    """What the file name ``name`` says, or None if it is not one of the three kinds.

    Example:
        >>> parse_file_name("anomaly_score_ToyCar_section_00_source_test.csv")
        FileKey(kind='anomaly_score', machine_type='ToyCar', section=0, domain='source')
        >>> parse_file_name("clips.csv") is None
        True
    """
    match = _NAME.fullmatch(name)
    return match and FileKey(match[1], match[2], int(match[3]), match[4] or "")


def read_clip_values(path: Path | str, *, binary: bool = False) -> pd.DataFrame:
    """Read one file of rows ``name.wav,value``.

    Args:
        path: the CSV file, UTF-8, no header.
        binary: whether only the values 0 and 1 are allowed.

    Returns:
        One row per clip in the file's order: ``clip`` (str), ``value`` (float, finite), ``line`` (int, from 1).

    Raises:
        InputError: the file is missing, empty or no text; or, naming the line, a row does not have two fields, a value
            is not a finite number (or not 0 or 1), or a clip is listed twice.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "scores.csv")
        ...     _ = path.write_text("a.wav,0.5\\nb.wav,1.25\\n")
        ...     read_clip_values(path)
            clip  value  line
        0  a.wav   0.50     1
        1  b.wav   1.25     2
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
            continue  # a blank line, most often the last
        if len(row) != 2 or not row[0].strip():
            raise InputError(f"{path}, line {line}: found {','.join(row)!r}; expected name.wav,value")
        clip, text = row[0].strip(), row[1].strip()
        value = _number(text)
        if not math.isfinite(value) or (binary and value not in (0, 1)):
            raise InputError(f"{path}, line {line}: {text!r} for {clip}; allowed: {'0 or 1' if binary else 'a number'}")
        if clip in seen:
            raise InputError(f"{path}, line {line}: {clip} is listed twice, first on line {seen[clip]}")
        seen[clip] = line
        records.append((clip, value, line))
    if not records:
        raise InputError(f"{path}: has no rows; expected one row name.wav,value per clip")
    return pd.DataFrame(records, columns=["clip", "value", "line"])


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)  # only Python reads 1_0 as ten
    except ValueError:
        return math.nan


def read_ground_truth_file(path: Path | str) -> pd.DataFrame:
    """Read one ground truth file; returns and raises what ``read_ground_truth`` does."""
    path = Path(path)
    key = parse_file_name(path.name)
    if key is None or key.kind != "ground_truth":
        raise InputError(
            f"{path}: the file's name gives no machine type and section; "
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
        One row per clip: ``machine_type`` (str), ``section`` (int) and ``domain`` (str) from the file's name, ``clip``
        (str, the wav file's name; unique within a machine type) and ``label`` (int, 0 normal, 1 anomalous). No rows
        where there is no such file.

    Raises:
        InputError: see :func:`read_clip_values`; also for a clip that two files of a machine type list.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "ground_truth_fan_section_03_source_test.csv").write_text("a.wav,1\\n")
        ...     read_ground_truth(folder)
          machine_type  section  domain   clip  label
        0          fan        3  source  a.wav      1
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
    duplicates = table[table.duplicated(["machine_type", "clip"], keep=False)].sort_values(["machine_type", "clip"])
    if not duplicates.empty:
        first, second = duplicates.iloc[0], duplicates.iloc[1]
        raise InputError(
            f"{second['file']}: {second['clip']} ({second['machine_type']}) is also listed in {first['file']}; "
            "expected one label per clip"
        )
    return table.drop(columns="file")
