"""Bytes of activations, one item: all of them, and the most at one time when each is freed after its last use."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from striate.geometry.graph import Graph


@dataclass(frozen=True)
class Memory:
    """Bytes for one item of a batch; `parameters` and their gradients come on top once, whatever the batch.

    `inference`: the input and every activation kept. `inference_peak`: each freed after its last use.
    `training`: the same and a gradient for each. `training_peak`: only what autograd keeps for the backward pass, freed
    as that goes on, with the gradients alive at that time. `training_kept`: what autograd holds when it begins;
    not what it holds of tensors that are made of parameters alone (a normalized weight).
    The last three are None where the network could not be traced in training.
    """

    parameters: int
    inference: int
    inference_peak: int
    training: int | None = None
    training_peak: int | None = None
    training_kept: int | None = None


def memory(graph: Graph, training: Graph | None, batch: int) -> Memory:
    """The memory of a network traced in eval mode with one item, and in train mode with `batch` items."""
    parameters = sum(weight.bytes for weight in graph.weights.values())
    sizes = _sizes(graph)
    first = Memory(parameters, sum(sizes.values()), _inference_peak(graph, sizes))
    if training is None:
        return first
    sizes = _sizes(training)
    kept = {storage: size for node in training.nodes for storage, size in node.saved}
    return Memory(
        parameters,
        first.inference,
        first.inference_peak,
        2 * sum(sizes.values()) // batch,
        _training_peak(training, sizes, kept) // batch,
        sum(kept.values()) // batch,
    )


def _sizes(graph: Graph) -> dict[int, int]:
    return {value.storage: value.storage_bytes for value in graph.values if value.index in graph.read}


def _inference_peak(graph: Graph, sizes: dict[int, int]) -> int:
    live = {graph.values[index].storage for index in graph.inputs.values()}
    used = sum(sizes[storage] for storage in live)
    peak = used
    ends: dict[int, list[int]] = defaultdict(list)
    for storage, last in graph.last_use.items():
        ends[last].append(storage)
    for node in graph.nodes:
        for index in node.outputs:
            storage = graph.values[index].storage
            if storage in sizes and storage not in live:
                live.add(storage)
                used += sizes[storage]
        peak = max(peak, used)
        for storage in ends[node.index]:
            if storage in live:
                live.discard(storage)
                used -= sizes[storage]
    return peak


def _training_peak(graph: Graph, sizes: dict[int, int], kept: dict[int, int]) -> int:
    """Backwards through the nodes: what is still kept, the gradient that came and the ones that go out."""
    first = {storage: node.index for node in reversed(graph.nodes) for storage, _ in node.saved}
    dying: dict[int, list[int]] = defaultdict(list)
    for storage, index in first.items():
        dying[index].append(storage)
    inputs = {graph.values[index].storage for index in graph.inputs.values()}
    made = {value.storage: value.index for value in reversed(graph.values)}
    held, gradients = sum(kept.values()), {graph.values[i].storage for i in graph.outputs}
    peak = held + sum(sizes[s] for s in gradients)
    for node in reversed(graph.nodes):
        incoming = {graph.values[i].storage for i in node.inputs} - inputs
        gradients |= incoming
        peak = max(peak, held + sum(sizes[s] for s in gradients))
        # The gradient of an activation goes when the operation that made it has used it.
        gradients -= {graph.values[i].storage for i in node.outputs if made[graph.values[i].storage] == i} - incoming
        held -= sum(kept[storage] for storage in dying[node.index])
    return peak
