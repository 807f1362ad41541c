"""What a training step costs beside its arithmetic alone.

The loop draws a batch (random crops, mixtures, proxy outliers), computes the loss, its gradient and its terms, clips,
and lets Adam step. *Textbook* is what anybody would write for one batch that is there already: forward, backward, a
step of ``torch.optim.Adam``. *Bare* is the same with the loop's own fused Adam, so that loop / bare is what everything
around the arithmetic costs. All take turns in one process; the table has medians.

    python benchmarks/steps.py                          # demo sizes, on the CPU
    python benchmarks/steps.py --full --methods aux ae  # the reference's sizes
    python benchmarks/steps.py --full --device cuda     # on a GPU, in bfloat16 where it can
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from methods import auxiliary, notebook_defaults
from torch import Tensor, nn

from asd.data.features import FeatureSettings
from asd.data.frames import Frames, LabelledFrames
from asd.data.store import Shard
from asd.models.classifier import SectionClassifier
from asd.models.density import DensityEstimator
from asd.training.adaptation import adaptation_terms
from asd.training.batches import SectionBatch, WindowBatch, section_batches, window_batches
from asd.training.devices import find_device, find_precision
from asd.training.loop import train_step
from asd.training.losses import margin_ranking

METHODS = ("aux, no proxies", "aux", "ccsa", "ae", "made", "maf")
SECTIONS, CLIPS = 6, 384  # clips of the machine type; as many of other machine types
ROUNDS, STEPS = 7, 3
FULL_ROUNDS, FULL_STEPS = 3, 1  # on a CPU, a step of the classifier at full size takes many seconds


@dataclass
class Task:
    """A method's training: its model, objective and batches, and how many clips of the machine a batch has."""

    model: nn.Module
    objective: Callable[[nn.Module, Any], dict[str, Tensor]]
    batches: Callable[[int], Any]
    clips: float


def clips_of(n_frames: int, device: torch.device) -> LabelledFrames:
    """CLIPS clips of noise."""
    features = FeatureSettings()
    frames = np.random.default_rng(0).normal(-8000, 1500, (CLIPS * n_frames, features.n_mels)).astype(np.int16)
    names = [f"{i}.wav" for i in range(CLIPS)]
    rows = {
        "start": np.arange(CLIPS) * n_frames,
        "length": n_frames,
        "rms": 0.1,
        "samples": features.n_samples(n_frames),
    }
    statistic = np.zeros((CLIPS, 2, features.n_mels))
    shard = Shard("fan", features, frames, pd.DataFrame(rows, index=names), statistic)
    return LabelledFrames(Frames([(shard, pd.Series(names))], device), torch.arange(CLIPS) % SECTIONS)


def make_task(method: str, full: bool, device: torch.device) -> Task:
    """The training of a method with its notebook's defaults, or at the reference's size."""
    torch.manual_seed(0)
    n_frames = 313 if full else 61
    source, others = clips_of(n_frames, device), clips_of(n_frames, device).frames
    if method in ("ae", "made", "maf"):
        defaults = notebook_defaults("05_density")
        batch_size = 512 if full else defaults["batch_size"]
        sizes = {} if full else {"hidden_size": defaults["hidden_size"], "hidden_dims": defaults["hidden_dims"]}
        model = DensityEstimator(architecture=method, n_sections=SECTIONS, n_mels=128, n_frames=5, sizes=sizes)

        def ranking(model: nn.Module, batch: WindowBatch) -> dict[str, Tensor]:
            log_prob, n = model.log_prob(batch.frames, batch.section), batch.n_inliers
            return {"loss": -log_prob[:n].mean() + margin_ranking(log_prob[:n], log_prob[n:], 0.5).mean()}

        def windows(epoch: int) -> Any:
            options = {"other_sections": True, "other_machines": others, "seed": 0, "epoch": epoch}
            return window_batches(source, SECTIONS, 5, batch_size, **options)

        return Task(model.to(device), ranking, windows, batch_size / (n_frames / 5))
    defaults = notebook_defaults("03_aux")
    batch_size = 32 if full else defaults["batch_size"]
    channels = 128 if full else defaults["base_channels"]
    model = SectionClassifier(SECTIONS, 128, defaults["normalize"], defaults["rho_f"], defaults["rho_t"], channels)
    model = model.to(device, memory_format=torch.channels_last)
    options: dict[str, Any] = {"pairwise_mixing": True} if method.startswith("aux") else {"target": source}
    options |= {} if "no proxies" in method else {"outliers": others}

    def adaptation(model: nn.Module, batch: SectionBatch) -> dict[str, Tensor]:
        terms, _ = adaptation_terms(model, batch, 0.5)
        return {"loss": sum(terms.values())} | terms

    def sections(epoch: int) -> Any:
        return section_batches(source, SECTIONS, n_frames, batch_size, seed=0, epoch=epoch, **options)

    return Task(model, adaptation if method == "ccsa" else auxiliary(0.5), sections, batch_size)


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Callable[[], None], device: torch.device) -> float:
    """How long it takes."""
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def measure(method: str, full: bool, device: torch.device, precision: torch.dtype) -> dict[str, float | str]:
    """Median duration of a step of the loop, of the bare arithmetic, and of the textbook's step, in turns."""
    task = make_task(method, full, device)
    rounds, steps = (FULL_ROUNDS, FULL_STEPS) if full and device.type == "cpu" else (ROUNDS, STEPS)
    optimizer, plain = (torch.optim.Adam(task.model.parameters(), lr=1e-5, fused=fused) for fused in (True, None))
    fixed = next(iter(task.batches(0)))
    endless = chain.from_iterable(map(task.batches, count()))

    def loop() -> None:
        sums: dict[str, Tensor] = {}
        for batch in islice(endless, steps):
            for name, value in train_step(task.model, batch, task.objective, optimizer, device, precision).items():
                sums[name] = sums.get(name, 0) + value

    def on_fixed(adam: torch.optim.Optimizer) -> None:
        for _ in range(steps):
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                loss = task.objective(task.model, fixed)["loss"]
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()

    task.model.train()
    ways = {"loop": loop, "bare": partial(on_fixed, optimizer), "textbook": partial(on_fixed, plain)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            seconds = seconds_of(run, device) / steps
            if number:  # the first round does not count
                times[name].append(seconds)

    def ratio(name: str) -> float:
        return round(statistics.median(a / b for a, b in zip(times["loop"], times[name], strict=True)), 3)

    loop_ms, bare_ms, textbook_ms = (1000 * statistics.median(found) for found in times.values())
    return {
        "method": method,
        "size": "full" if full else "demo",
        "loop, ms": round(loop_ms, 1),
        "bare, ms": round(bare_ms, 1),
        "textbook, ms": round(textbook_ms, 1),
        "loop / bare": ratio("bare"),
        "loop / textbook": ratio("textbook"),
        "clips/s": round(1000 * task.clips / loop_ms, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Training steps beside their arithmetic alone")
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    parser.add_argument("--full", action="store_true", help="the reference's sizes instead of the demo's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    args = parser.parse_args()
    device = find_device(args.device)
    precision = find_precision(args.precision, device)
    rows = [measure(method, args.full, device, precision) for method in args.methods]
    print(f"{device}, {precision}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
