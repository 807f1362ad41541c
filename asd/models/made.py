"""MADE: a density model that predicts each number of a window from those before it.

The chain rule writes any density as p(x₁) · p(x₂ | x₁) · p(x₃ | x₁, x₂) · …. MADE (Germain et al., *MADE: masked
autoencoder for distribution estimation*, ICML 2015) lets one network compute all factors at once: every unit has a
*degree*, and a mask cuts each connection through which a factor could see what it must predict. Here a factor is a
Gaussian or a mixture of Gaussians, as in RNADE (Uria et al., NeurIPS 2013).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

FREE_LOG_STD = 5.0  # of the standardised input: standard deviations from 1/150 to 150


def soft_clip(log_std: Tensor) -> Tensor:
    """Leave a log standard deviation unchanged within ±5 and let it grow only logarithmically beyond.

    A standard deviation that runs to zero or infinity is how such a model diverges. A hard bound would stop its
    gradient for good; the slope of this one is continuous and never zero.

    Example:
        >>> soft_clip(torch.tensor([-3.0, 5.0, 105.0]))
        tensor([-3.0000,  5.0000,  9.6151])
    """
    inner = log_std.clamp(-FREE_LOG_STD, FREE_LOG_STD)
    excess = log_std - inner
    return inner + excess.sign() * excess.abs().log1p()


class MaskedLinear(nn.Linear):
    """A linear layer that connects an input to an output only where the output's degree is at least the input's.

    The weights of the other connections are zero from the start and get no gradient, so optimisers (weight decay and
    momentum included) leave them at zero and no forward pass has to mask them again. Weights from a state dict are
    masked once, when they are loaded. The mask follows from the degrees and is not saved.

    Args:
        degrees_in: degrees of the inputs, integers (n_inputs,).
        degrees_out: degrees of the outputs, integers (n_outputs,).

    Example:
        >>> layer = MaskedLinear(torch.tensor([0, 1, 2]), torch.tensor([0, 1]))
        >>> (layer.weight != 0).int()
        tensor([[1, 0, 0],
                [1, 1, 0]], dtype=torch.int32)
    """

    mask: Tensor

    def __init__(self, degrees_in: Tensor, degrees_out: Tensor):
        super().__init__(len(degrees_in), len(degrees_out))
        mask = degrees_out.unsqueeze(1) >= degrees_in
        self.register_buffer("mask", mask.to(self.weight.device), persistent=False)
        self.register_load_state_dict_post_hook(MaskedLinear.cut)
        self.cut()

    @torch.no_grad()
    def cut(self, _: object = None) -> None:
        """Set the weights of masked connections to zero."""
        self.weight.mul_(self.mask)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, n_inputs) to (B, n_outputs)."""
        weight = self.weight.view_as(self.weight)  # hooks on the parameter itself would accumulate with every pass
        if weight.requires_grad:
            weight.register_hook(lambda gradient: gradient * self.mask)
        return linear(x, weight, self.bias)


class MADE(nn.Module):
    """Masked autoregressive network with Gaussian or mixture-of-Gaussians conditionals.

    The defaults have 20 733 184 parameters at D = 640 and 6 sections.

    Input i has degree i, hidden unit j has degree j mod (D − 1), output i has degree i − 1. So the first number's
    distribution depends on nothing, not even on the condition. With ``hidden_size`` below D − 1, the inputs from number
    ``hidden_size`` on are connected to no hidden unit: they are scored, but help to predict no other number.

    Args:
        n_inputs: D, numbers in a window (frames × mel bands).
        n_conditions: length of the condition, a one-hot section. It enters the first layer, unmasked.
        hidden_size: width of the hidden layers.
        hidden_dims: number of hidden layers after the first one.
        n_gaussians: components of the mixture of each number.
        reverse: predict the numbers from the last to the first.

    Example:
        >>> made = MADE(n_inputs=4, n_conditions=1, hidden_size=16, hidden_dims=1)
        >>> means = lambda x: made(x.unsqueeze(0), torch.ones(1, 1))[0].flatten()
        >>> jacobian = torch.autograd.functional.jacobian(means, torch.randn(4))
        >>> bool((jacobian.triu() == 0).all())  # each mean depends only on the numbers before it
        True
    """

    def __init__(
        self,
        n_inputs: int,
        n_conditions: int,
        hidden_size: int = 2048,
        hidden_dims: int = 4,
        n_gaussians: int = 1,
        reverse: bool = False,
    ):
        super().__init__()
        self.n_inputs, self.n_gaussians = n_inputs, n_gaussians
        order = torch.arange(n_inputs)
        self.order = list(reversed(range(n_inputs))) if reverse else list(range(n_inputs))
        degrees = order.flip(0) if reverse else order
        hidden = torch.arange(hidden_size) % max(n_inputs - 1, 1)
        # a single Gaussian needs no weight; a mixture's output is reshaped to (n_gaussians, 3, D)
        n_outputs = 2 if n_gaussians == 1 else 3 * n_gaussians
        self.input = MaskedLinear(degrees, hidden)
        self.condition = nn.Linear(n_conditions, hidden_size, bias=False)
        self.hidden = nn.ModuleList(MaskedLinear(hidden, hidden) for _ in range(hidden_dims))
        self.output = MaskedLinear(hidden, (degrees - 1).repeat(n_outputs))

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distribution of each number of x (B, D), given those before it and the condition (B, n_conditions).

        Returns:
            Mean, log standard deviation and log weight of each component, (B, n_gaussians, D) each, in the precision of
            ``x`` whatever the autocast.
        """
        hidden = torch.relu(self.input(x) + self.condition(condition))
        for layer in self.hidden:
            hidden = torch.relu(layer(hidden))
        output = self.output(hidden).to(x.dtype).unflatten(1, (self.n_gaussians, -1, self.n_inputs))
        mean, log_std = output[:, :, 0], soft_clip(output[:, :, 1])
        log_weight = torch.zeros_like(mean) if self.n_gaussians == 1 else output[:, :, 2].log_softmax(dim=1)
        return mean, log_std, log_weight

    def log_prob_per_dimension(self, x: Tensor, condition: Tensor) -> Tensor:
        """log p of each number given those before it: (B, D)."""
        mean, log_std, log_weight = self(x, condition)
        u = (x.unsqueeze(1) - mean) * torch.exp(-log_std)
        return (log_weight - 0.5 * u.square() - log_std - 0.5 * math.log(2 * math.pi)).logsumexp(dim=1)

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Log-density of windows x (B, D) of the sections condition (B, n_conditions): (B,)."""
        return self.log_prob_per_dimension(x, condition).sum(dim=1)

    def transform(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The model as a flow: u = (x − mean) / std, (B, D), and log ∂uᵢ/∂xᵢ, (B, D).

        Raises:
            ValueError: the model has more than one Gaussian; a mixture has no such simple map to noise.
        """
        mean, log_std = self._affine(x, condition)
        return (x - mean) * torch.exp(-log_std), -log_std

    @torch.no_grad()
    def inverse(self, u: Tensor, condition: Tensor) -> Tensor:
        """The x (B, D) that :meth:`transform` maps to u (B, D), one number after the other: D forward passes.

        Raises:
            ValueError: the model has more than one Gaussian.
        """
        x = torch.zeros_like(u)
        for i in self.order:
            mean, log_std = self._affine(x, condition)
            x[:, i] = mean[:, i] + log_std[:, i].exp() * u[:, i]
        return x

    @torch.no_grad()
    def sample(self, condition: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one window for each row of condition (B, n_conditions): (B, D), in D forward passes."""
        x = condition.new_zeros(len(condition), self.n_inputs)
        for i in self.order:
            mean, log_std, log_weight = (parameter[:, :, i] for parameter in self(x, condition))
            component = torch.multinomial(log_weight.exp(), 1, generator=generator)
            std = log_std.gather(1, component).exp()
            x[:, i] = torch.normal(mean.gather(1, component), std, generator=generator).squeeze(1)
        return x

    def _affine(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        if self.n_gaussians > 1:
            raise ValueError(f"only a MADE with n_gaussians 1 is an invertible map; here it is {self.n_gaussians}")
        mean, log_std, _ = self(x, condition)
        return mean.squeeze(1), log_std.squeeze(1)
