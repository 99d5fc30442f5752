"""Options that many networks of the zoo have."""

from __future__ import annotations

from typing import Annotated

from striate.registry import Between

# Multiplies channels and hidden units.
Width = Annotated[float, Between(0.001, 100)]
# A probability, of dropout for the most part.
Chance = Annotated[float, Between(0, 1)]


def scaled(channels: int, width: float) -> int:
    """So many channels times `width`, at least one."""
    return max(1, round(channels * width))
