"""The clips table: what recordings there are, one row a clip, made from file names alone.

Everything selects from this table; nobody else parses a name or walks a folder. The names are those of DCASE Task 2,
``section_00_source_train_normal_0001_<attribute>.wav`` in ``<machine type>/<train|source_test|target_test|test>/``,
wherever under the data root those folders lie. Recordings with other names come with a ``clips.csv`` in the data root.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from asd.errors import InputError
from asd.ground_truth import read_ground_truth

COLUMNS = ["path", "machine_type", "section", "domain", "split", "label", "attribute"]
DOMAINS, SPLITS = ("source", "target"), ("train", "test")
FOLDERS = {  # name of a folder of clips: their split, and their domain where the name tells it
    "train": ("train", ""),
    "source_test": ("test", "source"),
    "target_test": ("test", "target"),
    "test": ("test", ""),
}
NAME = re.compile(
    r"section_(?P<section>\d+)(?:_(?P<domain>source|target))?(?:_(?P<split>train|test))?(?:_(?P<label>normal|anomaly))?"
    r"_\d+(?:_(?P<attribute>.+))?\.[wW][aA][vV]"
)
DEPTH = 4  # a machine type's folder lies at most this far below the data root


def clips_table(data_root: Path | str) -> pd.DataFrame:
    """List all clips below ``data_root``.

    Returns:
        One row a clip, sorted by path: ``path`` (relative to the data root), ``machine_type``, ``section`` (a number),
        ``domain`` (``source``, ``target``, or empty where the name does not tell), ``split`` (``train``, ``test``),
        ``label`` (0 normal, 1 anomalous, ``<NA>`` unknown), ``attribute`` (free text). Labels of evaluation clips come
        from ``ground_truth_*.csv`` files, where there are any.

    Raises:
        InputError: no such folder, no clip in it, a name that does not parse, a clip that is there twice.
    """
    root = Path(data_root).expanduser().absolute()
    if not root.is_dir():
        raise InputError(f"data_root: there is no folder {root}")
    listed = root / "clips.csv"
    clips = read_clips_csv(listed) if listed.is_file() else read_names(root)
    if clips.empty:
        raise InputError(
            f"data_root: no clips in {root}. Looked for section_*.wav in <machine type>/{{{','.join(FOLDERS)}}}/,"
            f" at most {DEPTH} folders below it, and for a clips.csv."
        )
    clips = clips.astype({"section": "int64", "label": "Int64"}).sort_values("path", ignore_index=True)
    anomalous = clips[(clips["split"] == "train") & (clips["label"] == 1)]
    if len(anomalous):
        raise InputError(
            f"{root / anomalous['path'].iloc[0]}: an anomalous clip among the train clips, which must be normal"
        )
    return with_ground_truth(clips, root)


def read_names(root: Path) -> pd.DataFrame:
    """Make the table from the names of folders and files.

    Raises:
        InputError: a name that does not parse, or that stands twice in a machine type (the challenge's names don't).
    """
    clips = pd.DataFrame(list(named_clips(root)), columns=COLUMNS)
    name = clips["path"].str.rpartition("/")[2]
    twice = clips[clips.assign(name=name).duplicated(["machine_type", "name"], keep=False)]
    if len(twice):
        example = twice["path"][name == name[twice.index[0]]].head(2).tolist()
        raise InputError(f"{root}: {len(twice)} clips share their name with another one, for example {example}")
    return clips


def named_clips(root: Path) -> Iterator[tuple]:
    """Yield the rows that folders and file names tell, as in COLUMNS.

    Raises:
        InputError: a wav whose name is not of the challenge's form, or contradicts its folder.
    """
    for folder, machine_type in clip_folders(str(root), DEPTH):
        split, domain = FOLDERS[os.path.basename(folder)]
        prefix = os.path.relpath(folder, root).replace(os.sep, "/")
        for file in os.listdir(folder):
            if file.startswith(".") or not file.lower().endswith(".wav"):
                continue
            match = NAME.fullmatch(file)
            if match is None:
                raise InputError(
                    f"{os.path.join(folder, file)}: not a name of the form section_SS_{{source|target}}_{{train|test}}_"
                    "{normal|anomaly}_NNNN[_attribute].wav; other names need a clips.csv in the data root"
                )
            if (match["split"] or split) != split or (domain and match["domain"] and match["domain"] != domain):
                raise InputError(f"{os.path.join(folder, file)}: the name says otherwise than the folder it lies in")
            label = {"normal": 0, "anomaly": 1, None: 0 if split == "train" else None}[match["label"]]
            section, attribute = int(match["section"]), match["attribute"] or ""
            yield f"{prefix}/{file}", machine_type, section, match["domain"] or domain, split, label, attribute


def clip_folders(folder: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield (folder of clips, machine type) below ``folder``; a folder of clips is known by its name."""
    if os.path.basename(folder) in FOLDERS:
        yield folder, os.path.basename(os.path.dirname(folder))
    elif depth >= 0:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from clip_folders(entry.path, depth - 1)


def read_clips_csv(path: Path) -> pd.DataFrame:
    """Read the table of people's own recordings: the columns of the clips table, ``attribute`` optional.

    Raises:
        InputError: a missing column, an empty or impossible value, or a file that is not there, naming its row.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [column for column in COLUMNS[:-1] if column not in table]
    if missing:
        raise InputError(f"{path}: no column {missing}; the columns are {COLUMNS}, attribute may be left out")
    table = table.assign(attribute=table.get("attribute", ""))[COLUMNS]
    table["label"] = table["label"].replace({"normal": "0", "anomaly": "1"})
    allowed = {
        "path": (table["path"] != "") & ~table["path"].str.contains(r"^/|\\|(?:^|/)\.\.(?:/|$)"),
        "machine_type": table["machine_type"].str.fullmatch(r"[\w.-]+") & ~table["machine_type"].str.startswith("."),
        "section": table["section"].str.fullmatch(r"\d{1,9}"),
        "domain": table["domain"].isin([*DOMAINS, ""]),
        "split": table["split"].isin(SPLITS),
        "label": table["label"].isin(["0", "1", ""]),
    }
    form = {
        "path": "a path below the data root",
        "machine_type": "a name of letters, digits, _, . and -",
        "section": "a number",
        "domain": "source, target or empty",
        "split": "train or test",
        "label": "0, 1 or empty",
    }
    for column, good in allowed.items():
        if not good.all():
            row = int((~good).idxmax())
            raise InputError(f"{path}, row {row + 2}: {column} is {table.at[row, column]!r}; allowed: {form[column]}")
    if table["path"].duplicated().any():
        row = int(table["path"].duplicated().idxmax())
        raise InputError(f"{path}, row {row + 2}: {table['path'][row]} is listed before")
    for row, clip in enumerate(table["path"]):
        if not (path.parent / clip).is_file():
            raise InputError(f"{path}, row {row + 2}: there is no file {path.parent / clip}")
    table["section"] = table["section"].astype("int64")
    table["label"] = pd.to_numeric(table["label"].replace("", None)).astype("Int64")
    table.loc[(table["split"] == "train") & table["label"].isna(), "label"] = 0
    return table


def with_ground_truth(clips: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Fill in unknown labels from the challenge's ``ground_truth_*.csv`` files in the data root or a folder of it."""
    folders = sorted(
        {file.parent for pattern in ("", "*/", "*/*/") for file in root.glob(f"{pattern}ground_truth_*.csv")}
    )
    if not folders:
        return clips
    truth = pd.concat([read_ground_truth(folder) for folder in folders])
    key = pd.MultiIndex.from_arrays([clips["machine_type"], clips["path"].str.rpartition("/")[2]])
    known = truth.drop_duplicates(["machine_type", "clip"]).set_index(["machine_type", "clip"])["label"]
    joined = known.reindex(key).astype("Int64").set_axis(clips.index)
    return clips.assign(label=clips["label"].fillna(joined))


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


def held_out(clips: pd.DataFrame, fraction: float) -> pd.Series:
    """Mark the validation set: a fraction of each section's source train clips, at least one where there are two.

    Which clips they are depends on their names alone, so all methods and seeds leave out the same ones.
    """
    source = clips[(clips["split"] == "train") & (clips["domain"] != "target")]
    digest = source["path"].map(lambda path: hashlib.sha256(path.rpartition("/")[2].encode()).hexdigest())
    rank = digest.groupby([source["machine_type"], source["section"]]).rank(method="first")
    size = digest.groupby([source["machine_type"], source["section"]]).transform("size")
    count = (size * fraction).round().clip(lower=1 if fraction else 0, upper=size - 1)
    return (rank <= count).reindex(clips.index, fill_value=False)
