"""The residual networks for 32 x 32 images of He et al. 2016, section 4.2, with parameter-free shortcuts.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016 (arXiv:1512.03385). Module names
are those of https://github.com/akamaster/pytorch_resnet_cifar10, so that its published weights load.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from moprune.errors import UsageError, not_one_of
from moprune.networks.initial import he_normal

DEPTHS = (20, 32, 44, 56)


def cifar_resnet(depth: int, num_classes: int = 10, in_channels: int = 3, *, seed: int = 0) -> nn.Module:
    """Returns a CIFAR ResNet with random initial weights.

    It maps (n, ``in_channels``, H, W) to logits (n, ``num_classes``); 32 x 32 is the size it was made for,
    others work. The input of its head, ``linear``, has 64 features.

    Args:
        depth: 20, 32, 44 or 56 (6 k + 2: three stages of k blocks with two convolutions each).
        num_classes: at least 1.
        in_channels: at least 1.
        seed: of the initial weights; the same seed gives the same weights.

    Raises:
        UsageError: another depth, or a number of classes or channels below 1.
    """
    if depth not in DEPTHS:
        raise not_one_of("CIFAR ResNet depth", depth, map(str, DEPTHS))
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if value < 1:
            raise UsageError(f"cifar_resnet: {name} is {value}; give at least 1")
    return CifarResNet((depth - 2) // 6, num_classes, in_channels, seed)


class PaddingShortcut(nn.Module):
    """Shortcut "option A": every second pixel, and zero channels on both sides to reach the new width."""

    def __init__(self, extra_channels: int) -> None:
        super().__init__()
        self.extra_channels = extra_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, C, H, W) to (n, C + extra_channels, ceil(H / 2), ceil(W / 2))."""
        before = self.extra_channels // 2
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, self.extra_channels - before))


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation beside a shortcut; the first may halve the size."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity() if stride == 1 else PaddingShortcut(channels - channels_in)
        # One ReLU module per place: hooks and attribution methods need to tell them apart.
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, channels_in, H, W) to (n, channels, H / stride, W / stride)."""
        out: Tensor = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)) + self.shortcut(x))
        return out


class CifarResNet(nn.Module):
    """A stem, three stages of ``blocks`` blocks (16, 32, 64 channels), global average pooling, a linear head.

    Use `cifar_resnet`, which checks its arguments.
    """

    def __init__(self, blocks: int, num_classes: int, in_channels: int, seed: int) -> None:
        super().__init__()
        with torch.device("meta"):
            self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            self.relu = nn.ReLU()
            self.layer1 = _stage(blocks, 16, 16, stride=1)
            self.layer2 = _stage(blocks, 16, 32, stride=2)
            self.layer3 = _stage(blocks, 32, 64, stride=2)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.linear = nn.Linear(64, num_classes)
        he_normal(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (n, in_channels, H, W) to logits (n, num_classes)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.linear(self.pool(out).flatten(1))
        return logits


def _stage(blocks: int, channels_in: int, channels: int, stride: int) -> nn.Sequential:
    first = Block(channels_in, channels, stride)
    return nn.Sequential(first, *(Block(channels, channels, 1) for _ in range(blocks - 1)))
