from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import describe, zoo
from striate.zoo.resnet_cifar import CifarBlock

# Table 6 of the paper.
PUBLISHED = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
Weights = dict[str, torch.Tensor]


@pytest.mark.parametrize(("layers", "millions"), PUBLISHED.items())
def test_depth_and_parameters_are_those_of_the_papers_table(layers: int, millions: float) -> None:
    for name in (f"resnet{layers}", f"plain{layers}"):
        with torch.device("meta"):
            net = zoo.build(name)
        assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == layers
        assert float(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2g}") == millions


@pytest.mark.parametrize("kind", ["resnet", "plain"])
def test_maps_are_halved_twice(kind: str) -> None:
    with torch.device("meta"):
        rows = describe(zoo.build(f"{kind}20"), (3, 32, 32)).layers
    ends = {row.path.partition(".")[0]: row.shape for row in rows}
    assert [ends[f"layer{i}"] for i in (1, 2, 3)] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def norm(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    values = (w[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *values)


def by_hand(w: Weights, x: torch.Tensor, depth: int, shortcuts: bool) -> torch.Tensor:
    """The network in functions: He et al., section 4.2."""
    x = norm(w, "bn1", F.conv2d(x, w["conv1.weight"], padding=1)).relu()
    for stage in (1, 2, 3):
        for i in range(depth):
            stride = 2 if stage > 1 and i == 0 else 1
            at = f"layer{stage}.{i}"
            y = norm(w, f"{at}.bn1", F.conv2d(x, w[f"{at}.conv1.weight"], None, stride, 1)).relu()
            y = norm(w, f"{at}.bn2", F.conv2d(y, w[f"{at}.conv2.weight"], padding=1))
            if stride == 2:  # 1x1 pooling with stride 2, and zeros for the new channels
                x = F.max_pool2d(x, 1, 2)
                zeros = torch.zeros_like(x[:, : x.shape[1] // 2])
                x = torch.cat((zeros, x, zeros), 1)
            x = (y + x if shortcuts else y).relu()
    return F.linear(x.mean((2, 3)), w["fc.weight"], w["fc.bias"])


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (17, 9)])
def test_outputs_equal_the_network_written_in_functions(shortcuts: bool, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = zoo.build("resnet20" if shortcuts else "plain20").eval()
    for name, values in net.state_dict().items():
        if "running" in name or "bn" in name:
            values.uniform_(0.5, 1.5) if values.is_floating_point() else None
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(net(x), by_hand(net.state_dict(), x, 3, shortcuts))
        assert not torch.allclose(net(x), by_hand(net.state_dict(), x, 3, not shortcuts), rtol=0.1)


def test_a_twin_takes_the_weights_of_the_other() -> None:
    with torch.device("meta"):
        residual, plain = (zoo.build(name).state_dict() for name in ("resnet56", "plain56"))
    assert [(key, value.shape) for key, value in residual.items()] == [(k, v.shape) for k, v in plain.items()]


def test_a_block_without_weights_is_the_identity_or_nothing() -> None:
    x = torch.randn(2, 4, 5, 5)
    for shortcut, expected in ((True, F.relu(x)), (False, torch.zeros_like(x))):
        block = CifarBlock(4, 4, 1, shortcut).eval()
        nn.init.zeros_(block.bn2.weight)
        torch.testing.assert_close(block(x), expected)


def test_width_multiplies_the_channels_and_weights_start_as_hes_do() -> None:
    torch.manual_seed(0)
    net = zoo.build("plain20", width=2)
    assert (net.conv1.out_channels, net.fc.in_features) == (32, 128)
    assert abs(net.layer3[1].conv1.weight.std().item() / math.sqrt(2 / (9 * 128)) - 1) < 0.01


def test_twins_are_told_apart_by_what_they_say_of_themselves() -> None:
    assert zoo.ARCHITECTURES["resnet56"].summary.startswith("CIFAR-10 residual network of 27 blocks")
    assert zoo.ARCHITECTURES["plain56"].summary.startswith("Twin of `resnet56` without shortcuts")
