"""Clips' frames, drawn on the training device by index: no Python per sample, no worker processes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from asd.data.store import Shard


class Frames:
    """The frames of clips from one or several shards; a clip is addressed by its number.

    On a CPU the shards stay memory-mapped files. On a GPU the clips' frames are copied into its memory once if they fit
    into a quarter of what is free: a training opens up to four such sets, and needs room for itself. Otherwise they are
    gathered on the CPU and sent batch by batch, from page-locked memory. Neither waits for the GPU, so the next batch
    is gathered while the GPU works on this one.

    Args:
        parts: shards, and the paths of the clips taken from each.
        device: where batches are needed.
        normalize_waveform: scale every clip to RMS 1, which in decibels subtracts 20·log10(rms).

    Raises:
        InputError: a clip that is to be scaled is silent.

    Example:
        A shard of two clips, of 3 and 2 frames of one mel band, in steps of 1/256 dB:

        >>> from asd.data.features import FeatureSettings
        >>> rows = {"start": [0, 3], "length": [3, 2], "rms": [0.1, 0.1], "samples": [2048, 1536]}
        >>> frames = np.array([[0], [256], [512], [768], [1024]], dtype=np.int16)
        >>> table = pd.DataFrame(rows, index=["a.wav", "b.wav"])
        >>> shard = Shard("fan", FeatureSettings(n_mels=1), frames, table, np.zeros((2, 2, 1)))
        >>> clips = Frames([(shard, pd.Series(["a.wav", "b.wav"]))], "cpu")
        >>> len(clips), clips.shortest()
        (2, 2)
        >>> clips.crop(torch.tensor([0, 1]), torch.tensor([0, 1]), 3).squeeze(2)  # the second clip wraps around
        tensor([[0., 1., 2.],
                [4., 3., 4.]])
    """

    def __init__(
        self, parts: list[tuple[Shard, pd.Series]], device: torch.device | str, normalize_waveform: bool = False
    ):
        self.device = torch.device(device)
        tables = [shard.table.loc[list(paths)].assign(part=i) for i, (shard, paths) in enumerate(parts)]
        table = pd.concat(tables)
        if normalize_waveform:
            for shard, paths in parts:
                shard.check_not_silent(paths)
        gain = 20 * np.log10(table["rms"].to_numpy()) if normalize_waveform else np.zeros(len(table))
        mapped = [torch.from_numpy(shard.frames) for shard, _ in parts]
        start, length, part = (table[column].to_numpy() for column in ("start", "length", "part"))
        size = 2 * length.sum() * mapped[0].shape[1]  # bytes
        if self.device.type != "cpu" and 4 * size < free_memory(self.device):
            mapped = [gathered(mapped, part, start, length, self.device)]
            start, part = np.cumsum(length) - length, np.zeros_like(part)
        self.parts, self.features, self.mapped = parts, parts[0][0].features, mapped
        self.length, self.samples = (torch.tensor(table[column].to_numpy()) for column in ("length", "samples"))
        self.gain = torch.from_numpy(gain)
        memory = mapped[0].device  # the index lies beside the frames, so that no crop waits for the device
        self.start, self.period, self.part = (torch.tensor(a).to(memory) for a in (start, length, part))
        self.subtracted = self.gain.float().to(self.device)

    def __len__(self) -> int:
        return len(self.length)

    def shortest(self) -> int:
        """Number of frames of the shortest clip."""
        return int(self.length.min())

    def crop(self, clip: Tensor, offset: Tensor, n_frames: int) -> Tensor:
        """``n_frames`` frames of each clip in ``clip`` (B,), starting at frame ``offset`` (B,).

        Returns:
            (B, n_frames, width) on the training device, of log-mels in dB. A clip that ends in its crop wraps around.
        """
        memory = self.start.device  # that of the device, or the host's
        clip, offset = clip.to(memory, non_blocking=True), offset.to(memory, non_blocking=True)
        position = (offset[:, None] + torch.arange(n_frames, device=memory)) % self.period[clip, None]
        row = self.start[clip, None] + position
        if len(self.mapped) == 1:
            frames = self.mapped[0][row]
        else:
            frames = torch.empty(*row.shape, self.mapped[0].shape[1], dtype=torch.int16)
            for i in self.part[clip].unique().tolist():
                in_part = self.part[clip] == i
                frames[in_part] = self.mapped[i][row[in_part]]
        if memory.type != self.device.type:
            frames = page_locked(frames, self.device)
        frames, clip = frames.to(self.device, non_blocking=True), clip.to(self.device, non_blocking=True)
        return self.features.restored(frames) - self.subtracted[clip, None, None]

    def random_crop(self, clip: Tensor, n_frames: int, generator: torch.Generator) -> Tensor:
        """Like :meth:`crop`, at uniformly random whole frames; a clip shorter than ``n_frames`` starts anywhere."""
        length = self.length[clip]
        n_offsets = torch.where(length < n_frames, length, length - n_frames + 1)
        offset = (torch.rand(len(clip), generator=generator, dtype=torch.float64) * n_offsets).long()
        return self.crop(clip, offset, n_frames)

    def mean_std(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every mel band over all frames, in dB.

        Returns:
            (n_mels,) each; standard deviations are at least 1e-4 of the largest one.
        """
        weight, gain = self.length.double() / self.length.sum(), self.gain[:, None]
        statistics = np.concatenate([shard.statistics_of(paths) for shard, paths in self.parts])
        mean, square = torch.from_numpy(statistics).unbind(1)
        mean, square = mean - gain, square - 2 * gain * mean + gain.square()
        mean, square = weight @ mean, weight @ square
        std = (square - mean.square()).clamp(min=0).sqrt()
        return mean.float(), std.clamp(min=1e-4 * std.max()).float()


@dataclass(frozen=True)
class LabelledFrames:
    """Clips with the index of each one's section: ``frames`` of N clips, ``section`` (N,)."""

    frames: Frames
    section: Tensor

    def __len__(self) -> int:
        return len(self.frames)


def free_memory(device: torch.device) -> int:
    """Bytes that are free in a GPU's memory."""
    return torch.cuda.mem_get_info(device)[0]


def page_locked(frames: Tensor, device: torch.device) -> Tensor:
    """A copy of the frames in memory from which a GPU reads without the host's help; as they are for other devices."""
    return frames.pin_memory() if device.type == "cuda" else frames


def gathered(
    mapped: list[Tensor], part: np.ndarray, start: np.ndarray, length: np.ndarray, device: torch.device | str
) -> Tensor:
    """The clips' frames, one clip after the other, in the memory of ``device``.

    Args:
        mapped: the frames of each shard, (all its frames, n_mels).
        part, start, length: for each clip its shard's number, and its first row and number of rows there.
        device: where the copy lies.
    """
    frames = torch.empty(int(length.sum()), mapped[0].shape[1], dtype=torch.int16, device=device)
    row = 0
    for i, first, n in zip(part, start, length, strict=True):
        frames[row : row + n] = mapped[i][first : first + n]
        row += n
    return frames
