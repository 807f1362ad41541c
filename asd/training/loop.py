"""The one training loop: a generator that yields once an epoch.

It knows no files but its own checkpoint, no MLflow and no figures: who iterates over it logs and plots. Interrupted and
called again with the same ``resume`` file, it goes on behind the last finished epoch and ends where it would have.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from asd.errors import InputError
from asd.files import replacing
from asd.weights import load_weights

Batch = TypeVar("Batch")
WARM_UP, MEASURED = 2, 4  # steps before and while the time of a step is measured
GRADIENT_NORM = 10.0  # a gradient longer than this is cut: one odd batch must not throw the weights far away


@dataclass(frozen=True)
class Optimisation:
    """How to train: Adam's learning rate and weight decay, and the learning rate's ramp, in epochs."""

    max_epochs: int
    learning_rate: float
    min_learning_rate: float
    rampdown_start: int
    rampdown_length: int
    weight_decay: float

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate in ``epoch``, counted from 0: constant, then a linear ramp, then the final one."""
        done = epoch - self.rampdown_start
        if done <= 0:
            return self.learning_rate
        left = max(0, self.rampdown_length - done) / self.rampdown_length if self.rampdown_length else 0
        return self.min_learning_rate + (self.learning_rate - self.min_learning_rate) * left


@dataclass(frozen=True)
class Epoch:
    """What an epoch brought: its number from 0, the means of the objective's terms and the measures of validation."""

    number: int
    means: dict[str, float]
    learning_rate: float
    seconds: float


class NonFiniteLossError(RuntimeError):
    """Training met a loss that is infinite or not a number; its message says when, and what helps."""


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterable[Batch]],
    objective: Callable[[nn.Module, Batch], dict[str, Tensor]],
    optimisation: Optimisation,
    *,
    steps: int,
    validate: Callable[[nn.Module], dict[str, float]] = lambda model: {},
    device: torch.device | str = "cpu",
    resume: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Iterator[Epoch]:
    """Train ``model`` in place, and yield after every epoch, earlier ones first where training is resumed.

    Args:
        model: on ``device`` already.
        batches: the batches of an epoch, given its number.
        objective: terms of the loss of a batch, scalars by name; ``loss`` is minimised, the others are logged.
        optimisation: how long and how fast.
        steps: number of batches an epoch, for the estimate of the time that training takes.
        validate: measures on held-out clips, by name, of the model in evaluation mode; called after every epoch.
        device: on a CUDA device the objective runs in bfloat16 where that is safe.
        resume: file that keeps the state after every epoch; training goes on from it where it is there.
        progress: called with a line of text after a few steps and at every epoch.

    Raises:
        NonFiniteLossError: the loss was not finite in some step of an epoch; ``resume`` then holds the epoch before.
        InputError: ``resume`` is a file that cannot be gone on from.
    """
    device = torch.device(device)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=optimisation.weight_decay)
    history: list[Epoch] = []
    if resume is not None and resume.is_file():
        history = load_state(resume, model, optimizer)
        yield from history
    for number in range(len(history), optimisation.max_epochs):
        learning_rate = optimisation.learning_rate_at(number)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        model.train()
        started, sums = time.perf_counter(), {}
        for step, batch in enumerate(batches(number)):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                terms = objective(model, batch)
            optimizer.zero_grad(set_to_none=True)
            terms["loss"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            for name, value in terms.items():  # summed on the device: reading a number would make it wait
                sums[name] = sums.get(name, 0) + value.detach()
            if not history and step in (WARM_UP, WARM_UP + MEASURED):
                float(sums["loss"])  # waits for the device
                if step == WARM_UP:
                    warm = time.perf_counter()
                else:
                    total = (time.perf_counter() - warm) / MEASURED * steps * optimisation.max_epochs
                    progress(
                        f"{steps} steps × {optimisation.max_epochs} epochs, about {duration(total)} on {device.type}"
                    )
        means = {name: float(value) / (step + 1) for name, value in sums.items()}
        if not math.isfinite(means["loss"]):
            raise NonFiniteLossError(
                f"epoch {number + 1}: the loss became {means['loss']} ({means}); a smaller learning_rate"
                f" (now {learning_rate:g}) usually helps. Nothing was scored."
            )
        model.eval()
        with torch.no_grad():
            means |= {name: float(value) for name, value in validate(model).items()}
        history.append(Epoch(number, means, learning_rate, time.perf_counter() - started))
        if resume is not None:
            save_state(resume, model, optimizer, history)
        progress(progress_line(history, optimisation.max_epochs))
        yield history[-1]
    model.eval()


def progress_line(history: list[Epoch], max_epochs: int) -> str:
    """Where training stands and how long it will take."""
    done, last = len(history), history[-1]
    left = last.seconds * (max_epochs - done)
    terms = ", ".join(f"{name} {value:.3f}" for name, value in last.means.items())
    return f"epoch {done} of {max_epochs}: {terms}; {last.seconds:.1f} s an epoch, {duration(left)} left"


def duration(seconds: float) -> str:
    """``seconds`` in words."""
    for limit, unit, name in ((100, 1, "s"), (6000, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h"


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, history: list[Epoch]) -> None:
    """Write all that training needs to go on, or leave the file as it was.

    Raises:
        InputError: it cannot be written, as where the disk is full.
    """
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [(e.number, e.means, e.learning_rate, e.seconds) for e in history],
    }
    try:
        with replacing(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch has its own words for a full disk
        raise InputError(f"{path}: the training's state cannot be written; is the disk full? ({error})") from error


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> list[Epoch]:
    """Read what :func:`save_state` wrote, and return the epochs so far."""
    try:
        state = load_weights(path)
        model.load_state_dict(state["model"])
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
        return [Epoch(*epoch) for epoch in state["history"]]
    except InputError as error:
        raise InputError(f"{error}; delete it to begin anew") from error
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the state of another training ({error}); delete it to begin anew") from error


def restore(path: Path, model: nn.Module, optimisation: Optimisation) -> list[Epoch]:
    """Bring ``model`` to the end of its training, whatever has been done with it since, and return all epochs.

    So a cell that scores depends on the training alone, and not on the order in which cells were run.

    Raises:
        InputError: the training is not at its end.
    """
    history = load_state(path, model) if path.is_file() else []
    if len(history) < optimisation.max_epochs:
        raise InputError(
            f"the training stands at epoch {len(history)} of {optimisation.max_epochs}; run its cell before this one"
        )
    model.eval()
    return history
