"""What stands before and after an axis: how much, and which values."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex

import torch
import torch.nn.functional as F

from striate.errors import InputError, did_you_mean
from striate.shapes import Int64, Num, Tensor

Whole = SupportsIndex  # a whole number of Python, NumPy or torch
Axes = Whole | tuple[Whole, ...]
Pairs = tuple[tuple[int, int], ...]
Padding = Whole | str | tuple[Whole | tuple[Whole, Whole], ...]

PADDINGS = ("valid", "same", "full", "causal")
MODES = ("zeros", "reflect", "replicate", "circular")
_TORCH_MODES = {"zeros": "constant"}


def whole(value: Any, least: int = 1) -> int | None:
    """A whole number of `least` or more as Python's own (a size that is a symbol stays one); None for all else."""
    if type(value) not in (int, torch.SymInt):
        try:
            value = int(operator.index(value))  # from True, too, which is no number to torch
        except TypeError:
            return None
    return value if value >= least else None


def per_axis(name: str, value: Axes, rank: int, least: int = 1) -> tuple[int, ...]:
    """One whole number, or one for each axis, as one for each axis; else InputError.

    >>> per_axis("stride", 2, 3)
    (2, 2, 2)
    """
    given = value if isinstance(value, tuple | list) else (value,) * rank
    values = tuple(number for v in given if (number := whole(v, least)) is not None)
    if not len(values) == len(given) == rank:
        many = "" if rank == 1 else f", one for all or one for each of {rank} axes"
        raise InputError(f"cannot use this {name}", expected=f"whole numbers of {least} or more{many}", got=value)
    return values


def padding_pairs(padding: Padding, window: tuple[int, ...], dilation: Axes = 1) -> Pairs:
    """How many values stand (before, after) each axis, for a window of K = dilation·(k - 1) + 1 values.

        "valid"    (0, 0)                      only whole windows
        "same"     ((K - 1) // 2, K // 2)      stride 1 keeps the size; for even K one more after than before
        "full"     (K - 1, K - 1)              every window that meets the input
        "causal"   (K - 1, 0)                  on each axis, no output sees an input after its own position

    A number pads both ends of all axes, a tuple has a number or a pair (before, after) for each axis. With a stride,
    each word gives every stride-th value of the result at stride 1, so "same" gives ceil(size / stride) of them.
    (TensorFlow centers the windows that are left, so its "same" with a stride pads otherwise: pass that as pairs.)
    Raises InputError for another word or form, and for numbers below 0.

    >>> padding_pairs("same", (3, 4)), padding_pairs("causal", (3,), dilation=2), padding_pairs((1, (0, 2)), (3, 3))
    (((1, 1), (1, 2)), ((4, 0),), ((1, 1), (0, 2)))
    """
    extents = [d * (k - 1) + 1 for d, k in zip(per_axis("dilation", dilation, len(window)), window, strict=True)]
    if isinstance(padding, str):
        words = {
            "valid": [(0, 0) for _ in extents],
            "same": [((e - 1) // 2, e // 2) for e in extents],
            "full": [(e - 1, e - 1) for e in extents],
            "causal": [(e - 1, 0) for e in extents],
        }
        if padding not in words:
            raise InputError("unknown padding", got=repr(padding), fix=did_you_mean(padding, PADDINGS))
        return tuple(words[padding])
    each = tuple(padding) if isinstance(padding, tuple | list) else (padding,) * len(window)
    sides = [tuple(side) if isinstance(side, tuple | list) else (side, side) for side in each]
    pairs = tuple(tuple(number for v in side if (number := whole(v, 0)) is not None) for side in sides)
    if len(pairs) != len(window) or any(
        len(side) != 2 or len(pair) != 2 for side, pair in zip(sides, pairs, strict=True)
    ):
        expected = f"0 or more for all, or a number or a pair (before, after) for each of {len(window)} axes"
        raise InputError("cannot use this padding", expected=expected, got=padding)
    return pairs  # type: ignore[return-value]  # each has two, as just seen


def sources(size: tuple[int, ...], pairs: Pairs, mode: str, device: torch.device) -> Int64[Tensor, "*padded"]:
    """Which place of an input of this size stands at each place of the extended one, counted from 1; 0 for zeros.

    >>> sources((4,), ((2, 1),), "zeros", torch.device("cpu")), sources((4,), ((2, 1),), "reflect", torch.device("cpu"))
    (tensor([0, 0, 1, 2, 3, 4, 0]), tensor([3, 2, 1, 2, 3, 4, 3]))
    """
    places = torch.arange(1, 1 + math.prod(size), dtype=torch.float64, device=device)
    return extend(places.view(1, 1, *size), pairs, mode)[0, 0].long()


def extend(x: Num[Tensor, "n c *space"], pairs: Pairs, mode: str = "zeros") -> Num[Tensor, "n c *padded"]:
    """`x` with so many values (before, after) each spatial axis.

        zeros      1234 -> 00 1234 00
        reflect    1234 -> 32 1234 32      the edge is not repeated: at most size - 1
        replicate  1234 -> 11 1234 44
        circular   1234 -> 34 1234 12      at most the size

    Raises InputError for another mode, and for more values than reflection or a turn around has.

    >>> import torch
    >>> extend(torch.tensor([[[1, 2, 3, 4]]]), ((2, 1),), "reflect")
    tensor([[[3, 2, 1, 2, 3, 4, 3]]])
    """
    if mode not in MODES:
        raise InputError("unknown padding mode", got=repr(mode), fix=did_you_mean(mode, MODES))
    most = {"reflect": -1, "circular": 0}
    for axis, (size, pair) in enumerate(zip(x.shape[2:], pairs, strict=True)):
        if mode in most and max(pair) > size + most[mode]:
            expected = f"at most {size + most[mode]}, for an axis of {size}"
            fix = 'Pad less, or use padding_mode="zeros" or "replicate".'
            raise InputError(
                f"{mode} padding needs more values", where=f"axis {axis}", expected=expected, got=pair, fix=fix
            )
        if mode == "replicate" and size == 0 and max(pair) > 0:
            raise InputError("replicate padding needs a value", where=f"axis {axis}", expected="1 or more", got=0)
    if not any(map(any, pairs)):
        return x
    return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], _TORCH_MODES.get(mode, mode))
