"""Fully connected layers on windows: only what changed meets its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from striate.locality.patch.local import Local, dense, others
from striate.locality.patch.place import Place, trimmed
from striate.locality.patch.rules.base import Call, rule


@cache
def _fast() -> bool:
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(available) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """rows @ weight.T + bias; on a CPU by oneDNN, whose product is two to four times as fast as that of torch.mm."""
    if rows.device.type == "cpu" and rows.dtype == torch.float32 and len(rows) > 1 and _fast():
        made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
        return made
    return F.linear(rows, weight, bias)


@rule("addmm mm linear")
def linear(call: Call) -> Any:
    """A fully connected layer on flattened windows: only the changed positions meet their weights."""
    bias, x, weight = _operands(call)
    if not isinstance(x, Local) or isinstance(weight, Local) or isinstance(bias, Local) or x.flattened is None:
        return NotImplemented
    inner = x.flattened
    assert inner.place is not None
    space = inner.space
    cells, total = inner.place.cells, math.prod(space)
    out = weight.shape[0]
    base = call.bases()[0].value
    starts, groups = np.unique(inner.place.starts, axis=0, return_inverse=True)
    groups = groups.reshape(-1)
    sets = list(_together(inner.place, starts, groups))
    per_cell = weight.numel() // total
    low = sum(_seconds(call.run.n if m is None else len(m), place.cells * per_cell) for m, place in sets)
    if call.run.hot or low > _seconds(call.run.n, weight.numel()):
        return NotImplemented
    table = call.keep("cells", lambda: _by_cell(weight, inner))
    made = base.expand(call.run.n, -1).clone()
    for members, place in sets:
        delta = inner.differences_at(inner.place) if members is None else inner.differences_at(inner.place)[members]
        corners = inner.place.starts if members is None else inner.place.starts[members]
        delta = trimmed(delta, Place(corners, inner.place.sizes), place).flatten(1 + len(space))
        part = torch.zeros(len(delta), out, dtype=made.dtype, device=made.device)
        for lead in np.ndindex(*place.sizes[:-1]):
            rows = table[tuple(s + i for s, i in zip(place.starts[0, :-1].tolist(), lead, strict=True))]
            rows = rows[place.starts[0, -1] : place.starts[0, -1] + place.sizes[-1]].flatten(0, 1)
            part += product(delta[(slice(None), *lead)].flatten(1), rows.t(), None)
        made[slice(None) if members is None else torch.from_numpy(members).to(made.device)] += part
    result = dense(call.run, made)
    result.base, result.axes = call.bases()[0], ()
    channels = table.shape[-2]
    return call.note("low rank", result, cells, total, channels * out)


def _seconds(n: int, numel: int) -> float:
    """About how long the product of n rows with this many weights takes: arithmetic, or reading the weights."""
    return max(n * numel / 2e11, numel * 4 / 1e10)


def _together(place: Place, starts: np.ndarray, groups: np.ndarray) -> Iterator[tuple[np.ndarray | None, Place]]:
    """Changes that meet the same weights: all, where little is added to their windows; else those of one window."""
    n = len(place.starts)
    first, sizes = starts.min(0), starts.max(0) - starts.min(0) + np.asarray(place.sizes)
    if sizes.prod() <= 1.5 * place.cells:
        yield None, Place(np.tile(first, (n, 1)), sizes.tolist())
        return
    for number, start in enumerate(starts):
        members = np.flatnonzero(groups == number)
        yield members, Place(np.tile(start, (len(members), 1)), place.sizes)


def _operands(call: Call) -> tuple[Any, Any, Any]:
    """Bias, input, and weight (out, in); a bias that is scaled is left to the dense path."""
    if call.name == "linear":
        return call["bias"], call["input"], call["weight"]
    if call.name == "mm":
        return None, call["self"], None if isinstance(call["mat2"], Local) else call["mat2"].t()
    if (call["beta"], call["alpha"]) != (1, 1) or isinstance(call["mat2"], Local):
        return None, None, None
    return call["self"], call["mat1"], call["mat2"].t()


def _by_cell(weight: torch.Tensor, inner: Local) -> torch.Tensor:
    """The weights (out, in) as (*space, channels, out), so that the rows of neighboring positions lie together."""
    parts = weight.view(-1, *inner.shape[1:])
    order = [*inner.axes, *others(inner.dim(), inner.axes), 0]
    parts = parts.permute(order).contiguous()
    return parts.view(*inner.space, -1, len(weight))


def dense_addmm(_: Call, bias: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor, **scaled: Any) -> torch.Tensor:
    if scaled or bias.dim() != 1:
        return torch.addmm(bias, rows, weight, **scaled)
    return product(rows, weight.t(), bias)


def dense_linear(_: Call, rows: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> torch.Tensor:
    return product(rows, weight, bias) if rows.dim() == 2 else F.linear(rows, weight, bias)
