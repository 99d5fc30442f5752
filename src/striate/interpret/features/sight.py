"""What the units of a layer see of the input, and the least crop of it from which each of them is computed exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.fields import Field, fields, spatial
from striate.geometry.trace import trace
from striate.interpret.scoring import answered, feeding, find_layer, first_tensor, never_called
from striate.locality.patch.engine import ReachedError
from striate.locality.tile.halo import Line, lines
from striate.shapes import Int64, Tensor


class Until(nn.Module):
    """A network up to a layer: the first tensor that the layer returns at its last call, "" for the network's own.

    What comes after the layer is never run; x is never written into, also by a network that begins in place.
    """

    def __init__(self, model: nn.Module, layer: str, x: Tensor) -> None:
        super().__init__()
        self.model, self.layer, self.calls = model, layer, 0
        find_layer(model, layer)
        if layer:
            self.calls = _calls(model, layer, x)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer returns."""
        with feeding(self.model, x):
            found: Tensor = answered(self._run, x)
            return found

    def _run(self, x: Tensor) -> Tensor:
        if not self.layer:
            return first_tensor(self.model(x), type(self.model).__name__)
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _args: object, out: object) -> None:
            seen.append(first_tensor(out, self.layer))
            if len(seen) == self.calls:
                raise ReachedError

        hook = find_layer(self.model, self.layer).register_forward_hook(keep)
        try:
            self.model(x)
        except ReachedError:
            return seen[-1]
        finally:
            hook.remove()
        raise never_called(self.layer)


def _calls(model: nn.Module, layer: str, x: Tensor) -> int:
    """How often a layer runs."""
    count = 0

    def add(*_: object) -> None:
        nonlocal count
        count += 1

    with find_layer(model, layer).register_forward_hook(add), torch.no_grad(), feeding(model, x):
        model(x[:1].clone())
    if not count:
        raise never_called(layer)
    return count


@dataclass(frozen=True, eq=False)
class Axis:
    """One spatial axis of the input, `size` long, for each position of the layer's axis `driver` (None: for all alike).

    A unit sees the `width` positions from `first` on, which may lie beyond the border (padding); where some unit sees
    more than there is, that is the whole axis. It is computed exactly from the `crop` positions from `start` on, in
    whose map it lies `at`.
    """

    size: int
    driver: int | None
    width: int
    first: Int64[Tensor, " m"]
    crop: int
    start: Int64[Tensor, " m"]
    at: Int64[Tensor, " m"]

    def of(self, table: Int64[Tensor, " m"], places: Int64[Tensor, "u r"]) -> Int64[Tensor, " u"]:
        """What one of the tables says of units at these places of the layer's map."""
        return table[places[:, self.driver]] if self.driver is not None else table[:1].expand(len(places))


@dataclass(frozen=True, eq=False)
class Sight:
    """All spatial axes of the input. `whole`: why units are computed from whole inputs, if they are."""

    axes: tuple[Axis, ...]
    whole: str = ""

    def cropped(self, x: Tensor, items: Int64[Tensor, " u"], places: Int64[Tensor, "u r"]) -> Tensor:
        """The crops of these items of x (n, …, *space) that the units at these places are computed from."""
        if all(axis.crop == axis.size for axis in self.axes):
            return x[items.to(x.device)]
        return _cut(x, items, [axis.of(axis.start, places) for axis in self.axes], [axis.crop for axis in self.axes])

    def patches(self, crops: Tensor, places: Int64[Tensor, "u r"]) -> Tensor:
        """What the units see, out of their crops: NaN beyond the border (or 0 in whole numbers: tokens)."""
        widths = [axis.width for axis in self.axes]
        begins = [axis.of(axis.first, places) - axis.of(axis.start, places) for axis in self.axes]
        side = [max(0, *(-int(b.min()), int(b.max()) + width - axis.crop))
                for b, width, axis in zip(begins, widths, self.axes, strict=True)]  # fmt: skip
        edges = [edge for margin in reversed(side) for edge in (margin, margin)]
        outside = float("nan") if crops.is_floating_point() else 0
        padded = nn.functional.pad(crops, edges, value=outside)
        return _cut(padded, torch.arange(len(crops)), [b + s for b, s in zip(begins, side, strict=True)], widths)

    def windows(self, places: Int64[Tensor, "u r"]) -> Int64[Tensor, "u a 2"]:
        """First and last position that the units see, beyond the border too."""
        firsts = torch.stack([axis.of(axis.first, places) for axis in self.axes], 1)
        lasts = firsts + torch.tensor([axis.width - 1 for axis in self.axes])
        return torch.stack([firsts, lasts], 2)

    def inside(self, places: Int64[Tensor, "u r"]) -> Int64[Tensor, "u r"]:
        """Where the units lie in the maps of their crops."""
        found = places.clone()
        for axis in self.axes:
            if axis.driver is not None:
                found[:, axis.driver] = axis.of(axis.at, places)
        return found


def sight_of(until: Until, x: Tensor) -> Sight:
    """How the units of a layer see inputs of the shape of x (n, c, *space), or tokens (n, t).

    The windows are those of `striate.geometry`; which crop makes a unit as the whole input makes it (its own padding
    at the true borders included) is proved by comparing the windows of every layer on both.
    """
    graph = trace(until, x[:1])
    value = graph.values[graph.outputs[0]]
    field = fields(graph, next(iter(graph.inputs.values())))[value.index]
    sizes = [x.shape[axis] for axis in spatial(tuple(x.shape))]
    if field is None:
        raise InputError("this layer does not depend on the input", got=until.layer)
    cut: Sequence[Line | None] = [None] * len(sizes)
    whole = ""
    try:
        cut = lines(until, graph)
    except InputError as error:
        whole = str(error)
    sight = Sight(tuple(map(_axis, _driven(field, value.shape), sizes, cut)), whole)
    saved = math.prod(axis.crop / axis.size for axis in sight.axes)
    return sight if saved < 1 else in_whole(sight, whole or "they see nearly all of it")


def in_whole(sight: Sight, why: str) -> Sight:
    """The same, computed from whole inputs."""
    axes = []
    for axis in sight.axes:
        zeros, all_ = torch.zeros_like(axis.first), torch.arange(len(axis.first))
        axes.append(Axis(axis.size, axis.driver, axis.width, axis.first, axis.size, zeros, all_))
    return Sight(tuple(axes), why)


Driven = tuple[int | None, list[tuple[int, int]]]


def _driven(field: Field, shape: tuple[int, ...]) -> list[Driven]:
    """For each axis of the input the spatial axis of the layer that moves the window, and first and last seen."""
    found: list[Driven] = []
    for terms in field.axes:
        drivers = {driver for driver, _ in terms if driver is not None}
        driver = next(iter(drivers)) if len(drivers) == 1 and min(drivers) > 1 else None
        spans = []
        for place in range(shape[driver] if driver is not None else 1):
            if driver is None and drivers:
                spans.append((-math.inf, math.inf))  # several axes move it, or channels: taken as the whole
                continue
            seen = [indices for _, window in terms if (indices := window.at(place))]
            spans.append((min(i.first for i in seen), max(i.last for i in seen)) if seen else (0, 0))
        found.append((None if driver is None else driver - 2, spans))  # type: ignore[arg-type]
    return found


def _axis(driven: Driven, size: int, line: Line | None) -> Axis:
    driver, spans = driven
    widest = max(last - first + 1 for first, last in spans)
    everything = widest >= size
    width = size if everything else int(widest)
    first = torch.tensor([0 if everything else int(one[0]) for one in spans])
    at = torch.arange(len(spans))
    if line is None or driver is None or (crop := line.sizes()[-1]) >= size:
        return Axis(size, driver, width, first, size, torch.zeros_like(first), at)
    # The first crop of those that begin a period apart in which the unit is not lost at the start.
    periods = ((at - line.before).clamp(min=0) // line.advance).clamp(max=(size - crop) // line.period)
    return Axis(size, driver, width, first, crop, periods * line.period, at - periods * line.advance)


def _cut(x: Tensor, items: Tensor, begins: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """x[items[u], …, begins[u] : begins[u] + size] for each u, along the last axes."""
    rank = len(sizes)
    index = [items.reshape(-1, *[1] * rank)]
    for axis, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
        place = begin[:, None] + torch.arange(size)
        index.append(place.reshape(-1, *[1] * axis, size, *[1] * (rank - 1 - axis)))
    index = [part.to(x.device) for part in index]
    if x.dim() == rank + 1:
        return x[tuple(index)]
    return x.movedim(1, -1)[tuple(index)].movedim(-1, 1)
