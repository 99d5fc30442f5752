"""Where boxes and lines of a drawn network lie: nothing over anything else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.geometry.figures import overlap

from striate.geometry.layout import BOX, Layout, Point, lay_out


def wrong(layout: Layout, heights: Sequence[float], edges: Sequence[tuple[int, int]]) -> str:
    """What is wrong with a layout: boxes over each other, lines that cross a box or do not go from box to box."""
    boxes = [(x, y, x + BOX, y + h) for (x, y), h in zip(layout.boxes, heights, strict=True)]
    if any(overlap(a, b) for a, b in itertools.combinations(boxes, 2)):
        return "boxes overlap"
    if any(x < -1e-9 or y < -1e-9 or r > layout.width + 1e-9 or b > layout.height + 1e-9 for x, y, r, b in boxes):
        return "a box is outside"
    if set(layout.lines) != set(edges):
        return "lines are not the edges"
    for (a, b), line in layout.lines.items():
        for end, box in ((line[0], boxes[a]), (line[-1], boxes[b])):
            if not (box[0] <= end[0] <= box[2] and min(abs(end[1] - box[1]), abs(end[1] - box[3])) < 1e-9):
                return f"the line {a} to {b} does not end at its box"
        for piece in itertools.pairwise(line):
            if crossed := [n for n, box in enumerate(boxes) if crosses(piece, box)]:
                return f"the line {a} to {b} crosses {crossed}"
    return ""


def crosses(piece: tuple[Point, Point], box: Sequence[float]) -> bool:
    """Whether a level or upright piece of a line passes through the inside of a box."""
    (x0, y0), (x1, y1) = piece
    assert min(abs(x0 - x1), abs(y0 - y1)) < 1e-9, "lines are level or upright"
    inside = (min(x0, x1) - 1e-6, min(y0, y1) - 1e-6, max(x0, x1) + 1e-6, max(y0, y1) + 1e-6)
    shrunk = (box[0] + 1e-3, box[1] + 1e-3, box[2] - 1e-3, box[3] - 1e-3)
    return overlap(inside, shrunk)


@st.composite
def drawings(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, int]]]:
    """Boxes of random heights; each but the first reads one to three before it, mostly near ones."""
    count = draw(st.integers(1, 28))
    heights = draw(st.lists(st.sampled_from([0.26, 0.4, 0.55]), min_size=count, max_size=count))
    edges = set()
    for box in range(1, count):
        back = st.one_of(st.just(1), st.integers(1, min(box, 4)), st.integers(1, box))
        edges |= {(box - step, box) for step in draw(st.lists(back, min_size=1, max_size=3))}
    return heights, sorted(edges)


@settings(max_examples=80, deadline=None)
@given(drawings())
def test_no_box_lies_over_another_and_no_line_crosses_a_box(drawing: tuple[list[float], list[tuple[int, int]]]) -> None:
    heights, edges = drawing
    assert wrong(lay_out(heights, edges), heights, edges) == ""


def test_the_checker_of_layouts_tells_what_is_wrong() -> None:
    heights, edges = [0.4, 0.4, 0.4], [(0, 1), (1, 2), (0, 2)]
    right = lay_out(heights, edges)

    def told(**changes: Any) -> str:
        parts = {"boxes": right.boxes, "labels": (), "lines": right.lines, "width": right.width, "height": right.height}
        return wrong(Layout(**{**parts, **changes}), heights, edges)

    _, (x, _), last = right.boxes
    assert told() == ""
    assert told(boxes=(right.boxes[0], (x, last[1] - 0.1), last)) == "boxes overlap"
    assert told(width=1.0) == "a box is outside"
    assert told(lines={(0, 1): right.lines[0, 1]}) == "lines are not the edges"
    assert told(lines={**right.lines, (0, 1): right.lines[1, 2]}) == "the line 0 to 1 does not end at its box"
    straight = (right.lines[0, 1][0], right.lines[1, 2][-1])
    assert told(lines={**right.lines, (0, 2): straight}) == "the line 0 to 2 crosses [1]"
