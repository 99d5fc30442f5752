"""Countings against torch.nn on the meta device, against loops over every connection, and against the lectures."""

from __future__ import annotations

import itertools
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from striate.errors import InputError
from striate.geometry import count
from striate.geometry.count import (
    Sides,
    convolution,
    dense,
    depthwise_separable,
    output_size,
    same_padding,
    shrinkage,
    spatially_separable,
    stacked,
    stacked_kernel,
    transposed_output_size,
)

PAGE = (Path(__file__).parents[2] / "docs" / "countings.md").read_text()
ROWS = re.findall(r"^\| ([A-Z]\d\d[^|]*) \| [^|]* \| `(.*)` \| (.*) \|$", PAGE, re.MULTILINE)
CONV: list[Any] = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
POOL: list[Any] = [nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d]
TRANSPOSED: list[Any] = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]

some = settings(max_examples=60, deadline=None)
small = st.integers(1, 3)
kernels = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
EVEN = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")


def numel(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


def run(layer: nn.Module, *shape: int) -> tuple[tuple[int, ...], int]:
    """Shape of the output for one input, and multiply-adds, as torch sees them."""
    with FlopCounterMode(display=False) as counter:
        y = layer(torch.empty(1, *shape, device="meta"))
    return tuple(y.shape[1:]), counter.get_total_flops() // 2


@st.composite
def geometries(draw: st.DrawFn, most: int = 9) -> dict[str, tuple[int, ...]]:
    """Size, kernel, stride, padding and dilation, that fit, in one to three dimensions."""
    rank = draw(st.integers(1, 3))
    found = {
        name: tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))
        for name, low, high in (
            *(("size", 1, most), ("kernel", 1, 4), ("stride", 1, 4)),
            *(("padding", 0, 2), ("dilation", 1, 3)),
        )
    }
    for size, kernel, padding, dilation in zip(*map(found.get, ("size", "kernel", "padding", "dilation")), strict=True):
        assume(dilation * (kernel - 1) < size + 2 * padding)
    return found


def options(geometry: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    return {name: geometry[name] for name in ("stride", "padding", "dilation")}


def loop(geometry: dict[str, Any], channels: int, filters: int) -> tuple[set[Any], set[Any], int, int]:
    """Count by definition: (weights if shared, weights if not, connections, outputs), window by window."""
    axes = [
        [[start + d * tap for tap in range(k)] for start in range(-p, size + p - d * (k - 1), s)]
        for size, k, s, p, d in zip(*geometry.values(), strict=True)
    ]
    shared, unshared, connections, outputs = set(), set(), 0, 0
    for out, *windows in itertools.product(range(filters), *map(enumerate, axes)):
        outputs += 1
        place = tuple(index for index, _ in windows)
        for channel, *taps in itertools.product(range(channels), *(enumerate(window) for _, window in windows)):
            weight = out, channel, tuple(index for index, _ in taps)
            shared.add(weight)
            unshared.add((place, weight))
            connections += 1
    return shared, unshared, connections, outputs


@pytest.mark.parametrize(("row", "call", "value"), ROWS)
def test_the_numbers_of_the_page(row: str, call: str, value: str) -> None:
    found = eval(call, dict(vars(count)))
    assert (f"{found:,}" if isinstance(found, int) else str(found)) == value, row


def test_the_page_has_the_rows_of_the_lectures() -> None:
    rows = {row for line in ROWS for row in line[0].split(", ")}
    numbers = [*range(1, 10), 11, 12, 20, 21, 22, 31, 32, 35, 44, 45]
    assert {f"N{n:02}" for n in numbers} | {"M22", "M40", "M41", "M42", "M43"} <= rows
    assert "Row N10" in PAGE
    assert len(ROWS) == PAGE.count("` | ") - 3  # all but the three layers in the first table


@some
@given(st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_dense_is_a_linear_layer(inputs: int, outputs: int, bias: bool) -> None:
    layer = nn.Linear(inputs, outputs, bias=bias, device="meta")
    found = dense(inputs, outputs, bias=bias)
    assert (found.parameters, *run(layer, inputs)) == (numel(layer), found.shape, found.connections)
    assert found.biases == (outputs if bias else 0)
    assert (found.fan_in, found.outputs, found.reuse) == (inputs, outputs, 1)
    assert dense((1, inputs), (outputs, 2)) == count.Count(
        2 * found.weights, 2 * outputs, 2 * found.weights, (outputs, 2)
    )


@some
@given(geometries(), small, small, small, st.booleans())
def test_convolution_is_that_of_torch(
    geometry: dict[str, Any], groups: int, in_width: int, out_width: int, bias: bool
) -> None:
    size, kernel = geometry["size"], geometry["kernel"]
    channels = groups * in_width, groups * out_width
    more = {**options(geometry), "groups": groups, "bias": bias}
    layer = CONV[len(size) - 1](*channels, kernel, device="meta", **more)
    found = convolution(size, *channels, kernel, rounding="floor", **more)
    shape, macs = run(layer, channels[0], *size)
    assert (found.shape, found.parameters, found.weights) == (shape, numel(layer), layer.weight.numel())
    assert (found.connections, found.fan_in, found.reuse) == (macs, layer.weight[0].numel(), math.prod(shape[1:]))


@settings(max_examples=40, deadline=None)
@given(geometries(5), small, st.integers(1, 2), st.booleans())
def test_counting_one_by_one(geometry: dict[str, Any], channels: int, filters: int, bias: bool) -> None:
    shared, unshared, connections, outputs = loop(geometry, channels, filters)
    ours = {"rounding": "floor", "bias": bias, **options(geometry)}
    layer = geometry["size"], channels, filters, geometry["kernel"]
    conv, local = convolution(*layer, **ours), convolution(*layer, **ours, shared=False)
    assert (conv.weights, conv.biases) == (len(shared), filters if bias else 0)
    assert (local.weights, local.biases) == (len(unshared), outputs if bias else 0)
    assert (conv.connections, conv.outputs) == (local.connections, local.outputs) == (connections, outputs)
    assert (local.reuse, local.shape) == (1, conv.shape)


@settings(max_examples=30, deadline=None)
@given(geometries(6), small, small)
def test_an_unpadded_convolution_is_a_sparse_matrix(geometry: dict[str, Any], channels: int, filters: int) -> None:
    geometry["padding"] = (0,) * len(geometry["size"])
    size, kernel = geometry["size"], geometry["kernel"]
    assume(all(d * (k - 1) < s for d, k, s in zip(geometry["dilation"], kernel, size, strict=True)))
    layer = CONV[len(size) - 1](channels, filters, kernel, bias=False, **options(geometry)).double()
    nn.init.ones_(layer.weight)
    inputs = channels * math.prod(size)
    rows = layer(torch.eye(inputs, dtype=torch.float64).view(inputs, channels, *size))
    found = convolution(size, channels, filters, kernel, rounding="floor", **options(geometry))
    assert rows.numel() == dense((channels, *size), found.shape).weights
    assert rows.count_nonzero() == found.connections


@some
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), small, small)
def test_a_dense_layer_is_a_convolution_with_the_kernel_of_the_map(size: list[int], channels: int, units: int) -> None:
    conv, full = convolution(tuple(size), channels, units, tuple(size)), dense((channels, *size), units)
    assert conv.shape == (units, *[1] * len(size))
    assert (conv.weights, conv.biases, conv.connections) == (full.weights, full.biases, full.connections)


@some
@given(geometries(12), st.booleans())
def test_sizes_of_pooling_are_those_of_torch(geometry: dict[str, Any], ceil_mode: bool) -> None:
    # torch's pooling pads by at most half the kernel.
    geometry["padding"] = tuple(min(p, k // 2) for p, k in zip(geometry["padding"], geometry["kernel"], strict=True))
    size, kernel = geometry["size"], geometry["kernel"]
    layer = POOL[len(size) - 1](kernel, ceil_mode=ceil_mode, **options(geometry))
    rounding = "ceil" if ceil_mode else "floor"
    try:
        expected = tuple(layer(torch.empty(1, 1, *size, device="meta")).shape[2:])
    except RuntimeError:
        with pytest.raises(InputError, match="the kernel does not fit"):
            output_size(**geometry, rounding=rounding)
    else:
        assert output_size(**geometry, rounding=rounding) == expected


@some
@given(geometries(12))
def test_exact_agrees_with_floor_or_raises(geometry: dict[str, Any]) -> None:
    parts = zip(*geometry.values(), strict=True)
    remainders = [(size + 2 * p - d * (k - 1) - 1) % s for size, k, s, p, d in parts]
    if any(remainders):
        with pytest.raises(InputError, match="not an image"):
            output_size(**geometry)
    else:
        assert output_size(**geometry) == output_size(**geometry, rounding="floor")


def test_a_window_that_would_start_in_the_padding_behind_is_none() -> None:
    layer = nn.MaxPool1d(2, 3, padding=1, ceil_mode=True)
    assert output_size(5, 2, 3, 1, rounding="ceil") == layer(torch.empty(1, 1, 5, device="meta")).shape[-1] == 2
    assert output_size(5, 2, 3, Sides(1, 4), rounding="ceil") == 2
    assert output_size(5, 2, 3, Sides(1, 4), rounding="floor") == 3


@some
@given(geometries(), st.data())
def test_transposed_sizes_are_those_of_torch(geometry: dict[str, Any], data: st.DataObject) -> None:
    size, kernel = geometry["size"], geometry["kernel"]
    limits = map(max, geometry["stride"], geometry["dilation"])
    added = tuple(data.draw(st.integers(0, limit - 1)) for limit in limits)
    layer = TRANSPOSED[len(size) - 1](1, 1, kernel, output_padding=added, device="meta", **options(geometry))
    arguments: Any = {**options(geometry), "output_padding": added}
    try:
        expected, _ = run(layer, 1, *size)
    except RuntimeError:
        expected = (0,)
    if 0 in expected:  # in some ranks torch gives an empty map
        with pytest.raises(InputError, match="something left on each axis"):
            transposed_output_size(size, kernel, **arguments)
    else:
        assert (1, *transposed_output_size(size, kernel, **arguments)) == expected


@some
@given(geometries())
def test_transposed_is_the_inverse_and_an_ordinary_convolution(geometry: dict[str, Any]) -> None:
    """Zeros between the values, and padding by K - 1 - P, as M41 has it."""
    size, kernel, stride, padding, dilation = geometry.values()
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    assume(all(p < k for p, k in zip(padding, extents, strict=True)))
    spread = tuple((n - 1) * s + 1 for n, s in zip(size, stride, strict=True))
    around = tuple(k - 1 - p for k, p in zip(extents, padding, strict=True))
    assume(all(n + 2 * p >= k for n, p, k in zip(spread, around, extents, strict=True)))
    found = transposed_output_size(size, kernel, stride, padding, dilation)
    assert found == output_size(spread, kernel, 1, around, dilation)
    assert output_size(found, kernel, stride, padding, dilation) == size


@EVEN
@some
@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 20))
def test_same_padding_is_that_of_torch(kernel: int, dilation: int, size: int) -> None:
    padding = same_padding(kernel, dilation)
    assert output_size((size, 5), (kernel, 1), 1, (padding, 0), dilation) == (size, 5)
    x, w = torch.rand(1, 1, size), torch.rand(1, 1, kernel)
    same = F.conv1d(x, w, padding="same", dilation=dilation)
    torch.testing.assert_close(F.conv1d(F.pad(x, padding), w, dilation=dilation), same)


def test_sides_apply_to_all_axes_and_a_tuple_to_each() -> None:
    assert output_size((5, 6), 4, padding=same_padding(4)) == (5, 6)
    assert output_size((5, 6), 4, padding=(1, 2)) == (4, 7)
    assert transposed_output_size((5, 6), 4, padding=Sides(1, 0)) == (7, 8)


def test_one_axis_gives_a_number_and_a_tuple_a_tuple() -> None:
    assert (output_size(7, 3), output_size((7,), 3)) == (5, (5,))
    assert (transposed_output_size(5, 3), transposed_output_size((5,), (3,))) == (7, (7,))


@some
@given(st.integers(1, 40), st.integers(2, 6), st.integers(1, 3))
def test_shrinkage_goes_on_until_the_kernel_does_not_fit(size: int, kernel: int, dilation: int) -> None:
    sizes = shrinkage(size, kernel, dilation)
    assert sizes[0] == size
    for before, after in itertools.pairwise(sizes):
        assert output_size(before, kernel, dilation=dilation) == after
    with pytest.raises(InputError, match="the kernel does not fit"):
        output_size(sizes[-1], kernel, dilation=dilation)


@settings(max_examples=30, deadline=None)
@given(kernels, st.integers(1, 4), small)
def test_stacked_layers_see_what_the_large_one_sees(kernel: tuple[int, ...], number: int, channels: int) -> None:
    size = tuple(range(10, 10 + len(kernel)))
    large = tuple(stacked_kernel(k, number) for k in kernel)
    once = [convolution(size, channels, channels, k, padding=tuple(map(same_padding, k))) for k in (kernel, large)]
    found = stacked(size, channels, kernel, number)
    assert (found.parts, found.whole) == ((once[0],) * number, once[1])
    assert found.weights == number * once[0].weights
    assert found.connections == number * once[0].connections
    assert found.ratio == Fraction(found.weights, found.whole.weights)
    # What a value of the last map sees, by its gradient: the windows of all layers in a row.
    x = torch.ones(1, 1, 40, dtype=torch.float64, requires_grad=True)
    y = x
    for _ in range(number):
        y = F.conv1d(y, torch.ones(1, 1, kernel[0], dtype=torch.float64))
    (seen,) = torch.autograd.grad(y[0, 0, 0], x)
    assert seen.count_nonzero() == large[0]


def in_torch(size: tuple[int, ...], layers: list[nn.Module], channels: int) -> tuple[int, int]:
    """Weights and multiply-adds of layers in a row."""
    shape, macs = run(nn.Sequential(*layers), channels, *size)
    assert shape[1:] == size
    return sum(p.numel() for layer in layers for name, p in layer.named_parameters() if name == "weight"), macs


@EVEN
@settings(max_examples=30, deadline=None)
@given(kernels, small, small)
def test_separable_layers_are_those_of_torch(kernel: tuple[int, ...], channels: int, filters: int) -> None:
    rank, size = len(kernel), tuple(range(6, 6 + len(kernel)))
    same: dict[str, Any] = {"padding": "same", "device": "meta"}
    lines = [tuple(k if a == axis else 1 for a in range(rank)) for axis, k in enumerate(kernel)]
    conv = CONV[rank - 1]

    found = spatially_separable(size, channels, kernel)
    assert (found.weights, found.connections) == in_torch(
        size, [conv(channels, channels, line, **same) for line in lines], channels
    )
    whole = in_torch(size, [conv(channels, channels, kernel, **same)], channels)
    assert (found.whole.weights, found.whole.connections) == whole
    assert found.ratio == Fraction(sum(kernel), math.prod(kernel))
    assert found.whole == stacked(size, channels, kernel, 1).whole

    found = depthwise_separable(size, channels, filters, kernel)
    depthwise, pointwise = conv(channels, channels, kernel, groups=channels, **same), conv(channels, filters, 1, **same)
    assert (found.weights, found.connections) == in_torch(size, [depthwise, pointwise], channels)
    assert found.ratio == Fraction(1, filters) + Fraction(1, math.prod(kernel))
    assert found.whole.shape == found.parts[-1].shape == (filters, *size)
    assert len(found.parts) == 2


def test_sobel_computed_as_column_and_row_is_sobel() -> None:
    column, row = torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 0, -1])
    torch.manual_seed(0)
    image = torch.randn(1, 1, 10, 10)
    both = F.conv2d(F.conv2d(image, column.view(1, 1, 3, 1)), row.view(1, 1, 1, 3))
    torch.testing.assert_close(both, F.conv2d(image, torch.outer(column, row)[None, None]))


RANGE = "cannot size a layer: "


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: output_size((7, 7), 3, 3), "the result is not an image: axis 0: expected a whole number, got "),
        (
            lambda: output_size((7, 7), 3, 3),
            re.escape("(7 - 3 + 0) / 3 + 1 = 7/3. Change stride or padding, or pass r"),
        ),
        (lambda: output_size((9, 8), 3, 2, 1), re.escape("axis 1: expected a whole number, got (8 - 3 + 2) / 2 + 1")),
        (
            lambda: output_size((7, 3), (7, 6), 1, 1),
            "the kernel does not fit: axis 1: expected 5 or less, dilated, got 6",
        ),
        (lambda: output_size(4, 3, dilation=2), "does not fit: axis 0: expected 4 or less, dilated, got 5"),
        (lambda: output_size(2, 4, 2, rounding="ceil"), "does not fit: axis 0: expected 2 or less"),
        (lambda: output_size(2, 2, rounding="flor"), f"{RANGE}rounding: got 'flor'. Did you mean floor?"),
        (lambda: output_size(0, 2), f"{RANGE}size: expected 1 or more, got 0"),
        (lambda: output_size((), 2), re.escape(f"{RANGE}size: expected 1 or more, got ()")),
        (lambda: output_size(7, 0), f"{RANGE}kernel: expected 1 or more, got 0"),
        (lambda: output_size(7, (3, 3)), re.escape("kernel: expected 1 or more, got (3, 3)")),
        (
            lambda: output_size((7, 7), (3, 0)),
            re.escape("kernel: expected 1 or more, one for all or one for each of 2 axes, got (3, 0)"),
        ),
        (
            lambda: output_size((7, 7), 3, (1, 1, 1)),
            re.escape("stride: expected 1 or more, one for all or one for each"),
        ),
        (lambda: output_size(7, 3, -1), f"{RANGE}stride: expected 1 or more, got -1"),
        (lambda: output_size(7, 3, dilation=0), f"{RANGE}dilation: expected 1 or more, got 0"),
        (lambda: output_size(7, 3, padding=-1), f"{RANGE}padding: expected 0 or more, one for all or for each of 1"),
        (lambda: output_size((7, 7), 3, padding=(1, 1, 1)), re.escape("for each of 2, got (1, 1, 1)")),
        (lambda: output_size(7, 3, padding=Sides(0, -1)), re.escape("got Sides(before=0, after=-1)")),
        (lambda: output_size(7, 3, padding=()), re.escape("padding: expected 0 or more, one for all or for each of 1")),
        (
            lambda: transposed_output_size(2, 1, padding=1),
            re.escape("padding: expected something left on each axis, got"),
        ),
        (lambda: transposed_output_size(2, 2, 2, output_padding=2), "output_padding: expected less than stride or dil"),
        (lambda: transposed_output_size(2, 2, output_padding=-1), "output_padding: expected 0 or more, got -1"),
        (lambda: shrinkage(28, 1), f"{RANGE}kernel: expected 2 or more, to shrink the map, got 1"),
        (lambda: shrinkage(0, 3), f"{RANGE}size: expected 1 or more, got 0"),
        (lambda: same_padding(3, 0), f"{RANGE}dilation: expected 1 or more, got 0"),
        (lambda: dense(0, 3), f"{RANGE}inputs: expected 1 or more, got 0"),
        (lambda: dense(3, (2, -1)), re.escape("outputs: expected 1 or more, got (2, -1)")),
        (lambda: convolution(8, 6, 4, 3, groups=4), f"{RANGE}in_channels: expected a multiple of groups=4, got 6"),
        (lambda: convolution(8, 4, 6, 3, groups=4), f"{RANGE}out_channels: expected a multiple of groups=4, got 6"),
        (lambda: convolution(8, 4, 6, 3, groups=0), f"{RANGE}groups: expected 1 or more, got 0"),
        (lambda: convolution(8, 0, 6, 3), f"{RANGE}in_channels: expected 1 or more, got 0"),
        (lambda: convolution(8, 1, 0, 3), f"{RANGE}out_channels: expected 1 or more, got 0"),
        (lambda: convolution(28, 1, 1, 5, stride=2), "not an image"),
        (lambda: stacked(8, 1, 3, 0), f"{RANGE}number: expected 1 or more, got 0"),
        (lambda: stacked_kernel(0, 1), f"{RANGE}kernel: expected 1 or more, got 0"),
        (lambda: spatially_separable((8, 8), 0, 3), f"{RANGE}in_channels: expected 1 or more, got 0"),
        (lambda: depthwise_separable((8, 8), 0, 4, 3), f"{RANGE}in_channels: expected 1 or more, got 0"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, text: str) -> None:
    with pytest.raises(InputError, match=text) as error:
        call()
    assert "\n" not in str(error.value)
