"""The clips table: what recordings there are, one row a clip, made from file names alone.

Everything selects from this table; nobody else parses a name or walks a folder. The names are those of DCASE Task 2,
``section_00_source_train_normal_0001_<attribute>.wav`` in ``<machine type>/<train|source_test|target_test|test>/``,
wherever under the data root those folders lie. Recordings with other names come with a ``clips.csv`` in the data root.
"""

import csv
import hashlib
import os
import posixpath
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from asd.data.ground_truth import read_ground_truth
from asd.errors import InputError

COLUMNS = ["path", "machine_type", "section", "domain", "split", "label", "attribute"]
DOMAINS, SPLITS = ("source", "target"), ("train", "test")
FOLDERS = {  # name of a folder of clips: their split, and their domain where the name tells it
    "train": ("train", ""),
    "source_test": ("test", "source"),
    "target_test": ("test", "target"),
    "test": ("test", ""),
}
NAME = re.compile(
    r"section_(?P<section>[0-9]{1,9})(?:_(?P<domain>source|target))?(?:_(?P<split>train|test))?"
    r"(?:_(?P<label>normal|anomaly))?_[0-9]+(?:_(?P<attribute>.+))?\.[wW][aA][vV]"
)
MACHINE_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # what the notebooks' parameter allows, too
NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8
GROUND_TRUTH = re.compile(r"ground_truth_.*\.csv")
DEPTH = 4  # a machine type's folder lies at most this far below the data root


def clips_table(data_root: Path | str) -> pd.DataFrame:
    """List all clips below ``data_root``.

    Returns:
        One row a clip, sorted by path: ``path`` (relative to the data root), ``machine_type``, ``section`` (a number),
        ``domain`` (``source``, ``target``, or empty where the name does not tell), ``split`` (``train``, ``test``),
        ``label`` (0 normal, 1 anomalous, ``<NA>`` unknown), ``attribute`` (free text). Labels of evaluation clips come
        from ``ground_truth_*.csv`` files, where there are any; a ``clips.csv`` speaks for itself.

    Raises:
        InputError: no such folder, no clip in it, a name that does not parse, a clip that is there twice, an anomalous
            train clip, labels that contradict each other.
    """
    root = Path(os.path.abspath(Path(data_root).expanduser()))
    if not root.is_dir():
        raise InputError(f"data_root: there is no folder {root}")
    listed = root / "clips.csv"
    clips = read_clips_csv(listed) if listed.is_file() else read_names(root)
    if clips.empty:
        packed = sorted(file.name for file in root.glob("*.zip"))
        raise InputError(
            f"data_root: no clips in {root}. Looked for section_*.wav in <machine type>/{{{','.join(FOLDERS)}}}/,"
            f" at most {DEPTH} folders below it, and for a clips.csv."
            + (f" There are packed files, to be unzipped first: {packed[:3]}" if packed else "")
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
        InputError: a name that does not parse, or that stands twice in a machine type (the challenge's names don't).
    """
    folders = list(walk(root))
    rows = [row for folder, files in folders for row in named_clips(root, folder, files)]
    clips = pd.DataFrame(rows, columns=COLUMNS).astype({"label": "Int64"})
    if clips.empty:
        return clips
    name = clips["path"].str.rpartition("/")[2]
    twice = clips[clips.assign(name=name).duplicated(["machine_type", "name"], keep=False)]
    if len(twice):
        _, example = next(iter(twice.groupby(["machine_type", name[twice.index]])["path"]))
        raise InputError(
            f"{root}: {len(twice)} clips share their name with another one, for example {example.head(2).tolist()}"
        )
    truth = [root / folder for folder, files in folders if any(GROUND_TRUTH.fullmatch(file) for file in files)]
    return with_ground_truth(clips, truth)


def walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders from ``root`` down, relative to it and with ``/`` behind, and the names of their files.

    Hidden ones are left out, links are followed, and no folder comes twice.
    """
    seen, waiting = set(), [("", 0)]
    for folder, depth in waiting:  # it grows underway
        real = os.path.realpath(root / folder)
        if real in seen:  # a link to what was there before, or upwards
            continue
        seen.add(real)
        try:
            with os.scandir(root / folder) as found:
                entries = [(entry.name, entry.is_dir()) for entry in found if not entry.name.startswith(".")]
        except OSError as error:  # such as lost+found, which is nobody's business
            warnings.warn(f"{root / folder}: left out, cannot be listed ({error.strerror})", stacklevel=2)
            continue
        if depth <= DEPTH:
            waiting += [(f"{folder}{name}/", depth + 1) for name, is_folder in sorted(entries) if is_folder]
        yield folder, [name for name, is_folder in entries if not is_folder]


def named_clips(root: Path, folder: str, files: list[str]) -> Iterator[tuple]:
    """Yield the rows that the names of a folder and its files tell, as in COLUMNS; none if it is no folder of clips.

    Raises:
        InputError: a wav whose name is not of the challenge's form, or contradicts its folder.
    """
    place = root / folder
    if place.name not in FOLDERS:
        return
    split, domain = FOLDERS[place.name]
    machine_type = place.parent.name
    for file in files:
        if not file.lower().endswith(".wav"):
            continue
        if MACHINE_TYPE.fullmatch(machine_type) is None:
            raise InputError(f"{str(place)!r}: machine type {machine_type!r}; allowed: letters, digits, _, . and -")
        match = NAME.fullmatch(file)
        if match is None or NO_TEXT.search(folder + file):
            raise InputError(
                f"{str(place / file)!r}: not a name of the form section_SS_{{source|target}}_{{train|test}}_"
                "{normal|anomaly}_NNNN[_attribute].wav; other names need a clips.csv in the data root"
            )
        if (match["split"] or split) != split or (domain and match["domain"] and match["domain"] != domain):
            raise InputError(f"{place / file}: the name says otherwise than the folder it lies in")
        label = {"normal": 0, "anomaly": 1, None: 0 if split == "train" else None}[match["label"]]
        section, attribute = int(match["section"]), match["attribute"] or ""
        yield f"{folder}{file}", machine_type, section, match["domain"] or domain, split, label, attribute


def read_clips_csv(path: Path) -> pd.DataFrame:
    """Read the table of people's own recordings: the columns of the clips table, ``attribute`` optional.

    Raises:
        InputError: no CSV text, a missing column, an empty or impossible value, a clip that is listed twice, or a file
            that is not there, naming its line.
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
    wrong = [c for c in COLUMNS if header.count(c) > 1 or (c not in header and c != "attribute")]
    if wrong:
        raise InputError(f"{path}: column {wrong[0]} stands there {header.count(wrong[0])} times; needed: {COLUMNS}")
    rows, seen = [], {}
    for line, fields in lines[1:]:
        if len(fields) != len(header):
            raise InputError(f"{path}, line {line}: {len(fields)} fields; the header has {len(header)}")
        row = {"attribute": ""} | dict(zip(header, fields, strict=True))
        row["label"] = {"normal": "0", "anomaly": "1"}.get(row["label"], row["label"])
        for column, (good, form) in ALLOWED.items():
            if not good(row[column]):
                raise InputError(f"{path}, line {line}: {column} is {row[column]!r}; allowed: {form}")
        clip = row["path"]
        if clip in seen:
            raise InputError(f"{path}, line {line}: {clip} is listed before, on line {seen[clip]}")
        if not (path.parent / clip).is_file():
            raise InputError(f"{path}, line {line}: there is no file {path.parent / clip}")
        seen[clip] = line
        row["section"] = int(row["section"])
        row["label"] = int(row["label"]) if row["label"] else 0 if row["split"] == "train" else None
        rows.append([row[column] for column in COLUMNS])
    return pd.DataFrame(rows, columns=COLUMNS)


def is_below(path: str) -> bool:
    """Whether it is the plain way, with ``/``, to a file below the data root."""
    plain = posixpath.normpath(path) == path and not path.startswith(("/", "../"))
    return plain and path not in (".", "..") and "\\" not in path and not NO_TEXT.search(path)


ALLOWED = {  # in a clips.csv
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
    twice = name.isin(truth.index[truth.index.duplicated()])
    if twice.any():
        raise InputError(f"{clips['path'][twice].iloc[0]}: ground truth files contradict each other on it: {folders}")
    known = truth[~truth.index.duplicated()].reindex(name).astype("Int64").set_axis(clips.index)
    other = (known != clips["label"]).fillna(False).astype(bool)
    if other.any():
        raise InputError(f"{clips['path'][other].iloc[0]}: its name and its ground truth ({folders}) contradict")
    return clips.assign(label=clips["label"].fillna(known))


def select(clips: pd.DataFrame, machine_type: str, sections: list[int] = ()) -> pd.DataFrame:
    """Rows of one machine type, and of the given sections (none given: all).

    Raises:
        InputError: an unknown machine type or section, or a section without source train clips; it says what there is.
    """
    chosen = clips[clips["machine_type"] == machine_type]
    if chosen.empty:
        raise InputError(
            f"machine_type: {machine_type!r} is unknown; allowed here: {sorted(set(clips['machine_type']))}"
        )
    present = sorted(set(chosen["section"].tolist()))
    unknown = sorted(set(sections) - set(present))
    if unknown:
        raise InputError(f"sections: {machine_type} has no section {unknown}; allowed: {present}")
    if len(sections):
        chosen = chosen[chosen["section"].isin(sections)]
    trained = chosen[(chosen["split"] == "train") & (chosen["domain"] != "target")]
    untrained = sorted(set(chosen["section"].tolist()) - set(trained["section"].tolist()))
    if untrained:
        raise InputError(
            f"{machine_type}: sections {untrained} have no (source) train clips; leave them out by `sections`"
        )
    return chosen.reset_index(drop=True)


def held_out_clips(clips: pd.DataFrame, fraction: float) -> pd.Series:
    """Mark the validation set: a fraction of each section's source train clips, at least one where there are two.

    Which clips they are depends on their names alone, so all methods and seeds leave out the same ones.
    """
    source = clips[(clips["split"] == "train") & (clips["domain"] != "target")]
    digest = source["path"].map(lambda path: hashlib.sha256(path.rpartition("/")[2].encode()).hexdigest())
    rank = digest.groupby([source["machine_type"], source["section"]]).rank(method="first")
    size = digest.groupby([source["machine_type"], source["section"]]).transform("size")
    count = (size * fraction).round().clip(lower=1 if fraction else 0).clip(upper=size - 1)
    return (rank <= count).reindex(clips.index, fill_value=False)
