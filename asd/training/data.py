"""The data of a training, chosen by the notebook's parameters: clips, frames, sections, proxy outliers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from asd.data.features import FeatureSettings, FrontEnd
from asd.data.frames import Frames, LabelledFrames
from asd.data.selection import held_out_clips, select
from asd.data.store import Shard, open_shard
from asd.errors import InputError
from asd.notebook.groups import ClipParameters
from asd.notebook.inputs import feature_settings

HELD_OUT_BATCH = 32  # clips
DEBUG_CLIPS = 4  # of each machine type, section, domain, split and label


@dataclass(frozen=True)
class TrainingData:
    """What a training draws from.

    Attributes:
        clips: rows of the clips table: the chosen sections of the machine type.
        is_held_out: a mask that marks the held-out clips among them.
        sections: section numbers; everywhere else a section is given as its index in this list.
        shard: the machine type's frames.
        device: where batches are needed.
        normalize_waveform: whether every clip is scaled to RMS 1.
        n_frames, hop: a snippet's length, and the step from one to the next in scoring, in frames.
        source: frames of the source train clips that are trained on.
        held_out: frames of the held-out clips, None if there are none.
        target: frames of the target train clips, None if there are none.
        others: frames of the train clips of all other machine types, None if they are not used.
        fingerprint: for each machine type, hexadecimal digits that identify its data.
    """

    clips: pd.DataFrame
    is_held_out: pd.Series
    sections: list[int]
    shard: Shard
    device: torch.device
    normalize_waveform: bool
    n_frames: int
    hop: int
    source: LabelledFrames
    held_out: LabelledFrames | None
    target: LabelledFrames | None
    others: Frames | None
    fingerprint: dict[str, str]

    def labelled(self, rows: pd.DataFrame) -> LabelledFrames:
        """Rows of ``clips`` as frames with the index of each one's section."""
        return labelled_frames(self.shard, rows, self.sections, self.device, self.normalize_waveform)

    def held_out_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The first ``n_frames`` frames of held-out clips, (B, n_frames, n_mels), and their sections' index, (B,)."""
        if self.held_out is not None:
            frames, section = self.held_out.frames, self.held_out.section
            for rows in torch.arange(len(frames)).split(HELD_OUT_BATCH):
                snippets = frames.crop(rows, torch.zeros_like(rows), self.n_frames)
                yield snippets, section[rows].to(snippets.device)


def training_data(
    p: ClipParameters,
    clips: pd.DataFrame,
    device: torch.device,
    *,
    other_machines: bool,
    several_sections: str = "",
    features: FrontEnd | None = None,
    progress: Callable[[str], None] = print,
) -> TrainingData:
    """Choose and open the data that the parameters ask for; missing frames are computed first.

    Args:
        p: the notebook's parameters.
        clips: the clips table.
        device: where batches are needed.
        other_machines: whether the train clips of other machine types are proxy outliers.
        several_sections: the reason why more than one section is needed, empty if one is enough.
        features: another front end than log-mels; None: log-mels, as the parameters say.
        progress: called with a line of text now and then while frames are computed.

    Raises:
        InputError: the data do not have what the parameters ask for.
    """
    clips, folder = usable_clips(p, clips)
    features = features or feature_settings(p)
    chosen = select(clips, p.machine_type, p.sections)
    sections = sorted(set(chosen["section"].tolist()))
    if several_sections and len(sections) == 1:
        raise InputError(f"{p.machine_type} has only one section ({sections[0]:02}); {several_sections}")
    other_names = other_machine_types(p, clips) if other_machines else []
    shard = open_shard(clips, p.data, p.machine_type, features, folder, progress)
    if p.normalize_waveform:
        shard.check_not_silent(chosen["path"])  # test clips too, so that a silent one is reported before training
    is_held_out = held_out_clips(chosen, p.validation_fraction)
    train = chosen["split"] == "train"
    target = train & (chosen["domain"] == "target")

    def labelled(mask: pd.Series) -> LabelledFrames:
        return labelled_frames(shard, chosen[mask], sections, device, p.normalize_waveform)

    source = labelled(train & ~target & ~is_held_out)
    n_frames = snippet_frames(p, features, source.frames.shortest())
    outliers = open_outliers(p, clips, other_names, features, folder, progress)
    return TrainingData(
        clips=chosen,
        is_held_out=is_held_out,
        sections=sections,
        shard=shard,
        device=device,
        normalize_waveform=p.normalize_waveform,
        n_frames=n_frames,
        hop=n_frames if p.snippet_hop_size is None else features.hops(p.snippet_hop_size),
        source=source,
        held_out=labelled(is_held_out) if is_held_out.any() else None,
        target=labelled(target) if target.any() else None,
        others=Frames(outliers, device, p.normalize_waveform) if outliers else None,
        fingerprint={p.machine_type: shard.fingerprint(chosen["path"])}
        | {other.machine_type: other.fingerprint(paths) for other, paths in outliers},
    )


def usable_clips(p: ClipParameters, clips: pd.DataFrame) -> tuple[pd.DataFrame, Path]:
    """The clips table, of which a debug run takes a few clips of each kind, and the folder of their log-mels."""
    folder = p.outputs / "features"
    if not p.debug:
        return clips, folder
    kinds = ["machine_type", "section", "domain", "split", "label"]
    return clips.groupby(kinds, dropna=False).head(DEBUG_CLIPS), folder / "debug"


def labelled_frames(
    shard: Shard, rows: pd.DataFrame, sections: list[int], device: torch.device, normalize_waveform: bool
) -> LabelledFrames:
    """Rows of the clips table as frames with the index of each one's section in ``sections``."""
    index = torch.tensor([sections.index(number) for number in rows["section"]])
    return LabelledFrames(Frames([(shard, rows["path"])], device, normalize_waveform), index)


def snippet_frames(p: ClipParameters, features: FrontEnd, shortest: int) -> int:
    """Number of frames of a snippet: what the parameters say, or all ``shortest`` frames of the shortest train clip.

    Raises:
        InputError: a clip is too short for the method, or the snippet does not fit into the shortest clip.
    """
    least_frames = p.least_frames if isinstance(features, FeatureSettings) else 1
    least, most = (features.n_samples(n) / features.sample_rate for n in (least_frames, shortest))
    if shortest < least_frames:
        raise InputError(
            f"{p.machine_type}: its shortest train clip lasts {most:g} s; this method needs at least {least:g} s"
            f" ({least_frames} frames)"
        )
    n_frames = shortest if p.snippet_length is None else features.frames(p.snippet_length)
    if not least_frames <= n_frames <= shortest:
        raise InputError(
            f"snippet_length: {p.snippet_length} s make {n_frames} frames; allowed: {least:g} to {most:g} s"
            f" ({least_frames} frames to the shortest train clip of {p.machine_type})"
        )
    return n_frames


def other_machine_types(p: ClipParameters, clips: pd.DataFrame) -> list[str]:
    """The other machine types that have train clips.

    Raises:
        InputError: there are none.
    """
    others = sorted(set(clips.loc[clips["split"] == "train", "machine_type"]) - {p.machine_type})
    if not others:
        raise InputError(
            f"proxy_outliers: {p.data} has train clips of no machine type but {p.machine_type}; allowed: values that"
            " need no other machine types, such as 'none'"
        )
    return others


def open_outliers(
    p: ClipParameters,
    clips: pd.DataFrame,
    machine_types: list[str],
    features: FrontEnd,
    folder: Path,
    progress: Callable[[str], None],
) -> list[tuple[Shard, pd.Series]]:
    """The shards of these machine types, each with the paths of its train clips.

    Raises:
        InputError: a recording that cannot be used.
    """
    train = clips[clips["split"] == "train"]
    try:
        return [
            (
                open_shard(clips, p.data, machine_type, features, folder, progress),
                train.loc[train["machine_type"] == machine_type, "path"],
            )
            for machine_type in machine_types
        ]
    except InputError as error:
        raise InputError(
            f"proxy_outliers: they are clips of all other machine types; fix these, or use 'none'\n{error}"
        ) from error
