"""What a network is given, as meta tensors: shapes of one item, or examples."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import nn

from striate.errors import InputError, did_you_mean
from striate.geometry.shapes import like

# The shape of one item, an example tensor with its batch axis, or several of them: a sequence, or a mapping by name.
Inputs = Any
# Bytes that torch can count.
MOST = 1 << 62


def as_inputs(model: nn.Module, input: Inputs) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Meta tensors for the positional and the named inputs of a model, each by its name in `forward`."""
    named = isinstance(input, Mapping)
    parts = list(input.values()) if named else list(input) if _several(input) else [input]
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())
    tensors = [_as_meta(part, dtype) for part in parts]
    given = dict(zip(input, tensors, strict=True)) if named else {}
    bound = _bound(model, [] if named else tensors, given)
    if named:
        return {}, given
    names = [name for name in bound if isinstance(bound[name], torch.Tensor)]
    names += [f"input{i}" for i in range(len(names), len(tensors))]
    return dict(zip(names, tensors, strict=False)), {}


def _bound(model: nn.Module, args: Sequence[torch.Tensor], kwargs: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
    """The arguments of `forward` by name; nothing where it does not tell them."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        return {}
    try:
        return signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        wanted = [
            p.name
            for p in signature.parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        strange = [name for name in kwargs if name not in signature.parameters]
        near = f" {did_you_mean(strange[0], signature.parameters)}" if strange else ""
        raise InputError(
            f"{type(model).__name__} takes other inputs",
            expected=f"{len(wanted)} ({', '.join(wanted)})",
            got=f"{len(args) + len(kwargs)} ({', '.join(kwargs) or error})",
            fix=f"Pass a tuple of shapes or tensors, one an input, or a dict by name.{near}",
        ) from None


def _several(input: Inputs) -> bool:
    """Whether this is a sequence of inputs, not the shape of one."""
    return isinstance(input, tuple | list) and any(isinstance(part, tuple | list | torch.Tensor) for part in input)


def _as_meta(part: Any, dtype: torch.dtype) -> torch.Tensor:
    """One item as a meta tensor with a batch axis."""
    if isinstance(part, torch.Tensor):
        if not part.numel():
            raise InputError("an example has at least one item", got=f"a tensor of shape {tuple(part.shape)}")
        if not part.dim():
            raise InputError("an example has a batch axis", got="a tensor without axes")
        return like(part[:1])
    if isinstance(part, tuple | list) and part and all(isinstance(side, Integral) and int(side) > 0 for side in part):
        if math.prod(part) * dtype.itemsize > MOST:
            raise InputError("an input as large as this cannot be counted", got="x".join(map(str, part)))
        return torch.empty((1, *map(int, part)), dtype=dtype, device="meta")
    raise InputError(
        "this is no input of a network",
        expected="the shape of one item, as (3, 224, 224), or an example tensor, its batch axis first",
        got="a sequence of several in one" if _several(part) else brief(part),
        fix="A network with other inputs (a state, nested tuples) is described inside a module that makes them."
        if _several(part)
        else "",
    )


def brief(thing: object) -> str:
    text = repr(thing)
    return f"{type(thing).__name__} {text if len(text) < 60 else text[:57] + '...'}"
