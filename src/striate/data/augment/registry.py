"""The registry of augmentations, and the draws that they share.

Every augmentation takes units (`Input.units`: pictures in 0..1, say) and a generator and leaves them as they are at
zero strength. Draws come from the generator's own device, so a CPU generator gives the same changes on any device. One
that leaves places alone gives the changed units; one that moves pixels gives a `Move`, which moves masks, boxes and
points alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from striate.data.items import Input
from striate.registry import Between, Registry
from striate.shapes import Float, Int64, Tensor

Pictures = Float[Tensor, "n c *space"]
Allowed = Between | tuple[Any, ...]


@dataclass(frozen=True)
class Augmentation:
    """A registered augmentation: the values its options may have, and what it changes.

    `takes` names families of input (`Input.family`): pictures, volumes, signals, bases, words. `fit(inputs,
    preprocess)` looks at the training set once; its result is the third argument of `function`.
    """

    name: str
    function: Callable[..., Any]
    example: str
    takes: tuple[str, ...]
    allowed: Mapping[str, Allowed]
    rgb_only: bool
    fit: Callable[[Tensor, Input | None], Any] | None

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").partition("\n")[0]


AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation")
Function = Callable[..., Any]


def augmentation(
    example: str,
    *,
    takes: tuple[str, ...] = ("pictures",),
    rgb_only: bool = False,
    fit: Callable[[Tensor, Input | None], Any] | None = None,
    **allowed: Allowed,
) -> Callable[[Function], Function]:
    """Register the decorated function under its name, with an `example` spec and the `allowed` values."""

    def add(function: Function) -> Function:
        AUGMENTATIONS.add(Augmentation(function.__name__, function, example, takes, allowed, rgb_only, fit))
        return function

    return add


def words(allowed: Allowed) -> str:
    """The allowed values in an error or a table.

    >>> words(Between(0, 1)), words(Between(0, 64, whole=True)), words(("reflect", "zeros"))
    ('a number in 0..1', 'a whole number in 0..64', 'reflect or zeros')
    """
    return str(allowed) if isinstance(allowed, Between) else " or ".join(map(str, allowed))


def uniform(images: Pictures, generator: torch.Generator, low: float, high: float) -> Float[Tensor, " n *ones"]:
    """One number per picture, from low to high: n 1 1 1 for pictures, n 1 1 1 1 for volumes."""
    drawn = torch.rand(len(images), generator=generator, device=generator.device)
    return (low + (high - low) * drawn).to(images.device, images.dtype).view(-1, *(1,) * (images.ndim - 1))


def whole(images: Pictures, generator: torch.Generator, high: int) -> Int64[Tensor, " n"]:
    """One whole number per picture, 0 to high - 1."""
    return torch.randint(high, (len(images),), generator=generator, device=generator.device).to(images.device)
