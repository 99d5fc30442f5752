from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate import zoo
from striate.errors import InputError


def counts(net: nn.Module) -> list[int]:
    layers = [m for m in net.children() if list(m.parameters())]
    return [sum(p.numel() for p in layer.parameters()) for layer in layers]


def shapes(net: nn.Module) -> list[tuple[int, ...]]:
    """Of what goes into and comes out of each layer with parameters."""
    seen: list[tuple[int, ...]] = []
    for layer in net.children():
        if list(layer.parameters()):
            layer.register_forward_hook(lambda _m, i, o: seen.extend((tuple(i[0].shape[1:]), tuple(o.shape[1:]))))
    net(torch.zeros(1, 1, 28, 28))
    return seen


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("keras_mnist", [320, 18_496, 16_010]),
        ("keras_fcn", [320, 18_496, 73_856, 1_290]),
        ("nielsen_mnist", [78, 4_330]),
    ],
)
def test_parameters_of_each_layer(name: str, expected: list[int]) -> None:
    assert counts(zoo.build(name)) == expected
    assert sum(expected) == zoo.ARCHITECTURES[name].parameters


def test_shapes_of_keras_mnist() -> None:
    assert shapes(zoo.build("keras_mnist")) == [
        *((1, 28, 28), (32, 26, 26)),
        *((32, 13, 13), (64, 11, 11)),
        *((1600,), (10,)),  # 64 maps of 5x5
    ]


def test_shapes_of_keras_fcn() -> None:
    assert shapes(zoo.build("keras_fcn"))[-4:] == [(64, 5, 5), (128, 3, 3), (128, 3, 3), (10, 3, 3)]


def test_shapes_of_nielsen_mnist() -> None:
    assert shapes(zoo.build("nielsen_mnist")) == [(1, 28, 28), (3, 24, 24), (432,), (10,)]
    assert 432 == 3 * 12 * 12


@pytest.mark.parametrize("side", [18, 28, 45])
def test_keras_fcn_is_the_log_of_the_mean_of_softmax(side: int) -> None:
    torch.manual_seed(0)
    net = zoo.build("keras_fcn", width=0.25).double()
    scores = []
    net.conv4.register_forward_hook(lambda _m, _i, y: scores.append(y * 20))  # far from uniform
    net.conv4.register_forward_hook(lambda _m, _i, y: y * 20)
    got = net(torch.rand(3, 1, side, side, dtype=torch.float64))
    want = scores[0].exp() / scores[0].exp().sum(1, keepdim=True)
    torch.testing.assert_close(got, want.mean((2, 3)).log())
    torch.testing.assert_close(got.softmax(1), got.exp())  # so they are logits too
    if side > 18:  # more than one position: averaging the scores would be another network
        assert not torch.allclose(got, scores[0].mean((2, 3)).log_softmax(1))


def test_pooling_before_the_sigmoid_changes_nothing() -> None:
    torch.manual_seed(0)
    net, x = zoo.build("nielsen_mnist"), torch.randn(2, 1, 28, 28)
    maps = torch.nn.functional.max_pool2d(net.conv(x).sigmoid(), 2)
    torch.testing.assert_close(net(x), net.dense(maps.flatten(1)))


@pytest.mark.parametrize(("width", "first"), [(0.5, 16), (2, 64), (0.001, 1)])
def test_width_multiplies_the_maps(width: float, first: int) -> None:
    assert zoo.build("keras_mnist", width=width).conv1.out_channels == first


@pytest.mark.parametrize(("h", "w"), [(28, 28), (31, 20)])
def test_weights_start_as_kerass_do(h: int, w: int) -> None:
    net = zoo.build("keras_mnist", input_size=(h, w))
    limit = math.sqrt(6 / (32 * 9 + 64 * 9))
    assert 0.99 * limit < net.conv2.weight.abs().max() <= limit
    assert not any(layer.bias.any() for layer in (net.conv1, net.conv2, net.dense))
    assert net(torch.zeros(2, 1, h, w)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar10_schematic", [896, 18_496, 73_856, 262_272, 1_290]),
        ("harley_dense", [235_500, 30_100, 1_010]),
        ("harley_cnn", [156, 1_516, 48_120, 12_100, 1_010]),
    ],
)
def test_parameters_of_each_layer_of_the_drawn_networks(name: str, expected: list[int]) -> None:
    assert counts(zoo.build(name)) == expected


def test_harleys_cnn_pools_what_it_squashed() -> None:
    torch.manual_seed(0)
    net, x = zoo.build("harley_cnn"), torch.randn(2, 1, 32, 32)
    maps = F.max_pool2d(net.squash(net.conv1(x)), 2)
    maps = F.max_pool2d(net.squash(net.conv2(maps)), 2)
    assert maps.shape == (2, 16, 5, 5)
    hidden = net.squash(net.dense2(net.squash(net.dense1(maps.flatten(1)))))
    torch.testing.assert_close(net(x), net.output(hidden))


def test_harleys_dense_network_is_three_matrices() -> None:
    torch.manual_seed(0)
    net, x = zoo.build("harley_dense", width=0.1), torch.randn(2, 1, 28, 28)
    first, second, third = parametrized(net)
    assert [layer.out_features for layer in (first, second, third)] == [30, 10, 10]
    hidden = 1.7159 * (first(x.flatten(1)) * 2 / 3).tanh()
    torch.testing.assert_close(net(x), third(1.7159 * (second(hidden) * 2 / 3).tanh()))


def test_the_schematic_network_halves_its_maps_three_times() -> None:
    torch.manual_seed(0)
    net = zoo.build("cifar10_schematic", width=0.5, input_size=(40, 27))
    sizes = [tuple(layer.weight.shape[:2]) for layer in parametrized(net)]
    assert sizes == [(16, 3), (32, 16), (64, 32), (64, 64 * 5 * 3), (10, 64)]
    x = torch.randn(2, 3, 40, 27)
    maps = x
    for layer in (net.conv1, net.conv2, net.conv3):
        maps = F.max_pool2d(layer(maps).relu(), 2)
    torch.testing.assert_close(net(x), net.output(net.hidden(maps.flatten(1)).relu()))


@pytest.mark.parametrize(("norm", "added"), [("batch", 448), ("layer", 448), ("group", 448), ("instance", 448)])
def test_the_schematic_network_with_norms_and_sigmoids(norm: str, added: int) -> None:
    torch.manual_seed(0)
    net = zoo.build(f"cifar10_schematic:norm={norm},activation=sigmoid").eval()
    assert sum(p.numel() for p in net.parameters()) == 356_810 + added  # scale and shift of 32 + 64 + 128 maps
    x = torch.randn(2, 3, 32, 32)
    maps = x
    for layer, one in zip((net.conv1, net.conv2, net.conv3), net.norms, strict=True):
        maps = F.max_pool2d(one(layer(maps)).sigmoid(), 2)
    torch.testing.assert_close(net(x), net.output(net.hidden(maps.flatten(1)).sigmoid()))
    with pytest.raises(InputError, match="cifar10_schematic: activation: expected relu or tanh or sigmoid, got 'gelu'"):
        zoo.build("cifar10_schematic:activation=gelu")


@pytest.mark.parametrize("name", ["keras_mnist", "keras_fcn"])
def test_the_printed_keras_model_gives_the_same_probabilities(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras", exc_type=ImportError)
        if keras.backend.backend() != "torch":
            pytest.skip("Keras runs on another backend")
        printed = keras_model(keras, name)
        assert printed.count_params() == zoo.ARCHITECTURES[name].parameters
        net = zoo.build(name).eval()
        for layer, ours in zip((m for m in printed.layers if m.weights), parametrized(net), strict=True):
            layer.set_weights([as_keras(ours), ours.bias.detach().numpy()])
        x = torch.rand(4, 28, 28, 1, generator=torch.Generator().manual_seed(0))
        want = torch.as_tensor(printed.predict_on_batch(x.numpy()))
    torch.testing.assert_close(net(x.permute(0, 3, 1, 2)).softmax(1), want, atol=1e-5, rtol=0)


def keras_model(keras: Any, name: str) -> Any:
    """As the lectures print it."""
    layers = keras.layers
    body = [
        keras.Input(shape=(28, 28, 1)),
        layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
    ]
    dense = [layers.Flatten(), layers.Dropout(0.5), layers.Dense(10, activation="softmax")]
    convolutional = [
        layers.Conv2D(128, kernel_size=(3, 3), activation="relu"),
        layers.Conv2D(10, kernel_size=(1, 1), activation="softmax"),
        layers.GlobalAveragePooling2D(),
    ]
    return keras.Sequential(body + (dense if name == "keras_mnist" else convolutional))


def parametrized(net: nn.Module) -> list[nn.Module]:
    return [layer for layer in net.children() if list(layer.parameters())]


def as_keras(layer: nn.Module) -> Any:
    """A kernel in Keras' order; its Flatten goes over rows, columns, maps, ours over maps, rows, columns."""
    weight = layer.weight.detach()
    if weight.ndim == 4:
        return weight.permute(2, 3, 1, 0).numpy()
    return weight.view(len(weight), 64, 5, 5).permute(2, 3, 1, 0).flatten(0, 2).numpy()
