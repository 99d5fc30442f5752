from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo
from striate.layers import BasicBlock, Bottleneck, SqueezeExcitation

OF_BLOCK = {18: 2, 34: 2, 50: 3, 101: 3, 152: 3}  # convolutions


def on_meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options)


@pytest.mark.parametrize("layers", OF_BLOCK)
def test_the_name_counts_convolutions_and_the_dense_layer(layers: int) -> None:
    net = on_meta(f"resnet{layers}")
    weighted = [path for path, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len([path for path in weighted if "downsample" not in path]) == layers
    assert len(net.layer1) + len(net.layer2) + len(net.layer3) + len(net.layer4) == (layers - 2) // OF_BLOCK[layers]


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("resnet18", 1.8),
        ("resnet34", 3.6),
        ("resnet50:stride_in_1x1=True", 3.8),
        ("resnet101:stride_in_1x1=True", 7.6),
        ("resnet152:stride_in_1x1=True", 11.3),
    ],
)
def test_multiply_adds_are_those_of_the_papers_table(name: str, billions: float) -> None:
    assert abs(describe(on_meta(name), (3, 224, 224)).macs / 1e9 - billions) < 0.1


@pytest.mark.parametrize(("name", "expansion"), [("resnet18", 1), ("resnet50", 4), ("se_resnet50", 4)])
def test_maps_of_each_stage(name: str, expansion: int) -> None:
    rows = describe(on_meta(name), (3, 224, 224)).layers
    ends = {row.path.partition(".")[0]: row.shape for row in rows}
    assert ends["conv1"] == (64, 112, 112)
    assert ends["maxpool"] == (64, 56, 56)
    stages = [ends[f"layer{i}"] for i in (1, 2, 3, 4)]
    assert stages == [(64 * 2**i * expansion, 56 // 2**i, 56 // 2**i) for i in range(4)]


def test_the_place_of_the_stride_changes_maps_but_no_parameters() -> None:
    x = torch.rand(2, 3, 40, 40)
    torch.manual_seed(0)
    late = zoo.build("resnet50", width=0.125).eval()
    early = zoo.build("resnet50", width=0.125, stride_in_1x1=True).eval()
    early.load_state_dict(late.state_dict())
    assert not torch.allclose(early(x), late(x), rtol=1e-2)
    assert (early.layer2[0].conv1.stride, early.layer2[0].conv2.stride) == ((2, 2), (1, 1))
    assert (late.layer2[0].conv1.stride, late.layer2[0].conv2.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_block_adds_its_input(block: type[nn.Module]) -> None:
    layer = block(8, 8, 1).eval()
    last = layer.bn2 if block is BasicBlock else layer.bn3
    nn.init.zeros_(last.weight)
    x = torch.randn(2, 8, 5, 6)
    torch.testing.assert_close(layer(x), F.relu(x))  # the sum is rectified, not the summand
    projected = block(8, 12, 2).eval()
    assert projected(x).shape == (2, 12, 3, 3)
    assert projected.downsample[0].kernel_size == (1, 1)


def test_squeeze_and_excitation_by_its_definition() -> None:
    torch.manual_seed(0)
    layer, x = SqueezeExcitation(32, 16), torch.randn(3, 32, 4, 5)
    w1, w2 = layer.fc1.weight.flatten(1), layer.fc2.weight.flatten(1)
    squeezed = x.flatten(2).mean(2)
    gate = torch.sigmoid(F.linear(F.linear(squeezed, w1, layer.fc1.bias).relu(), w2, layer.fc2.bias))
    torch.testing.assert_close(layer(x), x * gate[:, :, None, None])
    assert w1.shape == (2, 32)


def test_squeeze_and_excitation_costs_as_many_parameters_as_its_paper_says() -> None:
    """2/r times the sum of N C squared (its equation 5) are 2.5 million, and we have biases."""
    stages = {256: 3, 512: 4, 1024: 6, 2048: 3}
    weights = sum(blocks * 2 * c * c // 16 for c, blocks in stages.items())
    biases = sum(blocks * (c + c // 16) for c, blocks in stages.items())
    assert (weights, biases) == (2_514_944, 16_048)
    entries = zoo.ARCHITECTURES
    assert entries["se_resnet50"].parameters - entries["resnet50"].parameters == weights + biases


def test_the_gate_of_a_block_acts_before_the_addition() -> None:
    block = Bottleneck(16, 16, 1, reduction=4).eval()
    x = torch.randn(2, 16, 5, 5)
    inside: list[torch.Tensor] = []
    block.bn3.register_forward_hook(lambda _m, _i, y: inside.append(y))
    nn.init.zeros_(block.se.fc2.weight)
    nn.init.zeros_(block.se.fc2.bias)
    torch.testing.assert_close(block(x), F.relu(0.5 * inside[0] + x))


def test_options_act() -> None:
    assert on_meta("resnet18", width=0.5).fc.in_features == 256
    assert on_meta("resnet50", width=2).fc.in_features == 4096
    assert on_meta("se_resnet50", reduction=8).layer1[0].se.fc1.out_channels == 32


def test_weights_start_as_hes_do() -> None:
    torch.manual_seed(0)
    net = zoo.build("resnet18")
    assert abs(net.layer2[1].conv1.weight.std().item() / math.sqrt(2 / (9 * 128)) - 1) < 0.01
