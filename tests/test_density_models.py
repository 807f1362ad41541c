"""The autoencoder, MADE and MAF: the reference's numbers, stable training, and small checkpoints."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asd.models.autoencoder import Autoencoder
from asd.models.made import MADE, MaskedLinear, soft_clip
from asd.models.maf import MAF, FlowBatchNorm

MODELS = {
    "ae": lambda **sizes: Autoencoder(**sizes),
    "made": lambda **sizes: MADE(**sizes),
    "made_mog": lambda **sizes: MADE(**sizes, n_gaussians=3),
    "maf": lambda **sizes: MAF(**sizes),
    "maf_mog": lambda **sizes: MAF(**sizes, n_gaussians=3),
}
DENSITIES = ["made", "made_mog", "maf", "maf_mog"]


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name](n_inputs=6, n_conditions=3, hidden_size=16)


def conditions(n: int) -> Tensor:
    return torch.eye(3)[torch.arange(n) % 3]


def assert_equals_oracle(actual: Tensor, expected: np.ndarray) -> None:
    difference = np.abs(actual.detach().numpy() - expected).max()
    assert difference <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "hidden_size"), [("ae", 16), ("made", 64), ("made_mog", 64), ("maf", 64), ("maf_mog", 64)]
)
def test_log_prob_equals_the_reference(shared: Path, name: str, hidden_size: int):
    oracle = np.load(shared / "oracle" / f"{name}.npz")
    weights = [oracle[k] for k in oracle.files if k[0] == "w" and "base_dist" not in k and not k.endswith("mask")]
    model = MODELS[name](n_inputs=40, n_conditions=6, hidden_size=hidden_size).eval()
    model.load_state_dict({k: torch.tensor(w) for k, w in zip(model.state_dict(), weights, strict=True)})
    x, condition = torch.tensor(oracle["input"]), torch.tensor(oracle["condition"])
    assert_equals_oracle(model.log_prob(x, condition), oracle["log_prob"])
    assert_equals_oracle(model.log_prob_per_dimension(x, condition).sum(dim=1), oracle["log_prob"])


def test_the_autoencoder_is_the_published_one_written_out():
    model = small("ae")
    model.log_prob(torch.randn(20, 6), conditions(20))  # running means and variances that are no zeros and ones
    model.eval()
    x, condition = torch.randn(9, 6), conditions(9)
    layers = [*model.hidden[::2], model.output]
    assert [len(layer.linear.weight) for layer in layers] == [16] * 4 + [8] + [16] * 5 + [6]
    hidden = x
    for layer, norm in zip(layers, [*model.hidden[1::2], None], strict=True):
        hidden = hidden @ layer.linear.weight.T + layer.linear.bias + condition @ layer.condition.weight.T
        if norm is not None:
            hidden = (hidden - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
            hidden = hidden.clamp(min=0)
    torch.testing.assert_close(model(x, condition), hidden)
    torch.testing.assert_close(model.log_prob(x, condition), -(x - hidden).square().sum(dim=1))


@pytest.mark.parametrize(("model", "expected"), [(Autoencoder, 295_496), (MADE, 20_733_184), (MAF, 32_581_632)])
def test_number_of_parameters_at_full_size(model: type[nn.Module], expected: int):
    with torch.device("meta"):
        network = model(n_inputs=640, n_conditions=6)
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("autocast", [False, True])
def test_every_parameter_gets_a_finite_gradient_and_log_prob_is_float32(name: str, autocast: bool):
    model = small(name)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        log_prob = model.log_prob(torch.randn(12, 6), conditions(12))
    log_prob.mean().backward()
    assert log_prob.dtype == torch.float32
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", DENSITIES)
def test_log_prob_and_gradients_are_finite_where_log_scales_run_away(name: str):
    model = small(name).eval()
    with torch.no_grad():
        for made in (module for module in model.modules() if isinstance(module, MADE)):
            made.output.bias.copy_(torch.linspace(-1e3, 1e3, len(made.output.bias)))
    log_prob = model.log_prob(torch.randn(4, 6), conditions(4))
    log_prob.mean().backward()
    assert log_prob.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_usual_log_scales_are_not_changed_at_all():
    log_std = torch.linspace(-5, 5, 101)
    assert torch.equal(soft_clip(log_std), log_std)
    torch.testing.assert_close(soft_clip(torch.tensor([-105.0, 105.0])), torch.tensor([-1.0, 1.0]) * (5 + np.log(101)))


@pytest.mark.parametrize("copied", [False, True])
def test_masked_weights_stay_zero_in_training(copied: bool):
    model = small("made")
    model = copy.deepcopy(model) if copied else model
    before = [p.clone() for p in model.parameters()]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (-model.log_prob(torch.randn(8, 6), conditions(8)).mean()).backward()
        optimiser.step()
    assert all((a != b).any() for a, b in zip(before, model.parameters(), strict=True))
    for layer in (module for module in model.modules() if isinstance(module, MaskedLinear)):
        assert (layer.weight[~layer.mask] == 0).all()
        assert (layer.weight[layer.mask] != 0).all()


@pytest.mark.parametrize("name", DENSITIES)
def test_a_checkpoint_holds_parameters_and_running_statistics_only(name: str):
    model = small(name)
    kinds = {key.rsplit(".", 1)[1] for key in model.state_dict()}
    assert kinds <= {"weight", "bias", "log_gamma", "beta", "running_mean", "running_var"}


def test_flow_batch_norm_standardises_in_training_and_remembers_for_evaluation():
    norm, x = FlowBatchNorm(4), torch.randn(50, 4) * 3 + 2
    y, _ = norm.transform(x)
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std(dim=0), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(dim=0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.var(dim=0))
    for _ in range(200):
        norm.transform(x)
    torch.testing.assert_close(norm.eval().transform(x)[0], y)


def test_flow_batch_norm_needs_two_windows_in_training():
    with pytest.raises(ValueError, match="at least 2"):
        FlowBatchNorm(4).transform(torch.zeros(1, 4))


def test_gradient_hooks_do_not_accumulate_from_pass_to_pass():
    model = small("made")
    for _ in range(3):
        model.log_prob(torch.randn(8, 6), conditions(8))
    assert not any(p._backward_hooks for p in model.parameters())
