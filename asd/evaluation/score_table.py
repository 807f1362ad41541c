"""The score table, which is all that evaluation sees: one row per clip, in one CSV file per machine type and run.

``<output_root>/scores/<machine_type>/<run_name>.csv`` has the columns ``COLUMNS``. Whatever writes such a file, by hand
or by another toolkit, takes part in evaluation, ensembles and the leaderboard.
"""

from pathlib import Path

import pandas as pd

from asd.errors import InputError
from asd.files import replacing

COLUMNS = ["machine_type", "section", "domain", "split", "label", "clip", "score"]
COLUMNS += ["method", "run_name", "run_id", "seed", "held_out"]
TEXTS = ("machine_type", "domain", "split", "clip", "method", "run_name", "run_id")
NEEDED = ["machine_type", "section", "split", "clip", "score"]
HELD_OUT = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": False}


def table_path(output_root: Path | str, machine_type: str, run_name: str) -> Path:
    """Path of a run's score table.

    >>> table_path("outputs", "fan", "aux").as_posix()
    'outputs/scores/fan/aux.csv'
    """
    return Path(output_root) / "scores" / machine_type / f"{run_name}.csv"


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a score table, whole or not at all; scores keep all their digits."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a score table back as it was written: texts as texts (a run may be named "07"), unknown labels as ``<NA>``.

    Raises:
        InputError: no such file, missing columns, empty fields, or values that a column cannot have.

    >>> import tempfile
    >>> row = dict.fromkeys(COLUMNS, "x") | {"section": 0, "label": None, "score": 0.1 + 0.2, "run_name": "07"}
    >>> row["held_out"] = False
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(pd.DataFrame([row]), Path(folder) / "07.csv")
    ...     table = read_table(Path(folder) / "07.csv")
    >>> table["run_name"].item(), table["score"].item(), table["label"].item()
    ('07', 0.30000000000000004, <NA>)
    """
    empty = {"section": "", "label": ["", "NA", "nan"], "score": ["", "nan", "NaN"]}  # a run may be named "nan"
    kinds = dict.fromkeys((*TEXTS, "held_out"), str) | {"section": "Int64", "label": "Int64", "score": float}
    try:
        table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=empty)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as a score table ({error})") from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(f"{path}: not a score table: no column {missing}")
    empty = table[NEEDED].isna() | (table[NEEDED] == "")
    if empty.any(axis=None):
        line = int(empty.any(axis=1).argmax())
        missing = [column for column in NEEDED if empty[column].iloc[line]]
        raise InputError(f"{path}, line {line + 2}: no {', '.join(missing)}; is the file cut short?")
    held_out = table["held_out"].str.lower().map(HELD_OUT)
    if held_out.isna().any():
        line = int(held_out.isna().argmax())
        found = table["held_out"][line]
        raise InputError(f"{path}, line {line + 2}: held_out is {found!r}; allowed: True, False or empty")
    return table.astype({"section": "int64"}).assign(held_out=held_out.astype(bool))
