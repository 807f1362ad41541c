"""The one training loop: a generator that yields once per epoch.

It knows no files but its own checkpoint, no MLflow and no figures: whoever iterates over it logs and plots. Interrupted
and called again with the same ``resume`` file, it continues after the last finished epoch and ends where it would have
ended without the interruption.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from asd.errors import InputError
from asd.training.epochs import Epoch, Estimate, load_state, progress_line, save_state

Batch = TypeVar("Batch")
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
    precision: torch.dtype = torch.float32,
    compile: bool = False,
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
        device: where the model is.
        precision: bfloat16: the objective runs in it where that is safe, see
            :func:`asd.training.devices.find_precision`.
        compile: fuse the objective's operations with ``torch.compile``, which takes a minute and needs a C++ compiler.
        resume: the file that keeps the state after every epoch; if it exists, training is resumed from it.
        progress: called with a line of text when training is resumed, after a few steps and after every epoch.

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
    # fused: one pass over the weights instead of one for every operation, a quarter of a density's step
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=optimisation.weight_decay, fused=True)
    history: list[Epoch] = []
    if resume is not None and resume.is_file():
        history = load_state(resume, model, optimizer)
        if len(history) < optimisation.max_epochs:
            progress(f"resuming at epoch {len(history) + 1} of {optimisation.max_epochs}")
        yield from history
    if compile:
        objective = torch.compile(objective)
    estimate = Estimate(steps, optimisation.max_epochs, device, progress)
    for number in range(len(history), optimisation.max_epochs):
        learning_rate = optimisation.learning_rate_at(number)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        model.train()
        started = time.perf_counter()
        sums: dict[str, Tensor] = {}
        for step, batch in enumerate(batches(number)):
            for name, value in train_step(model, batch, objective, optimizer, device, precision).items():
                sums[name] = sums.get(name, 0) + value  # on the device: reading a number would wait for it
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


def train_step(
    model: nn.Module,
    batch: Batch,
    objective: Callable[[nn.Module, Batch], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    precision: torch.dtype,
) -> dict[str, Tensor]:
    """One step of the optimiser; see :func:`fit`. Nothing in it waits for the device.

    Returns:
        The objective's terms, scalars on the device.
    """
    with nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision):
        terms = objective(model, batch)
    optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if norm.device.type != "cpu" or norm > GRADIENT_NORM:  # a GPU would have to be waited for, to know it
        nn.utils.clip_grads_with_norm_(model.parameters(), GRADIENT_NORM, norm)
    optimizer.step()
    return {name: value.detach() for name, value in terms.items()}


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
