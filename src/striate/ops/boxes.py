"""Boxes in pictures: the lectures' ways to write one, and how well two of them agree.

A box is measured from the picture's own corner in pixels, so pixel i covers i to i + 1 and a box's width is the number
of pixels that it covers. Its plain form is its `edges` (left, top, right, bottom), y downward as rows are counted.
As a target it is (x, y, height, width), as in the lectures' label; where x and y point to is the convention:

    upper_left   the left upper corner, y downward (stored)   x = left, y = top
    lower_left   the left lower corner, y downward            x = left, y = bottom
    upward       the left lower corner, y upward              x = left, y = (picture's height) - bottom
    center       the center, y downward                       x = (left + right) / 2, y = (top + bottom) / 2
"""

from __future__ import annotations

import torch

from striate.errors import InputError
from striate.shapes import Float, Tensor

CONVENTIONS = ("upper_left", "lower_left", "upward", "center")


def edges(boxes: Float[Tensor, "n 4"], convention: str = "upper_left", height: float = 0) -> Float[Tensor, "n 4"]:
    """(x, y, height, width) to (left, top, right, bottom); `height` is the picture's, which only `upward` needs.

    >>> edges(torch.tensor([[2.0, 9.0, 5.0, 3.0]]), "lower_left").tolist()
    [[2.0, 4.0, 5.0, 9.0]]

    Raises InputError for an unknown convention.
    """
    x, y, tall, wide = boxes.unbind(1)
    if _known(convention) == "center":
        return torch.stack([x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2], 1)
    bottom = {"upper_left": y + tall, "lower_left": y, "upward": height - y}[convention]
    return torch.stack([x, bottom - tall, x + wide, bottom], 1)


def boxes(edges: Float[Tensor, "n 4"], convention: str = "upper_left", height: float = 0) -> Float[Tensor, "n 4"]:
    """(left, top, right, bottom) to (x, y, height, width): the inverse of `edges`.

    >>> boxes(torch.tensor([[2.0, 4.0, 5.0, 9.0]]), "center").tolist()
    [[3.5, 6.5, 5.0, 3.0]]

    Raises InputError for an unknown convention.
    """
    left, top, right, bottom = edges.unbind(1)
    tall, wide = bottom - top, right - left
    if _known(convention) == "center":
        return torch.stack([(left + right) / 2, (top + bottom) / 2, tall, wide], 1)
    y = {"upper_left": top, "lower_left": bottom, "upward": height - bottom}[convention]
    return torch.stack([left, y, tall, wide], 1)


def overlap(first: Float[Tensor, "n 4"], second: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """Intersection over union of two boxes a row, both given by their edges; 0 where neither has an area.

    >>> overlap(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 3, 2]]))
    tensor([0.3333])
    """
    shared = torch.stack([first, second])
    low, high = shared[..., :2].amax(0), shared[..., 2:].amin(0)
    both = (high - low).clamp(min=0).prod(1)
    either = area(first) + area(second) - both
    return torch.where(either > 0, both / either.clamp(min=torch.finfo(either.dtype).tiny), 0)


def area(edges: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """Width times height of boxes given by their edges; 0 where an edge has passed the opposite one."""
    return (edges[:, 2:] - edges[:, :2]).clamp(min=0).prod(1)


def _known(convention: str) -> str:
    if convention not in CONVENTIONS:
        raise InputError("unknown convention of boxes", expected=" or ".join(CONVENTIONS), got=convention)
    return convention
