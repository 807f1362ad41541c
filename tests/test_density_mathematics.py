"""MADE and MAF as densities: order, normalisation, invertibility and sampling, checked against zuko and torch."""

from itertools import pairwise

import pytest
import scipy.stats
import torch
import zuko
from torch import Tensor, nn
from torch.distributions import AffineTransform, Categorical, MixtureSameFamily, Normal

from asd.models.made import MADE
from asd.models.maf import MAF, FlowBatchNorm

DENSITIES = {"made": (MADE, 1), "made_mog": (MADE, 3), "maf": (MAF, 1), "maf_mog": (MAF, 3)}
N_CONDITIONS = 3


def conditions(n: int) -> Tensor:
    return torch.eye(N_CONDITIONS, dtype=torch.float64)[torch.arange(n) % N_CONDITIONS]


def lively(name: str, n_inputs: int, hidden_size: int = 16, **options) -> nn.Module:
    """A small model in float64 and evaluation mode, with weights and statistics that make it no plain Gaussian."""
    torch.manual_seed(0)
    kind, n_gaussians = DENSITIES[name]
    model = kind(n_inputs, N_CONDITIONS, hidden_size, n_gaussians=n_gaussians, **options).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    for norm in (module for module in model.modules() if isinstance(module, FlowBatchNorm)):
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2)
    model.load_state_dict(model.state_dict())  # the noise was added to masked weights too
    return model


@pytest.mark.parametrize("name", ["made", "made_mog"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_number_is_predicted_from_all_those_before_it_and_no_others(name: str, reverse: bool):
    model = lively(name, 6, hidden_size=64, reverse=reverse)
    condition = conditions(1)

    def parameters(x: Tensor) -> Tensor:
        return torch.stack(model(x.unsqueeze(0), condition)).sum(dim=(0, 1, 2))

    sees = torch.zeros(6, 6, dtype=torch.bool)
    for x in torch.randn(5, 6, dtype=torch.float64):  # a ReLU may be off at one point
        sees |= torch.autograd.functional.jacobian(parameters, x) != 0
    before = torch.ones(6, 6, dtype=torch.bool).tril(-1)
    torch.testing.assert_close(sees, before.T if reverse else before)


def test_with_few_hidden_units_the_last_inputs_predict_nothing():
    model = MADE(n_inputs=8, n_conditions=N_CONDITIONS, hidden_size=5)
    x = torch.randn(8)

    def means(x: Tensor) -> Tensor:
        return model(x.unsqueeze(0), torch.zeros(1, N_CONDITIONS))[0].flatten()

    used = (torch.autograd.functional.jacobian(means, x) != 0).any(dim=0)
    assert not used[5:].any()


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("n_inputs", [1, 2])
def test_density_integrates_to_one(name: str, n_inputs: int):
    model = lively(name, n_inputs)
    t = torch.linspace(-5, 5, 501, dtype=torch.float64)  # x = sinh(t): fine steps in the middle, and far tails
    grid = torch.cartesian_prod(*[t] * n_inputs).reshape(-1, n_inputs)
    with torch.no_grad():
        density = model.log_prob(grid.sinh(), conditions(1).expand(len(grid), -1)).exp() * grid.cosh().prod(dim=1)
    assert density.sum().item() * (t[1] - t[0]).item() ** n_inputs == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["made", "maf"])
def test_inverse_undoes_the_transform(name: str):
    model = lively(name, 6)
    x, condition = torch.randn(9, 6, dtype=torch.float64), conditions(9)
    u, _ = model.transform(x, condition)
    assert (u - x).abs().max() > 0.1
    torch.testing.assert_close(model.inverse(u, condition), x)


@pytest.mark.parametrize("name", ["made", "maf"])
def test_log_scales_sum_to_the_log_determinant_of_the_jacobian(name: str):
    model = lively(name, 6)
    condition = conditions(1)
    x = torch.randn(6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: model.transform(x.unsqueeze(0), condition)[0][0], x)
    _, log_scale = model.transform(x.unsqueeze(0), condition)
    torch.testing.assert_close(log_scale.sum(), torch.linalg.slogdet(jacobian).logabsdet)


def zuko_transform(made: MADE, condition: Tensor) -> zuko.transforms.AutoregressiveTransform:
    """The same MADE from zuko's parts: masks as adjacencies, unmasked weights, the condition as additional inputs."""
    d, h = made.n_inputs, len(made.input.bias)
    order = torch.arange(d) if made.order[0] == 0 else torch.arange(d).flip(0)
    degrees = [
        torch.cat([order, torch.full((N_CONDITIONS,), -1)]),
        *[torch.arange(h) % (d - 1)] * (1 + len(made.hidden)),
    ]
    degrees.append(torch.cat([order - 1, order - 1]))
    layers = [zuko.nn.MaskedLinear(o[:, None] >= i).double() for i, o in pairwise(degrees)]
    with torch.no_grad():
        for layer, ours in zip(layers, [made.input, *made.hidden, made.output], strict=True):
            layer.bias.copy_(ours.bias)
            layer.weight.normal_()  # masked weights must not matter
            layer.weight[:, : ours.weight.shape[1]][ours.mask] = ours.weight[ours.mask]
        layers[0].weight[:, d:] = made.condition.weight

    def affine(x: Tensor) -> zuko.transforms.DependentTransform:
        hidden = torch.cat([x, condition], dim=1)
        for layer in layers[:-1]:
            hidden = torch.relu(layer(hidden))
        mean, log_std = layers[-1](hidden).chunk(2, dim=1)
        return zuko.transforms.DependentTransform(AffineTransform(mean, log_std.exp()).inv, 1)

    return zuko.transforms.AutoregressiveTransform(affine, passes=d)


@pytest.mark.parametrize("name", ["made", "maf"])
def test_log_prob_and_inverse_equal_those_of_a_zuko_flow(name: str):
    model = lively(name, 6)
    x, condition = torch.randn(9, 6, dtype=torch.float64), conditions(9)
    if name == "made":
        transform = zuko_transform(model, condition)
    else:
        parts = []
        for made, norm in zip(model.flow[::2], model.flow[1::2], strict=True):
            scale = norm.log_gamma.exp() / (norm.running_var + 1e-5).sqrt()
            shift = norm.beta - norm.running_mean * scale
            parts += [
                zuko_transform(made, condition),
                zuko.transforms.DependentTransform(AffineTransform(shift, scale), 1),
            ]
        transform = zuko.transforms.ComposedTransform(*parts)
    flow = zuko.distributions.NormalizingFlow(
        transform, zuko.distributions.DiagNormal(torch.zeros_like(x), torch.ones(6))
    )
    torch.testing.assert_close(model.log_prob(x, condition), flow.log_prob(x))
    torch.testing.assert_close(model.inverse(x, condition), transform.inv(x).detach())


def conditionals(model: MADE, x: Tensor, condition: Tensor) -> MixtureSameFamily:
    """The distributions of all numbers of x, as torch makes them."""
    mean, log_std, log_weight = (parameter.transpose(1, 2) for parameter in model(x, condition))
    return MixtureSameFamily(Categorical(logits=log_weight), Normal(mean, log_std.exp()))


def test_mixture_equals_that_of_torch():
    model = lively("made_mog", 6)
    x, condition = torch.randn(9, 6, dtype=torch.float64), conditions(9)
    expected = conditionals(model, x, condition).log_prob(x)
    torch.testing.assert_close(model.log_prob_per_dimension(x, condition), expected)


def test_samples_follow_the_density():
    model = lively("made_mog", 3)
    condition = conditions(1).expand(2000, -1)
    x = model.sample(condition, torch.Generator().manual_seed(0))
    uniform = conditionals(model, x, condition).cdf(x).detach()
    for column in uniform.T:
        assert scipy.stats.kstest(column.numpy(), "uniform").pvalue > 1e-3
    assert scipy.stats.spearmanr(uniform[:, 0], uniform[:, 2]).pvalue > 1e-3


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_are_determined_by_the_generator(name: str):
    model, condition = lively(name, 6), conditions(4)
    first, again, other = (model.sample(condition, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == (4, 6)
    torch.testing.assert_close(first, again)
    assert not torch.equal(first, other)


def test_maf_with_one_gaussian_samples_by_inverting_standard_normal_noise():
    model, condition = lively("maf", 6), conditions(2000)
    u, _ = model.transform(model.sample(condition, torch.Generator().manual_seed(0)), condition)
    assert scipy.stats.kstest(u.detach().flatten().numpy(), "norm").pvalue > 1e-3


def test_a_mixture_is_not_an_invertible_map():
    with pytest.raises(ValueError, match="n_gaussians 1"):
        lively("made_mog", 3).inverse(torch.zeros(1, 3, dtype=torch.float64), conditions(1))
