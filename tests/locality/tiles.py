"""What the tests of tiles share."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.locality import tile


def whole(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net.eval()(x)


def least(net: nn.Module, x: Any, **options: Any) -> int:
    """The least budget that works, as the error has it."""
    try:
        tile(net, x, budget_bytes=1, **options)
    except InputError as error:
        found = re.search(r"the budget is too small .*budget_bytes=(\d+)", str(error))
        if found is None:
            raise
        return int(found[1])
    raise AssertionError("a budget of one byte was enough")


def assert_equal(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    assert got.shape == wanted.shape
    assert (got - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1e-30)


@contextlib.contextmanager
def running(net: nn.Module) -> Iterator[list[tuple[int, ...]]]:
    """The shapes that a network is run on (not traced)."""
    sizes: list[tuple[int, ...]] = []

    def seen(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not args[0].is_meta:
            sizes.append(tuple(args[0].shape))

    hook = net.register_forward_pre_hook(seen)
    try:
        yield sizes
    finally:
        hook.remove()


def small(channels: int = 1, **options: Any) -> nn.Sequential:
    """Sees 3 to either side, in steps of two."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1, **options), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3, padding=1)
    )
