"""An epoch's batches: which clips, which crops of them, and what they are to be classified as.

All draws of an epoch come from generators that are seeded with the run's seed and the epoch's number alone. So an epoch
is the same whether the run reached it without interruption or was resumed there.
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
    """A random generator of its own for everything that is drawn under this identity.

    Example:
        >>> first, again = (torch.randperm(5, generator=seeded(0, "target")).tolist() for _ in range(2))
        >>> first == again
        True
    """
    digest = hashlib.sha256(repr(identity).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def shuffled(n: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """All numbers below ``n`` in random order, in batches of nearly equal size, at most ``batch_size``.

    Example:
        >>> [len(batch) for batch in shuffled(10, 4, seeded(0))]
        [4, 3, 3]
    """
    return torch.randperm(n, generator=generator).tensor_split(math.ceil(n / batch_size))


def cycled(n: int, position: int, count: int, *identity: object) -> Tensor:
    """``count`` items, starting at ``position``, of an endless sequence of shuffles of all numbers below ``n``.

    Example:
        >>> sorted(cycled(3, 0, 6, "target").tolist())  # every number comes once before one is repeated
        [0, 0, 1, 1, 2, 2]
        >>> torch.equal(cycled(3, 4, 2, "target"), cycled(3, 0, 6, "target")[4:])
        True
    """
    first, last = position // n, (position + count - 1) // n
    rounds = [torch.randperm(n, generator=seeded(*identity, i)) for i in range(first, last + 1)]
    return torch.cat(rounds)[position - first * n :][:count]


@dataclass(frozen=True)
class SectionBatch:
    """Snippets to classify: those of source clips, then those of target clips (04 only), then proxy outliers.

    Attributes:
        frames: (n_source + n_target + n_outliers, n_frames, n_mels) in dB.
        section: (n_source + n_target, n_sections): probability of each section, rows sum to 1.
        n_source: number of rows from source clips.
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
        source, target: clips with their sections. The few target clips are repeated as often as needed.
        n_sections: number of classes.
        n_frames: length of a crop.
        batch_size: source clips per batch at most; all batches of an epoch are nearly equal in size.
        seed, epoch: what the draws depend on.
        outliers: clips of other machine types.
        pairwise_mixing: mix every source clip with another one.
    """
    n, device = len(source), source.frames.device
    generator = seeded(seed, epoch)
    n_drawn = 0
    for clip in shuffled(n, batch_size, generator):
        snippets = [source.frames.random_crop(clip, n_frames, generator)]
        sections = [one_hot(source.section[clip], n_sections).float()]
        if pairwise_mixing:
            other = (clip + torch.randint(1, max(2, n), clip.shape, generator=generator)) % n
            share = torch.rand(len(clip), generator=generator)
            second = source.frames.random_crop(other, n_frames, generator)
            snippets = [mix(snippets[0], second, share.to(second.device, non_blocking=True))]
            sections = [mixed_target(source.section[clip], source.section[other], share, n_sections)]
        position = epoch * n + n_drawn
        if target is not None:
            chosen = cycled(len(target), position, len(clip), seed, "target")
            snippets.append(target.frames.random_crop(chosen, n_frames, generator))
            sections.append(one_hot(target.section[chosen], n_sections).float())
        if outliers is not None:
            chosen = cycled(len(outliers), position, len(clip), seed, PROXY_OUTLIERS)
            snippets.append(outliers.random_crop(chosen, n_frames, generator))
        n_drawn += len(clip)
        yield SectionBatch(torch.cat(snippets), torch.cat(sections).to(device, non_blocking=True), len(clip))


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Log-mels of share·x₁ + (1 − share)·x₂ for independent sounds: their powers add, the cross term has mean zero.

    Args:
        first, second: (B, frames, n_mels) in dB.
        share: (B,) between 0 and 1.

    Returns:
        (B, frames, n_mels) in dB.

    Example:
        >>> mix(torch.tensor([[[0.0]]]), torch.tensor([[[0.0]]]), torch.tensor([0.5]))  # ¼ + ¼ of the power
        tensor([[[-3.0103]]])
    """
    share = share[:, None, None]
    power = share.square() * 10 ** (first / 10) + (1 - share).square() * 10 ** (second / 10)
    return 10 * power.clamp(min=FLOOR).log10()


@dataclass(frozen=True)
class WindowBatch:
    """Windows of few frames: those of the machine type, then proxy outliers (none, or as many).

    Attributes:
        frames: (B, n_frames, n_mels) in dB.
        section: (B,) index of the section that the window is claimed to be of: for an outlier a wrong one.
        n_inliers: number of rows that are inliers.
    """

    frames: Tensor
    section: Tensor
    n_inliers: int


def window_batches(
    source: LabelledFrames,
    n_sections: int,
    n_frames: int,
    batch_size: int,
    *,
    other_sections: bool = False,
    other_machines: Frames | None = None,
    seed: int,
    epoch: int,
) -> Iterator[WindowBatch]:
    """As many random windows of every clip as fit into it side by side, with as many proxy outliers.

    Args:
        source: the inliers, clips with their sections.
        n_sections: number of sections.
        n_frames: length of a window.
        batch_size: inliers per batch at most; all batches of an epoch are nearly equal in size.
        other_sections: use clips of the same machine type as outliers, claimed to be of another section.
        other_machines: clips of other machine types to use as outliers, claimed to be of any section.
        seed, epoch: what the draws depend on.
    """
    frames, section = source.frames, source.section
    generator = seeded(seed, epoch)
    per_clip = (frames.samples / frames.features.n_samples(n_frames)).ceil().long()
    inliers = torch.arange(len(frames)).repeat_interleave(per_clip)
    n_same = len(frames) if other_sections else 0
    n_pool = n_same + (len(other_machines) if other_machines is not None else 0)
    n_drawn = 0
    for rows in shuffled(len(inliers), batch_size, generator):
        clip = inliers[rows]
        windows, claimed = [frames.random_crop(clip, n_frames, generator)], [section[clip]]
        if n_pool:
            chosen = cycled(n_pool, epoch * len(inliers) + n_drawn, len(clip), seed, PROXY_OUTLIERS)
            same, other = chosen[chosen < n_same], chosen[chosen >= n_same] - n_same
            if len(same):
                windows.append(frames.random_crop(same, n_frames, generator))
                shift = torch.randint(1, max(2, n_sections), same.shape, generator=generator)
                claimed.append((section[same] + shift) % n_sections)
            if other_machines is not None and len(other):
                windows.append(other_machines.random_crop(other, n_frames, generator))
                claimed.append(torch.randint(n_sections, other.shape, generator=generator))
        n_drawn += len(clip)
        yield WindowBatch(torch.cat(windows), torch.cat(claimed).to(frames.device, non_blocking=True), len(clip))
