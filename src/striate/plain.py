"""Results as JSON that every reader takes: it knows no NaN and no infinity."""

from __future__ import annotations

import json
import math
from typing import Any


def finite(value: Any) -> Any:
    """Plain types with None for each number that is NaN or infinite: a measure that is not defined.

    >>> finite({"auroc": float("nan"), "psnr": (float("inf"), 30.5)})
    {'auroc': None, 'psnr': [None, 30.5]}
    """
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any, indent: int | None = None) -> str:
    """Plain types as JSON; a number that is NaN or infinite becomes null (see `finite`)."""
    return json.dumps(finite(value), indent=indent, allow_nan=False)


def from_null(value: float | None) -> float:
    """A number that `to_json` wrote: null was one that is not defined.

    >>> from_null(None), from_null(0.5)
    (nan, 0.5)
    """
    return math.nan if value is None else value
