"""The least input that a network takes, found by running its shapes."""

from __future__ import annotations

from torch import nn

from striate.geometry.inputs import Inputs, as_inputs
from striate.geometry.reading import Shape
from striate.geometry.trace import DiedError, trace

# An input that does not work when it is doubled as often is not too small.
DOUBLINGS = 9


def least_input(model: nn.Module, input: Inputs) -> Shape | None:
    """The least shape (without the batch axis) that works, no side of which is longer than that of `input`, a shape
    that works: s x s, or where a side of `input` is shorter than s, that side. None for several inputs, or no space."""
    shape = _space(model, input)
    if shape is None:
        return None
    longest = max(shape[1:])
    error = died(model, _capped(shape, longest // 2)) if longest > 1 else None
    if error is not None and error.features:
        return _fitting(model, shape, longest // 2, longest)
    return next((s for side in range(1, longest) if died(model, s := _capped(shape, side)) is None), shape)


def grown(model: nn.Module, input: Inputs, error: DiedError) -> Shape | None:
    """A shape near `input` that works, where `input` gave `error`: the least with no shorter side, or, where a linear
    layer wants another number of features, the least that is as long on all sides. None where none is near."""
    shape = _space(model, input)
    if shape is None:
        return None
    if error.features:
        square = (shape[0], *[1 << 20] * (len(shape) - 1))
        found = _fitting(model, square, 1, 1 << 12)
        return found if died(model, found) is None else None
    least = min(shape[1:])
    if all(died(model, _raised(shape, least << power)) for power in range(1, DOUBLINGS)):
        return None
    sizes = (_raised(shape, side) for side in range(least + 1, least << DOUBLINGS))
    return next(size for size in sizes if died(model, size) is None)


def died(model: nn.Module, shape: Shape) -> DiedError | None:
    """The error that one item of this shape gives, if any."""
    try:
        trace(model, shape)
    except DiedError as error:
        return error
    return None


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


def _fitting(model: nn.Module, shape: Shape, below: int, up_to: int) -> Shape:
    """By bisection, the first side in below + 1 … up_to at which the linear layer does not lack features: their number
    grows with the side."""
    while up_to - below > 1:
        side = (below + up_to) // 2
        error = died(model, _capped(shape, side))
        if error is None or (error.features and error.features[0] >= error.features[1]):
            up_to = side
        else:
            below = side
    return _capped(shape, up_to)
