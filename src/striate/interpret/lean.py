"""A network made lean for many runs: batch norms inside the convolutions before them, as many items as are fastest."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from striate.errors import InputError
from striate.geometry.graph import Graph, Node
from striate.geometry.state import preserved
from striate.geometry.trace import trace
from striate.shapes import Tensor

FEW = 8  # runs of one item: with less, tracing takes longer than it saves
ROWS = 16  # items at a time in a network that is not traced
MOST = 256  # items at a time: more are no faster
TOTAL = 1 << 33  # bytes of all values together, most of which a run forward and back keeps
BYTES = 1 << 26  # of the largest value: what is larger is mapped and zeroed anew each time (see acceleration/pages.py)
# From 16 items on oneDNN takes faster kernels for 1x1 convolutions (ResNet-50 forward and back: 1.4 times); what is
# split evenly into parts of at most 31 has no part with less.
FAST = 16
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
EXACT = (torch.float32, torch.float64)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def traced(model: nn.Module, x: Tensor, runs: int) -> Graph | None:
    """What `lean` wants to know; None where `runs` of one item do not pay for it, or the network cannot be traced."""
    try:
        return trace(model, x[:1]) if runs >= FEW else None
    except InputError:
        return None


@contextlib.contextmanager
def lean(model: nn.Module, graph: Graph | None, layer: str = "") -> Iterator[int]:
    """While it lasts, batch norms are inside their convolutions; yields how many items to run at a time.

    Outputs and derivatives are the same to rounding, also those of `layer`. The network is in eval mode, and is as
    before afterwards; without a graph it is left alone.
    """
    if graph is None:
        yield ROWS
        return
    with norms_inside(model, graph, layer):
        yield rows_of(graph)


def laid_out(values: Tensor) -> Tensor:
    """Images with their channels innermost: convolutions are as fast or faster, what is between them is faster."""
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values.contiguous()


def rows_of(graph: Graph) -> int:
    """How many items to run at a time."""
    largest = max(torch.Size(value.shape).numel() * value.dtype.itemsize for value in graph.values)
    rows = min(MOST, BYTES // largest)
    rows = rows if rows < FAST else max(rows, 2 * FAST - 1)
    total = sum({value.storage: value.storage_bytes for value in graph.values}.values())
    return max(1, min(rows, TOTAL // total))


def parts(total: int, size: int) -> Iterator[slice]:
    """As few parts of at most `size` as there can be, none much smaller than the others."""
    count = -(-total // max(1, size))
    return (slice(total * part // count, total * (part + 1) // count) for part in range(count))


@contextlib.contextmanager
def norms_inside(model: nn.Module, graph: Graph, layer: str = "") -> Iterator[None]:
    """Convolutions with the batch norms that alone read them: s (w * x + b) + t as (s w) * x + (s b + t).

    What `layer` returns stays what it was.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    with preserved(model):
        for convolution, norm in _pairs(modules, graph, layer):
            own, read = modules[convolution], modules[norm]
            stored = (read.running_mean, read.running_var, read.eps, read.weight, read.bias)
            own.weight, own.bias = fuse_conv_bn_weights(own.weight, own.bias, *stored)
            read.forward = _as_it_is
        yield


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _pairs(modules: dict[str, nn.Module], graph: Graph, layer: str) -> list[tuple[str, str]]:
    """Paths of convolutions and of the batch norms, with stored statistics, that alone read them.

    Both are modules of torch itself, called once in all; nothing else reads their parameters; there are no hooks. (A
    network whose forward writes its own weights is not seen here.)
    """
    if (layer and layer not in graph.modules) or any(map(_hooked, modules.values())):
        return []
    read = Counter(name for node in graph.nodes for name in node.parameters)
    readers = Counter(index for node in graph.nodes for index in node.inputs)
    kept = {*graph.outputs, graph.modules.get(layer), *graph.calls.get(layer, ())}
    made = {index: node for node in graph.nodes for index in node.outputs}

    def plain(node: Node, kinds: tuple[type[nn.Module], ...]) -> bool:
        """Whether a module of torch itself ran, in its one call, and nothing else reads its parameters."""
        module = modules[node.path]
        own = type(module) in kinds and "forward" not in vars(module)
        return own and len(graph.calls.get(node.path, ())) == 1 and all(read[name] == 1 for name in node.parameters)

    found = []
    for node in graph.nodes:
        source = made.get(node.inputs[0]) if node.operation == "batch_norm" else None
        if source is None or source.kind != "convolution":
            continue
        value = graph.values[source.outputs[0]]
        # Statistics of the batch itself take three passes.
        stored = bool(node.parameters) and node.counts.norm == torch.Size(value.shape).numel()
        alone = readers[value.index] == 1 and value.index not in kept and value.dtype in EXACT
        if stored and alone and plain(source, CONVOLUTIONS) and plain(node, NORMS):
            found.append((source.path, node.path))
    return found


def _hooked(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(map(bool, hooks))
