"""One step of a network as a fixed list of calls on fixed memory: nothing is allocated, no shape is looked at.

Before a step the rings give what earlier steps left, for all layers at once; what depends on that alone is computed
in a few large products; then layer by layer what depends on the step itself; then the rings take it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from striate.locality.stream.fusion import fused
from striate.locality.stream.layout import flat, laid
from striate.locality.stream.signals import Affine, Joined, Local, Node, Read, Slot, Source, Taps
from striate.shapes import Tensor

Work = Callable[[], Any]
# What writes into given memory under another name, or faster.
WRITERS = {"relu": partial(torch.clamp_min, min=0)}


class Program:
    """The calls of one step of `streams` streams, whose result is that of the last node; `delay` is its delay.

    `inputs` are the memories of the inputs by name, (n, c); `result` that of the result, (n, rows).
    """

    def __init__(self, last: Node, streams: int, like: Tensor) -> None:
        self.nodes = fused(last)
        self.last, self.streams, self.like, self.delay = last, streams, like, last.delay
        self.memory: dict[int, Tensor] = {}  # of each node: (n, rows)
        self.before: list[Work] = []
        self.parts: list[tuple[Node, list[Work], list[Work]]] = []
        self.after: list[Work] = []
        self.wide: dict[int, tuple[list[int], Tensor]] = {}  # affine nodes: reads that lie side by side, and where
        self.batches = self.found_batches()
        self.rings = Rings(self.nodes, self.batches, streams, like)
        self.before += self.rings.reading
        self.place()
        for node in self.nodes:
            kept = self.rings.now.get(id(node))
            copies = kept is not None and kept.data_ptr() != self.memory[id(node)].data_ptr()
            keep: list[Work] = [partial(kept.copy_, self.memory[id(node)])] if kept is not None and copies else []
            self.parts.append((node, self.computed(node), keep))
        self.after += self.rings.writing
        work = [*self.before, *(w for _, compute, keep in self.parts for w in (*compute, *keep)), *self.after]
        self.calls: tuple[Work, ...] = tuple(work)
        self.inputs = {node.operation: self.memory[id(node)] for node in self.nodes if isinstance(node, Source)}
        self.result = self.memory[id(last)]
        # The first step that has work, and the first from which all that is looked at is there.
        self.begins = min(0, *(node.delay for node in self.nodes))
        self.settled = max((node.delay for node in self.nodes if node.fill is not None), default=0)

    def run(self) -> None:
        """A step in the midst of the signal."""
        for call in self.calls:
            call()

    def run_at(self, step: int, total: float = math.inf) -> None:
        """A step at a border: a node that is not there yet, or no more, is what it is padded with."""
        for call in self.before:
            call()
        for node, compute, keep in self.parts:
            for call in compute:
                call()
            if node.fill is not None and not 0 <= step - node.delay < total + node.extra:
                self.memory[id(node)].copy_(fill(node))
            for call in keep:
                call()
        for call in self.after:
            call()

    def zeros(self, *shape: int) -> Tensor:
        """Memory like the network's."""
        return self.like.new_zeros(shape)

    # Where things lie

    def found_batches(self) -> list[list[Affine]]:
        """Affine nodes whose products with earlier steps have the same form: one product for all of them."""
        alike: dict[tuple[int, ...], list[Affine]] = {}
        for node in self.nodes:
            if isinstance(node, Affine) and (past := past_products(node)):
                widths = {node.reads[number].rows for number in past}
                if len(widths) == 1 and all(node.reads[number].whole for number in past):
                    alike.setdefault((widths.pop(), len(past), node.rows), []).append(node)
        return list(alike.values())

    def place(self) -> None:
        """Give each node its memory: in a batch, in a ring's new slot, beside others that are summed, or its own."""
        for batch in self.batches:
            self.place_batch(batch)
        for node in self.nodes:
            if id(node) in self.rings.now:
                self.memory.setdefault(id(node), self.rings.now[id(node)])
        for node in self.nodes:
            if isinstance(node, Affine):
                self.place_side_by_side(node)
        for node in self.nodes:
            self.memory.setdefault(id(node), self.zeros(self.streams, node.rows))

    def place_batch(self, batch: Sequence[Affine]) -> None:
        """Memory for all of them; before each step it is filled with the bias and the products with earlier steps."""
        first = past_products(batch[0])
        out = self.zeros(len(batch), self.streams, batch[0].rows)
        own = [node.bias if node.bias is not None else self.zeros(node.rows) for node in batch]
        bias = torch.stack([b.expand(self.streams, -1) for b in own]).contiguous()
        past = self.rings.past_of(batch).view(len(batch), len(first), self.streams, -1)
        into: Tensor = bias
        for tap in range(len(first)):
            chosen = [node.weights[past_products(node)[tap]] for node in batch]
            weights = torch.stack([weight for weight in chosen if weight is not None])
            self.before.append(partial(torch.baddbmm, into, past[:, tap], weights, out=out))
            into = out
        self.memory |= {id(node): out[number] for number, node in enumerate(batch)}

    def place_side_by_side(self, node: Affine) -> None:
        """What is multiplied and summed up, in one piece of memory, so that one product does it."""
        fresh: dict[int, int] = {}  # node -> number of the read
        for number in now_products(node):
            read = node.reads[number]
            if read.whole and id(read.node) not in self.memory:
                fresh.setdefault(id(read.node), number)
        if len(fresh) > 1:
            numbers = list(fresh.values())
            together = self.zeros(self.streams, sum(node.reads[number].rows for number in numbers))
            parts = torch.split(together, [node.reads[number].rows for number in numbers], 1)
            self.memory |= dict(zip(fresh, parts, strict=True))
            self.wide[id(node)] = (numbers, together)

    def view(self, reader: Node, read: Read) -> Tensor:
        """Where the numbers lie that are read."""
        lag = reader.lag(read)
        rows = self.rings.past[(id(read.node), lag)] if lag else self.memory[id(read.node)]
        return rows[:, read.first : read.last]

    # What is done

    def computed(self, node: Node) -> list[Work]:
        """The calls that compute a node."""
        out, views = self.memory[id(node)], [self.view(node, read) for read in node.reads]
        if isinstance(node, Affine):
            return self.summed(node, out, views)
        if isinstance(node, Joined):
            parts = torch.split(out, [view.shape[1] for view in views], 1)
            return [partial(part.copy_, view) for part, view in zip(parts, views, strict=True)]
        if isinstance(node, Taps):
            stack, function = self.zeros(len(views), *views[0].shape), node.function
            return [partial(torch.stack, views, out=stack), lambda: out.copy_(function(stack))]
        if isinstance(node, Local):
            if node.pointwise and (call := writer(node, views, out)) is not None:
                return [call]
            shaped = [laid(view, *layout) for view, layout in zip(views, node.layouts, strict=True)]
            return [lambda: out.copy_(flat(node.call(*shaped), node.result))]
        return []  # an input

    def summed(self, node: Affine, out: Tensor, views: list[Tensor]) -> list[Work]:
        """An affine node: products first, the first of them on top of the bias or of something that is added."""
        batched = any(node is other for batch in self.batches for other in batch)
        done = set(past_products(node)) if batched else set()
        products: list[tuple[Tensor, Tensor]] = []
        if id(node) in self.wide:
            numbers, together = self.wide[id(node)]
            chosen = [node.weights[number] for number in numbers]
            products.append((together, torch.cat([weight for weight in chosen if weight is not None])))
            done |= set(numbers)
        rest = [(v, w) for k, (v, w) in enumerate(zip(views, node.weights, strict=True)) if k not in done]
        products += [(view, weight) for view, weight in rest if weight is not None and weight.dim() == 2]
        scaled = [(view, weight) for view, weight in rest if weight is not None and weight.dim() == 1]
        added = [view for view, weight in rest if weight is None]
        if batched:
            begun = out
        elif node.bias is None and added:
            begun = added.pop(0)
        else:
            bias = self.zeros(node.rows) if node.bias is None else node.bias
            begun = bias.expand(self.streams, -1).contiguous()
        calls: list[Work] = []
        for view, weight in products:
            calls.append(partial(torch.addmm, begun, view, weight, out=out))
            begun = out
        for view, weight in scaled:
            calls.append(partial(torch.addcmul, begun, view, weight, out=out))
            begun = out
        for view in added:
            calls.append(partial(torch.add, begun, view, out=out))
            begun = out
        return calls if begun is out else [partial(out.copy_, begun)]


class Rings:
    """What nodes were in the last steps: a ring of slots for each, those of nodes with as many rows in one memory.

    `past` has, for a node and a lag, where that lies during a step, and `now` where a node's new rows are taken from.
    """

    def __init__(self, nodes: Sequence[Node], batches: Sequence[Sequence[Affine]], streams: int, like: Tensor) -> None:
        self.past: dict[tuple[int, int], Tensor] = {}
        self.now: dict[int, Tensor] = {}
        self.batch_past: dict[int, Tensor] = {}
        self.reading: list[Work] = []
        self.writing: list[Work] = []
        self.slots: list[tuple[Tensor, list[tuple[Node, int]]]] = []
        self.lags: list[int] = []
        self.sizes: list[int] = []
        self.bases: list[int] = []
        depth: dict[int, int] = {}
        for node in nodes:
            for read in node.reads:
                depth[id(read.node)] = max(depth.get(id(read.node), 0), node.lag(read))
        kept = [node for node in nodes if depth.get(id(node), 0)]
        widths = list(dict.fromkeys(node.rows for node in kept))
        pieces = [
            self.wired([n for n in kept if n.rows == rows], depth, nodes, batches, (streams, rows), like)
            for rows in widths
        ]
        self.built(pieces, like)

    def wired(
        self,
        kept: list[Node],
        depth: dict[int, int],
        nodes: Sequence[Node],
        batches: Sequence[Sequence[Affine]],
        shape: tuple[int, int],
        like: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The memory of the rings, of what is read and of what is written, for nodes of one width."""
        bases = {}
        total = 0
        for node in kept:
            bases[id(node)] = total
            total += depth[id(node)]
        entries: list[tuple[Node, int]] = []
        spans = []
        for number, batch in enumerate(batches):
            reads = [(node, node.reads[k]) for node in batch for k in past_products(node)]
            if reads[0][1].node.rows == shape[1]:
                spans.append((number, len(entries), len(entries) + len(reads)))
                entries += [(read.node, node.lag(read)) for node, read in reads]
        own = [(read.node, lag) for node in nodes for read in node.reads if (lag := node.lag(read))]
        entries += [entry for entry in dict.fromkeys(own) if id(entry[0]) in bases and entry not in entries]
        ring, past = like.new_zeros(total, *shape), like.new_zeros(len(entries), *shape)
        now = like.new_zeros(len(kept), *shape)
        self.past |= {(id(node), lag): past[k] for k, (node, lag) in enumerate(entries)}
        self.now |= {id(node): now[k] for k, node in enumerate(kept)}
        self.batch_past |= {id(batches[number][0]): past[first:last] for number, first, last in spans}
        self.slots.append((ring, [(node, depth[id(node)]) for node in kept]))
        for node, lag in (*entries, *((node, 0) for node in kept)):
            self.lags.append(lag)
            self.sizes.append(depth[id(node)])
            self.bases.append(bases[id(node)])
        return ring, past, now

    def built(self, pieces: list[tuple[Tensor, Tensor, Tensor]], like: Tensor) -> None:
        """One index for all: (step - lag) modulo the ring's size, and the ring's first slot."""
        lags, sizes, bases = (
            torch.tensor(n, dtype=torch.long, device=like.device) for n in (self.lags, self.sizes, self.bases)
        )
        self.first, self.phase = -lags, -lags
        index = torch.zeros_like(lags)
        if not pieces:
            return
        self.reading += [partial(torch.remainder, self.phase, sizes, out=index), partial(index.add_, bases)]
        begin = 0
        for ring, past, now in pieces:
            middle, end = begin + len(past), begin + len(past) + len(now)
            self.reading.append(partial(torch.index_select, ring, 0, index[begin:middle], out=past))
            self.writing.append(partial(ring.index_copy_, 0, index[middle:end], now))
            begin = end
        self.writing.append(partial(self.phase.add_, 1))

    def past_of(self, batch: Sequence[Affine]) -> Tensor:
        """(nodes of the batch times their reads, n, rows)."""
        return self.batch_past[id(batch[0])]

    def reset(self, step: int) -> None:
        """As before the first step, which is this one: all slots hold the padding."""
        self.phase.copy_(self.first + step)
        for ring, kept in self.slots:
            begin = 0
            for node, depth in kept:
                ring[begin : begin + depth] = fill(node)
                begin += depth


def past_products(node: Affine) -> list[int]:
    """Which reads meet a matrix and were known before this step."""
    pairs = zip(node.reads, node.weights, strict=True)
    return [k for k, (read, w) in enumerate(pairs) if w is not None and w.dim() == 2 and node.lag(read)]


def now_products(node: Affine) -> list[int]:
    """Which reads meet a matrix in this step."""
    pairs = zip(node.reads, node.weights, strict=True)
    return [k for k, (read, w) in enumerate(pairs) if w is not None and w.dim() == 2 and not node.lag(read)]


def fill(node: Node) -> Any:
    """What lies outside a node: a number, or a row of them where its bias is added later."""
    value = node.fill or 0.0
    return value - node.lacks if isinstance(node, Affine) and node.lacks is not None else value


def writer(node: Local, views: list[Tensor], out: Tensor) -> Work | None:
    """A pointwise operation as a call that writes into `out`, where torch has one."""
    name = node.function._schema.name.removeprefix("aten::")
    packet = getattr(torch.ops.aten, name)
    homes = [
        WRITERS.get(name),
        getattr(torch, name, None),
        getattr(torch._C._nn, name, None),
        getattr(packet, "out", None),
    ]
    for function in homes:
        if function is not None:
            call = partial(
                function, *[views[a] if isinstance(a, Slot) else a for a in node.args], **node.kwargs, out=out
            )
            try:
                call()
            except (TypeError, RuntimeError):
                continue
            return call
    return None
