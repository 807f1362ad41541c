"""The training loop: what it minimises, how it is resumed, how it stops."""

import math

import pytest
import torch
from torch import nn

from asd.errors import InputError
from asd.training.epochs import load_state, save_state
from asd.training.loop import GRADIENT_NORM, NonFiniteLossError, Optimisation, fit, restore, train_step

SCHEDULE = Optimisation(
    max_epochs=4, learning_rate=0.1, min_learning_rate=0.01, rampdown_start=1, rampdown_length=2, weight_decay=0.0
)


def line(epoch: int, n: int = 3) -> list[torch.Tensor]:
    """Batches of points that depend on the epoch alone."""
    generator = torch.Generator().manual_seed(epoch)
    return [torch.randn(8, 2, generator=generator) for _ in range(n)]


def objective(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    error = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
    return {"loss": error, "half": error / 2}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (30, 60, {0: 1e-4, 30: 1e-4, 31: 1e-5 + 9e-5 * 59 / 60, 60: 5.5e-5, 89: 1e-5 + 9e-5 / 60, 90: 1e-5, 99: 1e-5}),
        (3, 0, {3: 1e-4, 4: 1e-5}),
        (0, 1, {0: 1e-4, 1: 1e-5}),
    ],
)
def test_learning_rate_is_constant_then_falls_linearly_to_the_final_one(start, length, expected):
    schedule = Optimisation(100, 1e-4, 1e-5, start, length, 1e-5)
    assert {e: schedule.learning_rate_at(e) for e in expected} == pytest.approx(expected)


def test_each_epoch_has_the_means_of_all_terms_and_the_loss_falls():
    epochs = list(fit(network(), line, objective, SCHEDULE, steps=3))
    assert [e.number for e in epochs] == [0, 1, 2, 3]
    assert all(e.means["half"] == pytest.approx(e.means["loss"] / 2) for e in epochs)
    assert epochs[-1].means["loss"] < epochs[0].means["loss"]
    assert [e.learning_rate for e in epochs] == [SCHEDULE.learning_rate_at(i) for i in range(4)]


@pytest.mark.parametrize("length", [0.5, 1.5])
def test_only_gradients_that_are_too_long_are_shortened(length):
    trained, batch, device = network(), line(0)[0], torch.device("cpu")
    objective(trained, batch)["loss"].backward()
    wanted = length * GRADIENT_NORM / nn.utils.get_total_norm([p.grad for p in trained.parameters()]).item()

    def scaled(model: nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": wanted * objective(model, batch)["loss"]}

    train_step(trained, batch, scaled, torch.optim.SGD(trained.parameters(), lr=0), device, torch.float32)
    expected = network()
    scaled(expected, batch)["loss"].backward()
    nn.utils.clip_grad_norm_(expected.parameters(), GRADIENT_NORM)
    gradients = [[p.grad for p in model.parameters()] for model in (trained, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
    assert nn.utils.get_total_norm(gradients[0]).item() == pytest.approx(min(length, 1) * GRADIENT_NORM, rel=1e-4)


@pytest.mark.parametrize("epochs_before", [1, 2, 4])
def test_resumed_training_equals_an_uninterrupted_one_exactly(tmp_path, epochs_before):
    whole = network()
    history = list(fit(whole, line, objective, SCHEDULE, steps=3))

    interrupted = network()
    for epoch in fit(interrupted, line, objective, SCHEDULE, steps=3, resume=tmp_path / "state"):
        if epoch.number + 1 == epochs_before:
            break
    resumed = network(seed=1)
    again = list(fit(resumed, line, objective, SCHEDULE, steps=3, resume=tmp_path / "state"))

    assert [e.means for e in again] == [e.means for e in history]
    for ours, theirs in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_training_is_resumed_with_weights_in_another_layout(tmp_path):
    def conv(layout):
        torch.manual_seed(0)
        layer = nn.Conv2d(3, 4, 3).to(memory_format=layout)
        return layer, torch.optim.Adam(layer.parameters(), lr=0.1, fused=True)

    def step(layer, optimizer):
        layer(torch.linspace(-1, 1, 75).view(1, 3, 5, 5)).square().sum().backward()
        optimizer.step()

    (before, adam), (after, resumed) = conv(torch.contiguous_format), conv(torch.channels_last)
    step(before, adam)
    save_state(tmp_path / "state", before, adam, [])
    load_state(tmp_path / "state", after, resumed)
    before.zero_grad()
    step(before, adam), step(after, resumed)
    assert after.weight.stride() != before.weight.stride()
    torch.testing.assert_close(after.weight, before.weight)


def test_validation_sees_the_model_in_evaluation_mode_and_training_continues_in_training_mode():
    modes = []

    def validate(model):
        modes.append(model.training)
        return {"measure": 7.0}

    def watched(model, batch):
        modes.append(model.training)
        return objective(model, batch)

    epochs = list(fit(network(), lambda e: line(e, 1), watched, SCHEDULE, steps=1, validate=validate))
    assert modes == [True, False] * 4
    assert all(e.means["measure"] == 7.0 for e in epochs)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_epoch_before(tmp_path):
    def diverging(model, batch):
        terms = objective(model, batch)
        return terms | {"loss": terms["loss"] * (math.nan if diverging.epoch == 2 else 1)}

    def batches(epoch):
        diverging.epoch = epoch
        return line(epoch)

    with pytest.raises(NonFiniteLossError, match=r"epoch 3: the loss became nan.*learning_rate"):
        list(fit(network(), batches, diverging, SCHEDULE, steps=3, resume=tmp_path / "state"))
    assert len(torch.load(tmp_path / "state", weights_only=True)["history"]) == 2


@pytest.mark.parametrize("damage", ["cut", "foreign", "code", "other network"])
def test_a_state_that_cannot_be_resumed_from_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "state"
    list(fit(network(), line, objective, SCHEDULE, steps=3, resume=path))
    model = network()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "foreign":
        torch.save([1, 2], path)
    elif damage == "code":
        torch.save({"model": pytest.raises}, path)
    else:
        model = nn.Linear(2, 1)
    with pytest.raises(InputError, match=r"state: (cannot be read|not opened|the state of another training)"):
        list(fit(model, line, objective, SCHEDULE, steps=3, resume=path))


def test_progress_has_an_estimate_after_a_few_steps_and_a_line_per_epoch():
    lines = []
    list(fit(network(), lambda e: line(e, 10), objective, SCHEDULE, steps=10, progress=lines.append))
    assert lines[0].startswith("10 steps × 4 epochs, about ")
    assert [text.partition(":")[0] for text in lines[1:]] == [f"epoch {i} of 4" for i in (1, 2, 3, 4)]


def test_a_resumed_training_says_so_before_its_first_epoch_ends(tmp_path):
    interrupted = fit(network(), line, objective, SCHEDULE, steps=3, resume=tmp_path / "state")
    next(interrupted), next(interrupted)
    lines = []
    next(fit(network(), line, objective, SCHEDULE, steps=3, resume=tmp_path / "state", progress=lines.append))
    assert lines == ["resuming at epoch 3 of 4"]


def test_a_model_is_restored_to_the_end_of_its_training(tmp_path):
    trained = network()
    epochs = list(fit(trained, line, objective, SCHEDULE, steps=3, resume=tmp_path / "state"))
    other = network(seed=1)
    assert restore(tmp_path / "state", other, SCHEDULE) == epochs
    for ours, theirs in zip(other.state_dict().values(), trained.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_model_that_is_not_fully_trained_is_not_mistaken_for_one_that_is(tmp_path, epochs):
    for epoch in fit(network(), line, objective, SCHEDULE, steps=3, resume=tmp_path / "state") if epochs else ():
        if epoch.number + 1 == epochs:
            break
    with pytest.raises(InputError, match=f"is at epoch {epochs} of 4"):
        restore(tmp_path / "state", network(), SCHEDULE)
