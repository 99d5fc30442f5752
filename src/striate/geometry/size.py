"""Sizes at which a network works, found by running its shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.failure import DiedError
from striate.geometry.inputs import Inputs, as_inputs
from striate.geometry.reading import Shape
from striate.geometry.trace import trace

# A search ends after so many operations.
OPERATIONS = 3_000
# A larger size is looked for among all sides up to twice the least one, or this much more; then among its doublings.
MORE, DOUBLINGS = 64, range(2, 9)
# Sizes that a network with a linear layer takes may lie this far apart: strides up to 32 need multiples of 32.
APART = 32
# The longest side that is tried for a number of features.
LONGEST = 1 << 12

# What tells the channels and axes of an input.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

Sized = Callable[[int], Shape]


def least_input(model: nn.Module, input: Inputs) -> Shape | None:
    """The least shape (without the batch axis) that works, no side of which is longer than that of `input`, a shape
    that works: s x s, or where a side of `input` is shorter than s, that side. None for several inputs, or no space.

    Every s is tried, from 1; the features that a linear layer lacks say how much further to go. Where that takes too
    long, the rest is halved, and the result is the least of those sizes around it that work."""
    shape = _space(model, input)
    if shape is None:
        return None
    search, longest = Search(model), max(shape[1:])

    def sized(side: int) -> Shape:
        return _capped(shape, side)

    error = search.died(sized(longest // 2)) if longest > 1 else None
    if error is not None and error.features:
        return sized(search.fitting(sized, 0, longest) or longest)
    for side in range(1, longest):
        error = search.died(sized(side))
        if error is None:
            return sized(side)
        if error.features:
            return sized(search.fitting(sized, side, longest) or longest)
        if search.left < 0:
            return sized(search.halved(sized, side, longest))
    return shape


def native(model: nn.Module) -> Shape:
    """The input (c, *space), square, for which a classifier with fully connected layers was made.

    Raises InputError where the network takes any size, and where no square fits.
    """
    first = next((module for module in model.modules() if isinstance(module, CONVOLUTIONS)), None)
    if first is None:
        raise InputError("the network has no convolution", got=type(model).__name__)

    def sized(side: int) -> Shape:
        return (first.in_channels, *[side] * len(first.kernel_size))

    search = Search(model)
    works = [side for side in (32, 64) if search.died(sized(side)) is None]
    if len(works) == 1 and (found := least_input(model, sized(works[0]))) is not None:
        return found
    if not works and (side := search.fitting(sized, 0, LONGEST)) is not None:
        return sized(side)
    raise InputError(
        "the layers do not say for which input the classifier was made",
        got=type(model).__name__,
        fix="Pass it: input=(3, 224, 224), say.",
    )


def advised(model: nn.Module, input: Inputs, error: DiedError) -> DiedError:
    """The error with the way out: a batch axis too many or too few, or the sizes near `input` that work."""
    if (wrong := _wrong_batch_axis(model, input)) is not None:
        return error.told("", wrong)
    shape = _space(model, input)
    if shape is None:
        return error
    larger = _fitted(model, shape) if error.features else _larger(model, shape)
    grew = larger is not None and all(a >= b for a, b in zip(larger, shape, strict=True))
    fix = f"The least {'larger size ' if grew else ''}that works is {_by(larger)}" if larger is not None else ""
    if error.features:
        small = larger is not None and error.features[0] < error.features[1]
        return error.told(", it is too small" if small else "", fix and f"{fix}.")
    search = Search(model)
    smaller = search.first(_capped(shape, side) for side in range(max(shape[1:]) - 1, 0, -1))
    if smaller is not None:
        return error.told("", f"{fix}; {_by(smaller)} works, too." if fix else f"{_by(smaller)} works.")
    return error.told(", it is too small" if fix and search.left > 0 else "", fix and f"{fix}.")


class Search:
    """Tries shapes on a network, until so many operations were executed that are left."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.left = model, OPERATIONS

    def died(self, shape: Shape) -> DiedError | None:
        """The error that one item of this shape gives, if any."""
        try:
            self.left -= len(trace(self.model, shape).nodes) + 1
        except DiedError as error:
            self.left -= error.operations + 1
            return error
        return None

    def first(self, shapes: Iterable[Shape]) -> Shape | None:
        """The first that works."""
        return next((shape for shape in shapes if self.left > 0 and self.died(shape) is None), None)

    def halved(self, sized: Sized, low: int, high: int) -> int:
        """By bisection a side that works, next to one, from `low` on, that does not; `high` works."""
        while high - low > 1:
            side = (low + high) // 2
            low, high = (low, side) if self.died(sized(side)) is None else (side, high)
        return high

    def fitting(self, sized: Sized, low: int, high: int) -> int | None:
        """By bisection the least side between that works, where the features of a linear layer grow with the side. One
        that fails for another reason tells nothing, and the nearest one that does is asked."""
        found = None
        while high - low > 1:
            middle = (low + high) // 2
            near = sorted(range(max(low + 1, middle - APART), min(high, middle + APART)), key=lambda s: abs(s - middle))
            answers = ((side, self.died(sized(side))) for side in near)
            side, error = next(((s, e) for s, e in answers if e is None or e.features), (0, None))
            if not side:
                break
            if error is None:
                found = high = side
            elif error.features and error.features[0] < error.features[1]:
                low = side
            else:
                high = side
        return found


def _larger(model: nn.Module, shape: Shape) -> Shape | None:
    """The least shape with no shorter side that works; None where none is near."""
    search, least = Search(model), min(shape[1:])
    last = max(2 * least, least + MORE)
    found = search.first(_raised(shape, side) for side in range(least + 1, last + 1))
    if found is None:
        found = search.first(_raised(shape, least << power) for power in DOUBLINGS if least << power > last)
        if found is not None:
            return search.first(_raised(shape, side) for side in range(last + 1, min(found[1:]))) or found
    return found


def _fitted(model: nn.Module, shape: Shape) -> Shape | None:
    """A shape that gives a linear layer the features that it takes: the least square one, or one that differs from
    `shape` on one axis; first what is more like `shape`."""

    def squared(side: int) -> Shape:
        return (shape[0], *[side] * (len(shape) - 1))

    def longer(axis: int, side: int) -> Shape:
        return (*shape[:axis], side, *shape[axis + 1 :])

    search = Search(model)
    ways: list[Sized] = [partial(longer, axis) for axis in range(1, len(shape))]
    for sized in [squared, *ways] if len(set(shape[1:])) == 1 else [*ways, squared]:
        if (side := search.fitting(sized, 0, LONGEST)) is not None:
            return sized(side)
    return None


def _wrong_batch_axis(model: nn.Module, input: Inputs) -> str | None:
    """What to say where `input` works with a batch axis less, or more."""
    if isinstance(input, torch.Tensor):
        fix = "An example has its batch axis: pass example[None]."
        return fix if _works(model, input[None]) else None
    if isinstance(input, tuple | list) and len(input) > 1 and all(isinstance(side, int) for side in input):
        rest = tuple(input[1:])
        return f"A shape is that of one item: leave the batch axis out, {rest}." if _works(model, rest) else None
    return None


def _works(model: nn.Module, input: Inputs) -> bool:
    try:
        trace(model, input)
    except InputError:
        return False
    return True


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _capped(shape: Shape, side: int) -> Shape:
    return (shape[0], *(min(own, side) for own in shape[1:]))


def _raised(shape: Shape, side: int) -> Shape:
    return (shape[0], *(max(own, side) for own in shape[1:]))


def _space(model: nn.Module, input: Inputs) -> Shape | None:
    """Shape of the only input, where it has channels and space."""
    positional, named = as_inputs(model, input)
    if len(positional) + len(named) != 1:
        return None
    [tensor] = [*positional.values(), *named.values()]
    return tuple(tensor.shape[1:]) if tensor.dim() > 2 and tensor.is_floating_point() else None
