"""Which axis of a tensor is what: a letter each, b batch, t time, m both merged, f features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from striate.shapes import Tensor

# Of two recordings the second has so many more steps (a multiple of usual strides), and one more item.
LONGER = 60


@dataclass(frozen=True)
class Axes:
    """Reads which axis is what off two shapes of a tensor, one for `batch` items of `steps` steps."""

    batch: int
    steps: int

    def letters(self, short: Sequence[int], long: Sequence[int]) -> str:
        """b batch, t time, m both merged, f features (as long in both), and ? for anything else."""
        return "".join(self._letter(a, b) for a, b in zip(short, long, strict=True))

    def _letter(self, a: int, b: int) -> str:
        if a == b:
            return "f"
        if (a, b) == (self.batch, self.batch + 1):
            return "b"
        if b - a == LONGER:
            return "t"
        merged = a % self.batch == 0 and b % (self.batch + 1) == 0
        return "m" if merged and b // (self.batch + 1) - a // self.batch == LONGER else "?"

    def alike(self, short: Sequence[int], long: Sequence[int]) -> bool:
        """Whether these are shapes of one constant, which may have an axis for the batch."""
        pairs = zip(short, long, strict=False)
        return len(short) == len(long) and all(a == b or (a, b) == (self.batch, self.batch + 1) for a, b in pairs)

    def same(self, a: Any, b: Any) -> bool:
        """Whether a constant is the same in both; the items of a batch, but for the rounding of a larger product."""
        if not isinstance(a, Tensor):
            return bool(a == b or a != a)
        if a.shape == b.shape or not a.is_floating_point():
            b = b[tuple(map(slice, a.shape))]
            return bool(((a == b) | (a != a)).all())
        bound = min(256 * torch.finfo(a.dtype).eps, 0.02) * float(a.nan_to_num(0, 0, 0).abs().max())
        return torch.allclose(a, b[tuple(map(slice, a.shape))], rtol=0, atol=bound, equal_nan=True)

    def extra(self, letters: str, short: Sequence[int]) -> int:
        """How many more steps a tensor has than the input."""
        if "t" in letters:
            return short[letters.index("t")] - self.steps
        return short[letters.index("m")] // self.batch - self.steps


def flow(letters: str, shape: Sequence[int]) -> str:
    """The order in which numbers lie: b, t, and f for features together."""
    order = "".join(
        "bt" if letter == "m" else letter
        for letter, size in zip(letters, shape, strict=True)
        if letter != "f" or size > 1
    )
    while "ff" in order:
        order = order.replace("ff", "f")
    return order


def inside(index: int, size: int) -> int:
    """A start of a slice, counted from the first."""
    return min(max(index + size if index < 0 else index, 0), size)


def laid(rows: Tensor, letters: str, shape: tuple[int, ...]) -> Tensor:
    """Rows (n, f) as one step in the layout of the network."""
    x = torch.unflatten(rows, 1, shape) if shape else rows.squeeze(1)
    items = letters.replace("t", "")
    x = x.movedim(0, items.index("m" if "m" in items else "b"))
    return x.unsqueeze(letters.index("t")) if "t" in letters else x


def flat(result: Any, letters: str) -> Tensor:
    """The way back."""
    x: Tensor = result[0] if isinstance(result, tuple) else result
    x = x.squeeze(letters.index("t")) if "t" in letters else x
    items = letters.replace("t", "")
    x = x.movedim(items.index("m" if "m" in items else "b"), 0)
    return x.flatten(1) if x.dim() > 1 else x[:, None]
