"""An epoch's batches: which clips, which crops of them, and what they are to be taken for.

All draws of an epoch come from generators that are seeded with the run's seed and the epoch's number alone. So an epoch
is the same whether the run came to it in one go or was resumed there.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from asd.data.features import FLOOR
from asd.data.frames import Frames, LabelledFrames
from asd.training.losses import mixed_target

PROXY_OUTLIERS = "proxy outliers"  # names their stream of random numbers


def seeded(*identity: object) -> torch.Generator:
    """A generator of its own for everything that is drawn under this name."""
    digest = hashlib.sha256(repr(identity).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def shuffled(n: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """All numbers below ``n`` in random order, in batches of nearly equal size, at most ``batch_size``."""
    return torch.randperm(n, generator=generator).tensor_split(math.ceil(n / batch_size))


def cycled(n: int, position: int, count: int, *identity: object) -> Tensor:
    """``count`` items, from ``position`` on, of an endless sequence of shuffles of all numbers below ``n``."""
    first, last = position // n, (position + count - 1) // n
    rounds = [torch.randperm(n, generator=seeded(*identity, i)) for i in range(first, last + 1)]
    return torch.cat(rounds)[position - first * n :][:count]


@dataclass(frozen=True)
class SectionBatch:
    """Snippets to classify: those of source clips, then those of target clips (none in 03), then proxy outliers.

    Attributes:
        frames: (n_source + n_target + n_outliers, n_frames, n_mels) in dB.
        section: (n_source + n_target, n_sections): probability of each section, rows sum to 1.
        n_source: how many rows are source clips.
    """

    frames: Tensor
    section: Tensor
    n_source: int


def section_batches(
    source: LabelledFrames,
    n_sections: int,
    n_frames: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    target: LabelledFrames | None = None,
    outliers: Frames | None = None,
    pairwise_mixing: bool = False,
) -> Iterator[SectionBatch]:
    """One pass over the source clips, each with as many target clips and proxy outliers, in random crops.

    Args:
        source, target: clips with their sections. The target clips are few and repeated.
        n_sections: number of classes.
        n_frames: length of a crop.
        batch_size: source clips a batch; the last ones of an epoch are shared out evenly.
        seed, epoch: what the draws depend on.
        outliers: clips of other machine types.
        pairwise_mixing: mix every source clip with another one.
    """
    clips, section = source.frames, source.section
    generator = seeded(seed, epoch)
    seen = 0
    for clip in shuffled(len(clips), batch_size, generator):
        frames = [clips.random_crop(clip, n_frames, generator)]
        wanted = [one_hot(section[clip], n_sections).float()]
        if pairwise_mixing:
            other = (clip + torch.randint(1, max(2, len(clips)), clip.shape, generator=generator)) % len(clips)
            share = torch.rand(len(clip), generator=generator)
            second = clips.random_crop(other, n_frames, generator)
            frames = [mix(frames[0], second, share.to(second.device, non_blocking=True))]
            wanted = [mixed_target(section[clip], section[other], share, n_sections)]
        position = epoch * len(clips) + seen
        if target is not None:
            chosen = cycled(len(target), position, len(clip), seed, "target")
            frames.append(target.frames.random_crop(chosen, n_frames, generator))
            wanted.append(one_hot(target.section[chosen], n_sections).float())
        if outliers is not None:
            chosen = cycled(len(outliers), position, len(clip), seed, PROXY_OUTLIERS)
            frames.append(outliers.random_crop(chosen, n_frames, generator))
        seen += len(clip)
        yield SectionBatch(torch.cat(frames), torch.cat(wanted).to(clips.device, non_blocking=True), len(clip))


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Log-mels of share·x₁ + (1 − share)·x₂ for independent sounds: their powers add, the cross term has mean zero.

    Args:
        first, second: (B, frames, n_mels) in dB.
        share: (B,) between 0 and 1.
    """
    share = share[:, None, None]
    power = share.square() * 10 ** (first / 10) + (1 - share).square() * 10 ** (second / 10)
    return 10 * power.clamp(min=FLOOR).log10()


@dataclass(frozen=True)
class WindowBatch:
    """Windows of few frames: those of the machine type, then proxy outliers (none, or as many).

    Attributes:
        frames: (B, n_frames, n_mels) in dB.
        section: (B,) index of the section that the window is said to be of: for an outlier a wrong one.
        n_inliers: how many rows are inliers.
    """

    frames: Tensor
    section: Tensor
    n_inliers: int


def window_batches(
    inlier_clips: LabelledFrames,
    n_sections: int,
    n_frames: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    other_sections: bool = False,
    other_machines: Frames | None = None,
) -> Iterator[WindowBatch]:
    """As many random windows of every clip as fit into it side by side, with as many proxy outliers.

    Args:
        inlier_clips: source train clips with their sections.
        n_sections: how many there are.
        n_frames: length of a window.
        batch_size: inliers a batch.
        seed, epoch: what the draws depend on.
        other_sections: clips of the same machine type, said to be of another section, are outliers.
        other_machines: clips of other machine types, said to be of any section, are outliers.
    """
    clips, section = inlier_clips.frames, inlier_clips.section
    generator = seeded(seed, epoch)
    per_clip = (clips.samples / clips.features.n_samples(n_frames)).ceil().long()
    inliers = torch.arange(len(clips)).repeat_interleave(per_clip)
    n_same = len(clips) if other_sections else 0
    n_pool = n_same + (len(other_machines) if other_machines is not None else 0)
    seen = 0
    for some in shuffled(len(inliers), batch_size, generator):
        clip = inliers[some]
        frames, said = [clips.random_crop(clip, n_frames, generator)], [section[clip]]
        if n_pool:
            chosen = cycled(n_pool, epoch * len(inliers) + seen, len(clip), seed, PROXY_OUTLIERS)
            same, other = chosen[chosen < n_same], chosen[chosen >= n_same] - n_same
            if len(same):
                frames.append(clips.random_crop(same, n_frames, generator))
                shift = torch.randint(1, max(2, n_sections), same.shape, generator=generator)
                said.append((section[same] + shift) % n_sections)
            if len(other):
                frames.append(other_machines.random_crop(other, n_frames, generator))
                said.append(torch.randint(n_sections, other.shape, generator=generator))
        seen += len(clip)
        yield WindowBatch(torch.cat(frames), torch.cat(said).to(clips.device, non_blocking=True), len(clip))
