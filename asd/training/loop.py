"""The one training loop: a generator that yields once per epoch.

It knows no files but its own checkpoint, no MLflow and no figures: whoever iterates over it logs and plots. Interrupted
and called again with the same ``resume`` file, it continues after the last finished epoch and ends where it would have
ended without the interruption.
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
WARM_UP, MEASURED = 2, 4  # steps before the time of a step is measured, and steps that are measured
GRADIENT_NORM = 10.0  # longer gradients are clipped: one odd batch must not throw the weights far away


@dataclass(frozen=True)
class Optimisation:
    """How to train: number of epochs, Adam's learning rate and weight decay, the learning rate's ramp in epochs."""

    max_epochs: int
    learning_rate: float
    min_learning_rate: float
    rampdown_start: int
    rampdown_length: int
    weight_decay: float

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate in ``epoch``, counted from 0: constant, then a linear ramp, then the final one.

        Example:
            >>> optimisation = Optimisation(
            ...     max_epochs=6,
            ...     learning_rate=1.0,
            ...     min_learning_rate=0.0,
            ...     rampdown_start=2,
            ...     rampdown_length=2,
            ...     weight_decay=0,
            ... )
            >>> [optimisation.learning_rate_at(epoch) for epoch in range(6)]
            [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
        """
        done = epoch - self.rampdown_start
        if done <= 0:
            return self.learning_rate
        left = max(0, self.rampdown_length - done) / self.rampdown_length if self.rampdown_length else 0
        return self.min_learning_rate + (self.learning_rate - self.min_learning_rate) * left


@dataclass(frozen=True)
class Epoch:
    """An epoch's results: its number from 0, means of the objective's terms and measures on the held-out clips."""

    number: int
    means: dict[str, float]
    learning_rate: float
    seconds: float


class NonFiniteLossError(RuntimeError):
    """A loss was infinite or not a number; the message says in which epoch, and what helps."""


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
    """Train ``model`` in place and yield after every epoch; where training is resumed, earlier epochs come first.

    Args:
        model: the model, already on ``device``.
        batches: the batches of an epoch, given its number.
        objective: terms of the loss of a batch, scalars by name; ``loss`` is minimised, the others are logged.
        optimisation: how long and how fast.
        steps: number of batches per epoch, to estimate how long training will take.
        validate: measures on held-out clips by name, of the model in evaluation mode; called after every epoch.
        device: on a CUDA device, the objective runs in bfloat16 where that is safe.
        resume: the file that keeps the state after every epoch; if it exists, training is resumed from it.
        progress: called with a line of text after a few steps and after every epoch.

    Raises:
        NonFiniteLossError: the loss was not finite in some step of an epoch; ``resume`` then holds the epoch before.
        InputError: training cannot be resumed from ``resume``.

    Example:
        A model of one weight learns the number 3, from one batch per epoch:

        >>> model = nn.Linear(1, 1, bias=False)
        >>> objective = lambda model, x: {"loss": (model(x) - 3).square().mean()}
        >>> optimisation = Optimisation(100, 0.2, 0.01, 50, 50, weight_decay=0)
        >>> history = list(fit(model, lambda epoch: [torch.ones(1, 1)], objective, optimisation, steps=1))
        >>> len(history), round(model.weight.item(), 1)
        (100, 3.0)
    """
    device = torch.device(device)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=optimisation.weight_decay)
    history: list[Epoch] = []
    if resume is not None and resume.is_file():
        history = load_state(resume, model, optimizer)
        yield from history
    estimate = Estimate(steps, optimisation.max_epochs, device, progress)
    for number in range(len(history), optimisation.max_epochs):
        learning_rate = optimisation.learning_rate_at(number)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        model.train()
        started = time.perf_counter()
        sums: dict[str, Tensor] = {}
        for step, batch in enumerate(batches(number)):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                terms = objective(model, batch)
            optimizer.zero_grad(set_to_none=True)
            terms["loss"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            for name, value in terms.items():  # summed on the device: reading a number would wait for it
                sums[name] = sums.get(name, 0) + value.detach()
            if not history:
                estimate.after(step, sums["loss"])
        means = finite({name: float(value) / (step + 1) for name, value in sums.items()}, number, learning_rate)
        model.eval()
        with torch.no_grad():
            means |= {name: float(value) for name, value in validate(model).items()}
        history.append(Epoch(number, means, learning_rate, time.perf_counter() - started))
        if resume is not None:
            save_state(resume, model, optimizer, history)
        progress(progress_line(history, optimisation.max_epochs))
        yield history[-1]
    model.eval()


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


def finite(means: dict[str, float], number: int, learning_rate: float) -> dict[str, float]:
    """``means`` as they are, if the loss is finite.

    Raises:
        NonFiniteLossError: it is not.
    """
    if not math.isfinite(means["loss"]):
        raise NonFiniteLossError(
            f"epoch {number + 1}: the loss became {means['loss']} ({means}); a smaller learning_rate"
            f" (now {learning_rate:g}) usually helps. Nothing was scored."
        )
    return means


def progress_line(history: list[Epoch], max_epochs: int) -> str:
    """How far training is and how long the rest will take."""
    done, last = len(history), history[-1]
    left = last.seconds * (max_epochs - done)
    terms = ", ".join(f"{name} {value:.3f}" for name, value in last.means.items())
    return f"epoch {done} of {max_epochs}: {terms}; {last.seconds:.1f} s per epoch, {duration(left)} left"


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
        return [Epoch(*epoch) for epoch in state["history"]]
    except InputError as error:
        raise InputError(f"{error}; delete it to start again") from error
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the state of another training ({error}); delete it to start again") from error


def restore(path: Path, model: nn.Module, optimisation: Optimisation) -> list[Epoch]:
    """Bring ``model`` to the end of its training, whatever has been done with it since, and return all epochs.

    So a cell that scores depends on the training alone, and not on the order in which cells were run.

    Raises:
        InputError: the training has not reached its end.
    """
    history = load_state(path, model) if path.is_file() else []
    if len(history) < optimisation.max_epochs:
        raise InputError(
            f"training is at epoch {len(history)} of {optimisation.max_epochs}; run its cell before this one"
        )
    model.eval()
    return history
