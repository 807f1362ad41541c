"""The autoencoder, MADE and MAF: the reference's numbers, and the mathematics that a density has to obey."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asd.models.autoencoder import Autoencoder

SMALL = {"n_inputs": 40, "n_conditions": 6}


def load_in_network_order(model: nn.Module, oracle: np.lib.npyio.NpzFile) -> None:
    """Copy the oracle's weights, in their order, into the model's parameters and statistics, in theirs."""
    arrays = [
        oracle[k] for k in oracle.files if k[0] == "w" and not k.endswith(("mask", "base_dist_mean", "base_dist_var"))
    ]
    state = model.state_dict()
    model.load_state_dict({name: torch.tensor(a) for name, a in zip(state, arrays, strict=True)})


def assert_equals_oracle(actual: Tensor, expected: np.ndarray) -> None:
    difference = np.abs(actual.detach().numpy() - expected).max()
    assert difference <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(("name", "model"), [("ae", lambda: Autoencoder(**SMALL, hidden_size=16))])
def test_log_prob_equals_the_reference(shared: Path, name: str, model):
    oracle = np.load(shared / "oracle" / f"{name}.npz")
    model = model().eval()
    load_in_network_order(model, oracle)
    x, condition = torch.tensor(oracle["input"]), torch.tensor(oracle["condition"])
    assert_equals_oracle(model.log_prob(x, condition), oracle["log_prob"])
    assert_equals_oracle(model.log_prob_per_dimension(x, condition).sum(dim=1), oracle["log_prob"])


@pytest.mark.parametrize(("model", "expected"), [(Autoencoder, 295_496)])
def test_number_of_parameters_at_full_size(model, expected: int):
    with torch.device("meta"):
        network = model(n_inputs=640, n_conditions=6)
    assert sum(p.numel() for p in network.parameters()) == expected
