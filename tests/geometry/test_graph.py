"""Receptive and projective fields against brute force, on random networks."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from striate import geometry
from striate.geometry.fields import extents, fields
from striate.geometry.indices import Indices
from striate.geometry.reading import Axis, Read
from striate.geometry.window import Window

spec = importlib.util.spec_from_file_location("networks", Path(__file__).with_name("networks.py"))
assert spec is not None
assert spec.loader is not None
networks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

thorough = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))


def example(rank: int, sizes: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, networks.CHANNELS, *sizes[:rank], generator=generator, dtype=torch.float64) + 1


def some_positions(shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The first, the last, and four between."""
    count = math.prod(shape)
    chosen = {0, count - 1, *np.random.default_rng(0).integers(0, count, 4).tolist()}
    return {tuple(int(i) for i in np.unravel_index(flat, shape)) for flat in chosen}


def flat(position: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(position, shape))


@thorough
@given(networks.networks)
def test_fields_are_what_changes_when_an_input_value_changes(network: Any) -> None:
    rank, sizes, plan = network
    net, x = networks.Random(rank, plan), example(rank, sizes)
    graph = geometry.trace(net, x)
    value, shape = graph.find(""), tuple(x.shape)
    reached = networks.perturbed(net, x).numpy()
    assert reached.shape == (math.prod(shape), math.prod(value.shape))
    for unit in some_positions(value.shape):
        seen = networks.mask(graph.receptive_field("", unit), shape)
        np.testing.assert_array_equal(seen, reached[:, flat(unit, value.shape)])
    for position in some_positions(shape):
        reaches = networks.mask(graph.projective_field(position), value.shape)
        np.testing.assert_array_equal(reaches, reached[flat(position, shape)])


@thorough
@given(networks.networks)
def test_fields_are_where_the_gradient_is(network: Any) -> None:
    """Maxima pass a gradient to one of their inputs only, so they are left to the test above."""
    rank, sizes, plan = network
    plan = [(name.replace("max", "avg"), *rest) for name, *rest in plan]
    net, x = networks.Random(rank, plan), example(rank, sizes).requires_grad_()
    graph, output = geometry.trace(net, x), net(x)
    for unit in some_positions(tuple(output.shape)):
        (gradient,) = torch.autograd.grad(output[unit], x, retain_graph=True, allow_unused=True)
        support = np.zeros(x.numel(), bool) if gradient is None else (gradient != 0).flatten().numpy()
        np.testing.assert_array_equal(networks.mask(graph.receptive_field("", unit), tuple(x.shape)), support)


@thorough
@given(networks.networks)
def test_the_windows_of_a_layer_hold_what_each_unit_sees(network: Any) -> None:
    """Composed windows are clipped nowhere, so they may hold more, and never less; equally much away from borders."""
    rank, sizes, plan = network
    joined = {"cat", "pixels"} & {step[0] for step in plan}  # side by side, where channels have become positions
    plan = [step for step in plan if step[0] not in LAPS and not (joined and step[0] == "fold")]
    net, x = networks.Random(rank, plan), example(rank, sizes)
    graph = geometry.trace(net, x)
    value, plain = graph.find(""), all(name in PLAIN for name, *_ in plan)
    field = fields(graph, graph.inputs["x"])[value.index]
    for unit in some_positions(value.shape):
        if field is None:
            assert not graph.receptive_field("", unit)
            continue
        windows = [
            union(window.at(0 if driver is None else unit[driver]) for driver, window in terms) for terms in field.axes
        ]
        # Windows are those of all channels, unless channels and positions have changed places.
        mixed = any(driver == 1 for terms in field.axes for driver, _ in terms)
        region = graph.receptive_field("", unit if mixed else (0, None, *unit[2:]))
        seen = [union(box[axis] for box in region) for axis in range(2, 2 + rank)]
        assert all(map(Indices.__le__, seen, windows))
        inside = all(window.within(size) == window for window, size in zip(windows, x.shape[2:], strict=True))
        assert seen == windows or not (plain and inside and field.exact)
    if field is not None:
        for terms, extent in zip(field.axes, extents(field, value, graph.values[0]), strict=True):
            drivers = {driver for driver, _ in terms if driver is not None}
            places = itertools.product(*(range(value.shape[d]) for d in drivers))
            at = [dict(zip(drivers, place, strict=True)) for place in places]
            seen_by = [union(w.at(0 if d is None else place[d]) for d, w in terms) for place in at]
            assert extent.size == max(indices.extent for indices in seen_by)
            assert extent.padding[0] == max(0, *(-indices.first for indices in seen_by if indices), 0)


# Near a border these see what lies elsewhere, which the pattern of the interior leaves out.
LAPS = {"reflect", "replicate", "circular", "roll", "cat_space"}
PLAIN = {"conv", "avg_pool", "max_pool", "relu", "add", "gate"}


@settings(thorough, max_examples=50)
@given(networks.networks)
def test_circular_padding_is_reflection_but_for_the_border(network: Any) -> None:
    rank, sizes, plan = network
    plan = [("circular" if step[0] in LAPS else step[0], *step[1:]) for step in plan]
    found = []
    for mode in ("circular", "reflect"):
        net = networks.Random(rank, [(name.replace("circular", mode), *rest) for name, *rest in plan])
        graph = geometry.trace(net, example(rank, sizes))
        field = fields(graph, graph.inputs["x"])[graph.find("").index]
        found.append(None if field is None else (field.axes, field.exact))
    assert found[0] == found[1]


def union(sets: Iterable[Indices]) -> Indices:
    found = Indices()
    for indices in sets:
        found |= indices
    return found


def test_a_wrong_window_is_found() -> None:
    """The checks above can fail: with one tap too many, they do."""
    net, x = networks.Random(1, [("conv", (2, 0, 1, 0, 0), 0, 0)]), example(1, (6, 6, 6))
    graph = geometry.trace(net, x)
    reached = networks.perturbed(net, x).numpy()
    [read] = graph.find("").readings
    assert isinstance(read, Read)
    wider = replace(read, axes=(*read.axes[:2], Axis(2, Window(1, -2, 1))))
    values = tuple(replace(v, readings=(wider,)) if v.readings else v for v in graph.values)
    for either, equal in ((graph, True), (replace(graph, values=values), False)):
        seen = networks.mask(either.receptive_field("", (0, 0, 2)), tuple(x.shape))
        assert np.array_equal(seen, reached[:, 2]) == equal
