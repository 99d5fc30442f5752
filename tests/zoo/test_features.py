from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from striate import InputError, build, describe
from striate.zoo import features_only


class Block(nn.Module):
    """Halves its map, half of it inside: a part of it is no feature."""

    def __init__(self, old: int, new: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(old, new, 1), nn.Conv2d(new, new, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(old, new, 1, stride=2)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(new, new, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return torch.relu(y * self.gate(y) + self.shortcut(x))


class Network(nn.Module):
    """A stem, two blocks, a decoder, a head for one size only, and maps that are overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.block1, self.block2 = Block(4, 6), Block(6, 8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.head = nn.Linear(6 * 8 * 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.block1(x)
        x.add_(1)
        return self.head(self.up(self.block2(y)).flatten(1))


def test_maps_of_each_stride_with_their_windows() -> None:
    net = Network().eval()
    backbone = features_only(net, (1, 16, 16))
    assert [f.path for f in backbone.features] == ["stem", "block1", "block2"]
    assert [f.stride for f in backbone.features] == [(1, 1), (2, 2), (4, 4)]
    assert [f.receptive_field for f in backbone.features] == [(3, 3), (5, 5), (9, 9)]
    assert [f.gated for f in backbone.features] == [False, True, True]
    x = torch.rand(2, 1, 24, 20)  # a size that the head does not take
    maps = backbone(x)
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 24, 20), (6, 12, 10), (8, 6, 5)]
    stem = net.stem(x)
    torch.testing.assert_close(maps[0], stem)  # not what was added later
    torch.testing.assert_close(maps[2], net.block2(net.block1(stem)))


def test_windows_are_those_of_the_report() -> None:
    net = build("keras_mnist")
    rows = {layer.shape: layer for layer in describe(net, (1, 28, 28)).layers}
    backbone = features_only(net, (1, 28, 28))
    for feature, kept in zip(backbone.features, backbone(torch.rand(1, 1, 28, 28)), strict=True):
        row = rows[tuple(kept.shape[1:])]
        assert (feature.receptive_field, feature.stride) == (row.receptive_field, row.stride)


def test_gradients_flow_and_hooks_go() -> None:
    net = build("keras_mnist")
    maps = features_only(net, (1, 28, 28))(torch.rand(1, 1, 28, 28))
    maps[-1].sum().backward()
    assert net.conv1.weight.grad is not None
    assert net.dense.weight.grad is None
    assert not any(module._forward_hooks for module in net.modules())


def test_a_network_of_the_zoo_is_built_as_backbone() -> None:
    backbone = build("keras_fcn", features_only=True, in_channels=3)
    assert [f.channels for f in backbone.features] == [32, 64, 10]
    assert len(backbone(torch.rand(1, 3, 40, 30))) == 3


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(InputError, match="^no module of the network returns a map: got Sequential"):
        features_only(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4))


class Repeating(nn.Module):
    """One pooling three times, a tap that ends after the deepest map, a pair in between."""

    def __init__(self) -> None:
        super().__init__()
        self.tap, self.conv, self.pool = nn.Identity(), nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = self.pool(self.pool(self.pool(y)))
        return z.mean() + self.tap(y).mean()


def test_a_module_that_is_called_again_gives_the_map_of_each_call() -> None:
    net = Repeating()
    backbone = features_only(nn.DataParallel(net), (1, 16, 16))
    assert [(f.path, f.call, f.stride[0]) for f in backbone.features[1:]] == [
        ("pool", 0, 2),
        ("pool", 1, 4),
        ("pool", 2, 8),
    ]
    x = torch.rand(2, 1, 24, 16)
    maps = backbone(x)
    assert [tuple(m.shape[2:]) for m in maps] == [(24, 16), (12, 8), (6, 4), (3, 2)]
    assert torch.equal(maps[2], net.pool(net.pool(net.conv(x))))
