"""Where units lie, against what the gradient reaches; and maps laid out there, against numpy and torch."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from striate import zoo
from striate.errors import InputError
from striate.geometry import trace
from striate.interpret import Placement, cam
from striate.ops import binomial

CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLING = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def placed(model: nn.Module, x: Tensor, layer: str = "") -> Placement:
    graph = trace(model, x)
    return Placement.of(graph, graph.find(layer), x.shape[2:])


def unpadded(rank: int, layers: list[tuple[bool, int, int]]) -> nn.Sequential:
    """Convolutions (of ones) and poolings without padding, so that every window lies in the input."""
    made: list[nn.Module] = []
    for pools, size, stride in layers:
        made.append(POOLING[rank](size, stride) if pools else CONVOLUTION[rank](1, 1, size, stride, bias=False))
        if not pools:
            nn.init.ones_(made[-1].weight)
    return nn.Sequential(*made)


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3),
)
def test_a_unit_lies_at_the_middle_of_what_its_gradient_reaches(rank: int, layers: list[tuple[bool, int, int]]) -> None:
    model, side = unpadded(rank, layers), (70, 70, 24)[rank - 1]
    if rank == 3:
        model = unpadded(rank, layers[:2])
    x = torch.rand(1, 1, *[side] * rank, requires_grad=True)
    out = model(x)
    assume(min(out.shape[2:]) > 1)  # one unit alone does not move
    found = placed(model, x.detach())
    assert (found.grid, found.space, found.problem) == (tuple(out.shape[2:]), (side,) * rank, "")
    for unit in itertools.islice(itertools.product(*(range(0, n, max(1, n // 2)) for n in out.shape[2:])), 12):
        reached = torch.autograd.grad(out[(0, 0, *unit)], x, retain_graph=True)[0][0, 0].nonzero()
        middle = (reached.amin(0) + reached.amax(0)) / 2
        extent = reached.amax(0) - reached.amin(0) + 1
        for axis, o in enumerate(unit):
            assert found.offset[axis] + found.stride[axis] * o == pytest.approx(float(middle[axis]))
            assert found.size[axis] == int(extent[axis])


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(5, 17))
def test_stretching_is_what_torch_does(rank: int, units: int, side: int) -> None:
    scores = torch.rand(2, *[units] * rank)
    expected = F.interpolate(scores[:, None], [side] * rank, mode=MODES[rank], align_corners=False)[:, 0]
    stretched = Placement.stretched([units] * rank, [side] * rank, "not known")
    torch.testing.assert_close(stretched.spread(scores), expected)
    assert stretched.displacement == pytest.approx([0] * rank)


@settings(max_examples=40)
@given(st.integers(2, 6), st.floats(-3, 6), st.floats(1, 4), st.integers(1, 9))
def test_between_the_middles_it_is_linear_beyond_it_fades_and_is_unknown_where_no_unit_looks(
    units: int, offset: float, stride: float, size: int
) -> None:
    scores = torch.rand(units, dtype=torch.float64)
    found = Placement((units,), (20,), (0,), (offset,), (stride,), (size,)).spread(scores).numpy()
    centers = offset + stride * np.arange(units)
    places = np.arange(20)
    known = (places >= centers[0] - (size - 1) / 2) & (places <= centers[-1] + (size - 1) / 2)
    around = [centers[0] - stride, *centers, centers[-1] + stride]
    np.testing.assert_allclose(found[known], np.interp(places, around, [0, *scores, 0])[known], atol=1e-9)
    assert np.isnan(found[~known]).all()


def test_units_finer_than_positions_are_averaged() -> None:
    halves = Placement((8,), (4,), (0,), (-0.25,), (0.5,), (1,))
    found = halves.spread(torch.tensor([0.0, 2, 4, 6, 8, 10, 12, 14]))
    torch.testing.assert_close(found, torch.tensor([1.5, 5, 9, 12.5]), atol=0.6, rtol=0)
    assert bool((found.diff() > 0).all())


@pytest.mark.parametrize(
    ("name", "layer", "off"),
    [("resnet18", "layer4", 15.5), ("alexnet", "features.11", 8.77), ("vgg16", "features.29", 0.0)],
)
def test_how_far_stretching_is_off_in_known_networks(name: str, layer: str, off: float) -> None:
    entry = zoo.ARCHITECTURES[name]
    with torch.device("meta"):
        model = zoo.build(name)
    found = placed(model, torch.zeros(1, *entry.input), layer)
    assert found.displacement == pytest.approx((off, off), abs=0.01)


def peaked(rank: int = 2) -> nn.Sequential:
    """Unpadded and strided; each unit answers most to what lies at the middle of its window, 27 wide, 8 apart."""
    layers = [CONVOLUTION[rank](1, 1, size, stride, bias=False) for size, stride in ((11, 4), (5, 2))]
    for layer in layers:
        layer.weight.data = binomial(layer.kernel_size[0], rank).float()[None, None]
    pool = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}[rank](1)
    model = nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(1, 1, bias=False))
    nn.init.ones_(model[-1].weight)
    return model


def peak(heat: Tensor) -> Tensor:
    return torch.stack(torch.unravel_index(heat.nan_to_num(-1).argmax(), heat.shape))


@settings(max_examples=15)
@given(st.integers(13, 86), st.integers(13, 86))
def test_the_peak_lands_in_a_planted_spot_where_stretching_misses_it(row: int, column: int) -> None:
    x = torch.zeros(1, 1, 100, 100)
    x[..., row - 4 : row + 5, column - 4 : column + 5] = 1
    found = cam(peaked(), x, target=0)
    assert found.placement.displacement == pytest.approx((8.5, 8.5), abs=1)
    at = peak(found.heatmap())
    assert int((at - torch.tensor([row, column])).abs().max()) <= 4
    if min(row, column) < 17:  # near the edge, where it is off by most
        assert int((peak(found.naive()) - torch.tensor([row, column])).abs().max()) > 4


def test_the_same_spot_in_a_signal() -> None:
    x = torch.zeros(1, 1, 100)
    x[..., 16:25] = 1
    found = cam(peaked(1), x, target=0)
    assert 16 <= int(peak(found.heatmap())) <= 24
    assert not 16 <= int(peak(found.naive())) <= 24


class Turned(nn.Module):
    """A convolution whose result has rows and columns changed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).transpose(2, 3)


def test_axes_that_changed_places_are_found() -> None:
    found = placed(Turned(), torch.zeros(1, 1, 4, 6))
    assert (found.drivers, found.grid) == ((1, 0), (6, 4))
    scores = torch.rand(3, 6, 4)
    torch.testing.assert_close(found.spread(scores), scores.transpose(1, 2))


def test_an_axis_of_one_is_left_out() -> None:
    layers = nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Flatten(1, 2), nn.Unflatten(1, (1, 1)), nn.Conv2d(1, 2, (1, 3)))
    found = placed(layers, torch.zeros(1, 1, 9))
    assert found.grid == (1, 7)
    assert found.spread(torch.rand(1, 7)).shape == (9,)


class Squeezed(nn.Module):
    """All positions are the mean of all."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True).expand(x.shape)


def test_windows_that_are_not_known_are_said() -> None:
    found = placed(Squeezed(), torch.zeros(1, 1, 4, 4))
    assert found.problem == "along axis 2 of the input all units of the layer see the same (a global operation)"
    assert found.json()["placed_by"] == "stretching"
    assert found.json()["because"] == found.problem
    assert found == Placement.stretched((4, 4), (4, 4), found.problem)
    assert json.loads(json.dumps(found.json()))["offset"] == [0.0, 0.0]


def test_bounds_are_no_windows() -> None:
    found = placed(nn.AdaptiveAvgPool2d(7), torch.zeros(1, 1, 10, 10))
    assert found.problem == "" or "only a bound" in found.problem


def test_a_map_of_other_axes_fits_nowhere() -> None:
    with pytest.raises(
        InputError, match=r"the layer's map does not fit over the input: expected 2 spatial axes, got 1"
    ):
        Placement.stretched((4,), (4, 4), "not known")
