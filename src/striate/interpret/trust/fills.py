"""What a checked input is deleted with, or inserted into."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from striate.errors import InputError
from striate.interpret.occlusion import Fill
from striate.ops import correlate_separable
from striate.shapes import Float, Tensor

KNOWN = 'a number, one for each channel, "mean", "blur", or a tensor'


def filled(fill: Fill, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
    """The values that stand in for x, of its shape: see `deletion`.

    Raises InputError for a name that is not known, and values that do not fit.
    """
    n, c, *space = x.shape
    if isinstance(fill, str):
        if fill == "mean":
            return x.flatten(2).mean(2).reshape(n, c, *[1] * len(space)).expand(x.shape)
        if fill == "blur":
            return blurred(x)
        raise InputError("unknown fill", expected=KNOWN, got=fill)
    expected = f"one number, {c} (one for each channel), {tuple(x.shape[1:])} or {tuple(x.shape)}"
    try:
        values = torch.as_tensor(fill, dtype=x.dtype, device=x.device).detach()
    except (TypeError, ValueError, RuntimeError):
        raise InputError("the fill does not fit the input", expected=expected, got=repr(fill)) from None
    if values.shape in ((), (1,), (c,)):
        return values.expand(c).reshape(1, c, *[1] * len(space)).expand(x.shape)
    if values.shape not in (x.shape, x.shape[1:]):
        raise InputError("the fill does not fit the input", expected=expected, got=tuple(values.shape))
    return values.expand(x.shape)


def blurred(x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
    """x under a Gaussian whose standard deviation is an eighth of each side, the border values going on outside."""
    padded = x
    lines: list[Tensor] = []
    for axis, side in reversed([*enumerate(x.shape[2:], 2)]):
        reach = max(1, round(side / 4))
        first, last = (padded.narrow(axis, at, 1) for at in (0, side - 1))
        shape = [reach if a == axis else -1 for a in range(x.dim())]
        padded = torch.cat([first.expand(shape), padded, last.expand(shape)], axis)
        places = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        bell = torch.exp(-(places**2) / (2 * (side / 8) ** 2))
        lines.insert(0, bell / bell.sum())
    n, c = x.shape[:2]
    return correlate_separable(padded.flatten(0, 1)[:, None], lines).reshape(n, c, *x.shape[2:])


def written(fill: Fill) -> Any:
    """A fill as plain types, for a record of it."""
    if isinstance(fill, str):
        return fill
    values = fill if isinstance(fill, torch.Tensor) else np.asarray(fill)
    return values.tolist() if len(values.shape) < 2 else f"a tensor {tuple(values.shape)}"
