"""Boxes: every convention there and back, against boxes drawn on a grid of pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from striate.errors import InputError
from striate.ops.boxes import CONVENTIONS, area, boxes, edges, overlap

EDGES = st.tuples(*(st.integers(0, 20) for _ in range(4))).map(
    lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]) + 1, max(e[1], e[3]) + 1)
)


@pytest.mark.parametrize("convention", CONVENTIONS)
@given(box=EDGES)
def test_there_and_back(convention: str, box: tuple[int, ...]) -> None:
    given_edges = torch.tensor([box]).float()
    label = boxes(given_edges, convention, height=30)
    assert torch.equal(edges(label, convention, height=30), given_edges)
    assert label[0, 2:].tolist() == [box[3] - box[1], box[2] - box[0]]


def test_where_x_and_y_point_to() -> None:
    box = torch.tensor([[2.0, 4, 5, 9]])  # 3 wide, 5 tall, in a picture 30 tall
    found = {name: boxes(box, name, height=30)[0, :2].tolist() for name in CONVENTIONS}
    assert found == {"upper_left": [2, 4], "lower_left": [2, 9], "upward": [2, 21], "center": [3.5, 6.5]}


@given(first=EDGES, second=EDGES)
def test_overlap_counts_shared_pixels(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    def grid(box: tuple[int, ...]) -> torch.Tensor:
        picture = torch.zeros(22, 22, dtype=torch.bool)
        picture[box[1] : box[3], box[0] : box[2]] = True
        return picture

    one, two = grid(first), grid(second)
    found = overlap(torch.tensor([first]).float(), torch.tensor([second]).float())
    assert found.item() == pytest.approx(((one & two).sum() / (one | two).sum()).item())
    assert area(torch.tensor([first]).float()).item() == one.sum()


def test_boxes_without_area() -> None:
    nothing = torch.tensor([[3.0, 3, 3, 3], [5, 5, 2, 2]])
    assert overlap(nothing, nothing).tolist() == [0, 0]
    assert area(nothing).tolist() == [0, 0]


@pytest.mark.parametrize("convert", [boxes, edges])
def test_unknown_conventions(convert: object) -> None:
    text = "unknown convention of boxes: expected upper_left or lower_left or upward or center, got corner"
    with pytest.raises(InputError, match=text):
        convert(torch.zeros(1, 4), "corner")  # type: ignore[operator]
