"""Norms of windows."""

from __future__ import annotations

from typing import Any

import torch

from striate.errors import InputError
from striate.locality.patch.local import Local, others
from striate.locality.patch.rules.base import Call, Norm, rule
from striate.locality.patch.rules.pointwise import held


@rule("native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm batch_norm")
def batch_norm(call: Call) -> Any:
    """With stored statistics: a factor and a summand for each channel."""
    x, norm = call.x, norm_of(call)
    if norm is None or 1 in x.axes or x.flattened is not None:
        return NotImplemented
    assert x.place is not None
    base = call.bases()
    more = tuple(b.value for b in base[1:])
    held = [-1 if axis == 1 else 1 for axis in others(x.dim(), x.axes)]
    scale, shift = norm.scale.view(held), norm.shift.view(held)
    if x.full is not None:
        full = torch.addcmul(shift, x.full, scale)
        return call.note("values", call.give(x.place, full=full, base=base[0])), *more
    assert x.delta is not None
    delta = torch.mul(x.delta, scale, out=x.delta) if call.mine(x) else x.delta * scale
    return call.note("difference", call.give(x.place, delta=delta, base=base[0])), *more


def norm_of(call: Call) -> Norm | None:
    """The batch norm as factor and summand, noted for the convolution before it; None with statistics of the batch."""
    norms = call.run.memory.norms
    if len(call.x) != call.run.n:  # an instance norm runs on one item of many channels
        return None
    if call.number in norms:
        return norms[call.number]
    if call.name != "_native_batch_norm_legit_no_training" and call["training"]:
        if call.run.n > 1:
            where = call.run.path() or "the network itself"
            fix = "Give it running statistics (training=False): each change would depend on the others."
            raise InputError("a batch norm takes the statistics of its batch", where=where, fix=fix)
        return None
    mean, var, weight, bias = (call[key] for key in ("running_mean", "running_var", "weight", "bias"))
    if mean is None or any(isinstance(t, Local) for t in (mean, var, weight, bias)):
        return None
    scale = (var + call["eps"]).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    norms[call.number] = Norm(call.x.number, scale, shift)
    return norms[call.number]


def dense_batch_norm(call: Call, x: torch.Tensor, *args: Any, **named: Any) -> Any:
    """torch's own, noted for the convolution before it."""
    if isinstance(call.x, Local):
        norm_of(call)
    return call.func(x, *args, **named)


@rule("native_layer_norm")
def layer_norm(call: Call) -> Any:
    """Over last axes without windows."""
    x = call.x
    if min((*range(x.dim() - len(call["normalized_shape"]), x.dim()),)) <= max(x.axes):
        return NotImplemented
    base = call.bases()
    assert x.place is not None
    made = call.func(x.logical(x.values_at(x.place)), *call.args[1:], **call.kwargs)[0]
    out = call.note("values", call.give(x.place, full=held(made, x.axes), base=base[0]))
    return out, *(b.value for b in base[1:])
