from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo
from striate.layers import DenseBlock, DenseLayer

# Table 1 of the paper: layers of each block.
DEPTHS = {"densenet121": (6, 12, 24, 16), "densenet169": (6, 12, 32, 32), "densenet201": (6, 12, 48, 32)}


def counted(depths: tuple[int, ...], growth: int = 32, classes: int = 1000) -> int:
    """Parameters by the paper's description: every convolution without bias, two values a map for batch norm."""
    c = 2 * growth
    total = 3 * c * 49 + 2 * c
    for i, depth in enumerate(depths):
        for _ in range(depth):
            total += 2 * c + c * 4 * growth + 2 * 4 * growth + 4 * growth * growth * 9
            c += growth
        if i < len(depths) - 1:
            total += 2 * c + c * (c // 2)
            c //= 2
    return total + 2 * c + (c + 1) * classes


@pytest.mark.parametrize(("name", "depths"), DEPTHS.items())
def test_parameters_and_layers_follow_from_the_papers_table(name: str, depths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        net = zoo.build(name)
    assert counted(depths) == zoo.ARCHITECTURES[name].parameters
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == int(name[-3:])


def test_maps_after_each_block_and_transition() -> None:
    with torch.device("meta"):
        rows = describe(zoo.build("densenet121"), (3, 224, 224)).layers
    ends = {".".join(row.path.split(".")[:2]): row.shape for row in rows}
    blocks = [ends[f"features.denseblock{i}"] for i in (1, 2, 3, 4)]
    assert blocks == [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (1024, 7, 7)]
    assert [ends[f"features.transition{i}"] for i in (1, 2, 3)] == [(128, 28, 28), (256, 14, 14), (512, 7, 7)]
    assert ends["features.pool0"] == (64, 56, 56)


def test_each_layer_reads_the_maps_of_all_before_it() -> None:
    torch.manual_seed(0)
    block, x = DenseBlock(3, 5, 4, 0.0).eval(), torch.randn(2, 5, 6, 7)
    maps = [x]
    for layer in block.children():
        maps.append(layer(torch.cat(maps, 1)))
    torch.testing.assert_close(block(x), torch.cat(maps, 1))
    assert block(x).shape == (2, 5 + 3 * 4, 6, 7)


def test_a_layer_normalizes_and_rectifies_before_it_convolves() -> None:
    torch.manual_seed(0)
    layer, x = DenseLayer(5, 4, 0.0).train(), torch.randn(3, 5, 6, 6)
    y = F.conv2d(F.batch_norm(x, None, None, training=True).relu(), layer.conv1.weight)
    y = F.conv2d(F.batch_norm(y, None, None, training=True).relu(), layer.conv2.weight, padding=1)
    torch.testing.assert_close(layer(x), y)


def test_growth_and_dropout_act() -> None:
    with torch.device("meta"):
        net = zoo.build("densenet121", growth=12, num_classes=10)
    assert sum(p.numel() for p in net.parameters()) == counted(DEPTHS["densenet121"], 12, 10)
    layer = DenseLayer(5, 64, 0.25).train()
    share = layer(torch.randn(4, 5, 16, 16)).eq(0).float().mean().item()
    assert abs(share - 0.25) < 0.02
    assert zoo.build("densenet121", growth=1, dropout=0.5).features.denseblock4.denselayer16.dropout.p == 0.5


def test_weights_start_as_hes_do() -> None:
    torch.manual_seed(0)
    layer = zoo.build("densenet121", growth=8).features.denseblock3.denselayer1
    assert abs(layer.conv2.weight.std().item() / math.sqrt(2 / (9 * 32)) - 1) < 0.05
