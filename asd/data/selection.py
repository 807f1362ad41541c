"""Which clips of the table are used: one machine type's sections, and among their train clips the held-out ones."""

import hashlib
from collections.abc import Sequence

import pandas as pd

from asd.errors import InputError


def select(clips: pd.DataFrame, machine_type: str, sections: Sequence[int] = ()) -> pd.DataFrame:
    """Rows of one machine type and the given sections (none given: all).

    Args:
        clips: the clips table.
        machine_type: its name.
        sections: section numbers.

    Raises:
        InputError: an unknown machine type or section, or a section without source train clips; the message lists what
            is available.

    Example:
        >>> clips = pd.DataFrame({"machine_type": ["fan", "fan", "valve"], "section": [0, 1, 0]})
        >>> select(clips.assign(split="train", domain="source"), "fan", [1])["section"].tolist()
        [1]
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
            f"{machine_type}: sections {untrained} have no (source) train clips; exclude them with `sections`"
        )
    return chosen.reset_index(drop=True)


def held_out_clips(clips: pd.DataFrame, fraction: float) -> pd.Series:
    """Mark the held-out clips: a fraction of each section's source train clips, at least one where there are two.

    Which clips they are depends on their names alone, so all methods and seeds hold out the same ones.

    Args:
        clips: rows of the clips table.
        fraction: part of each section's source train clips, in [0, 1); never all of them are held out.

    Returns:
        A boolean mask with the index of ``clips``.

    Example:
        >>> clips = pd.DataFrame({"path": [f"section_00_source_train_normal_{i:04}.wav" for i in range(10)]})
        >>> clips = clips.assign(machine_type="fan", section=0, domain="source", split="train")
        >>> clips.index[held_out_clips(clips, 0.2)].tolist()
        [5, 7]
    """
    source = clips[(clips["split"] == "train") & (clips["domain"] != "target")]
    digest = source["path"].map(lambda path: hashlib.sha256(path.rpartition("/")[2].encode()).hexdigest())
    rank = digest.groupby([source["machine_type"], source["section"]]).rank(method="first")
    size = digest.groupby([source["machine_type"], source["section"]]).transform("size")
    count = (size * fraction).round().clip(lower=1 if fraction else 0).clip(upper=size - 1)
    return (rank <= count).reindex(clips.index, fill_value=False)
