from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import describe, zoo


def same(x: torch.Tensor, conv: nn.Conv1d) -> torch.Tensor:
    """A convolution as Keras' padding="same" has it, step by step: of an even kernel the extra zero is at the end."""
    k = conv.kernel_size[0]
    steps, left = x.shape[2], (k - 1) // 2
    padded = x.new_zeros(*x.shape[:2], steps + k - 1)
    padded[:, :, left : left + steps] = x
    windows = [torch.einsum("nck,mck->nm", padded[:, :, t : t + k], conv.weight) + conv.bias for t in range(steps)]
    return torch.stack(windows, 2)


def layers(part: nn.Sequential) -> list[tuple[nn.Conv1d, nn.BatchNorm1d]]:
    kept = [layer for layer in part if isinstance(layer, nn.Conv1d | nn.BatchNorm1d)]
    return list(zip(kept[::2], kept[1::2], strict=True))


def test_ts_fcn_is_convolution_norm_relu_thrice_and_the_mean() -> None:
    torch.manual_seed(0)
    net = zoo.build("ts_fcn", width=0.05, in_channels=2, num_classes=3).double().eval()
    x = y = torch.randn(2, 2, 11, dtype=torch.float64)
    assert [conv.kernel_size for conv, _ in layers(net.features)] == [(8,), (5,), (3,)]
    for conv, norm in layers(net.features):
        y = norm(same(y, conv)).relu()
    torch.testing.assert_close(net(x), y.mean(2) @ net.dense.weight.T + net.dense.bias)


def test_ts_resnet_adds_the_shortcut_before_the_last_relu() -> None:
    torch.manual_seed(0)
    net = zoo.build("ts_resnet", width=0.05, in_channels=2, num_classes=3).double().eval()
    x = y = torch.randn(2, 2, 11, dtype=torch.float64)
    for index, block in enumerate(net.blocks):
        start = y
        (first, second, last) = layers(block.body)
        assert [conv.kernel_size[0] for conv, _ in (first, second, last)] == [8, 5, 3]
        for conv, norm in (first, second):
            y = norm(same(y, conv)).relu()
        shortcut = block.shortcut[-1](same(start, block.shortcut[0]) if index < 2 else start)
        y = (last[1](same(y, last[0])) + shortcut).relu()
    torch.testing.assert_close(net(x), y.mean(2) @ net.dense.weight.T + net.dense.bias)


@pytest.mark.parametrize(("name", "field"), [("ts_fcn", 8 + 4 + 2), ("ts_resnet", 1 + 3 * (7 + 4 + 2))])
def test_receptive_fields(name: str, field: int) -> None:
    with torch.device("meta"):
        net = zoo.build(name).eval()
        report = describe(net.features if name == "ts_fcn" else net.blocks, torch.empty(1, 1, 176))
    assert report.layers[-1].receptive_field == (field,)


def test_ts_mlp_is_the_papers() -> None:
    net = zoo.build("ts_mlp")
    shapes = [tuple(layer.weight.shape) for layer in net if isinstance(layer, nn.Linear)]
    assert shapes == [(500, 176), (500, 500), (500, 500), (37, 500)]
    assert [layer.p for layer in net if isinstance(layer, nn.Dropout)] == [0.1, 0.2, 0.2, 0.3]
    halved = zoo.build("ts_mlp", width=0.5, dropout=0.5, in_channels=3, input_size=(10,))
    assert [layer.p for layer in halved if isinstance(layer, nn.Dropout)] == [0.05, 0.1, 0.1, 0.15]
    assert halved[2].weight.shape == (250, 30)


@pytest.mark.parametrize("name", ["ts_mlp", "ts_fcn", "ts_resnet"])
def test_weights_start_glorot_uniform(name: str) -> None:
    torch.manual_seed(0)
    weighty = [m for m in zoo.build(name).modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    for layer in weighty[1:-1]:
        kernel = layer.weight[0, 0].numel()
        limit = (6 / (kernel * sum(layer.weight.shape[:2]))) ** 0.5
        assert 0.98 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()
