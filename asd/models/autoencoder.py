"""An autoencoder that squeezes a window of log-mel frames through eight numbers and scores what does not come back.

The baseline of the field (Koizumi et al., *Description and discussion on DCASE 2020 Challenge Task 2*, 2020), here
with the section as a condition of every layer: one network for all sections of a machine type. Minus its squared error
takes the place of the density models' log-likelihood, as if every dimension were a Gaussian of variance ½ around the
reconstruction, without the constant.
"""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

BOTTLENECK_SIZE = 8


class ConditionalLinear(nn.Module):
    """A linear layer with a second weight matrix for the condition: W x + b + V c.

    Args:
        n_inputs, n_outputs: sizes of x and of the result.
        n_conditions: size of c.
    """

    def __init__(self, n_inputs: int, n_outputs: int, n_conditions: int):
        super().__init__()
        self.linear = nn.Linear(n_inputs, n_outputs)
        self.condition = nn.Linear(n_conditions, n_outputs, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x (B, n_inputs) and condition (B, n_conditions) to (B, n_outputs)."""
        return self.linear(x) + self.condition(condition)

    def normalized(self, x: Tensor, condition: Tensor, norm: nn.BatchNorm1d) -> Tensor:
        """:meth:`forward` followed by ``norm`` in evaluation mode, which only scales and shifts: one matrix product."""
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None and var is not None  # a BatchNorm has them by default
        scale = norm.weight * (var + norm.eps).rsqrt()
        shift = norm.bias + scale * (self.linear.bias - mean)
        weight, of_condition = (scale.unsqueeze(1) * layer.weight for layer in (self.linear, self.condition))
        return torch.addmm(torch.addmm(shift, condition, of_condition.T), x, weight.T)


class Autoencoder(nn.Module):
    """D–128–128–128–128–8–128–128–128–128–128–D; BatchNorm and ReLU after every layer but the last.

    The defaults have 295 496 parameters at D = 640 and 6 sections.

    Args:
        n_inputs: D, numbers in a window (frames × mel bands).
        n_conditions: length of the condition, a one-hot section.
        hidden_size: width of the hidden layers.
        hidden_dims: number of hidden layers before the bottleneck; after it there is one more.

    Example:
        >>> model = Autoencoder(n_inputs=20, n_conditions=3, hidden_size=16, hidden_dims=1)
        >>> section = torch.eye(3)  # one window of each of three sections
        >>> model(torch.randn(3, 20), section).shape, model.log_prob(torch.randn(3, 20), section).shape
        (torch.Size([3, 20]), torch.Size([3]))
    """

    def __init__(self, n_inputs: int, n_conditions: int, hidden_size: int = 128, hidden_dims: int = 4):
        super().__init__()
        hidden = [hidden_size] * hidden_dims + [BOTTLENECK_SIZE] + [hidden_size] * (hidden_dims + 1)
        self.hidden = nn.ModuleList()  # linear layers and their BatchNorms in turn
        for size_in, size_out in pairwise([n_inputs, *hidden]):
            self.hidden += [ConditionalLinear(size_in, size_out, n_conditions), nn.BatchNorm1d(size_out)]
        self.output = ConditionalLinear(hidden[-1], n_inputs, n_conditions)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Reconstruct windows x (B, D) of the sections condition (B, n_conditions): (B, D)."""
        hidden = x
        layers, norms = cast(list[ConditionalLinear], self.hidden[::2]), cast(list[nn.BatchNorm1d], self.hidden[1::2])
        for layer, norm in zip(layers, norms, strict=True):
            if self.training:
                hidden = torch.relu(norm(layer(hidden, condition)))
            else:
                hidden = torch.relu_(layer.normalized(hidden, condition, norm))
        return self.output(hidden, condition)

    def log_prob_per_dimension(self, x: Tensor, condition: Tensor) -> Tensor:
        """Minus the squared error of each dimension, (B, D), in the precision of ``x`` whatever the autocast."""
        return -(x - self(x, condition).to(x.dtype)).square()

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Minus the squared error of a window, summed over its dimensions: (B,)."""
        return self.log_prob_per_dimension(x, condition).sum(dim=1)
