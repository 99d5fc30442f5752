"""What a data set holds, and what its targets mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What targets mean: their kind, names, partners in a mirror image, and colors."""

    kind: str
    names: tuple[str, ...] = ()
    mirror: tuple[int, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
