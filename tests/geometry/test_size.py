"""Sizes that work, against running the network on each."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.errors import InputError
from striate.geometry import describe


class UNet(nn.Module):
    """Needs a multiple of 2 to the power of its depth."""

    def __init__(self, depth: int, *head: nn.Module) -> None:
        super().__init__()
        self.head = nn.Sequential(*head)
        self.down = nn.ModuleList(nn.Conv2d(1, 1, 3, padding=1) for _ in range(depth))
        self.up = nn.ModuleList(nn.ConvTranspose2d(1, 1, 2, 2) for _ in range(depth))
        self.mix = nn.ModuleList(nn.Conv2d(2, 1, 1) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for conv in self.down:
            x = conv(x)
            kept.append(x)
            x = F.max_pool2d(x, 2)
        for up, mix in zip(self.up, self.mix, strict=True):
            x = mix(torch.cat([up(x), kept.pop()], 1))
        return self.head(x)


class Sized(nn.Module):
    """Wants sides of 4k + 1 from `least` on."""

    def __init__(self, least: int, most: int = 1 << 20) -> None:
        super().__init__()
        self.least, self.most = least, most

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 4 != 1 or not self.least <= x.shape[-1] <= self.most:
            raise ValueError("another size, please")
        return x * 2


def headed(depth: int, pool: int) -> nn.Module:
    return UNet(depth, nn.AvgPool2d(pool), nn.Flatten(), nn.Linear(16, 2))


def working(net: nn.Module, up_to: int) -> list[int]:
    """The sides of squares that the network takes when it is run."""
    found = []
    for side in range(1, up_to + 1):
        try:
            net(torch.zeros(1, 1, side, side))
        except (RuntimeError, ValueError):
            continue
        found.append(side)
    return found


wide = nn.Sequential(nn.Conv2d(1, 1, (3, 9)), nn.MaxPool2d(2), nn.Conv2d(1, 1, (1, 5)))
networks = [UNet(2), headed(1, 8), headed(2, 7), Sized(9), wide, nn.Conv2d(1, 1, 7)]


@pytest.mark.parametrize("net", networks)
def test_the_least_input_is_the_least_that_runs(net: nn.Module) -> None:
    sides = working(net, 41)
    for side in sides[:1] + sides[-1:]:
        assert describe(net, (1, side, side)).least_input == (1, sides[0], sides[0])


@pytest.mark.parametrize("net", networks)
def test_sizes_that_an_error_names_are_the_nearest_that_run(net: nn.Module) -> None:
    """Where a linear layer wants a number of features, the least size with it."""
    sides = working(net, 60)
    for side in sorted({2, 7, 27, 30, 35} - {*sides}):
        with pytest.raises(InputError, match="cannot take this input") as raised:
            describe(net, (1, side, side))
        said = str(raised.value)
        below, above = [s for s in sides if s < side], [s for s in sides if s > side]
        named = [int(a) for a, b in re.findall(r"1x(\d+)x(\d+)(?= works|[.;])", said) if a == b]
        if "features" in said:
            assert named == sides[:1]
        else:
            assert named == above[:1] + below[-1:]
            assert ("it is too small" in said) == (not below)


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (UNet(2), (1, 33, 33), r"input: at .* The least larger size that works is 1x36x36; 1x32x32 works, too"),
        (Sized(17, 21), (1, 30, 30), r"input: at .*please. 1x21x21 works"),
        (Sized(501), (1, 300, 300), r"input, it is too small: .* The least larger size that works is 1x501x501"),
        (wide, (1, 2, 300), r"it is too small: at layer 0 .* The least larger size that works is 1x4x300"),
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.Linear(10, 2)), (1, 30, 8), r"too small: .* works is 1x30x12"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(13, 2)),
            (3, 3, 3),
            ".* expected 13 features, got 27$",
        ),
    ],
)
def test_the_way_out_of_a_size(net: nn.Module, shape: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        describe(net, shape)


def test_a_search_ends() -> None:
    """One operation after the other up to the end: too many to try every side."""
    net = nn.Sequential(*[nn.ReLU() for _ in range(200)], Sized(1001, 1001))
    assert describe(net, (1, 1001, 1001)).least_input == (1, 1001, 1001)


def test_a_network_that_refuses_small_inputs_itself_has_a_least_input() -> None:
    class Careful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] < 7:
                raise InputError("the line is too short")
            return x * 2

    assert describe(Careful(), (1, 20)).least_input == (1, 7)
    with pytest.raises(InputError, match="cannot take this input, it is too small: .*the line is too short"):
        describe(Careful(), (1, 5, 5))
