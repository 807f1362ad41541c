"""The receptive-field-regularised residual network that tells the sections of a machine type apart.

After a few layers, a ResNet on a spectrogram sees all of it at once and learns what it should not: single clips.
Kernels of 1×1 from a chosen depth on keep the receptive field small, which Koutini et al. (*Receptive-field-regularized
CNN variants for acoustic scene classification*, DCASE 2019) found to generalise better. ``rho`` sets that depth,
separately for frequency and time.
"""

import torch
from torch import Tensor, nn


def kernel_sizes(rho: int) -> list[tuple[int, int]]:
    """Kernel sizes along one axis, (first, second) convolution of each of the twelve residual blocks.

    After the first block, whose kernels are 3 and 1, the first ``rho`` convolutions have size 3 and the others size 1.

    Example:
        >>> kernel_sizes(3)[:4]
        [(3, 1), (3, 3), (3, 1), (1, 1)]
    """
    rest = [3 if i < rho else 1 for i in range(22)]
    return [(3, 1), *zip(rest[::2], rest[1::2], strict=True)]


def convolution(channels_in: int, channels_out: int, kernel: tuple[int, int], stride: int = 1) -> nn.Conv2d:
    """A convolution without bias (a BatchNorm follows), Kaiming-initialised."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=padding, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_in")
    return layer


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; the shortcut is a 1×1 convolution where the number of channels changes."""

    def __init__(self, channels_in: int, channels_out: int, kernel_1: tuple[int, int], kernel_2: tuple[int, int]):
        super().__init__()
        self.conv1 = convolution(channels_in, channels_out, kernel_1)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = convolution(channels_out, channels_out, kernel_2)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut = (
            nn.Identity()
            if channels_in == channels_out
            else nn.Sequential(convolution(channels_in, channels_out, (1, 1)), nn.BatchNorm2d(channels_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, F, T) to (B, channels_out, F, T)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ReceptiveFieldResNet(nn.Module):
    """Twelve residual blocks in three stages, then a 1×1 convolution to the classes and the mean over both axes.

    Args:
        n_classes: number of sections.
        rho_f, rho_t: size of the receptive field along frequency and time (:func:`kernel_sizes`).
        base_channels: channels of the first stage; the next ones have 2× and 4× as many.

    Example:
        >>> network = ReceptiveFieldResNet(n_classes=3, rho_f=5, rho_t=5, base_channels=2)
        >>> log_mels = torch.randn(1, 1, 16, 20)  # one clip, one channel, 16 mel bands, 20 frames
        >>> network.embed(log_mels).shape, network(log_mels).shape
        (torch.Size([1, 8, 3, 4]), torch.Size([1, 3]))
    """

    def __init__(self, n_classes: int, rho_f: int = 12, rho_t: int = 12, base_channels: int = 128):
        super().__init__()
        first = nn.Conv2d(1, base_channels, 5, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_in")
        self.input = nn.Sequential(first, nn.BatchNorm2d(base_channels), nn.ReLU())
        layers: list[nn.Module] = []
        channels = base_channels
        for i, (f, t) in enumerate(zip(kernel_sizes(rho_f), kernel_sizes(rho_t), strict=True)):
            wider = base_channels * 2 ** (i // 4)
            layers.append(ResidualBlock(channels, wider, (f[0], t[0]), (f[1], t[1])))
            if i == 0:
                layers.append(nn.MaxPool2d(2))
            channels = wider
        self.blocks = nn.Sequential(*layers)
        self.output = nn.Sequential(convolution(channels, n_classes, (1, 1)), nn.BatchNorm2d(n_classes))
        # the faster layout, above all for bfloat16 on a GPU; torch declares no such overload
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def embed(self, x: Tensor) -> Tensor:
        """Log-mels (B, 1, F, T) → the last stage's output before pooling: (B, 4·base_channels, F', T')."""
        return self.blocks(self.input(x))

    def classify(self, embedding: Tensor) -> Tensor:
        """Embedding (B, C, F', T') → logits (B, n_classes)."""
        return self.output(embedding).mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Log-mels (B, 1, F, T) → logits (B, n_classes)."""
        return self.classify(self.embed(x))
