"""MAF: a normalizing flow of several MADEs.

A MADE with one Gaussian per number is also an invertible map of the window to standard normal noise. A masked
autoregressive flow (Papamakarios et al., *Masked autoregressive flow for density estimation*, NeurIPS 2017) stacks
several of them, each in the reverse order of the one before, so that the next may describe what this one cannot. An
invertible BatchNorm follows each (section 3.4 of the paper).
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from asd.models.made import MADE

MOMENTUM = 0.1
EPSILON = 1e-5


class FlowBatchNorm(nn.Module):
    """BatchNorm as an invertible map: y = exp(log_gamma) · (x − mean) / sqrt(variance + 1e-5) + beta.

    Training uses the batch's mean and unbiased variance, evaluation and the inverse use their running averages.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n_inputs: int):
        super().__init__()
        self.log_gamma = nn.Parameter(torch.zeros(n_inputs))
        self.beta = nn.Parameter(torch.zeros(n_inputs))
        self.register_buffer("running_mean", torch.zeros(n_inputs))
        self.register_buffer("running_var", torch.ones(n_inputs))

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, D) to y (B, D), and log ∂yᵢ/∂xᵢ, the same for all rows: (D,).

        Raises:
            ValueError: in training, the batch is a single window, which has no variance.
        """
        mean, var = self.running_mean, self.running_var
        if self.training:
            if len(x) < 2:
                raise ValueError("BatchNorm needs batches of at least 2 windows in training, got 1")
            mean, var = x.mean(dim=0), x.var(dim=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, MOMENTUM)
                self.running_var.lerp_(var, MOMENTUM)
        log_scale = self.log_gamma - 0.5 * torch.log(var + EPSILON)
        return (x - mean) * log_scale.exp() + self.beta, log_scale

    def inverse(self, y: Tensor) -> Tensor:
        """The x (B, D) that evaluation maps to y (B, D)."""
        return (y - self.beta) * torch.exp(-self.log_gamma) * torch.sqrt(self.running_var + EPSILON) + self.running_mean


class MAF(nn.Module):
    """MADEs of two hidden layers, each followed by a BatchNorm, in alternating order.

    The defaults have 32 581 632 parameters at D = 640 and 6 sections. What :class:`asd.models.made.MADE` says of
    ``hidden_size`` below D − 1 holds for each MADE; the reversal makes up for part of it.

    Args:
        n_inputs: D, numbers in a window (frames × mel bands).
        n_conditions: length of the condition, a one-hot section. It enters every MADE.
        hidden_size: width of the MADEs' hidden layers.
        hidden_dims: number of MADEs.
        n_gaussians: above 1, a MADE with mixtures of that many Gaussians replaces the standard normal distribution at
            the end.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> maf = MAF(n_inputs=4, n_conditions=1, hidden_size=16, hidden_dims=2).eval()
        >>> x, condition = torch.randn(3, 4), torch.ones(3, 1)
        >>> noise, _ = maf.transform(x, condition)
        >>> torch.allclose(maf.inverse(noise, condition), x, atol=1e-3)
        True
    """

    def __init__(
        self, n_inputs: int, n_conditions: int, hidden_size: int = 2048, hidden_dims: int = 4, n_gaussians: int = 1
    ):
        super().__init__()
        self.n_inputs = n_inputs
        self.flow = nn.ModuleList()  # MADEs and their BatchNorms in turn
        for i in range(hidden_dims):
            made = MADE(n_inputs, n_conditions, hidden_size, hidden_dims=1, reverse=i % 2 == 1)
            self.flow += [made, FlowBatchNorm(n_inputs)]
        self.base = (
            MADE(n_inputs, n_conditions, hidden_size, hidden_dims=1, n_gaussians=n_gaussians)
            if n_gaussians > 1
            else None
        )

    def _steps(self) -> list[tuple[MADE, FlowBatchNorm]]:
        mades, norms = cast(list[MADE], self.flow[::2]), cast(list[FlowBatchNorm], self.flow[1::2])
        return list(zip(mades, norms, strict=True))

    def transform(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Map windows x (B, D) of the sections condition (B, n_conditions) to noise u (B, D).

        Returns:
            u, and number by number the sum of the log-scales on the way, (B, D); summed over the numbers, these are
            ``log |det ∂u/∂x|``.
        """
        log_scale = torch.zeros_like(x)
        for made, norm in self._steps():
            x, scale_made = made.transform(x, condition)
            x, scale_norm = norm.transform(x)
            log_scale = log_scale + scale_made + scale_norm
        return x, log_scale

    @torch.no_grad()
    def inverse(self, u: Tensor, condition: Tensor) -> Tensor:
        """The x (B, D) that :meth:`transform` in evaluation maps to u (B, D): D forward passes of each MADE."""
        for made, norm in reversed(self._steps()):
            u = made.inverse(norm.inverse(u), condition)
        return u

    def log_prob_per_dimension(self, x: Tensor, condition: Tensor) -> Tensor:
        """Each number's share in the log-density: that of its noise, plus its log-scales on the way, (B, D).

        The shares sum to :meth:`log_prob`, but with more than one MADE they are not conditional densities: a number's
        noise depends on the numbers before and after it.
        """
        u, log_scale = self.transform(x, condition)
        if self.base is None:
            return log_scale - 0.5 * u.square() - 0.5 * math.log(2 * math.pi)
        return log_scale + self.base.log_prob_per_dimension(u, condition)

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Log-density of windows x (B, D) of the sections condition (B, n_conditions): (B,)."""
        return self.log_prob_per_dimension(x, condition).sum(dim=1)

    @torch.no_grad()
    def sample(self, condition: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one window for each row of condition (B, n_conditions) from the model in evaluation: (B, D)."""
        if self.base is None:
            shape = (len(condition), self.n_inputs)
            u = torch.randn(shape, generator=generator, dtype=condition.dtype, device=condition.device)
        else:
            u = self.base.sample(condition, generator)
        return self.inverse(u, condition)
