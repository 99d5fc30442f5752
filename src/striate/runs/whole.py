"""Answers for every place of a file of any size: the network is given the whole of it, tile by tile if it is large."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import nn

from striate.data import Framing, Pictures, Volumes
from striate.errors import InputError
from striate.geometry.trace import trace
from striate.locality import tile
from striate.locality.tile.halo import lines
from striate.shapes import Tensor
from striate.tasks import Placed, Result, Task
from striate.train import evaluating

BUDGET_BYTES = 1 << 30  # of a file that takes more than a batch does


def whole_files(
    model: nn.Module,
    preprocess: Pictures | Volumes,
    task: Task,
    items: Sequence[Any],
    *,
    scale: float | None = None,
    batch_size: int = 16,
) -> Iterator[tuple[Result, Tensor] | InputError]:
    """What the model says of all of each item, at its own size, and the whole of it in 0..1.

    The network is given the whole picture, resized by `scale` (1: not at all), by default so that its shorter side is
    the network's (`task.dense == "resized"`, so that things have the size that they had in training) or as it is
    ("own", and volumes). The sizes differ from those of training by whole periods of the network's strides, so that
    borders are what they were: by mirroring, or within the resizing. A file of more positions than a batch runs tile by
    tile (`striate.locality.tile`), which gives what the whole would.

    A network that is not local (a fully connected layer, say) is given the middle, as in training, and what lies
    beside it is void; where the task restores pictures or the item is a volume of another size, it gives an InputError,
    as for an item that cannot be read. Raises InputError for a scale that is not above 0, and for one of volumes.
    """
    volumes = isinstance(preprocess, Volumes)
    if scale is not None and not 0 < scale < math.inf:
        raise InputError("the scale of a prediction is out of range", expected="above 0", got=scale)
    if scale is not None and volumes:
        raise InputError("volumes are not scaled, only pictures are", got=scale, fix="Leave --scale out.")
    if scale is None and (volumes or task.dense == "own"):
        scale = 1.0
    sizes, periods, refusal = preprocess.shape[1:], None, None
    place = next(model.parameters()).device
    runner = Tiles(model, batch_size * math.prod(sizes))
    for item in items:
        if isinstance(item, InputError):
            yield item
            continue
        try:
            opened = preprocess.opened(item)
            whole = preprocess.whole(opened)
        except InputError as error:
            yield error
            continue
        outer = tuple(whole.shape[1:])
        asked = outer != sizes or scale not in (None, 1.0)
        if asked and periods is None and refusal is None:
            try:
                periods = periods_of(model, (task.in_channels(preprocess.channels), *sizes))
            except InputError as error:
                refusal = error
        if refusal is not None and asked and scale is not None:
            yield _refused(item, sizes, outer, refusal)
            continue
        framing = framed(sizes, outer, periods, scale)
        units = preprocess.units(preprocess.framed(opened, framing)[None].to(place))
        inputs, _ = task.example(preprocess.standardize(units), torch.empty(1, 0, device=place), None)
        with evaluating(model):
            (result,) = task.answer(runner, inputs)
        yield cast(Placed, result).within(framing), whole


def framed(
    sizes: tuple[int, ...], outer: tuple[int, ...], periods: tuple[int, ...] | None, scale: float | None
) -> Framing:
    """How a file of the sizes `outer` is given to a network that was trained on `sizes`.

    >>> framed((256, 256), (300, 500), (16, 16), None)
    Framing(inner=(256, 432), outer=(300, 500), fit='stretch')
    >>> framed((256, 256), (300, 500), (16, 16), 1.0)
    Framing(inner=(304, 512), outer=(300, 500), fit='pad')
    >>> framed((256, 256), (300, 500), None, None)
    Framing(inner=(256, 256), outer=(300, 500), fit='cut')
    """
    if outer == sizes and scale in (None, 1.0):
        return Framing(sizes, outer, "pad")
    if periods is None:
        return Framing(sizes, outer)
    axes = list(zip(sizes, outer, periods, strict=True))
    if scale == 1.0:
        return Framing(tuple(size + math.ceil((old - size) / by) * by for size, old, by in axes), outer, "pad")
    scale = scale or max(size / old for size, old, _ in axes)
    nearest = (size + round((old * scale - size) / by) * by for size, old, by in axes)
    return Framing(
        tuple(side if side > 0 else by + side for side, by in zip(nearest, periods, strict=True)), outer, "stretch"
    )


def periods_of(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """By how much each axis of the network's input may grow so that all its strides fall as before.

    Raises InputError, naming the layer, for a network that takes inputs of one size only, or is not local.
    """
    with evaluating(model):
        return tuple(line.period for line in lines(model, trace(model, shape)))


class Tiles(nn.Module):
    """A network that runs at once on inputs of up to so many positions, and on larger ones tile by tile."""

    def __init__(self, model: nn.Module, at_once: int) -> None:
        super().__init__()
        self.model, self.at_once = model, at_once

    def forward(self, x: Tensor) -> Tensor:
        """What the network says."""
        if math.prod(x.shape[2:]) <= self.at_once:
            return cast(Tensor, self.model(x))
        return tile(self.model, x, budget_bytes=BUDGET_BYTES).to(x.device)


def _refused(item: Any, sizes: tuple[int, ...], outer: tuple[int, ...], error: InputError) -> InputError:
    size, own = ("x".join(map(str, side)) for side in (sizes, outer))
    return InputError(
        f"the network answers for inputs of {size} only, not for a whole file",
        where=item if isinstance(item, str) or hasattr(item, "suffix") else type(item).__name__,
        got=own,
        fix=f"Resize or cut it, or train a network that takes any size. Why: {error}",
    )
