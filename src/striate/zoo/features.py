"""A network as a backbone: its maps at each stride, with the windows that they see."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from striate.errors import InputError
from striate.geometry.fields import fields
from striate.geometry.graph import Graph
from striate.geometry.inputs import Inputs
from striate.geometry.state import unwrapped
from striate.geometry.trace import trace
from striate.geometry.window import Number, Window
from striate.shapes import Tensor

# Pooling whose result has one size whatever the input's, so that it has no stride.
FITTED = ("adaptive", "mean", "amax", "sum")


@dataclass(frozen=True)
class Feature:
    """A map: what module returns it, how many channels, and its window on the input along each spatial axis.

    `call` counts the calls of a module that is called several times, from 0.
    `gated` tells of a branch that sees the whole input (squeeze and excitation) and is not in the windows.
    """

    path: str
    channels: int
    windows: tuple[Window, ...]
    gated: bool
    call: int

    @property
    def stride(self) -> tuple[Number, ...]:
        """Input positions from one position of the map to the next."""
        return tuple(window.stride for window in self.windows)

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Input positions from the first to the last that one position sees."""
        return tuple(window.size for window in self.windows)


class Features(nn.Module):
    """Runs a network up to its deepest map and returns its maps at each stride; see `features_only`.

    While it runs, hooks stand on the network: no other thread may run that meanwhile.
    """

    def __init__(self, model: nn.Module, features: tuple[Feature, ...], shared: frozenset[str]) -> None:
        super().__init__()
        self.model = model
        self.features = features
        self._shared = shared  # maps that the network overwrites later

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The maps, from the finest to the coarsest."""
        maps: dict[int, Tensor] = {}
        keepers = [self._keeper(number, maps) for number in range(len(self.features))]
        modules = [self.model.get_submodule(feature.path) for feature in self.features]
        hooks = [module.register_forward_hook(keep) for module, keep in zip(modules, keepers, strict=True)]
        try:
            self.model(*inputs)
        except _ReachedError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return tuple(maps[number] for number in range(len(self.features)))

    def _keeper(self, number: int, maps: dict[int, Tensor]) -> Any:
        feature, calls = self.features[number], itertools.count()

        def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
            if next(calls) == feature.call:
                maps[number] = output.clone() if feature.path in self._shared else output
            if len(maps) == len(self.features):
                raise _ReachedError

        return keep


class _ReachedError(Exception):
    """All maps are there: what follows need not be run, nor fit the size of the input."""


def features_only(model: nn.Module, input_shape: Inputs) -> Features:
    """The network without its head: a module that returns a tuple of maps, the last ones of each stride.

    `input_shape` is one item's, without the batch axis; maps of other sizes come from inputs of other sizes.
    `Features.features` says for each map the module that makes it, its channels, stride and windows. A block that
    changes the stride is taken whole; decoders, whose maps get finer again, and pooling to a fixed size are left out.
    The weights are the network's own, not copies, the head's among them.

    Raises InputError where no module returns a map that moves over the input.

    >>> import torch
    >>> backbone = features_only(nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3)), (1, 12, 12))
    >>> [(f.path, f.channels, f.stride, f.receptive_field) for f in backbone.features]
    [('0', 4, (1, 1), (3, 3)), ('2', 8, (2, 2), (8, 8))]
    >>> [tuple(m.shape) for m in backbone(torch.rand(2, 1, 12, 12))]
    [(2, 4, 10, 10), (2, 8, 3, 3)]
    """
    model = unwrapped(model)
    graph = trace(model, input_shape)
    maps = dict(_maps(graph))
    blocks = _blocks(model, maps.values())
    found: dict[tuple[Number, ...], int] = {}
    deepest: tuple[Number, ...] = ()
    for index, feature in sorted(maps.items()):
        inside = any(feature.path.startswith(f"{block}.") for block in blocks)
        if not inside and all(new >= old for new, old in zip(feature.stride, deepest, strict=False)):
            deepest = feature.stride
            found[deepest] = index
    if not found:
        raise InputError("no module of the network returns a map", got=type(model).__name__)
    last = {value.storage: value.index for value in graph.values}
    overwritten = frozenset(maps[i].path for i in found.values() if last[graph.values[i].storage] > i)
    return Features(model, tuple(maps[index] for index in found.values()), overwritten)


def _maps(graph: Graph) -> Iterator[tuple[int, Feature]]:
    """What modules return that moves over the input with a fixed stride, by value; the outermost module of each."""
    source = next(iter(graph.inputs.values()))
    seen, rank = fields(graph, source), len(graph.values[source].shape)
    fitted = {value for node in graph.nodes for value in node.outputs if node.operation.startswith(FITTED)}
    for value in graph.values:
        if value.readings and all(reading.source in fitted for reading in value.readings):
            fitted.add(value.index)
    outermost: dict[int, tuple[str, int]] = {}
    for path, made in graph.calls.items():
        for call, index in enumerate(made):
            if path and index is not None:
                first = outermost.get(index)
                if first is None or path.count(".") < first[0].count("."):
                    outermost[index] = path, call
    for index, (path, call) in outermost.items():
        shape, field = graph.values[index].shape, seen[index]
        if field is None or len(shape) != rank or index in fitted:
            continue
        moving = [[term for term in terms if term.driver is not None] for terms in field.axes]
        if all(len(terms) == 1 and terms[0].driver == axis + 2 for axis, terms in enumerate(moving)):
            gated = any(len(terms) > 1 for terms in field.axes)
            yield index, Feature(path, shape[1], tuple(terms[0].window for terms in moving), gated, call)


def _blocks(model: nn.Module, maps: Iterable[Feature]) -> set[str]:
    """Modules that go from one stride to the next: what they have inside is half of a step."""
    strides: dict[str, set[tuple[Number, ...]]] = {}
    for feature in maps:
        parts = feature.path.split(".")
        for depth in range(1, len(parts) + 1):
            strides.setdefault(".".join(parts[:depth]), set()).add(feature.stride)
    return {
        path for path, of in strides.items() if len(of) == 2 and type(model.get_submodule(path)) is not nn.Sequential
    }


__all__ = ["Feature", "Features", "features_only"]
