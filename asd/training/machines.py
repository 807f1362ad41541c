"""The train clips of all machine types together, each with its class: what an angular embedding learns from."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch

from asd.data.features import FrontEnd
from asd.data.frames import Frames, LabelledFrames
from asd.data.selection import held_out_clips
from asd.data.spectra import SpectrumSettings
from asd.data.store import Shard, open_shard
from asd.errors import InputError
from asd.notebook.inputs import feature_settings
from asd.notebook.parameters import AngularParameters
from asd.training.data import snippet_frames, usable_clips


@dataclass(frozen=True)
class AllMachines:
    """What the network is trained on.

    Attributes:
        classes: their names, such as ``fan 00`` or ``fan 00 speed_100``.
        train: frames of the train clips, of both domains; ``section`` is the index of the class.
        held_out: the same of the held-out clips, None if there are none.
        n_frames: length of a snippet, in frames.
        fingerprint: for each machine type, hexadecimal digits that identify its train clips.
    """

    classes: list[str]
    train: LabelledFrames
    held_out: LabelledFrames | None
    n_frames: int
    fingerprint: dict[str, str]


def class_names(clips: pd.DataFrame, classes: str) -> pd.Series:
    """The class of each row: its machine type and section, and with ``classes`` "attributes" its attribute, too.

    Example:
        >>> clips = pd.DataFrame({"machine_type": ["fan"], "section": [3], "attribute": ["speed_100"]})
        >>> class_names(clips, "sections").item(), class_names(clips, "attributes").item()
        ('fan 03', 'fan 03 speed_100')
    """
    names = clips["machine_type"] + clips["section"].map(" {:02d}".format)
    return (names + " " + clips["attribute"]).str.strip() if classes == "attributes" else names


def all_machines(
    p: AngularParameters,
    clips: pd.DataFrame,
    device: torch.device,
    progress: Callable[[str], None] = print,
) -> AllMachines:
    """Open the train clips of all machine types; missing frames are computed first.

    The frames are log-mels, or with the branch "spectrum" the spectra of snippets.

    Args:
        p: the notebook's parameters; ``sections`` are used of every machine type.
        clips: the clips table.
        device: where batches are needed.
        progress: called with a line of text now and then while frames are computed.

    Raises:
        InputError: fewer than two classes, two with a loss that needs more, or recordings that cannot be used.
    """
    clips, folder = usable_clips(p, clips)
    train = clips[clips["split"] == "train"]
    if p.sections:
        train = train[train["section"].isin(p.sections)]
    train = train.sort_values("path").reset_index(drop=True)  # sorted by machine type, too, within a part of the data
    names = class_names(train, p.classes)
    classes = sorted(set(names))
    if len(classes) < 2:
        raise InputError(
            f"classes: {p.data} has train clips of the class {classes} only; two are needed, such as two sections or"
            " two machine types; 05_density works with one"
        )
    if len(classes) * (p.subclusters if p.loss == "adacos" else 1) < 3:
        raise InputError(
            f"loss, subclusters: of two classes, {p.loss!r} with {p.subclusters} centres each learns nothing, as its"
            " scale is 0; allowed: 'adacos' with 2 or more"
        )
    index, held = names.map(classes.index), held_out_clips(train, p.validation_fraction)
    machine_types = sorted(set(train["machine_type"]))

    def opened(features: FrontEnd) -> dict[str, Shard]:
        return {name: open_shard(clips, p.data, name, features, folder, progress) for name in machine_types}

    features = feature_settings(p)
    shards = opened(features)

    def labelled(shards: dict[str, Shard], mask: pd.Series) -> LabelledFrames:
        parts, label = [], []
        for name, shard in shards.items():
            rows = mask & (train["machine_type"] == name)
            parts.append((shard, train.loc[rows, "path"]))
            label += index[rows].tolist()
        used = [(shard, paths) for shard, paths in parts if len(paths)]
        return LabelledFrames(Frames(used, device, p.normalize_waveform), torch.tensor(label))

    frames = labelled(shards, ~held)
    n_frames = snippet_frames(p, features, frames.frames.shortest())
    if p.branches == ["spectrum"]:
        shortest = min(int(shard.table["samples"].min()) for shard in shards.values())  # of the test clips, too
        length = shortest if p.snippet_length is None else round(p.snippet_length * p.sample_rate)
        shards, n_frames = opened(SpectrumSettings(p.sample_rate, length)), 1
        frames = labelled(shards, ~held)
    own = {name: train.loc[train["machine_type"] == name, "path"] for name in machine_types}
    return AllMachines(
        classes=classes,
        train=frames,
        held_out=labelled(shards, held) if held.any() else None,
        n_frames=n_frames,
        fingerprint={name: shards[name].fingerprint(paths) for name, paths in own.items()},
    )
