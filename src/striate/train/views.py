"""Outputs averaged over several views of an image: mirrored, shifted, at other scales (test-time augmentation)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.ops import resize
from striate.registry import parse_spec
from striate.shapes import Float, Tensor

Pictures = Float[Tensor, "n c *space"]


def averaged(model: nn.Module, views: Sequence[str]) -> nn.Module:
    """The model that says the mean of what `model` says of several views of an image; itself where there are none.

    flip: the image and its mirror image (left and right). shift: also moved by one pixel along all axes, forth and
    back, its border reflected. scale:S: also resized by S, for networks that take any size. The views other than the
    image itself weigh as much together as the image does; flip mirrors each of them. So ("flip", "shift") are the six
    views of Jordan 2024, section 3.5. Raises InputError for a view of another name.

    >>> import torch
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 0, 0, 0]]))
    >>> averaged(net, ["flip"])(torch.tensor([[[[2.0, 4.0], [0, 0]]]])).item()
    3.0
    """
    return Averaged(model, tuple(views)) if views else model


class Averaged(nn.Module):
    """See `averaged`."""

    def __init__(self, model: nn.Module, views: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.views = model, views
        self.changes = [change for view in views for change in _changes(view)]

    def forward(self, x: Pictures) -> Tensor:
        """The mean of the outputs."""
        output = self._mirrored(x)
        others = [self._mirrored(change(x)) for change in self.changes]
        return (output + sum(others) / len(others)) / 2 if others else output

    def _mirrored(self, x: Pictures) -> Tensor:
        output: Tensor = self.model(x)
        return (output + self.model(x.flip(-1))) / 2 if "flip" in self.views else output


def _changes(view: str) -> Iterator[Callable[[Pictures], Pictures]]:
    """The images that a view adds to the image itself."""
    name, options = parse_spec(view)
    value = next(iter(options.values()), None)
    if name == "flip" and not options:
        return
    if name == "shift" and not options:
        yield from (lambda x: _moved(x, 1), lambda x: _moved(x, -1))
    elif name == "scale" and isinstance(value, int | float) and 0 < value < math.inf:
        yield lambda x: resize(x, [max(1, round(side * value)) for side in x.shape[2:]])
    else:
        raise InputError("there is no such view of an image", expected="flip, shift or scale:0.9, say", got=repr(view))


def _moved(x: Pictures, by: int) -> Pictures:
    """x moved by one pixel along each axis."""
    padded = F.pad(x, (1,) * (2 * (x.ndim - 2)), mode="reflect")
    for axis, side in enumerate(x.shape[2:], 2):
        padded = padded.narrow(axis, 1 - by, side)
    return padded
