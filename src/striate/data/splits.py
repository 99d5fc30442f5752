"""Training, validation and test parts: the ones that a source comes with, the others drawn by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from striate.errors import InputError

Positions = npt.NDArray[np.int64]


def split(
    labels: npt.NDArray[np.int64],
    given: Mapping[str, Positions],
    class_names: Sequence[str],
    validation: float,
    test: float,
    seed: int,
) -> dict[str, Positions]:
    """Positions of "train", "validation" and "test": those given, the others drawn from the training part."""
    parts = dict(given)
    for name, fraction in (("test", test), ("validation", validation)):
        if name not in parts and fraction > 0:
            parts["train"], parts[name] = _draw(labels, parts["train"], class_names, name, fraction, seed)
    return parts


def _draw(
    labels: npt.NDArray[np.int64],
    positions: Positions,
    class_names: Sequence[str],
    name: str,
    fraction: float,
    seed: int,
) -> tuple[Positions, Positions]:
    from sklearn.model_selection import train_test_split  # 0.7 s

    counts = np.bincount(labels[positions], minlength=len(class_names))
    rare = int(counts.argmin())
    # One of each class on both sides is the least that a stratified split can be.
    count = max(round(fraction * len(positions)), len(class_names))
    if counts[rare] < 2 or len(positions) - count < len(class_names):
        fix = f"Add images, or set {name} to 0."
        found = f"{counts[rare]} of class {class_names[rare]}"
        raise InputError(f"a class is too small to split off {name}", expected="2 or more", got=found, fix=fix)
    rest, drawn = train_test_split(positions, test_size=count, stratify=labels[positions], random_state=seed % 2**32)
    return np.sort(rest), np.sort(drawn)
