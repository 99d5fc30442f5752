"""Training, validation and test parts: the ones that a source comes with, the others drawn by class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from striate.errors import InputError

Positions = npt.NDArray[np.int64]


def consecutive(counts: Mapping[str, int]) -> dict[str, Positions]:
    """The positions of parts of so many items each, one part after the other.

    >>> {part: where.tolist() for part, where in consecutive({"train": 3, "test": 2}).items()}
    {'train': [0, 1, 2], 'test': [3, 4]}
    """
    ends = np.cumsum(list(counts.values()))
    return {part: np.arange(end - count, end) for (part, count), end in zip(counts.items(), ends, strict=True)}


def split(
    labels: npt.NDArray[np.int64],
    given: Mapping[str, Positions],
    class_names: Sequence[str],
    validation: float,
    test: float,
    seed: int,
    groups: npt.NDArray[np.int64] | None = None,
) -> dict[str, Positions]:
    """Positions of "train", "validation" and "test": those given, the others drawn from the training part.

    Of each class its share is drawn, rounded, but at least one item, and at least one stays in training. A class
    with a single training item cannot be tested, which raises InputError; without a validation item it stays in
    training. Which items of a class are drawn depends on the seed and on that class alone. With `groups`, a share of
    the groups is drawn instead, whole ones, whatever their classes: at least one, and one stays in training.

    >>> parts = split(np.array([0, 0, 0, 0, 1, 1]), {"train": np.arange(6)}, ["a", "b"], 0, 0.25, seed=0)
    >>> len(parts["train"]), len(parts["test"])
    (4, 2)
    """
    parts = dict(given)
    for key, (name, fraction) in enumerate((("test", test), ("validation", validation))):
        if name in parts or fraction == 0:
            continue
        if groups is not None:
            drawn = _draw_groups(name, parts["train"], groups, fraction, (seed, key))
            parts["train"], parts[name] = np.setdiff1d(parts["train"], drawn), drawn
            continue
        counts = np.bincount(labels[parts["train"]], minlength=len(class_names))
        rare = int(counts.argmin())
        if counts[rare] < (2 if name == "test" else 1):
            raise InputError(
                f"a class is too small to split off {name}" if len(class_names) > 1 else f"too few to split off {name}",
                expected="2 or more items",
                got=f"{counts[rare]} of class {class_names[rare]}" if len(class_names) > 1 else int(counts[rare]),
                fix=f"Add items, or set {name} to 0.",
            )
        drawn = _draw(labels, parts["train"], counts, fraction, (seed, key))
        if len(drawn) == 0:
            held = "" if "test" in given or test == 0 else f", hold less than {test:g} out for test"
            raise InputError(
                f"no items are left to split off {name} {fraction:g}",
                expected="a class with 2 or more training items",
                got="1 of each",
                fix=f"Add items{held}, or set {name} to 0.",
            )
        parts["train"], parts[name] = np.setdiff1d(parts["train"], drawn), drawn
    return parts


def _draw(
    labels: npt.NDArray[np.int64],
    positions: Positions,
    counts: npt.NDArray[np.int64],
    fraction: float,
    key: tuple[int, ...],
) -> Positions:
    drawn = []
    for label, count in enumerate(counts.tolist()):
        wanted = min(max(round(fraction * count), 1), count - 1)
        order = np.random.default_rng((*key, label)).permutation(count)
        drawn.append(positions[labels[positions] == label][order[:wanted]])
    return np.sort(np.concatenate(drawn))


def _draw_groups(
    name: str, positions: Positions, groups: npt.NDArray[np.int64], fraction: float, key: tuple[int, ...]
) -> Positions:
    own = np.unique(groups[positions])
    if len(own) < 2:
        raise InputError(
            f"no group is left to split off {name} {fraction:g}",
            expected="2 or more groups in training: a group's items stay together",
            got=len(own),
            fix=f"Set {name} to 0.",
        )
    wanted = min(max(round(fraction * len(own)), 1), len(own) - 1)
    chosen = np.random.default_rng(key).permutation(own)[:wanted]
    return np.sort(positions[np.isin(groups[positions], chosen)])


def fold_of(
    labels: npt.NDArray[np.int64],
    given: Mapping[str, Positions],
    folds: int,
    fold: int,
    groups: npt.NDArray[np.int64] | None,
    seed: int,
) -> dict[str, Positions]:
    """One of `folds` cross-validations: every item is in the test part of exactly one of them.

    All parts that the source comes with are put together. Folds have equal shares of each class, in an order drawn
    from the seed; with `groups`, whole groups stay together and the classes are balanced as far as they allow. Where
    there are more folds than items of any class (each item left out once, say), classes play no part.
    Raises InputError for less than two folds, more than there are items or groups, and a fold that is none of them.

    >>> [len(fold_of(np.zeros(5, int), {"train": np.arange(5)}, 2, k, None, 0)["test"]) for k in (0, 1)]
    [3, 2]
    """
    everything = np.sort(np.concatenate(list(given.values())))
    most = len(everything) if groups is None else len(np.unique(groups[everything]))
    if not 2 <= folds <= most:
        what = "items" if groups is None else "groups"
        raise InputError("folds of a cross-validation", expected=f"2 to {most} ({what})", got=folds)
    if not 0 <= fold < folds:
        raise InputError("fold of a cross-validation", expected=f"0 to {folds - 1}", got=fold)
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold  # 0.5 s

    # Every item in a fold of its own, say: no class can have a share in each.
    plain = folds > np.bincount(labels[everything]).max()
    makers = (KFold, GroupKFold) if plain else (StratifiedKFold, StratifiedGroupKFold)
    # scikit-learn takes seeds of 32 bits; of a longer one, a hash.
    short = seed if seed < 2**32 else int(np.random.SeedSequence(seed).generate_state(1)[0])
    maker = makers[groups is not None](folds, shuffle=True, random_state=short)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with less items than folds is spread as far as it goes
        own = None if groups is None else groups[everything]
        parts = list(maker.split(everything, labels[everything], own))
    train, test = parts[fold]
    return {"train": everything[train], "test": everything[test]}
