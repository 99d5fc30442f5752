from __future__ import annotations

import pytest
import torch
from torch import nn

from striate import zoo


def built(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return zoo.build(name, **options).eval()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nin", [(11, 96), (5, 256), (3, 384), (3, 1024), (54, 27, 27, 13, 13, 6, 6)]),
        ("nin_cifar", [(5, 192), (5, 192), (3, 192), (32, 16, 16, 8, 8)]),
    ],
)
def test_blocks_and_maps(name: str, expected: list[tuple[int, ...]]) -> None:
    net, sides = built(name), []
    wide = [m for m in net.features if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    for layer in net.features:
        if layer in wide or isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            layer.register_forward_hook(lambda _m, _i, y: sides.append(y.shape[-1]))
    net(torch.rand(1, *zoo.ARCHITECTURES[name].input, device="meta"))
    assert [*((m.kernel_size[0], m.out_channels) for m in wide), tuple(sides)] == expected


@pytest.mark.parametrize("name", ["nin", "nin_cifar"])
def test_two_one_by_one_convolutions_follow_each_other_one_and_each_has_a_relu(name: str) -> None:
    layers = list(built(name).features)
    convolutions = [i for i, m in enumerate(layers) if isinstance(m, nn.Conv2d)]
    assert all(isinstance(layers[i + 1], nn.ReLU) for i in convolutions)
    small = [layers[i].kernel_size == (1, 1) for i in convolutions]
    assert small == [False, True, True] * (len(small) // 3)
    assert not any(isinstance(m, nn.Linear) for m in layers)


def test_an_mlpconv_is_a_perceptron_at_every_position() -> None:
    torch.manual_seed(0)
    net, x = zoo.build("nin_cifar", width=0.05).eval(), torch.rand(1, 3, 9, 9)
    conv, small, last = (net.features[i] for i in (0, 2, 4))
    y = net.features[:6](x)
    patch = x[0, :, 2:7, 3:8].flatten()  # seen from row 4, column 5
    hidden = (conv.weight.flatten(1) @ patch + conv.bias).relu()
    hidden = (small.weight.flatten(1) @ hidden + small.bias).relu()
    torch.testing.assert_close(y[0, :, 4, 5], (last.weight.flatten(1) @ hidden + last.bias).relu())


def test_the_scores_are_the_means_of_the_class_maps() -> None:
    torch.manual_seed(0)
    net, x = zoo.build("nin_cifar", num_classes=4, width=0.1).eval(), torch.rand(2, 3, 21, 34)
    maps = net.features(x)
    assert maps.shape == (2, 4, 5, 8)  # halved twice, incomplete windows kept
    torch.testing.assert_close(net(x), maps.flatten(2).mean(2))


def test_parameters_by_hand() -> None:
    sizes = [(3, 192, 5), (192, 160, 1), (160, 96, 1), (96, 192, 5), (192, 192, 1), (192, 192, 1)]
    sizes += [(192, 192, 3), (192, 192, 1), (192, 10, 1)]
    assert sum(k * k * a * b + b for a, b, k in sizes) == zoo.ARCHITECTURES["nin_cifar"].parameters


def test_options_and_initial_weights() -> None:
    torch.manual_seed(0)
    net = zoo.build("nin", width=0.25, dropout=0.2, num_classes=12)
    convolutions = [m for m in net.features if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [24] * 3 + [64] * 3 + [96] * 3 + [256, 256, 12]
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.2}
    published = [0.01, 0.05, 0.05, 0.05, 0.05, 0.05, 0.01, 0.05, 0.05, 0.05, 0.05, 0.01]
    for layer, std in zip(convolutions, published, strict=True):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.1)
        assert not layer.bias.any()
