"""Result shapes of the commonest operations, told directly.

torch's own shape functions for them are written in Python on top of its compiler, whose import takes longer than
the description of any network; all other operations run on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

Args = Sequence[Any]
Options = Mapping[str, Any]

# Activations whose result is like their first argument.
ALIKE = {"aten::relu", "aten::hardtanh", "aten::leaky_relu", "aten::elu", "aten::silu", "aten::gelu", "aten::hardswish"}
ALIKE |= {"aten::hardsigmoid", "aten::sigmoid", "aten::tanh"}

# Arithmetic whose result is like both arguments, where these are alike.
BOTH = {"aten::add", "aten::sub", "aten::mul"}

# In-place fillings.
RANDOM = {"aten::bernoulli_", "aten::uniform_", "aten::normal_"}


@cache
def shape_function(func: Any) -> Callable[[Args, Options], Any] | None:
    """What stands for an operation on meta tensors; None where torch's own shape function is to be run."""
    name = func._schema.name
    if name in RANDOM or (name.endswith("_") and torch.Tag.pointwise in func.tags and name != "aten::copy_"):
        return lambda args, _: args[0]
    if name in ALIKE and func._overloadname == "default":
        return _alike
    if name in BOTH and func._overloadname == "Tensor":
        return lambda args, options: like(args[0]) if _equal(*args[:2]) else func(*args, **options)
    if name == "aten::convolution":
        return lambda args, _: convolution(*args)
    return OTHERS.get(name)


def _alike(args: Args, _: Options) -> torch.Tensor:
    return like(args[0])


def _equal(a: torch.Tensor, b: torch.Tensor | float) -> bool:
    """Whether both are tensors of one form, without gaps between their numbers."""
    if not isinstance(b, torch.Tensor):
        return False
    return a.shape == b.shape and a.dtype == b.dtype and a.is_contiguous() and b.is_contiguous()


def like(x: torch.Tensor) -> torch.Tensor:
    """A meta tensor of the same form."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def batch_norm(args: Args, _: Options) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The normalized values; mean and inverse deviation of each channel where they were computed."""
    x, training = args[0], args[5]
    statistics = x.shape[1] if training else 0
    return like(x), x.new_empty(statistics), x.new_empty(statistics)


def product(args: Args, _: Options) -> torch.Tensor:
    """Matrix products: (mat1, mat2) are the last two of the arguments."""
    left: torch.Tensor = args[-2]
    right: torch.Tensor = args[-1]
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"expected {right.shape[-2]} features, got {left.shape[-1]}")
    return left.new_empty((*left.shape[:-1], right.shape[-1]))


def dropout(args: Args, _: Options) -> tuple[torch.Tensor, torch.Tensor]:
    """What is left, and the mask."""
    return like(args[0]), args[0].new_empty(args[0].shape, dtype=torch.bool)


def attention(args: Args, _: Options) -> tuple[torch.Tensor, torch.Tensor]:
    """What each position sees, and the logarithm of each sum, as the (n, t, h) that the kernel fills."""
    query: torch.Tensor = args[0]
    n, h, t, _c = query.shape
    sums = torch.float64 if query.dtype == torch.float64 else torch.float32
    return torch.empty_like(query), query.new_empty((n, t, h), dtype=sums).transpose(1, 2)


OTHERS = {"aten::native_batch_norm": batch_norm, "aten::native_dropout": dropout, "aten::addmm": product}
OTHERS |= {"aten::mm": product, "aten::_scaled_dot_product_flash_attention_for_cpu": attention}


def convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    _bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """Raises ValueError, which the tracer explains, for channels that do not fit and for an input below the kernel."""
    rank = x.dim() - 2
    wanted = weight.shape[0] if transposed else weight.shape[1] * groups
    if weight.dim() != x.dim():
        raise ValueError(f"a kernel of {weight.dim() - 2} axes on an input of {rank}")
    if x.shape[1] != wanted:
        raise ValueError(f"expected {wanted} channels, got {x.shape[1]}")
    shape = [x.shape[0], weight.shape[1] * groups if transposed else weight.shape[0]]
    for axis in range(rank):
        size, kernel = x.shape[2 + axis], weight.shape[2 + axis]
        s, p, d, more = (option[min(axis, len(option) - 1)] for option in (stride, padding, dilation, output_padding))
        reach = d * (kernel - 1) + 1
        if transposed:
            side = (size - 1) * s - 2 * p + reach + more
        elif size + 2 * p < reach:
            padded = f" with its padding of {p}" if p else ""
            raise ValueError(f"a kernel of {reach} is larger than the {size} positions of axis {axis}{padded}")
        else:
            side = (size + 2 * p - reach) // s + 1
        if side < 1:
            raise ValueError(f"nothing is left of the {size} positions of axis {axis}")
        shape.append(side)
    out = x.new_empty(shape)
    last = torch.channels_last if rank == 2 else torch.channels_last_3d
    if rank in (2, 3) and x.is_contiguous(memory_format=last) and not x.is_contiguous():
        out = out.to(memory_format=last)
    return out
