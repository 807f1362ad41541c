"""What a GPU makes of it, in one call: is the training fast, and are its scores those of the CPU?

- **Agreement**: every method scores the same clips on the CPU and on the GPU, in float32 (convolutions in TF32).
- **Steps**: the loop beside its bare arithmetic, at the reference's sizes, see ``benchmarks/steps.py``; and for the
  classifier what ``compile`` changes.
- **Arithmetic**: floating-point operations per second of a classifier step (as PyTorch counts them), beside those of a
  large product of matrices in the same precision.
- **Minutes** for 100 epochs of 12 000 clips, extrapolated from the step.

    python benchmarks/gpu.py             # about five minutes
    python benchmarks/gpu.py --device cpu --quick  # does it run? the figures mean nothing
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from steps import METHODS, clips_of, make_task, measure, wait
from torch.utils.flop_counter import FlopCounterMode

from asd.training.devices import find_device, find_precision
from asd.training.loop import Optimisation, fit

EPOCHS, TRAIN_CLIPS = 100, 12_000


def agreement(device: torch.device, full: bool) -> pd.DataFrame:
    """Largest difference between scores on the GPU and on the CPU, in standard deviations of the scores."""
    rows = []
    for method in ("aux", "ae", "made", "maf"):
        model = make_task(method, full, torch.device("cpu")).model.eval()
        n_frames = (313 if full else 61) if method == "aux" else 5
        source = clips_of(n_frames, torch.device("cpu"))
        clip = torch.arange(96)
        frames, section = source.frames.crop(clip, torch.zeros_like(clip), n_frames), source.section[clip]
        with torch.no_grad():
            here = model.anomaly_score(frames, section).double()
            there = model.to(device).anomaly_score(frames.to(device), section.to(device)).cpu().double()
        difference = (there - here).abs().max() / here.std()
        rank = pd.Series(here.numpy()).corr(pd.Series(there.numpy()), method="spearman")
        rows.append({"method": method, "largest difference, std": float(difference), "rank correlation": rank})
    return pd.DataFrame(rows)


def product_flops(device: torch.device, precision: torch.dtype, n: int) -> float:
    """Operations per second of the product of two matrices (n, n)."""
    a, b = (torch.randn(n, n, device=device, dtype=precision) for _ in range(2))
    seconds = []
    for _ in range(8):
        wait(device)
        start = time.perf_counter()
        a @ b
        wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / float(np.median(seconds))


def step_flops(full: bool, device: torch.device) -> int:
    """Operations of a classifier's step, forward and backward."""
    task = make_task("aux", full, device)
    batch = next(iter(task.batches(0)))
    with FlopCounterMode(display=False) as counter:
        task.objective(task.model, batch)["loss"].backward()
    return counter.get_total_flops()


def compiled_ratio(full: bool, device: torch.device, precision: torch.dtype) -> float:
    """Duration of a classifier's epoch with ``compile``, relative to one without; the first of each does not count."""
    seconds = {}
    for compile in (False, True):
        task = make_task("aux", full, device)
        optimisation = Optimisation(3, 1e-4, 1e-5, 1, 1, weight_decay=1e-5)
        options = {"steps": 1, "device": device, "precision": precision, "compile": compile}
        history = list(fit(task.model, task.batches, task.objective, optimisation, **options))
        seconds[compile] = min(epoch.seconds for epoch in history[1:])
    return seconds[True] / seconds[False]


def main() -> None:
    parser = argparse.ArgumentParser(description="The training on a GPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--quick", action="store_true", help="small sizes, for trying the program out")
    args = parser.parse_args()
    device, full = find_device(args.device), not args.quick
    precision = find_precision(args.precision, device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {precision}\n\nscores beside the CPU's")
    print(agreement(device, full).to_string(index=False))
    measured = []
    for method in METHODS:
        try:
            measured.append(measure(method, full, device, precision))
        except torch.OutOfMemoryError:  # ccsa in float32 takes 16 GiB and more
            print(f"{method}: does not fit into the memory")
    rows = pd.DataFrame(measured)
    rows[f"min for {EPOCHS} epochs of {TRAIN_CLIPS} clips"] = (EPOCHS * TRAIN_CLIPS / rows["clips/s"] / 60).round(1)
    print(f"\nsteps\n{rows.to_string(index=False)}")
    classifier = rows[rows["method"] == "aux"].iloc[0]
    achieved = step_flops(full, device) / (classifier["loop, ms"] / 1000)
    possible = product_flops(device, precision, 8192 if full else 512)
    print(f"\nclassifier step: {achieved / 1e12:.3g} TFLOP/s; a large product: {possible / 1e12:.3g}")
    print(f"classifier epoch with compile: {compiled_ratio(full, device, precision):.2f} of one without")


if __name__ == "__main__":
    main()
