"""The clips table: which recordings there are, one row per clip, made from file names alone.

Everything else selects from this table; no other module parses a name or walks a folder. The names are those of DCASE
Task 2, ``section_00_source_train_normal_0001_<attribute>.wav`` in
``<machine type>/<train|source_test|target_test|test>/``, wherever these folders are below the data root. Recordings
with other names need a ``clips.csv`` in the data root.
"""

import csv
import os
import posixpath
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from asd.data.ground_truth import read_ground_truth
from asd.errors import InputError
from asd.paths import absolute

COLUMNS = ["path", "machine_type", "section", "domain", "split", "label", "attribute"]
DOMAINS, SPLITS = ("source", "target"), ("train", "test")
FOLDERS = {  # name of a folder of clips: their split, and their domain where the name gives it
    "train": ("train", ""),
    "source_test": ("test", "source"),
    "target_test": ("test", "target"),
    "test": ("test", ""),
}
NAME = re.compile(
    r"section_(?P<section>[0-9]{1,9})(?:_(?P<domain>source|target))?(?:_(?P<split>train|test))?"
    r"(?:_(?P<label>normal|anomaly))?_[0-9]+(?:_(?P<attribute>.+))?\.[wW][aA][vV]"
)
MACHINE_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # as in the notebooks' parameter
NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8
GROUND_TRUTH = re.compile(r"ground_truth_.*\.csv")
DEPTH = 4  # a machine type's folder is at most this far below the data root


def clips_table(data_root: Path | str) -> pd.DataFrame:
    """List all clips below ``data_root``.

    Returns:
        One row per clip, sorted by path: ``path`` (relative to the data root), ``machine_type``, ``section`` (a
        number), ``domain`` (``source``, ``target``, or empty where the name does not give it), ``split`` (``train``,
        ``test``), ``label`` (0 normal, 1 anomalous, ``<NA>`` unknown), ``attribute`` (free text). Labels of evaluation
        clips are read from ``ground_truth_*.csv`` files, where there are any; where there is a ``clips.csv``, nothing
        else is read.

    Raises:
        InputError: no such folder, no clip in it, a name that does not parse, two clips of the same name, an anomalous
            train clip, or labels that contradict each other.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     folder = Path(root, "dev_data", "fan", "train")
        ...     folder.mkdir(parents=True)
        ...     (folder / "section_00_target_train_normal_0001_strength_2.wav").touch()
        ...     clips = clips_table(root)
        >>> clips.loc[0, "path"]
        'dev_data/fan/train/section_00_target_train_normal_0001_strength_2.wav'
        >>> print(*clips.loc[0, ["machine_type", "section", "domain", "split", "label", "attribute"]])
        fan 0 target train 0 strength_2
    """
    root = Path(os.path.abspath(absolute(data_root)))
    if not root.is_dir():
        raise InputError(f"data_root: there is no folder {root}")
    own_table = root / "clips.csv"
    clips = read_clips_csv(own_table) if own_table.is_file() else read_names(root)
    if clips.empty:
        archives = sorted(file.name for file in root.glob("*.zip"))
        raise InputError(
            f"data_root: no clips in {root}. Looked for section_*.wav in <machine type>/{{{','.join(FOLDERS)}}}/,"
            f" at most {DEPTH} folders below it, and for a clips.csv."
            + (f" There are archives, to be unzipped first: {archives[:3]}" if archives else "")
        )
    clips = clips.astype({"section": "int64", "label": "Int64"}).sort_values("path", ignore_index=True)
    anomalous = clips[(clips["split"] == "train") & (clips["label"] == 1)]
    if len(anomalous):
        raise InputError(
            f"{root / anomalous['path'].iloc[0]}: an anomalous clip among the train clips, which must be normal"
        )
    return clips


def read_names(root: Path) -> pd.DataFrame:
    """Make the table from the names of folders and files.

    Raises:
        InputError: a name that does not parse, or that occurs twice in a machine type (the challenge's names do not).
    """
    folders = list(walk(root))
    rows = [row for folder, files in folders for row in named_clips(root, folder, files)]
    clips = pd.DataFrame(rows, columns=COLUMNS).astype({"label": "Int64"})
    if clips.empty:
        return clips
    name = clips["path"].str.rpartition("/")[2]
    duplicates = clips[clips.assign(name=name).duplicated(["machine_type", "name"], keep=False)]
    if len(duplicates):
        _, paths = next(iter(duplicates.groupby(["machine_type", name[duplicates.index]])["path"]))
        raise InputError(
            f"{root}: {len(duplicates)} clips share their name with another one, for example {paths.head(2).tolist()}"
        )
    truth = [root / folder for folder, files in folders if any(GROUND_TRUTH.fullmatch(file) for file in files)]
    return with_ground_truth(clips, truth)


def walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder from ``root`` down, relative to it and with a trailing ``/``, and the names of its files.

    Hidden files and folders are skipped, links are followed, and no folder is visited twice.
    """
    seen, waiting = set(), [("", 0)]
    for folder, depth in waiting:  # the list grows during the loop
        real = os.path.realpath(root / folder)
        if real in seen:  # a link to a folder already visited, or upwards
            continue
        seen.add(real)
        try:
            with os.scandir(root / folder) as found:
                entries = [(entry.name, entry.is_dir()) for entry in found if not entry.name.startswith(".")]
        except OSError as error:  # such as lost+found, which concerns nobody
            warnings.warn(f"{root / folder}: left out, cannot be listed ({error.strerror})", stacklevel=2)
            continue
        if depth <= DEPTH:
            waiting += [(f"{folder}{name}/", depth + 1) for name, is_folder in sorted(entries) if is_folder]
        yield folder, [name for name, is_folder in entries if not is_folder]


def named_clips(root: Path, folder: str, files: list[str]) -> Iterator[tuple]:
    """Yield the rows that follow from the names of a folder and its files, as in COLUMNS; none if it holds no clips.

    Raises:
        InputError: the name of a wav file is not of the challenge's form, or contradicts its folder.
    """
    location = root / folder
    if location.name not in FOLDERS:
        return
    split, domain = FOLDERS[location.name]
    machine_type = location.parent.name
    for file in files:
        if not file.lower().endswith(".wav"):
            continue
        if MACHINE_TYPE.fullmatch(machine_type) is None:
            raise InputError(f"{str(location)!r}: machine type {machine_type!r}; allowed: letters, digits, _, . and -")
        match = NAME.fullmatch(file)
        if match is None or NO_TEXT.search(folder + file):
            raise InputError(
                f"{str(location / file)!r}: not a name of the form section_SS_{{source|target}}_{{train|test}}_"
                "{normal|anomaly}_NNNN[_attribute].wav; other names need a clips.csv in the data root"
            )
        if (match["split"] or split) != split or (domain and match["domain"] and match["domain"] != domain):
            raise InputError(f"{location / file}: the name contradicts the folder")
        label = {"normal": 0, "anomaly": 1, None: 0 if split == "train" else None}[match["label"]]
        section, attribute = int(match["section"]), match["attribute"] or ""
        yield f"{folder}{file}", machine_type, section, match["domain"] or domain, split, label, attribute


def section_of_name(name: str) -> int | None:
    """The section that a file name of the challenge's form tells, whatever the format; None for other names.

    >>> section_of_name("section_03_target_test_0001.flac"), section_of_name("monday.wav")
    (3, None)
    """
    match = NAME.fullmatch(f"{name.rpartition('.')[0]}.wav")
    return int(match["section"]) if match else None


def read_clips_csv(path: Path) -> pd.DataFrame:
    """Read a table of one's own recordings: the columns of the clips table, ``attribute`` optional.

    Raises:
        InputError: the file is no CSV text or lacks a column; or, naming the line, a value is empty or not allowed, a
            clip is listed twice, or there is no such wav file.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [field.strip() for field in row]) for row in reader if any(map(str.strip, row))]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no CSV text in UTF-8: {error}") from error
    header = lines[0][1] if lines else []
    invalid = [c for c in COLUMNS if header.count(c) > 1 or (c not in header and c != "attribute")]
    if invalid:
        raise InputError(f"{path}: column {invalid[0]} occurs {header.count(invalid[0])} times; required: {COLUMNS}")
    rows: list[list] = []
    seen: dict[str, int] = {}
    for line, fields in lines[1:]:
        if len(fields) != len(header):
            raise InputError(f"{path}, line {line}: {len(fields)} fields; the header has {len(header)}")
        row: dict[str, Any] = {"attribute": ""} | dict(zip(header, fields, strict=True))
        row["label"] = {"normal": "0", "anomaly": "1"}.get(row["label"], row["label"])
        for column, (is_allowed, form) in ALLOWED.items():
            if not is_allowed(row[column]):
                raise InputError(f"{path}, line {line}: {column} is {row[column]!r}; allowed: {form}")
        clip = row["path"]
        if clip in seen:
            raise InputError(f"{path}, line {line}: {clip} is listed twice, first on line {seen[clip]}")
        if not (path.parent / clip).is_file():
            raise InputError(f"{path}, line {line}: there is no file {path.parent / clip}")
        seen[clip] = line
        row["section"] = int(row["section"])
        row["label"] = int(row["label"]) if row["label"] else 0 if row["split"] == "train" else None
        rows.append([row[column] for column in COLUMNS])
    return pd.DataFrame(rows, columns=COLUMNS)


def is_below(path: str) -> bool:
    """Whether ``path`` is the plain relative path, with ``/``, of a file below the data root.

    Example:
        >>> is_below("monday/001.wav"), is_below("../001.wav"), is_below("monday/../001.wav")
        (True, False, False)
    """
    plain = posixpath.normpath(path) == path and not path.startswith(("/", "../"))
    return plain and path not in (".", "..") and "\\" not in path and not NO_TEXT.search(path)


ALLOWED: dict[str, tuple[Callable[[str], object], str]] = {  # in a clips.csv
    "path": (is_below, "a path below the data root, with / between its folders"),
    "machine_type": (MACHINE_TYPE.fullmatch, "a name of letters, digits, _, . and -"),
    "section": (re.compile("[0-9]{1,9}").fullmatch, "a number"),
    "domain": ((*DOMAINS, "").__contains__, "source, target or empty"),
    "split": (SPLITS.__contains__, "train or test"),
    "label": (("0", "1", "").__contains__, "0, 1 or empty"),
}


def with_ground_truth(clips: pd.DataFrame, folders: list[Path]) -> pd.DataFrame:
    """Fill in unknown labels from the challenge's ``ground_truth_*.csv`` files in the given folders.

    Raises:
        InputError: what :func:`asd.data.ground_truth.read_ground_truth` raises, and labels that contradict each other.
    """
    if not folders:
        return clips
    truth = pd.concat([read_ground_truth(folder) for folder in folders])
    truth = truth.drop_duplicates(["machine_type", "clip", "label"]).set_index(["machine_type", "clip"])["label"]
    name = pd.MultiIndex.from_arrays([clips["machine_type"], clips["path"].str.rpartition("/")[2]])
    ambiguous = name.isin(truth.index[truth.index.duplicated()])
    if ambiguous.any():
        clip = clips["path"][ambiguous].iloc[0]
        raise InputError(f"{clip}: ground truth files contradict each other on its label: {folders}")
    known = truth[~truth.index.duplicated()].reindex(name).astype("Int64").set_axis(clips.index)
    differs = (known != clips["label"]).fillna(False).astype(bool)
    if differs.any():
        clip = clips["path"][differs].iloc[0]
        raise InputError(f"{clip}: its name and its ground truth contradict each other: {folders}")
    return clips.assign(label=clips["label"].fillna(known))
