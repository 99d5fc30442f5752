"""Files of one class each, in one folder a class; and such folders train, test and validation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from striate.data.items import Meaning
from striate.data.splits import Positions, consecutive
from striate.errors import InputError, listed
from striate.shapes import Int64, Tensor

PARTS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
# The files that count in a folder, at any depth or just in it.
Find = Callable[[Path, bool], list[Path]]


class Classed(NamedTuple):
    """Files, the number of the class of each, what the classes are called, and the parts."""

    files: tuple[Path, ...]
    labels: Int64[Tensor, " n"]
    meaning: Meaning
    splits: dict[str, Positions]


def in_class_folders(path: Path, find: Find, what: str) -> Classed:
    """The files of `what` (images, say) in one sub-folder per class under `path`, or under its train, test ...

    Raises InputError for class folders without files, files outside of class folders, and classes that are not trained.
    """
    if not path.is_dir():
        raise InputError(f"{what} of classes lie in a folder", where=path, fix="Pass the folder of the class folders.")
    roots = _split_folders(path)
    found = {part: _classes(root, find, what) for part, root in roots.items()}
    names = tuple(sorted(found.get("train") or {name for part in found.values() for name in part}))
    files: list[Path] = []
    labels: list[int] = []
    counts = {}
    for part, classes in found.items():
        if strangers := sorted(set(classes) - set(names)):
            expected = f"the classes of {roots['train']}"
            raise InputError(f"classes without training {what}", where=roots[part], expected=expected, got=strangers)
        counts[part] = sum(map(len, classes.values()))
        for label, name in enumerate(names):
            files += classes.get(name, ())
            labels += [label] * len(classes.get(name, ()))
    return Classed(tuple(files), torch.tensor(labels), Meaning("class", names), consecutive(counts))


def printable(path: Path | str) -> str:
    """The path as text; bytes that are no UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _split_folders(path: Path) -> dict[str, Path]:
    inside = sorted(file for file in path.iterdir() if file.is_dir() and not file.name.startswith("."))
    splits = {PARTS[file.name]: file for file in inside if file.name in PARTS}
    others = [file.name for file in inside if file.name not in PARTS]
    if splits and not others and len(splits) == len(inside):
        return splits
    if "train" in splits and len(splits) > 1:
        expected = "train, test and validation (or val), or class folders only"
        names = ", ".join(file.name for file in inside)
        raise InputError("split folders and others side by side", where=path, expected=expected, got=names)
    return {"train": path}


def _classes(root: Path, find: Find, what: str) -> dict[str, list[Path]]:
    classes = {}
    for inside in sorted(file for file in root.iterdir() if file.is_dir() and not file.name.startswith(".")):
        if printable(inside.name) != inside.name:
            fix = "Rename it: class names are written into reports."
            raise InputError("the name of a class folder is no UTF-8", where=printable(inside), fix=fix)
        classes[inside.name] = find(inside, True)
        if not classes[inside.name]:
            fix = f"Add {what} or remove the folder."
            raise InputError(f"a class folder without {what}", where=inside, fix=fix)
    if not classes:
        fix = f"Put the {what} of each class in a sub-folder named after it."
        raise InputError("a folder without class folders", where=root, fix=fix)
    if stray := find(root, False):
        raise InputError(
            f"{what} without a label",
            where=printable(root),
            expected="each in the sub-folder of its class",
            got=f"{len(stray)}: {listed([printable(file.name) for file in stray], 5)}",
            fix="Move them into the folder of their class, or out of the way.",
        )
    return classes
