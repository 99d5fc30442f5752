"""A network along time: nodes that are computed once a step, and signals that read them moved by some steps.

Index o of a signal is index o + shift of its node; for T steps of input it has T + extra of them. What lies outside
the node reads as `fill`. So padding and cropping cost nothing; convolutions, pooling and the rest make nodes.

    delay of a node      = max over its reads (delay of what is read + offset): index o is known at step o + delay
    lag of a read        = delay of the reader - delay of what is read - offset, in steps, never negative
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch.nn.functional as F

from striate.shapes import Tensor


@dataclass(eq=False)
class Node:
    """Rows of numbers, one column a step, made at the layer `path` by `operation`; T + extra of them in all."""

    path: str
    operation: str
    rows: int
    extra: int
    reads: list[Read] = field(default_factory=list)
    fill: float | None = None  # what those who look beyond its ends read there
    delay: int = 0

    def settle(self) -> None:
        """Find the delay, once those of all that is read are known. A node that is shorter than its input waits until
        it is known that there is one more."""
        self.delay = max([-self.extra, *(read.node.delay + read.offset for read in self.reads)])

    def lag(self, read: Read) -> int:
        """How many steps ago that was computed."""
        return self.delay - read.node.delay - read.offset


@dataclass(frozen=True)
class Read:
    """Rows first … last - 1 of a node, `offset` steps after the reader's own index."""

    node: Node
    offset: int
    first: int
    last: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.last - self.first

    @property
    def whole(self) -> bool:
        """Whether that is all of the node."""
        return self.rows == self.node.rows


class Source(Node):
    """An input; its operation is the name."""


@dataclass(eq=False)
class Affine(Node):
    """Sum of the reads, each times its weight, plus a bias, (rows) or, another for each stream, (n, rows).

    A weight is a matrix (rows read, rows), a number for each row, or None for 1.
    """

    weights: list[Tensor | None] = field(default_factory=list)
    bias: Tensor | None = None
    lacks: Tensor | None = None  # a bias that those who read the node add instead of it


@dataclass(eq=False)
class Taps(Node):
    """A function of the reads stacked, (reads, n, rows read) -> (n, rows): pooling, and convolutions in groups."""

    function: Callable[[Tensor], Tensor] = lambda taps: taps[0]


class Slot(int):
    """Stands for the read of this number among the arguments of a call."""


@dataclass(eq=False)
class Local(Node):
    """One of torch's operations on one step at a time, each read in its layout (letters, features), and the result's.

    `pointwise`: the layouts agree, so that the rows may be passed as they lie.
    """

    function: Any = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    layouts: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    result: str = ""
    pointwise: bool = False

    def call(self, *reads: Tensor) -> Any:
        """The function on these."""
        args = [reads[arg] if isinstance(arg, Slot) else arg for arg in self.args]
        kwargs = {key: reads[arg] if isinstance(arg, Slot) else arg for key, arg in self.kwargs.items()}
        return self.function(*args, **kwargs)


@dataclass(eq=False)
class Joined(Node):
    """The reads one below the other."""


@dataclass(frozen=True)
class Signal:
    """A tensor of the network. `layout` has a letter an axis: b batch, t time, m both merged, f features."""

    node: Node
    layout: str
    shape: tuple[int, ...]  # of the features, in order
    shift: int = 0
    extra: int = 0
    fill: float | None = None
    first: int = 0

    @property
    def rows(self) -> int:
        """Product of the features."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    def read(self, offset: int = 0) -> Read:
        """The signal's own index, moved by `offset`."""
        node = self.node if self.fill is None else filled(self.node, self.fill)
        return Read(node, self.shift + offset, self.first, self.first + self.rows)

    def padded(self, before: int, behind: int, value: float) -> Signal:
        """That many more at either end (fewer where negative), of this value."""
        signal = self
        cropped = (before > 0 and self.shift > 0) or (behind > 0 and self.shift + self.extra < self.node.extra)
        adds = before > 0 or behind > 0
        if adds and (cropped or (self.fill is not None and self.fill != value)):
            signal = self.settled()
        return replace(
            signal,
            shift=signal.shift - before,
            extra=signal.extra + before + behind,
            fill=value if adds else signal.fill,
        )

    def settled(self) -> Signal:
        """The same as a node of its own, neither moved nor padded."""
        node = copied(self.read(), self.extra)
        return Signal(node, self.layout, self.shape, extra=self.extra)


def grouped(weight: Tensor, bias: Tensor | None, groups: int, taps: Tensor) -> Tensor:
    """A convolution in groups of one window, taps (k, n, c)."""
    return F.conv1d(taps.permute(1, 2, 0), weight, bias, groups=groups)[:, :, 0]


def copied(read: Read, extra: int) -> Affine:
    """What is read, once more."""
    node = Affine(read.node.path, "copy", read.rows, extra, [read], weights=[None])
    node.settle()
    return node


def filled(node: Node, value: float) -> Node:
    """The node, or where it is padded by another value already, a copy."""
    if node.fill is not None and node.fill != value:
        node = copied(Read(node, 0, 0, node.rows), node.extra)
    node.fill = value
    return node


def ordered(last: Node) -> list[Node]:
    """All that the last node depends on, each after what it reads."""
    found: dict[int, Node] = {}
    waiting: list[tuple[Node, bool]] = [(last, False)]
    while waiting:
        node, done = waiting.pop()
        if done:
            found.setdefault(id(node), node)
        elif id(node) not in found:
            waiting.append((node, True))
            waiting += [(read.node, False) for read in reversed(node.reads)]
    return list(found.values())


def readers(nodes: Sequence[Node]) -> dict[int, list[tuple[Node, int]]]:
    """Who reads each node, and with which of his reads."""
    found: dict[int, list[tuple[Node, int]]] = {id(node): [] for node in nodes}
    for node in nodes:
        for number, read in enumerate(node.reads):
            found[id(read.node)].append((node, number))
    return found
