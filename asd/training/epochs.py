"""What a training has done so far: its epochs, the file from which it is resumed, and what it tells meanwhile."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from asd.errors import InputError
from asd.files import replacing
from asd.weights import load_weights

WARM_UP, MEASURED = 2, 4  # steps before the time of a step is measured, and steps that are measured
BARS, MOST_BARS = "▁▂▃▄▅▆▇█", 32  # of the learning curve in a line of text


@dataclass(frozen=True)
class Epoch:
    """An epoch's results: its number from 0, means of the objective's terms and measures on the held-out clips."""

    number: int
    means: dict[str, float]
    learning_rate: float
    seconds: float


class Estimate:
    """Measures a few steps of the first epoch and reports how long training will take.

    Args:
        steps: number of batches per epoch.
        max_epochs: number of epochs.
        device: where the model is trained.
        progress: called once, with a line of text.
    """

    def __init__(self, steps: int, max_epochs: int, device: torch.device, progress: Callable[[str], None]):
        self.steps, self.max_epochs, self.device, self.progress = steps, max_epochs, device, progress
        self.started = 0.0

    def after(self, step: int, loss: Tensor) -> None:
        """Start the clock after the warm-up, and report once enough steps are done."""
        if step not in (WARM_UP, WARM_UP + MEASURED):
            return
        float(loss)  # waits for the device
        if step == WARM_UP:
            self.started = time.perf_counter()
        else:
            seconds = (time.perf_counter() - self.started) / MEASURED * self.steps * self.max_epochs
            work = f"{self.steps} steps × {self.max_epochs} epochs"
            self.progress(f"{work}, about {duration(seconds)} on {self.device.type}")


def progress_line(history: list[Epoch], max_epochs: int) -> str:
    """How far training is and how long the rest will take."""
    done, last = len(history), history[-1]
    left = last.seconds * (max_epochs - done)
    terms = ", ".join(f"{name} {value:.3g}" for name, value in last.means.items())
    curve = learning_curve([epoch.means["loss"] for epoch in history])
    return f"epoch {done} of {max_epochs}: {curve} {terms}; {last.seconds:.1f} s per epoch, {duration(left)} left"


def learning_curve(losses: list[float]) -> str:
    """The losses so far as a row of bars, from the lowest one to the highest: one per epoch, or fewer if they are many.

    A line of text is shown alike in JupyterLab, in a terminal and in a saved notebook, at no cost.

    Example:
        >>> learning_curve([4.0, 2.0, 1.0, 0.5, 0.5])
        '█▄▂▁▁'
    """
    shown = losses[:: -(-len(losses) // MOST_BARS)]
    low, high = min(shown), max(shown)
    return "".join(BARS[int((loss - low) / ((high - low) or 1) * (len(BARS) - 1) + 0.5)] for loss in shown)


def duration(seconds: float) -> str:
    """``seconds`` in words.

    Example:
        >>> duration(42.3), duration(1000), duration(10000)
        ('42 s', '17 min', '2.8 h')
    """
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h"


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, history: list[Epoch]) -> None:
    """Write all that is needed to resume training, or leave the file as it was.

    Raises:
        InputError: it cannot be written, for instance because the disk is full.
    """
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [(e.number, e.means, e.learning_rate, e.seconds) for e in history],
    }
    try:
        with replacing(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch raises its own error on a full disk
        raise InputError(f"{path}: the state of the training cannot be written; is the disk full? ({error})") from error


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> list[Epoch]:
    """Read what :func:`save_state` has written, and return the epochs so far.

    Raises:
        InputError: the file is damaged, or of another training.
    """
    try:
        state = load_weights(path)
        model.load_state_dict(state["model"])
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
            align_moments(optimizer)
        return [Epoch(*epoch) for epoch in state["history"]]
    except InputError as error:
        raise InputError(f"{error}; delete it to start again") from error
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the state of another training ({error}); delete it to start again") from error


def align_moments(optimizer: torch.optim.Optimizer) -> None:
    """Lay out what an optimiser keeps of a weight as the weight itself is, which may have had another layout.

    A fused step goes through both in the order of memory: a GPU refuses other layouts, a CPU would mix up the numbers.
    """
    for weight, kept in optimizer.state.items():
        for name, moment in kept.items():
            if moment.shape == weight.shape:
                kept[name] = torch.empty_like(weight).copy_(moment)
