"""What the tracer records, and what it says of networks and inputs that it cannot take."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from striate import geometry
from striate.errors import InputError
from striate.geometry import describe, trace


class Two(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right.mean((2, 3), keepdim=True)


class Plain(nn.Module):
    """A module of one function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def test_several_inputs() -> None:
    report = describe(Two(), ((3, 8, 8), torch.zeros(2, 3, 4, 4)))
    assert report.inputs == {"left": (1, 3, 8, 8), "right": (1, 3, 4, 4)}
    assert report.graph.receptive_field("", (0, 0, 5, 5), input="left") != []
    [box] = report.graph.receptive_field("", (0, 0, 5, 5), input="right")
    assert [len(i) for i in box] == [1, 1, 4, 4]
    assert describe(Two(), {"right": (3, 4, 4), "left": (3, 8, 8)}).layers[-1].shape == (3, 8, 8)


def test_a_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    net[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    describe(net, (1, 8, 8))
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 2, 6, 6)


def test_shared_and_frozen_and_unused_parameters() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    layer.bias.requires_grad_(False)
    net = nn.Sequential(layer, layer)
    net.register_parameter("spare", nn.Parameter(torch.zeros(5)))
    report = describe(net, (2, 8, 8))
    assert [(row.parameters, row.shared, row.frozen) for row in report.layers] == [(38, 0, 2), (0, 38, 0)]
    assert (report.parameters, report.frozen, report.unused) == (43, 2, ("spare",))


@pytest.mark.parametrize(
    ("model", "input", "message"),
    [
        (Two(), (3, 8, 8), r"Two takes other inputs: expected 2 \(left, right\), got 1 .* Pass a tuple of shapes"),
        (nn.ReLU(), "3x8x8", "this is no input of a network: expected the shape of one item, .* got str '3x8x8'"),
        (nn.ReLU(), (3, 0), "this is no input of a network"),
        (nn.ReLU(), torch.tensor(1.0), "an example has a batch axis: got a tensor without axes"),
        (nn.LazyConv2d(3, 3), (3, 8, 8), "a lazy layer has no weights yet: .*Run the network once"),
        (Plain(lambda x: torch.ones(len(x))), (3, 8), "no output of the network depends on its input"),
        (
            Plain(lambda x: x.sum() if x.sum() > 0 else x),
            (3, 8),
            r"numbers in a tensor.*test_trace.py:\d+",
        ),
        (Plain(lambda x: x[x > 0]), (3, 8), "depends on the numbers in a tensor"),
        (Plain(lambda x: x.tolist()), (3, 8), "depends on the numbers in a tensor"),
        (
            Plain(torch.linalg.qr),
            (3, 8, 8),
            "no rule says how .* got aten::linalg_qr. Add one: .*rule",
        ),
        (
            nn.Conv2d(3, 4, 3),
            (1, 8, 8),
            r"itself \(Conv2d\): got 1x8x8 there: expected 3 channels, got 1",
        ),
        (nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(3, 4, 5)), (3, 9, 9), r"too small: at layer 1 .*works is 3x20x20"),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), (3, 3, 3), "expected 48 features, got 27. The least .* 3x4x4"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_bad_input_is_told_in_one_line(model: Any, input: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        describe(model, input)


def test_what_is_no_network() -> None:
    unchecked: Any = inspect.unwrap(trace)  # the tests' own type checks would speak first
    with pytest.raises(InputError, match="this is no network: expected a torch.nn.Module, got str 'vgg16'. Build it"):
        unchecked("vgg16", (3, 8, 8))
    with pytest.raises(InputError, match="this is no network.*got int 3. Pass a torch.nn.Module"):
        unchecked(3, (3, 8, 8))


def test_kernels_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="nothing is left of the 2 positions of axis 0"):
        trace(nn.ConvTranspose1d(1, 1, 2, padding=2), (1, 2))
    with pytest.raises(InputError, match="a kernel of 3 is larger than the 1 positions of axis 0"):
        trace(nn.Conv1d(1, 1, 3), (1, 1))
    with pytest.raises(InputError, match="nothing is left of 1 positions"):
        trace(nn.Upsample(scale_factor=0.5, mode="linear"), (1, 1))
    with pytest.raises(InputError, match="a kernel of 1 axes on an input of 2"):
        trace(Plain(lambda x: torch.convolution(x, torch.ones(1, 1, 3), None, [1], [0], [1], False, [0], 1)), (1, 4, 4))


def test_a_layer_or_unit_that_is_not_there() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(1, 1, 3)), (1, 8, 8))
    with pytest.raises(InputError, match="no layer of this path was executed: got 'conv'"):
        graph.find("conv")
    with pytest.raises(InputError, match="the network has no such input: got 'y'"):
        graph.receptive_field("0", input="y")
    with pytest.raises(InputError, match=r"one index an axis: expected 4 for shape \(1, 1, 6, 6\), got \(0, 0\)"):
        graph.receptive_field("0", (0, 0))
    with pytest.raises(InputError, match="there is no such unit: axis 2 of shape .* got 6"):
        graph.receptive_field("0", (0, 0, 6, 0))
    assert geometry.hull(graph.receptive_field("0", (0, 0, -1, 0))) == ((0, 0), (0, 0), (5, 7), (0, 2))
