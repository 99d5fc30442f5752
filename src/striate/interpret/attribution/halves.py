"""Batches whose second half holds the references of the first half: what hands differences back between the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from striate.errors import InputError
from striate.shapes import Tensor

Unary = Callable[[Tensor], Tensor]

NEAR = 16  # roundings of a value: a difference below that has the derivative for its slope


class Halves:
    """Functions of tensors whose axis 0 has items, then their references: `rows`, or several of each in turn.

    `function`: what is being computed, for messages. `moved`: sizes of axes that took the place of axis 0 on the way;
    where there are any, an axis 0 of another size, or of one of these, may be anything.
    """

    def __init__(self, rows: int) -> None:
        self.rows, self.function = rows, ""
        self.moved: set[int] = set()

    def rescaled(self, x: Tensor, function: Unary) -> Tensor:
        """function(x), which hands back its slope between the halves of the batch."""
        self.check(x)
        made: Tensor = _Rescale.apply(x, function)  # type: ignore[no-untyped-call]
        return made

    def times(self, a: Any, b: Any, product: Callable[[Any, Any], Tensor] = torch.mul) -> Tensor:
        """a b = mean(a, a0) Δb + mean(b, b0) Δa + a0 b0: each factor is handed the other's mean of both halves."""
        self.check(a, b)
        made: Tensor = _Product.apply(a, b, product)  # type: ignore[no-untyped-call]
        return made

    def largest(self, x: Tensor, place: Tensor) -> Tensor:
        """Values of x (2n, ..., l) at places (2n, ..., k) of maxima, which hand back to the places of both halves."""
        self.check(x)
        made: Tensor = _Maximum.apply(x, place)  # type: ignore[no-untyped-call]
        return made

    def check(self, *tensors: Tensor) -> None:
        """Raise InputError where axis 0 is not that of the items."""
        for x in tensors:
            size = len(x) if x.dim() else 0
            ours = size == self.rows not in self.moved if self.moved else size > 0 and size % self.rows == 0
            if not ours:
                turned = f", after axes of {sorted(self.moved)} came in its place" if self.moved else ""
                raise InputError(
                    "DeepLIFT looks for items and their references along axis 0, and this may be another axis",
                    where=self.function,
                    expected=f"{self.rows} rows",
                    got=f"{tuple(x.shape)}{turned}",
                    fix="Keep the items on axis 0 (batch_first=True), explain another number of items at a time, or "
                    "use integrated_gradients.",
                )


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Unary) -> Tensor:
        made = function(x)
        ctx.function = function
        ctx.save_for_backward(x.clone(), made.clone())
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, made = ctx.saved_tensors
        moved, changed = (-torch.sub(*part.chunk(2)[::-1]) for part in (x, made))
        near = moved.abs() <= NEAR * torch.finfo(x.dtype).eps * torch.add(*x.abs().chunk(2))
        slope = changed / moved.masked_fill(near, 1)
        if bool(near.any()):
            slope = torch.where(near, slope_of(ctx.function, x.chunk(2)[0]), slope)
        return gradients[0] * slope.repeat(2, *[1] * (x.dim() - 1)), None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, product: Callable[[Any, Any], Tensor]) -> Tensor:
        ctx.product = product
        ctx.save_for_backward(a.clone(), b.clone())
        return product(a, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        means = []
        for factor in ctx.saved_tensors:
            mean = torch.stack(factor.chunk(2)).mean(0)
            means.append(mean.repeat(2, *[1] * (mean.dim() - 1)).requires_grad_())
        with torch.enable_grad():
            made = ctx.product(*means)
        return *torch.autograd.grad(made, means, gradients[0]), None


class _Maximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor) -> Tensor:
        made = x.gather(-1, place)
        ctx.save_for_backward(x.clone(), place, made)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, place, made = ctx.saved_tensors
        (here, there), (to, away) = made.chunk(2), place.chunk(2)
        greatest, gradient = torch.maximum(here, there), gradients[0].chunk(2)[0]
        given = torch.zeros_like(x.chunk(2)[0])
        given.scatter_add_(-1, to, (greatest - there) * gradient).scatter_add_(-1, away, (here - greatest) * gradient)
        moved = torch.sub(*x.chunk(2))
        share = torch.where(moved == 0, 0, given / moved.masked_fill(moved == 0, 1))
        return torch.cat([share, torch.zeros_like(share)]), None


def slope_of(function: Unary, x: Tensor) -> Tensor:
    """The derivative of a function of one variable."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(x).sum(), x)
    return slope
