"""All that a training draws from, chosen by the notebook's parameters: clips, frames, sections, proxy outliers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from asd.dataset import clips_table, held_out, select
from asd.errors import InputError
from asd.features import FeatureSettings
from asd.frames import Frames
from asd.mini import make
from asd.parameters import FeatureParameters, FittingParameters, Parameters, TrainingParameters
from asd.store import Shard, open_shard

VALIDATION_BATCH = 32  # clips
DEBUG_CLIPS = 4  # of each machine type, section, domain, split and label


def feature_settings(p: FeatureParameters) -> FeatureSettings:
    """The settings that the parameters name."""
    return FeatureSettings(p.sample_rate, p.n_fft, p.hop_length, p.n_mels, p.consistent_with_librosa)


def find_clips(p: Parameters) -> pd.DataFrame:
    """The clips table of the parameters' data root; the embedded data set is made first where it is not there."""
    if p.embedded:
        make(p.data)
    return clips_table(p.data)


def find_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a GPU where there is one.

    Raises:
        InputError: a GPU is asked for that is not there.
    """
    there = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if there else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= there:
        raise InputError(f"device: {name!r} is not there: {there} CUDA devices were found; allowed: 'cpu', 'auto'")
    return device


@dataclass(frozen=True)
class TrainingData:
    """What a training draws from.

    Attributes:
        clips: rows of the clips table: the machine type, the chosen sections.
        held_out: marks the validation clips among them.
        sections: section numbers; everywhere else their index in this list is used.
        shard: the machine type's frames.
        n_frames, hop: a snippet's length and the step between two when scoring, in frames.
        source, validation, target: train clips with the index of each one's section; those of the source domain that
            are trained on, those of it that are held out (None without any), and those of the target domain.
        others: train clips of all other machine types, or None where they were not asked for.
        fingerprint: what data it is.
    """

    clips: pd.DataFrame
    held_out: pd.Series
    sections: list[int]
    shard: Shard
    n_frames: int
    hop: int
    source: tuple[Frames, Tensor]
    validation: tuple[Frames, Tensor] | None
    target: tuple[Frames, Tensor] | None
    others: Frames | None
    fingerprint: dict[str, str]

    def validation_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The beginnings of the held-out clips, (B, n_frames, n_mels), and the index of each one's section, (B,)."""
        if self.validation is not None:
            frames, section = self.validation
            for rows in torch.arange(len(frames)).split(VALIDATION_BATCH):
                snippets = frames.crop(rows, torch.zeros_like(rows), self.n_frames)
                yield snippets, section[rows].to(snippets.device)


def training_data(
    p: TrainingParameters,
    clips: pd.DataFrame,
    device: torch.device,
    *,
    other_machines: bool,
    several_sections: str = "",
    progress: Callable[[str], None] = print,
) -> TrainingData:
    """Choose and open what the parameters ask for; the log-mel store is filled where need be.

    Args:
        p: the notebook's parameters.
        clips: the clips table.
        device: where batches are wanted.
        other_machines: whether the train clips of other machine types are proxy outliers.
        several_sections: why more than one section is needed, empty if it is not.
        progress: called with a line of text now and then.

    Raises:
        InputError: the data do not have what the parameters ask for.
    """
    folder = p.outputs / "features"
    if p.debug:
        clips = clips.groupby(["machine_type", "section", "domain", "split", "label"], dropna=False).head(DEBUG_CLIPS)
        folder = folder / "debug"
    mine = select(clips, p.machine_type, p.sections)
    sections = sorted(set(mine["section"].tolist()))
    if several_sections and len(sections) == 1:
        raise InputError(f"{p.machine_type} has one section only ({sections[0]:02}); {several_sections}")
    trained = set(clips.loc[clips["split"] == "train", "machine_type"])
    others = sorted(trained - {p.machine_type}) if other_machines else []
    if other_machines and not others:
        raise InputError(
            f"proxy_outliers: {p.data} has train clips of no machine type but {p.machine_type}; allowed: what does"
            " without other machines, such as 'none'"
        )
    settings = feature_settings(p)

    def shard_of(machine_type: str) -> Shard:
        return open_shard(clips, p.data, machine_type, settings, folder, progress)

    shard = shard_of(p.machine_type)
    Frames([(shard, mine["path"])], "cpu", p.normalize_waveform)  # a silent test clip, too, is told before training
    out = held_out(mine, p.validation_fraction)
    train = mine[mine["split"] == "train"]
    target, validation = train["domain"] == "target", out[train.index]

    def chosen(rows: pd.Series) -> tuple[Frames, Tensor] | None:
        some = train[rows]
        if some.empty:
            return None
        index = torch.tensor([sections.index(section) for section in some["section"]])
        return Frames([(shard, some["path"])], device, p.normalize_waveform), index

    source = chosen(~target & ~validation)
    shortest = source[0].shortest()
    least, most = (settings.n_samples(n) / settings.sample_rate for n in (p.least_frames, shortest))
    if shortest < p.least_frames:
        raise InputError(
            f"{p.machine_type}: its shortest train clip is of {most:g} s; this method needs {least:g} s at least"
            f" ({p.least_frames} frames)"
        )
    n_frames = shortest if p.snippet_length is None else settings.frames(p.snippet_length)
    if not p.least_frames <= n_frames <= shortest:
        raise InputError(
            f"snippet_length: {p.snippet_length} s make {n_frames} frames; allowed: {least:g} to {most:g} s"
            f" ({p.least_frames} frames to the shortest train clip of {p.machine_type})"
        )
    try:
        shards = {name: shard_of(name) for name in others}
    except InputError as error:
        raise InputError(
            f"proxy_outliers: they are clips of all other machine types; mend these, or do without ('none')\n{error}"
        ) from error
    outliers = [(shards[name], others_train(clips, name)) for name in others]
    return TrainingData(
        clips=mine,
        held_out=out,
        sections=sections,
        shard=shard,
        n_frames=n_frames,
        hop=n_frames if p.snippet_hop_size is None else settings.hops(p.snippet_hop_size),
        source=source,
        validation=chosen(validation),
        target=chosen(target),
        others=Frames(outliers, device, p.normalize_waveform) if outliers else None,
        fingerprint={p.machine_type: shard.fingerprint(mine["path"])}
        | {one.machine_type: one.fingerprint(paths) for one, paths in outliers},
    )


def others_train(clips: pd.DataFrame, machine_type: str) -> pd.Series:
    """Paths of a machine type's train clips."""
    return clips.loc[(clips["machine_type"] == machine_type) & (clips["split"] == "train"), "path"]


def introduce(p: FittingParameters, settings_name: str, notebook: str) -> None:
    """Say on what the notebook works, and what to use where its defaults are too small."""
    print(f"{p.machine_type} in {shown(p.data)}, settings: {settings_name}; results in {shown(p.outputs)}")
    if not p.embedded and settings_name == "demo":
        print("The defaults are sized for the embedded data set; for the challenge's full data there is")
        print(f"params/dcase2021/{notebook}.yaml (papermill … -f params/dcase2021/{notebook}.yaml)")


def shown(path: Path) -> str:
    """A path as people like to read it: below the working folder or the home folder where it lies there."""
    for base, sign in ((Path.cwd(), "."), (Path.cwd().parent, ".."), (Path.home(), "~")):
        if path.is_relative_to(base):
            return str(Path(sign) / path.relative_to(base))
    return str(path)
