"""Pruning of whole filters, which makes a smaller network: with a filter go its bias, its place in the norm after it,
and the channel that it is of every layer that reads it (Li, Kadav, Durdanovic, Samet, Graf 2017, Pruning filters for
efficient ConvNets, section 3.1 and figure 1).

Which layers read which filter is not guessed from names: the network is traced, and each unit along the way knows the
filters that it is made of. A filter can go if whatever it reaches is made of it alone until the next convolution or
dense layer; where a sum joins it with others (the last convolution of a residual branch), it stays.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.graph import Graph, Node
from striate.geometry.indices import Indices
from striate.geometry.inputs import Inputs
from striate.geometry.reading import everything
from striate.geometry.trace import trace

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Filter = tuple[str, int]  # path of the convolution, number of the filter
Units = list[frozenset[Filter]]  # of which filters each unit along axis 1 of a value is made
Kept = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class FilterPruning:
    """A smaller network, the filters that it kept, and the convolutions that stayed whole with the reason."""

    model: nn.Module
    kept: dict[str, tuple[int, ...]]
    whole: dict[str, str]


def prune_filters(model: nn.Module, input: Inputs, share: float | Mapping[str, float]) -> FilterPruning:
    """A copy of `model` without this share of the filters of each convolution: those of least L1 norm.

    `input` is what the network takes, as in `geometry.trace`: the shape of one item, say. A mapping gives a share to
    some convolutions by path (the paper spares sensitive ones). At least one filter of each stays. Convolutions of
    which no filter can go stay whole. The copy is trained on as any network; to load its weights later, build the
    network and `remove_filters` with the same `kept`.

    Raises InputError for a share outside 0..1, a path that is none of the convolutions that can be pruned, and a
    network in which nothing can.
    """
    shares = dict.fromkeys([""], share) if isinstance(share, float | int) else dict(share)
    for value in shares.values():
        if not 0 <= value < 1:
            raise InputError("share of filters to prune", expected="at least 0, below 1", got=value)
    links = _linked(model, input)
    free = [path for path in links.filters if path not in links.whole]
    if not free:
        reasons = "; ".join(f"{path}: {why}" for path, why in links.whole.items()) or "it has no convolution"
        raise InputError("no filter of this network can go", where=type(model).__name__, got=reasons)
    wanted = dict.fromkeys(free, shares[""]) if "" in shares else shares
    for path in wanted:
        if path not in free:
            got = f"{path} ({links.whole.get(path, 'no convolution')})"
            raise InputError("not a convolution whose filters can go", expected=", ".join(free), got=got)
    kept = {path: _largest(model.get_submodule(path), value) for path, value in wanted.items()}
    return FilterPruning(_without(model, links, kept, input), kept, links.whole)


def remove_filters(model: nn.Module, input: Inputs, kept: Kept) -> nn.Module:
    """A copy of `model` with these filters only, by path of the convolution; others stay whole.

    Raises InputError for a path that is none of the convolutions that can be pruned, and for filters that are not
    there.
    """
    links = _linked(model, input)
    for path, filters in kept.items():
        if path not in links.filters or path in links.whole:
            got = f"{path} ({links.whole.get(path, 'no convolution')})"
            free = [name for name in links.filters if name not in links.whole]
            raise InputError("not a convolution whose filters can go", expected=", ".join(free) or "none", got=got)
        count = links.filters[path]
        if not filters or sorted(set(filters)) != list(filters) or not 0 <= filters[0] <= filters[-1] < count:
            expected = f"some of 0 to {count - 1}, rising"
            raise InputError("filters to keep", where=path, expected=expected, got=list(filters))
    return _without(model, links, kept, input)


def _largest(layer: nn.Module, share: float) -> tuple[int, ...]:
    """The filters of largest L1 norm, at least one, in their order."""
    weight = layer.get_parameter("weight").detach()
    count = max(1, len(weight) - round(share * len(weight)))
    best = weight.abs().flatten(1).sum(1).argsort(descending=True, stable=True)[:count]
    return tuple(sorted(best.tolist()))


@dataclass
class _Links:
    """What the trace tells: filters of each convolution, and of which filter each channel of each layer is made."""

    filters: dict[str, int] = field(default_factory=dict)
    reads: dict[str, list[Filter | None]] = field(default_factory=dict)  # convolutions and dense layers: their inputs
    follows: dict[str, list[Filter | None]] = field(default_factory=dict)  # norms and depthwise: channel for channel
    whole: dict[str, str] = field(default_factory=dict)


def _linked(model: nn.Module, input: Inputs) -> _Links:
    graph = trace(model, input)
    modules = dict(model.named_modules())
    uses = Counter(name for node in graph.nodes for name in node.parameters)
    links = _Links()
    made: dict[int, Units] = {}
    for node in graph.nodes:
        layer = modules.get(node.path) if node.parameters else None
        known = layer is not None and all(uses[name] == 1 and name in _own(node.path) for name in node.parameters)
        _pass(graph, node, layer if known else None, links, made)
    for value in graph.outputs:
        _fix(links, made.get(value, ()), "the network returns it")
    return links


def _own(path: str) -> tuple[str, str]:
    return f"{path}.weight".lstrip("."), f"{path}.bias".lstrip(".")


def _pass(graph: Graph, node: Node, layer: Any, links: _Links, made: dict[int, Units]) -> None:
    """What one operation does to the filters that reach it."""
    path, kind = node.path, type(layer)
    shape = graph.values[node.inputs[0]].shape if len(node.inputs) == 1 else ()
    units = made.get(node.inputs[0], [frozenset()] * shape[1]) if len(shape) > 1 else []
    depthwise = kind in CONVOLUTIONS and layer.groups == layer.in_channels == layer.out_channels > 1
    if units and kind in CONVOLUTIONS and layer.groups == 1:
        links.reads[path] = _alone(links, units)
        links.filters[path] = layer.out_channels
        made[node.outputs[0]] = [frozenset([(path, k)]) for k in range(layer.out_channels)]
    elif units and kind is nn.Linear and len(shape) == 2:
        links.reads[path] = _alone(links, units)
    elif units and (kind in NORMS or depthwise):
        links.follows[path] = _alone(links, units)
        made[node.outputs[0]] = units
    elif node.parameters or any(isinstance(constant, tuple) and constant for constant in node.constants):
        what = f"{node.module} ({node.path})" if node.path else node.operation
        for index in node.inputs:
            _fix(links, made.get(index, ()), f"{what} reads it with numbers of its own")
    else:
        made |= {index: _units(graph, index, links, made) for index in node.outputs}


def _units(graph: Graph, index: int, links: _Links, made: Mapping[int, Units]) -> Units:
    """Of which filters each unit along axis 1 of a value is made, from what it reads."""
    value = graph.values[index]
    if len(value.shape) < 2:
        for reading in value.readings:
            _fix(links, made.get(reading.source, ()), "an operation takes its channels together")
        return []
    units = []
    for unit in range(value.shape[1]):
        box = list(everything(value.shape))
        box[1] = Indices(unit, 1)
        owners: frozenset[Filter] = frozenset()
        for reading in value.readings:
            before = made.get(reading.source)
            for read in reading.back(tuple(box), graph.values[reading.source].shape) if before else ():
                owners = owners.union(*(before[channel] for channel in read[1])) if before else owners
        units.append(owners)
    return units


def _alone(links: _Links, units: Sequence[frozenset[Filter]]) -> list[Filter | None]:
    """The one filter that each unit is made of; those of which a unit has several are fixed."""
    _fix(links, [unit for unit in units if len(unit) > 1], "it is added to others, or mixed with them")
    return [next(iter(unit)) if len(unit) == 1 else None for unit in units]


def _fix(links: _Links, units: Sequence[frozenset[Filter]], why: str) -> None:
    for unit in units:
        for path, _ in unit:
            links.whole.setdefault(path, why)


def _without(model: nn.Module, links: _Links, kept: Kept, input: Inputs) -> nn.Module:
    smaller = copy.deepcopy(model)
    stays = {path: set(filters) for path, filters in kept.items()}

    def left(units: Sequence[Filter | None]) -> list[int]:
        return [i for i, unit in enumerate(units) if unit is None or unit[0] not in stays or unit[1] in stays[unit[0]]]

    with torch.no_grad():
        for path, units in links.reads.items():
            _cut(smaller.get_submodule(path), left(units), inputs=True)
        for path, units in links.follows.items():
            _cut(smaller.get_submodule(path), left(units))
        for path, filters in kept.items():
            _cut(smaller.get_submodule(path), list(filters))
    try:
        trace(smaller, input)
    except InputError as error:
        fix = "Its forward counts on the number of channels: it cannot be pruned by filters."
        raise InputError(
            "the smaller network does not run", where=type(model).__name__, got=str(error), fix=fix
        ) from None
    return smaller


def _cut(layer: nn.Module, left: list[int], *, inputs: bool = False) -> None:
    """Keep these channels of a layer: of its inputs, or of its outputs."""
    axis, index = int(inputs), torch.tensor(left)
    for name, weight in layer.named_parameters(recurse=False):
        if not (inputs and name == "bias"):
            part = weight.detach().index_select(axis, index.to(weight.device))
            layer.register_parameter(name, nn.Parameter(part, weight.requires_grad))
    for name, buffer in layer.named_buffers(recurse=False):
        if buffer.ndim:  # not the number of batches that a norm has seen
            layer.register_buffer(name, buffer.index_select(axis, index.to(buffer.device)))
    count = len(left)
    if isinstance(layer, NORMS):
        layer.num_features = count
    elif isinstance(layer, nn.Linear):
        layer.in_features = count
    elif isinstance(layer, CONVOLUTIONS):
        depthwise = layer.groups > 1
        if inputs or depthwise:
            layer.in_channels = count
        if not inputs:
            layer.out_channels = count
        layer.groups = count if depthwise else 1
