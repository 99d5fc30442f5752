"""A network as the operations that it executed: values (tensors), nodes (operations), and who reads whom, where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import torch

from striate.errors import InputError, did_you_mean
from striate.geometry.indices import Indices
from striate.geometry.reading import Reading, Region, Shape, everything, tidy

Constant = Shape | complex | str


@dataclass(frozen=True)
class Counts:
    """Arithmetic of an operation, one item: multiply-adds of convolutions and matrix products, and the rest apart.

    `bias`: additions. `norm`: values normalized, each counted once for every pass over it (one with stored statistics,
    three where mean and variance are computed). `activation`: values mapped. `pooling`: values compared or added.
    `elementwise`: results of sums, products and other arithmetic between values.
    """

    macs: int = 0
    bias: int = 0
    norm: int = 0
    activation: int = 0
    pooling: int = 0
    elementwise: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Value:
    """A tensor of the network; its batch axis, where it has one, is 1 long.

    `storage` numbers the memory that holds it (views share one), which is `storage_bytes` long.
    """

    index: int
    shape: Shape
    dtype: torch.dtype
    readings: tuple[Reading, ...]
    storage: int
    storage_bytes: int


@dataclass(frozen=True)
class Node:
    """An operation that was executed: where (module path), what, on which values and parameters.

    `constants` is what else it was given: the shapes of tensors that do not depend on the input, the number in those
    that have one, settings and, of what works point by point, whole numbers.
    """

    index: int
    path: str
    module: str
    operation: str
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    parameters: tuple[str, ...]
    counts: Counts
    constants: tuple[Constant, ...] = ()
    saved: tuple[tuple[int, int], ...] = ()  # storages that autograd keeps for the backward pass, and their bytes


@dataclass(frozen=True)
class Weight:
    """A parameter: all its names (several where it is shared), size, whether it is trained."""

    names: tuple[str, ...]
    shape: Shape
    bytes: int
    trainable: bool

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Graph:
    """Values and nodes in the order of execution. A value is told by its index, a node, or a module path.

    `modules` has the value that the last call of each module returned, `calls` those of all its calls in turn (None for
    what is not one tensor that depends on the input).
    """

    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    inputs: Mapping[str, int]
    outputs: tuple[int, ...]
    modules: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Weight] = field(default_factory=dict)
    calls: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)

    def find(self, layer: int | str | Node) -> Value:
        """The value of this index; the (first) output of this node; what the module of this path returned (its last
        call; "" for the network); or the input of this name.

        Raises InputError for a path at which nothing was executed, with the nearest paths.
        """
        if isinstance(layer, int):
            return self.values[layer]
        if isinstance(layer, Node):
            return self.values[layer.outputs[0]]
        if layer in self.inputs:
            return self.values[self.inputs[layer]]
        if layer not in self.modules:
            fix = did_you_mean(layer, (path for path in self.modules if path))
            raise InputError("no layer of this path was executed", got=repr(layer), fix=fix)
        return self.values[self.modules[layer]]

    def receptive_field(
        self, layer: int | str | Node, unit: Sequence[int | None] | Region | None = None, input: str | int = 0
    ) -> Region:
        """What one unit of a layer sees of an input: exactly, as boxes (per axis of the input, batch and channels too).

        `unit` is a position in the value (batch, channel, row, column, …), None standing for a whole axis; or a region;
        by default everything. Padding is nowhere in the input and so is left out. A rule that cannot tell reads more,
        never less. Raises InputError for a unit that is not there.
        """
        value = self.find(layer)
        regions: dict[int, Region] = {value.index: self._region(value, unit)}
        target = self._input(input)
        for later in range(value.index, -1, -1):
            region = regions.pop(later, None)
            if later == target:
                return tidy(region or [])
            for reading in self.values[later].readings if region else ():
                read = [b for box in region or () for b in reading.back(box, self.values[reading.source].shape)]
                regions[reading.source] = tidy(regions.get(reading.source, []) + read)
        return []

    def projective_field(
        self, unit: Sequence[int | None] | Region | None, layer: int | str | Node = "", input: str | int = 0
    ) -> Region:
        """Which outputs of a layer (by default the network's) a position of an input reaches: exactly, as boxes."""
        start, value = self.values[self._input(input)], self.find(layer)
        regions: dict[int, Region] = {start.index: self._region(start, unit)}
        for later in self.values[: value.index + 1]:
            reached = [
                b
                for reading in later.readings
                for box in regions.get(reading.source, ())
                for b in reading.forth(box, later.shape)
            ]
            if reached:
                regions[later.index] = tidy(reached)
        return regions.get(value.index, [])

    @cached_property
    def read(self) -> frozenset[int]:
        """The values that an operation reads, or that the network returns; others (indices of a maximum) go at once."""
        return frozenset({*self.outputs, *self.inputs.values(), *(i for node in self.nodes for i in node.inputs)})

    @cached_property
    def last_use(self) -> Mapping[int, int]:
        """For each storage, the last node that touches it; outputs of the network live on."""
        last = {self.values[i].storage: -1 for i in self.inputs.values()}
        for node in self.nodes:
            for index in (*node.inputs, *node.outputs):
                last[self.values[index].storage] = node.index
        for index in self.outputs:
            last[self.values[index].storage] = len(self.nodes)
        return last

    def _input(self, input: str | int) -> int:
        if isinstance(input, int):
            return list(self.inputs.values())[input]
        if input not in self.inputs:
            raise InputError("the network has no such input", got=repr(input), fix=did_you_mean(input, self.inputs))
        return self.inputs[input]

    def _region(self, value: Value, unit: Sequence[int | None] | Region | None) -> Region:
        if unit is None:
            return [everything(value.shape)]
        if all(isinstance(box, tuple) and all(isinstance(i, Indices) for i in box) for box in unit) and unit:
            return [box for box in unit if isinstance(box, tuple)]
        box = list(everything(value.shape))
        if len(unit) != len(box):
            raise InputError(
                "a unit is named by one index an axis", expected=f"{len(box)} for shape {value.shape}", got=tuple(unit)
            )
        for axis, index in enumerate(unit):
            if index is None:
                continue
            if not isinstance(index, int) or not -value.shape[axis] <= index < value.shape[axis]:
                raise InputError("there is no such unit", where=f"axis {axis} of shape {value.shape}", got=repr(index))
            box[axis] = Indices(index % value.shape[axis], 1)
        return [tuple(box)]


__all__ = ["Counts", "Graph", "Node", "Value", "Weight"]
