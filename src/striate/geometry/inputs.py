"""What a network is given, as meta tensors: shapes of one item, or examples."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.shapes import like

# The shape of one item, an example tensor with its batch axis, or several of them: a sequence, or a mapping by name.
Inputs = Any


def as_inputs(model: nn.Module, input: Inputs) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Meta tensors for the positional and the named inputs of a model, each by its name in `forward`."""
    named = isinstance(input, Mapping)
    parts = list(input.values()) if named else list(input) if _several(input) else [input]
    tensors = [_as_meta(part) for part in parts]
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        signature = None
    bound: Mapping[str, Any] = dict(zip(input, tensors, strict=True)) if named else {}
    if signature is not None:
        args: Sequence[Any] = () if named else tensors
        try:
            bound = signature.bind(*args, **bound).arguments
        except TypeError as error:
            wanted = [
                p.name
                for p in signature.parameters.values()
                if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
            ]
            raise InputError(
                f"{type(model).__name__} takes other inputs",
                expected=f"{len(wanted)} ({', '.join(wanted)})",
                got=f"{len(parts)} ({error})",
                fix="Pass a tuple of shapes or tensors, one an input, or a dict by name.",
            ) from None
    if named:
        return {}, dict(zip(input, tensors, strict=True))
    names = [name for name in bound if isinstance(bound[name], torch.Tensor)]
    names += [f"input{i}" for i in range(len(names), len(tensors))]
    return dict(zip(names, tensors, strict=False)), {}


def _several(input: Inputs) -> bool:
    """Whether this is a sequence of inputs, not the shape of one."""
    return isinstance(input, tuple | list) and any(not isinstance(part, int) for part in input)


def _as_meta(part: Any) -> torch.Tensor:
    """One item as a meta tensor with a batch axis."""
    if isinstance(part, torch.Tensor):
        if not part.dim():
            raise InputError("an example has a batch axis", got="a tensor without axes")
        return like(part[:1])
    if isinstance(part, tuple | list) and part and all(isinstance(side, int) and side > 0 for side in part):
        return torch.empty((1, *part), device="meta")
    raise InputError(
        "this is no input of a network",
        expected="the shape of one item, as (3, 224, 224), or an example tensor",
        got=brief(part),
    )


def brief(thing: object) -> str:
    text = repr(thing)
    return f"{type(thing).__name__} {text if len(text) < 60 else text[:57] + '...'}"
