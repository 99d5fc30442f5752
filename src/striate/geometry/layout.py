"""Where the boxes and lines of a drawn network lie: ranks by longest path, folded into columns like a snake.

Inches, y down. Columns run down and up in turn, so that a network with a way down and a way up (a U-Net) lies as a
U. A line leaves a box at the middle of its far side, runs only in the gaps between ranks and on tracks beside the
boxes, and so crosses no box.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from striate.geometry.reading import Shape

if TYPE_CHECKING:
    from striate.geometry.report import Layer, Report

BOX = 2.4  # width of a box
GAP = 0.46  # between ranks
LABEL = 0.085  # from a rank to the middle of the label on the lines that leave it
EXIT, ENTRY = 0.23, 0.1  # from a rank to the lines that leave it sideways; from lines that come sideways to their rank
LANE = BOX + 0.3
TRACK, SIDE = 0.13, 0.2  # between neighboring lines; between a box and a line beside it
PORT = 0.24  # between the ends of lines at one box
ASPECT = 1.25  # width by height that is aimed at

Point = tuple[float, float]
Edge = tuple[int, int]


@dataclass(frozen=True)
class Block:
    """What one box stands for: an input or an output of the network (`name`), or operations (`rows` of the report).

    `sources` are the blocks that it reads, `shapes` those of the values that others read of it.
    """

    name: str
    rows: tuple[int, ...]
    sources: tuple[int, ...]
    shapes: tuple[Shape, ...]


def blocks(report: Report) -> list[Block]:
    """The boxes of a drawing: inputs, operations in the order of execution, outputs.

    Norms, activations and arithmetic on one value alone share the box of the operation that they follow, and views that
    of the view before, unless another operation reads what is between, too. What only hands on a value has no box.
    """
    graph, layers = report.graph, report.layers
    reads, ends = _reads(report)
    readers = Counter(r for sources in (*reads.values(), *ends) for r in sources)

    def follows(row: int, sources: list[int]) -> bool:
        """Whether an operation shares the box of the one before."""
        if len(sources) != 1 or sources[0] < 0 or readers[sources[0]] > 1:
            return False
        own, before = layers[row], layers[sources[0]]
        if _is_view(before):
            return _is_view(own)
        return own.kind in ("norm", "activation", "elementwise") and before.shape == own.shape

    found = [Block(name, (), (), (shape[1:],)) for name, shape in report.inputs.items()]
    block = {-1 - number: number for number in range(len(found))}
    for row, sources in reads.items():
        read = [graph.values[i].shape[1:] for i in graph.nodes[row].outputs if i in graph.read]
        shapes = tuple(dict.fromkeys(read)) or (layers[row].shape,)
        if follows(row, sources):
            block[row] = block[sources[0]]
            before = found[block[row]]
            found[block[row]] = replace(before, rows=(*before.rows, row), shapes=shapes)
        else:
            block[row] = len(found)
            found.append(Block("", (row,), tuple(dict.fromkeys(block[r] for r in sources)), shapes))
    for number, sources in enumerate(ends):
        name = "output" if len(ends) == 1 else f"output {number}"
        found.append(Block(name, (), tuple(dict.fromkeys(block[r] for r in sources)), ()))
    return found


def _is_view(layer: Layer) -> bool:
    return layer.kind == "shape" and not layer.activation_bytes


def _reads(report: Report) -> tuple[dict[int, list[int]], list[list[int]]]:
    """The rows that each row reads, and those that the network returns; -1 - i is input i. Views of the same shape are
    left out: what reads them reads their source."""
    graph = report.graph
    made = {value: row for row, node in enumerate(graph.nodes) for value in node.outputs}
    made |= {value: -1 - number for number, value in enumerate(graph.inputs.values())}
    shapes = {-1 - number: shape[1:] for number, shape in enumerate(report.inputs.values())}
    handed_on: dict[int, int] = {}

    def rows(value: int) -> set[int]:
        """Those that a value comes from: several where it was written part by part."""
        if value in made:
            return {handed_on.get(made[value], made[value])}
        return set().union(*(rows(reading.source) for reading in graph.values[value].readings))

    reads: dict[int, list[int]] = {}
    for row, (node, layer) in enumerate(zip(graph.nodes, report.layers, strict=True)):
        shapes[row] = layer.shape
        sources = sorted(set().union(*map(rows, node.inputs)))
        if _is_view(layer) and [shapes[r] for r in sources] == [layer.shape]:
            handed_on[row] = sources[0]
        else:
            reads[row] = sources
    return reads, [sorted(rows(value)) for value in graph.outputs]


@dataclass(frozen=True)
class Layout:
    """Top left corners of the boxes, middles of their labels, and the corners of the line of each edge."""

    boxes: tuple[Point, ...]
    labels: tuple[Point, ...]
    lines: dict[Edge, tuple[Point, ...]]
    width: float
    height: float


def lay_out(heights: Sequence[float], edges: Iterable[Edge]) -> Layout:
    """Boxes of these heights, in an order in which each edge (from, to) points ahead."""
    return _Router(list(heights), sorted(set(edges), key=lambda edge: edge[::-1])).layout()


def ranks(count: int, edges: Sequence[Edge]) -> list[int]:
    """The longest path from a start to each box; a start itself stands right before the first that it leads to."""
    rank = [0] * count
    for a, b in edges:
        rank[b] = max(rank[b], rank[a] + 1)
    for start in set(range(count)) - {b for _, b in edges}:
        rank[start] = max(min((rank[b] for a, b in edges if a == start), default=1) - 1, 0)
    return rank


def lanes(rank: Sequence[int], edges: Sequence[Edge]) -> list[int]:
    """Places beside each other in a rank: a box stays in the lane that it comes from, the longest way comes first."""
    before: dict[int, list[int]] = defaultdict(list)
    ahead = [0] * len(rank)
    for a, b in edges:
        before[b].append(a)
    for a, b in sorted(edges, reverse=True):
        ahead[a] = max(ahead[a], ahead[b] + 1)
    lane = [0] * len(rank)
    taken: set[tuple[int, int]] = set()

    def order(box: int) -> tuple[int, int, bool, int]:
        wanted = min((lane[a] for a in before[box]), default=0)
        return rank[box], wanted, not before[box], -ahead[box]

    for level in sorted(set(rank)):
        for box in sorted((b for b, r in enumerate(rank) if r == level), key=order):
            lane[box] = order(box)[1]
            while (level, lane[box]) in taken:
                lane[box] += 1
            taken.add((level, lane[box]))
    return lane


@dataclass(frozen=True)
class Folding:
    """Column and top of each rank, from its height and the lanes that it takes."""

    heights: tuple[float, ...]
    lanes: tuple[int, ...]
    first: int  # ranks in the first column
    later: int  # in the others

    @cached_property
    def column(self) -> list[int]:
        """Column of each rank."""
        return [0 if r < self.first else 1 + (r - self.first) // self.later for r in range(len(self.heights))]

    @cached_property
    def top(self) -> list[float]:
        """Upper side of each rank; the ranks on both sides of a fold are level."""
        top = [0.0]
        for r in range(1, len(self.heights)):
            height, upper, down = self.heights[r], self.heights[r - 1], self.column[r] % 2 == 0
            if self.column[r] == self.column[r - 1]:
                top.append(top[-1] + upper + GAP if down else top[-1] - GAP - height)
            else:
                top.append(top[-1] if down else top[-1] + upper - height)
        return [y - min(top) for y in top]

    def cost(self, skips: Sequence[Edge]) -> float:
        """How far from the shape that is aimed at, how many folds, and how far lines must go to other columns."""
        height = max(y + h for y, h in zip(self.top, self.heights, strict=True)) + GAP
        wide: dict[int, int] = {}
        for column, lanes in zip(self.column, self.lanes, strict=True):
            wide[column] = max(wide.get(column, 0), lanes)
        aside = 0.0
        for a, b in skips:
            columns = self.column[b] - self.column[a]
            aside += 0.5 * abs(self.top[b] - self.top[a]) + 2 * columns - 1.45 if columns else 0
        shape = sum(lanes * LANE + SIDE for lanes in wide.values()) / height
        return (
            abs(math.log(shape / ASPECT))
            + 0.1 * len(wide)
            + 0.03 * abs(self.first - self.later)
            + aside / max(len(skips), 1)
        )


def fold(heights: Sequence[float], lanes: Sequence[int], skips: Sequence[Edge]) -> Folding:
    """The best way to fold ranks into columns; `skips` are the edges between ranks that pass others."""
    n = len(heights)
    choices = [(n, 1)]
    for columns in range(2, 3 + math.isqrt(n)):
        firsts = range(max(1, round(0.7 * n / columns)), min(n - 1, round(1.3 * n / columns)) + 1)
        choices += [(first, math.ceil((n - first) / (columns - 1))) for first in firsts]
    foldings = (Folding(tuple(heights), tuple(lanes), first, later) for first, later in dict.fromkeys(choices))
    return min(foldings, key=lambda folding: folding.cost(skips))


@dataclass
class _Router:
    heights: list[float]
    edges: list[Edge]
    tracks: dict[tuple[int, int], float] = field(default_factory=dict)  # (box, column or gutter) -> x of its line there

    def __post_init__(self) -> None:
        self.rank = ranks(len(self.heights), self.edges)
        self.lane = lanes(self.rank, self.edges)
        levels = range(max(self.rank) + 1)
        members = [[box for box, rank in enumerate(self.rank) if rank == level] for level in levels]
        self.tall = [max(self.heights[box] for box in level) for level in members]
        skips = [(self.rank[a], self.rank[b]) for a, b in self.edges if self.rank[b] > self.rank[a] + 1]
        self.folding = fold(self.tall, [max(self.lane[box] for box in level) + 1 for level in members], skips)
        self.column = [self.folding.column[r] for r in self.rank]
        self.down = [1 if column % 2 == 0 else -1 for column in self.column]

    def layout(self) -> Layout:
        """Beside the boxes of a column first, then between columns, then each line."""
        inner = self.beside()
        between, above = self.between()
        left, x = [], 0.0
        for column in range(max(self.column) + 1):
            left.append(x)
            own = [lane for lane, c in zip(self.lane, self.column, strict=True) if c == column]
            x += max([max(own) * LANE + BOX, *(at for (_, c), at in inner.items() if c == column)]) + SIDE
            slots = [slot for (_, c), slot in between.items() if c == column]
            self.tracks |= {(box, -1 - c): x + TRACK * slot for (box, c), slot in between.items() if c == column}
            x += TRACK * max(slots, default=0) + SIDE
        self.tracks |= {(box, c): left[c] + at for (box, c), at in inner.items()}
        self.middle = [left[c] + lane * LANE + BOX / 2 for c, lane in zip(self.column, self.lane, strict=True)]
        ports = self.ports()
        lines = {edge: simple(self.line(*edge, ports[edge], above)) for edge in self.edges}
        boxes = [(x - BOX / 2, self.upper(box)) for box, x in enumerate(self.middle)]
        labels = [(x, self.side(box, 1) + self.down[box] * LABEL) for box, x in enumerate(self.middle)]
        return _moved(boxes, labels, lines, self.heights)

    def upper(self, box: int) -> float:
        """Top of a box, which stands in the middle of its rank."""
        return self.folding.top[self.rank[box]] + (self.tall[self.rank[box]] - self.heights[box]) / 2

    def side(self, box: int, end: int) -> float:
        """The side of its rank at which a box is entered (-1) or left (1)."""
        return self.folding.top[self.rank[box]] + (self.tall[self.rank[box]] if end * self.down[box] > 0 else 0)

    def leaves(self, box: int) -> float:
        """Where lines that leave a box turn sideways."""
        return self.side(box, 1) + self.down[box] * (EXIT + 0.04 * min(self.lane[box], 3))

    def enters(self, box: int, source: int) -> float:
        """Where a line to a box turns towards it: straight across from the other column where nothing is between."""
        across = self.leaves(source)
        if (
            self.column[box] == self.column[source] + 1
            and ENTRY / 2 < (self.side(box, -1) - across) * self.down[box] < GAP - 2 * LABEL
        ):
            return across
        return self.side(box, -1) - self.down[box] * (ENTRY + 0.04 * min(self.lane[box], 2))

    def long(self, a: int, b: int) -> bool:
        """Whether an edge within a column passes ranks."""
        return self.column[a] == self.column[b] and self.rank[b] > self.rank[a] + 1

    def beside(self) -> dict[tuple[int, int], float]:
        """For each box with long edges within its column, the x of their common track, from the column's left."""
        ends: dict[int, int] = {}
        for a, b in self.edges:
            if self.long(a, b):
                ends[a] = max(ends.get(a, 0), self.rank[b])
        found: dict[int, float] = {}
        for a in sorted(ends, key=lambda box: ends[box] - self.rank[box]):
            passed = {self.lane[b] for b, r in enumerate(self.rank) if self.rank[a] < r < ends[a]}
            x = max(passed) * LANE + BOX + SIDE
            if self.lane[a] not in passed:
                x = self.lane[a] * LANE + BOX / 2
            others = [
                o
                for o in found
                if self.column[o] == self.column[a] and max(self.rank[o], self.rank[a]) < min(ends[o], ends[a])
            ]
            while any(abs(x - found[o]) < 0.9 * TRACK for o in others):
                x = x + TRACK if x > max(passed) * LANE + BOX else max(passed) * LANE + BOX + SIDE
            found[a] = x
        return {(box, self.column[box]): x for box, x in found.items()}

    def between(self) -> tuple[dict[tuple[int, int], int], dict[int, float]]:
        """For each box with edges to other columns, a slot in every gutter that it runs in, and y above the columns."""
        spans: dict[tuple[int, int], list[float]] = defaultdict(list)
        far = sorted({a for a, b in self.edges if self.column[b] > self.column[a] + 1})
        above = {box: -GAP - TRACK * number for number, box in enumerate(far)}
        for a, b in self.edges:
            gutters = sorted({self.column[a], self.column[b] - 1})
            if self.column[b] == self.column[a] + 1 and self.enters(b, a) != self.leaves(a):
                spans[a, gutters[0]] += [self.leaves(a), self.enters(b, a)]
            elif self.column[b] > self.column[a] + 1:
                spans[a, gutters[0]] += [self.leaves(a), above[a]]
                spans[a, gutters[1]] += [self.enters(b, a), above[a]]
        slots: dict[tuple[int, int], int] = {}
        for key in sorted(spans, key=lambda key: max(spans[key]) - min(spans[key])):
            busy = {
                slot
                for other, slot in slots.items()
                if other[1] == key[1]
                and min(spans[other]) - TRACK < max(spans[key])
                and min(spans[key]) - TRACK < max(spans[other])
            }
            slots[key] = next(slot for slot in range(len(busy) + 1) if slot not in busy)
        return slots, above

    def comes_from(self, a: int, b: int) -> float:
        """The x of the last vertical piece of an edge before its end."""
        if self.long(a, b):
            return self.tracks[a, self.column[a]]
        return (
            self.tracks.get((a, -self.column[b]), self.middle[a])
            if self.column[a] != self.column[b]
            else self.middle[a]
        )

    def ports(self) -> dict[Edge, float]:
        """Where edges end on the side of their box: from left to right as they come, a straight one in the middle."""
        ending: dict[int, list[int]] = defaultdict(list)
        for a, b in self.edges:
            ending[b].append(a)
        found: dict[Any, Any] = {}
        for b, sources in ending.items():
            sources.sort(key=lambda a: self.comes_from(a, b))
            straight = [i for i, a in enumerate(sources) if abs(self.comes_from(a, b) - self.middle[b]) < 1e-6]
            center = straight[0] if straight else (len(sources) - 1) / 2
            step = min(PORT, 0.9 * BOX / 2 / max(center, len(sources) - 1 - center, 1))
            found |= {(a, b): self.middle[b] + step * (i - center) for i, a in enumerate(sources)}
        return found

    def line(self, a: int, b: int, port: float, above: dict[int, float]) -> list[Point]:
        """The corners of an edge."""
        start, leaves, enters = self.middle[a], self.leaves(a), self.enters(b, a)
        out = self.upper(a) + (self.heights[a] if self.down[a] > 0 else 0)
        into = self.upper(b) + (0 if self.down[b] > 0 else self.heights[b])
        points = [(start, out), (start, leaves)]
        if self.long(a, b):
            track = self.tracks[a, self.column[a]]
            points += [(track, leaves), (track, enters)]
        elif self.column[a] == self.column[b]:
            enters = leaves
        elif self.column[b] > self.column[a] + 1:
            first, last = self.tracks[a, -1 - self.column[a]], self.tracks[a, -self.column[b]]
            points += [(first, leaves), (first, above[a]), (last, above[a]), (last, enters)]
        elif enters != leaves:
            track = self.tracks[a, -1 - self.column[a]]
            points += [(track, leaves), (track, enters)]
        return [*points, (port, enters), (port, into)]


def simple(points: Iterable[Point]) -> tuple[Point, ...]:
    """The same line without corners at which it does not turn."""
    kept: list[Point] = []
    for point in points:
        if kept and math.dist(kept[-1], point) < 1e-9:
            continue
        if len(kept) > 1 and any(abs(kept[-2][i] - kept[-1][i]) + abs(kept[-1][i] - point[i]) < 1e-9 for i in (0, 1)):
            kept.pop()
        kept.append(point)
    return tuple(kept)


def _moved(
    boxes: list[Point], labels: list[Point], lines: dict[Edge, tuple[Point, ...]], heights: list[float]
) -> Layout:
    """Everything moved so that it begins at 0, 0."""
    corners = [*boxes, *((x + BOX, y + h) for (x, y), h in zip(boxes, heights, strict=True)), *labels]
    corners += [point for line in lines.values() for point in line]
    x0, y0 = min(x for x, _ in corners), min(y for _, y in corners)

    def move(points: Iterable[Point]) -> tuple[Point, ...]:
        return tuple((x - x0, y - y0) for x, y in points)

    width, height = max(x for x, _ in corners) - x0, max(y for _, y in corners) - y0
    return Layout(move(boxes), move(labels), {edge: move(line) for edge, line in lines.items()}, width, height)
