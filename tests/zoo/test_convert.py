from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import InputError, build
from striate.zoo import native, to_convolutional, to_dense


class Pooled(nn.Module):
    """Global pooling, batch norm behind the classifier's first layer, functions instead of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.fc1 = nn.Linear(4, 6, bias=False)
        self.norm = nn.BatchNorm1d(6)
        self.fc2 = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x)).mean((2, 3))
        return self.fc2(torch.relu(self.norm(self.fc1(x)))).log_softmax(1)


def pooled_to(size: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(size), nn.Flatten(), nn.Linear(2 * size**2, 3))


def settled(net: nn.Module) -> nn.Module:
    """In eval mode, with statistics that are not the identity."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 1, 2)
    return net.eval()


@pytest.mark.parametrize(
    ("net", "shape", "stride"),
    [
        (lambda: build("keras_mnist"), (1, 28, 28), 4),
        (lambda: build("nielsen_mnist"), (1, 28, 28), 2),
        (lambda: build("mnist_fast"), (1, 28, 28), 4),
        (lambda: build("lenet5:modern"), (1, 32, 32), 4),
        (lambda: build("lenet5"), (1, 32, 32), 4),
        (lambda: build("keras_mnist", input_size=(20, 36)), (1, 20, 36), 4),
        (Pooled, (3, 17, 13), 2),
        (lambda: nn.Sequential(nn.Conv1d(4, 8, 5), nn.Flatten(), nn.Linear(8 * 16, 2)), (4, 20), 1),
        (lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Flatten(), nn.Linear(16, 3)), (1, 3, 3, 3), 1),
        (lambda: pooled_to(4), (1, 6, 6), 1),
        (lambda: pooled_to(1), (1, 6, 6), 1),
    ],
)  # fmt: skip
def test_every_window_of_a_larger_input_gets_the_score_of_the_classifier(net, shape, stride) -> None:
    model = settled(net())
    converted = to_convolutional(model, shape)
    assert not any(isinstance(module, nn.Linear) for module in converted.modules())
    x = torch.rand(2, shape[0], *(side + 3 * stride for side in shape[1:]))
    scores = converted(x)
    assert scores.shape[2:] == (4,) * (len(shape) - 1)
    for place in ((0,) * len(scores.shape[2:]), (1, 3, 2)[: len(scores.shape[2:])]):
        window = x
        for axis, (position, side) in enumerate(zip(place, shape[1:], strict=True)):
            window = window.narrow(axis + 2, position * stride, side)
        torch.testing.assert_close(scores[(..., *place)], model(window))


def test_a_classifier_of_28_pixels_runs_on_100_by_60() -> None:
    assert to_convolutional(build("keras_mnist"))(torch.rand(1, 1, 60, 100)).shape == (1, 10, 9, 19)


@pytest.mark.parametrize("name", ["keras_mnist", "nielsen_mnist", "mnist_fast", "lenet5:modern"])
def test_back_to_dense(name: str) -> None:
    model = settled(build(name))
    shape = (1, 32, 32) if name.startswith("lenet5") else (1, 28, 28)
    converted = to_convolutional(model)
    back = to_dense(converted, shape)
    assert all(
        torch.equal(a.flatten(), b.flatten()) for a, b in zip(back.parameters(), model.parameters(), strict=True)
    )
    assert isinstance(list(back.children())[-1], nn.Linear)
    x = torch.rand(2, *shape)
    torch.testing.assert_close(back(x), model(x))


def test_a_tail_of_convolutions_norms_and_poolings_becomes_dense() -> None:
    tail = (nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1))
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 6), *tail)
    model = settled(net)
    dense = to_dense(model, (1, 8, 8))
    x = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(dense(x), model(x)[..., 0, 0])
    assert [type(m).__name__ for m in dense.children()] == ["Conv2d", "Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_weights_are_shared_and_modes_kept() -> None:
    model = build("keras_mnist").train()
    model.dropout.eval()
    converted = to_convolutional(model)
    assert model.training
    assert not model.dropout.training
    with torch.no_grad():
        model.dense.weight.zero_()
        model.dense.bias.fill_(3)
    assert (converted(torch.rand(1, 1, 30, 30)) == 3).all()


@pytest.mark.parametrize("name", ["keras_mnist", "nielsen_mnist"])
def test_the_native_size_is_found(name: str) -> None:
    least = {"keras_mnist": (26, 26), "nielsen_mnist": (28, 28)}[name]
    assert native(build(name)) == (1, *least)
    assert native(build(name, in_channels=3)) == (3, *least)


class Distances(Pooled):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(super().forward(x), torch.eye(5))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("net", "shape", "text"),
    [
        (lambda: build("keras_fcn"), (1, 28, 28), "^there is no fully connected layer on a flattened map"),
        (Pooled, None, r"^the layers do not say for which input the classifier was made: got Pooled. Pass it: input="),
        (lambda: nn.Linear(3, 2), None, "^the network has no convolution: got Linear"),
        (lambda: build("keras_mnist"), (1, 40, 40), "^the network cannot take this input"),
        (Distances, (1, 8, 8), "^an operation of the classifier has no known meaning on a map of scores: at cdist"),
        (Branching, (1, 4, 4), "^the forward of the network cannot be traced symbolically: got symbolically traced"),
        (
            lambda: pooled_to(2),
            (1, 8, 8),
            "^a pooling before the classifier fits its map to a size and cannot slide: at 1: got 6x6 to 2x2. Pass the",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused(net, shape, text: str) -> None:
    with pytest.raises(InputError, match=text):
        to_convolutional(net(), shape)


def test_a_converted_network_is_exported_whole() -> None:
    converted, x = to_convolutional(build("nielsen_mnist")), torch.rand(1, 1, 40, 30)
    torch.testing.assert_close(torch.export.export(converted, (x,)).module()(x), converted(x))


class Head(nn.Module):
    """A classifier with a tail of its own."""

    def __init__(self, tail: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.dense, self.tail = nn.Conv2d(1, 2, 3), nn.Linear(2 * 6 * 6, 5), tail

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.dense(self.conv(x).flatten(1)))


@pytest.mark.parametrize("tail", [lambda x: x.softmax(-1), lambda x: F.log_softmax(x, dim=-1), nn.Softmax(-1)])
def test_a_softmax_over_the_last_axis_is_one_over_the_classes(tail: Callable[[Tensor], Tensor]) -> None:
    model, x = Head(tail).eval(), torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(to_convolutional(model)(x)[..., 0, 0], model(x))


@pytest.mark.parametrize(
    ("tail", "text"),
    [
        (lambda x: x + torch.ones(5), "known meaning on a map of scores: at add: got add"),
        (lambda x: x.view(-1, 1, 5).softmax(2), "known meaning on a map of scores: at view|at softmax"),
        (lambda x: x.argmax(-1), "known meaning on a map of scores: at argmax"),
        (lambda x: x.softmax(0), "known meaning on a map of scores: at softmax"),
    ],
)
def test_tails_that_would_go_wrong_are_refused(tail: Callable[[Tensor], Tensor], text: str) -> None:
    with pytest.raises(InputError, match=text):
        to_convolutional(Head(tail))


def test_a_layer_that_is_used_twice_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), first := nn.Linear(72, 72), first)
    with pytest.raises(InputError, match="^a layer that is used several times cannot be converted: got 2"):
        to_convolutional(model)


class Stepwise(Pooled):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc1(self.conv(x).mean(3).mean(2))


def test_a_map_that_is_flattened_in_steps_is_refused() -> None:
    with pytest.raises(InputError, match="^the map is flattened in several steps: at mean. Flatten it in one"):
        to_convolutional(Stepwise(), (3, 9, 9))


def test_functional_dropout_is_that_of_eval_mode() -> None:
    model = Head(lambda x: F.dropout(x, 0.5, model.training)).train()
    converted = to_convolutional(model).eval()
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(converted(x), converted(x))
    assert model.training


class Meeting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = nn.Conv2d(1, 4, 8), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.gate(y) + F.max_pool2d(x, 8)


def test_a_vector_that_meets_a_map_is_refused() -> None:
    with pytest.raises(InputError, match="^a vector meets what stays a map: at add"):
        to_dense(Meeting(), (1, 8, 8))


def test_no_dense_tail() -> None:
    with pytest.raises(InputError, match="^no convolution before the output covers its whole map: got .* 1x9x9"):
        to_dense(nn.Conv2d(1, 2, 3), (1, 9, 9))
