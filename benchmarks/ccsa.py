"""How long CCSA takes, and how much memory: forward and backward on two cores.

At batch 32 with the full network's embeddings of 10 s clips, and at a sixteenth of that size beside the plain double
loop over pairs, which takes some 15 s and 12 GiB at full size.

    python benchmarks/ccsa.py
"""

import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from asd.training.ccsa import ccsa

MARGIN = 0.5
SECTION = torch.arange(32) % 6


def double_loop(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    semantic = contrastive = torch.zeros(())
    for a, section in zip(source, SECTION, strict=True):
        for b, other in zip(target, SECTION, strict=True):
            distance = (a - b).square().mean().sqrt()
            if section == other:
                semantic = semantic + distance**2
            else:
                contrastive = contrastive + torch.relu(MARGIN - distance) ** 2
    return semantic / 32**2, contrastive / 32**2


def ours(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return ccsa(source, target, SECTION, SECTION, MARGIN)


def peak_memory() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20


def measure(method: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], channels: int, runs: int) -> float:
    """Median seconds of forward and backward; prints them, and by how much memory has grown at its peak."""
    torch.manual_seed(0)
    source, target = (torch.randn(32, channels, 31, 77, requires_grad=True) for _ in range(2))
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew at what is used now
    before = peak_memory()
    seconds = []
    for _ in range(runs):
        source.grad = target.grad = None
        start = time.perf_counter()
        semantic, contrastive = method(source, target)
        (0.5 * semantic + 0.5 * contrastive).backward()
        seconds.append(time.perf_counter() - start)
    growth = peak_memory() - before
    median = statistics.median(seconds)
    size = f"32 × {channels}×31×77"
    print(f"{method.__name__:12} {size}: {median:.3f} s (best {min(seconds):.3f}), {growth:.2f} GiB")
    return median


def main() -> None:
    torch.set_num_threads(2)
    print(f"two threads; load of the machine before: {os.getloadavg()[0]:.1f}")
    measure(ours, 512, runs=9)
    small = measure(ours, 32, runs=9)
    ratio = measure(double_loop, 32, runs=3) / small
    print(f"the double loop takes {ratio:.0f} times as long at 32 × 32×31×77")


if __name__ == "__main__":
    main()
