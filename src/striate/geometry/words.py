"""Shapes, counts and bytes as people read them."""

from __future__ import annotations

from typing import Any


def by(sizes: Any) -> str:
    """3x224x224, as shapes are written; one number where all are equal, for two axes or three."""
    return "x".join(str(size) for size in sizes)


def number(count: int) -> str:
    """With thousands, nothing for 0."""
    return f"{count:,}" if count else ""


def size(count: int) -> str:
    """Bytes for people: 1,536 is 1.5 KiB."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < 5:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:,.4g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[unit]}"
