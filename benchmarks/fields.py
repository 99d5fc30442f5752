"""Networks on which tools disagree about the receptive field, each with its right value, proven by the gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Field:
    """`size` is the right receptive field of the last map, along the width."""

    name: str
    build: Callable[[], nn.Module]
    channels: int
    width: int
    size: int
    formula: str

    def prove(self) -> None:
        """Raises AssertionError unless the gradient of an output in the middle has this support, at its widest.

        What a unit may see is asked, so maxima are means, and all weights are positive: nothing cancels. Two units side
        by side, as upsampling treats them unlike. In double precision, so that nothing vanishes.
        """
        model = linear(self.build()).double()
        x = torch.rand(1, self.channels, 32, self.width, dtype=torch.double, requires_grad=True)
        y = model(x)
        found = []
        for column in (y.shape[-1] // 2, y.shape[-1] // 2 + 1):
            (gradient,) = torch.autograd.grad(y[..., column].sum(), x, retain_graph=True)
            seen = gradient.abs().sum((0, 1, 2)).nonzero()[:, 0]
            assert seen[0] > 0, "the field reaches the border: take a wider image"
            assert seen[-1] < self.width - 1, "the field reaches the border: take a wider image"
            found.append(int(seen[-1] - seen[0]) + 1)
        assert max(found) == self.size, (self.name, found)


def linear(model: nn.Module) -> nn.Module:
    """The same connections without maxima and thresholds, each output a weighted mean."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.fill_(1 / parameter[0].numel())
    return model.eval()


def conv(size: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(1, 1, size, bias=False, **options)


class Residual(nn.Module):
    """A block with stride 2, beside it a 1x1 convolution with stride 2, then a 3x3 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(stride=2, padding=1), conv(padding=1)
        self.shortcut, self.last = conv(1, stride=2), conv(padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x)) + self.shortcut(x))


class Shifted(nn.Module):
    """Two branches that look at different places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[..., :-4] + x[..., 4:]


def trunk(name: str) -> nn.Module:
    """A ResNet of torchvision up to its last map."""
    from torchvision.models import get_model

    return nn.Sequential(*list(get_model(name).children())[:-2])


FIELDS = (
    Field("two 3x3 (control)", lambda: nn.Sequential(conv(padding=1), conv(padding=1)), 1, 64, 5, "1 + 2 + 2"),
    Field("3x3 with dilation 2", lambda: nn.Sequential(conv(padding=2, dilation=2)), 1, 64, 5, "1 + 2·2"),
    Field("11x11", lambda: nn.Sequential(conv(11, padding=5)), 1, 64, 11, "k"),
    Field("residual block with stride 2, then 3x3", Residual, 1, 64, 11, "1 + 2 + 2·2 + 2·2"),
    Field("3x3 beside a shift by 4", Shifted, 1, 64, 6, "4 - (-1) + 1"),
    Field(
        "3x3, pooling by 2, 3x3, transposed by 2, 3x3",
        lambda: nn.Sequential(
            conv(padding=1),
            nn.MaxPool2d(2),
            conv(padding=1),
            nn.ConvTranspose2d(1, 1, 2, stride=2, bias=False),
            conv(padding=1),
        ),
        1,
        64,
        10,
        "((2 + 2)·2) + 2",
    ),
    Field("ResNet-18", lambda: trunk("resnet18"), 3, 641, 435, "11 + 32 + 56 + 112 + 224"),
    Field("ResNet-50", lambda: trunk("resnet50"), 3, 641, 427, "11 + 24 + 56 + 176 + 160"),
)
