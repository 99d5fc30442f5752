"""Averaging over views against the views written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.train import averaged


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))


def test_flip_and_shift_are_the_six_views_of_airbench() -> None:
    net, x = network(), torch.rand(2, 3, 8, 9)

    def both(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * net(x) + 0.5 * net(x.flip(-1))

    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    moved = (both(padded[:, :, :8, :9]) + both(padded[:, :, 2:, 2:])) / 2
    torch.testing.assert_close(averaged(net, ("flip", "shift"))(x), 0.5 * both(x) + 0.5 * moved)


def test_a_scale_resizes() -> None:
    net, x = network(), torch.rand(2, 3, 8, 8)
    smaller = F.interpolate(x, (6, 6), mode="bilinear", antialias=True)
    torch.testing.assert_close(averaged(net, ("scale:0.75",))(x), (net(x) + net(smaller)) / 2)


def test_no_views_are_the_network_itself() -> None:
    net = network()
    assert averaged(net, ()) is net


@pytest.mark.parametrize("view", ["scale", "scale:0", "flip:0.5", "shift:2", "mirror"])
def test_an_unknown_view_is_refused(view: str) -> None:
    with pytest.raises(InputError, match=f"there is no such view of an image: expected flip, .* got '{view}'"):
        averaged(network(), (view,))
