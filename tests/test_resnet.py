"""The network equals the reference's: same numbers, same size, gradients everywhere."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from asd.models.resnet import ReceptiveFieldResNet, kernel_sizes


def load_in_order(model: torch.nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Copy the reference's tensors to the model's, both in network order."""
    weights = [torch.from_numpy(np.asarray(arrays[name])) for name in sorted(arrays) if name[0] == "w"]
    model.load_state_dict(dict(zip(model.state_dict(), weights, strict=True)))


@pytest.mark.parametrize(("rho_t", "rho_f"), [(12, 12), (5, 5), (8, 16)])
def test_logits_and_embedding_equal_the_references(shared, rho_t, rho_f):
    oracle = np.load(shared / "oracle" / f"resnet_rho_t{rho_t}_rho_f{rho_f}_base8.npz")
    model = ReceptiveFieldResNet(6, rho_f=rho_f, rho_t=rho_t, base_channels=8).eval()
    load_in_order(model, oracle)
    with torch.no_grad():
        embedding = model.embed(torch.from_numpy(oracle["input"]))
        logits = model.classify(embedding)
    for ours, theirs in ((embedding, oracle["embedding"]), (logits, oracle["logits"])):
        assert np.abs(ours.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


def written_out(model: ReceptiveFieldResNet, x: torch.Tensor, rho_f: int, rho_t: int) -> list[torch.Tensor]:
    """The published network's embedding and logits from the model's tensors, taken one by one in network order."""
    tensors = iter([tensor for name, tensor in model.state_dict().items() if "num_batches" not in name])

    def convolution(x: torch.Tensor, kernel: tuple[int, int], stride: int = 1) -> torch.Tensor:
        weight = next(tensors)
        assert weight.shape[2:] == kernel
        return functional.conv2d(x, weight, stride=stride, padding=tuple(k // 3 for k in kernel))

    def batch_norm(x: torch.Tensor) -> torch.Tensor:
        scale, shift, mean, var = (next(tensors)[:, None, None] for _ in range(4))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = batch_norm(convolution(x, (5, 5), stride=2)).relu()
    for i, (f, t) in enumerate(zip(specified(rho_f), specified(rho_t), strict=True)):
        y = batch_norm(convolution(x, (f[0], t[0]))).relu()
        y = batch_norm(convolution(y, (f[1], t[1])))
        x = (y + (batch_norm(convolution(x, (1, 1))) if i in (4, 8) else x)).relu()
        x = functional.max_pool2d(x, 2) if i == 0 else x
    return [x, batch_norm(convolution(x, (1, 1))).mean(dim=(2, 3))]


@pytest.mark.parametrize(("rho_t", "rho_f"), [(12, 12), (5, 5), (8, 16)])
def test_the_network_is_the_published_one_written_out(rho_t, rho_f):
    torch.manual_seed(0)
    model = ReceptiveFieldResNet(6, rho_f=rho_f, rho_t=rho_t, base_channels=4).double()
    x = torch.randn(2, 1, 128, 61, dtype=torch.float64)
    model(x)  # so that running means and variances are no zeros and ones
    model.eval()
    with torch.no_grad():
        expected = written_out(model, x, rho_f, rho_t)
        torch.testing.assert_close([model.embed(x), model(x)], expected)
    assert [values.shape[1] for values in expected] == [16, 6] and expected[1].abs().max() > 0.1


@pytest.mark.parametrize(("rho", "parameters"), [(12, 6_576_012), (5, 3_561_356)])
def test_size_is_the_references(rho, parameters):
    with torch.device("meta"):
        model = ReceptiveFieldResNet(6, rho_f=rho, rho_t=rho)
    assert sum(p.numel() for p in model.parameters()) == parameters


def specified(rho: int) -> list[tuple[int, int]]:
    """The published table of kernel sizes, entry by entry."""
    e = rho - 7
    stage_1 = [(3, 1)] + [(1 if e < a else 3, 1 if e < a + 1 else 3) for a in (-6, -4, -2)]
    stage_2 = [(1 if e < 0 else 3, 3 if e > 0 else 1)] + [(3 if e > a else 1, 3 if e > a + 1 else 1) for a in (1, 3, 5)]
    stage_3 = [(3 if e > a else 1, 3 if e > a + 1 else 1) for a in (7, 9, 11, 13)]
    return stage_1 + stage_2 + stage_3


@pytest.mark.parametrize("rho", range(0, 25))
def test_kernel_sizes_are_the_table_of_the_paper(rho):
    assert kernel_sizes(rho) == specified(rho)


def test_every_parameter_gets_a_gradient():
    model = ReceptiveFieldResNet(3, base_channels=2)
    torch.nn.functional.cross_entropy(model(torch.randn(4, 1, 128, 30)), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_convolutions_have_their_channels_last_also_with_weights_from_a_file():
    model, layout = ReceptiveFieldResNet(3, base_channels=2), torch.channels_last
    model.load_state_dict({name: value.contiguous() for name, value in model.state_dict().items()})
    assert all(w.is_contiguous(memory_format=layout) for w in model.parameters() if w.ndim == 4)
    assert model.embed(torch.randn(2, 128, 30).unsqueeze(1)).is_contiguous(memory_format=layout)
