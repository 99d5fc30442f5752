"""What torch says of an operation: its name, its arguments, and whether it writes."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch


@cache
def arguments(func: Any) -> tuple[tuple[str, Any], ...]:
    """Names and defaults of an operation's arguments."""
    return tuple((a.name, a.default_value if a.has_default_value() else None) for a in func._schema.arguments)


@cache
def plain_name(func: Any) -> str:
    """`relu` of aten::relu and aten::relu_; other libraries' names in full."""
    space, _, name = func._schema.name.partition("::")
    name = name.rstrip("_") if func._schema.is_mutable else name
    return name if space == "aten" else f"{space}::{name}"


@cache
def functional(func: Any) -> Any:
    """The operation that computes the same and writes nothing; None where there is none."""
    if not func._schema.is_mutable:
        return func
    plain = getattr(torch.ops.aten, func._schema.name.partition("::")[2].rstrip("_"), None)
    name = func._overloadname
    if not func._schema.name.endswith("_") or plain is None or name not in plain.overloads():
        return None
    return getattr(plain, name)


@cache
def is_pointwise(func: Any) -> bool:
    """Whether torch says that an operation maps position by position."""
    pure = functional(func)
    return pure is not None and torch.Tag.pointwise in pure.tags


@cache
def is_view(func: Any) -> bool:
    """Whether a result shares memory with an argument that is not written."""
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
