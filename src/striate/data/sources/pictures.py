"""Pictures of one class each: the digits of scikit-learn, MNIST, Fashion-MNIST, CIFAR-10, folders of classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from striate.data.formats import CIFAR10_CLASSES, IMAGES_MAGIC, LABELS_MAGIC, read_cifar10, read_idx
from striate.data.items import Listing, Meaning
from striate.data.sources.registry import source
from striate.data.splits import Positions, consecutive
from striate.errors import InputError, listed

# Small digits: moved and turned a little they stay what they are.
SLIGHTLY = ("shift:0.08", "rotate:10")


@source("digits", has_path=False, size=(8, 8), augment=SLIGHTLY)
def digits() -> Listing:
    """1,797 handwritten digits of 8x8 grey pixels, part of scikit-learn: nothing to download.

    Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI repository (1998). The 17
    levels 0..16 become 0..255.
    """
    from sklearn.datasets import load_digits  # 0.7 s

    bunch = load_digits()
    images = torch.from_numpy((bunch.images * (255 / 16)).round().astype(np.uint8))[:, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    names = tuple(f"digits {i}" for i in range(len(images)))
    return Listing(images, labels, Meaning("class", tuple("0123456789")), names, {"train": np.arange(len(images))})


@source("mnist", size=(28, 28), augment=SLIGHTLY)
def mnist(path: Path) -> Listing:
    """MNIST: 60,000 + 10,000 handwritten digits of 28x28 grey pixels; PATH holds the four idx files."""
    return _idx("mnist", path, tuple("0123456789"))


@source("fashion", size=(28, 28), augment=SLIGHTLY)
def fashion(path: Path) -> Listing:
    """Fashion-MNIST: 60,000 + 10,000 articles of 28x28 grey pixels; PATH holds the four idx files."""
    names = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    return _idx("fashion", path, tuple(names.split(",")))


@source("cifar10", size=(32, 32), augment=SLIGHTLY)
def cifar10(path: Path) -> Listing:
    """CIFAR-10: 50,000 + 10,000 color pictures of 32x32; PATH is the folder of the batches or the tar."""
    return _stacked("cifar10", read_cifar10(path), CIFAR10_CLASSES)


@source("folder", augment=SLIGHTLY)
def folder(path: Path) -> Listing:
    """Pictures in one sub-folder per class under PATH, or under PATH/train, PATH/test and PATH/validation.

    Every file that Pillow reads counts, however deep in its class folder; hidden and other files do not. Pictures
    beside the class folders, which have no label, raise InputError.
    """
    if not path.is_dir():
        raise InputError("a folder source is not a folder", where=path, fix="Pass the folder of the classes.")
    roots = _split_folders(path)
    found = {split: _class_folders(root) for split, root in roots.items()}
    class_names = tuple(sorted(found.get("train") or {name for part in found.values() for name in part}))
    paths: list[Path] = []
    labels: list[int] = []
    splits: dict[str, Positions] = {}
    for part, classes in found.items():
        strangers = sorted(set(classes) - set(class_names))
        if strangers:
            expected = f"the classes of {roots['train']}"
            raise InputError("classes without training images", where=roots[part], expected=expected, got=strangers)
        first = len(paths)
        for label, name in enumerate(class_names):
            paths += classes.get(name, ())
            labels += [label] * len(classes.get(name, ()))
        splits[part] = np.arange(first, len(paths))
    names = tuple(printable(file) for file in paths)
    return Listing(tuple(paths), torch.tensor(labels), Meaning("class", class_names), names, splits)


def printable(path: Path | str) -> str:
    """The path as text; bytes that are no UTF-8 become \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _split_folders(path: Path) -> dict[str, Path]:
    known = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}
    inside = sorted(file for file in path.iterdir() if file.is_dir() and not file.name.startswith("."))
    splits = {known[file.name]: file for file in inside if file.name in known}
    others = [file.name for file in inside if file.name not in known]
    if splits and not others and len(splits) == len(inside):
        return splits
    if "train" in splits and len(splits) > 1:
        expected = "train, test and validation (or val), or class folders only"
        names = ", ".join(file.name for file in inside)
        raise InputError("split folders and others side by side", where=path, expected=expected, got=names)
    return {"train": path}


def find_pictures(root: Path, *, deep: bool = True) -> list[Path]:
    """Every file under `root` (or, not `deep`, just in it) that Pillow reads, in order; hidden ones are left out."""
    Image.init()
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    inside = root.rglob("*") if deep else root.glob("*")
    files = sorted(file for file in inside if file.suffix.lower() in suffixes and file.is_file())
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts)]


def _class_folders(root: Path) -> dict[str, list[Path]]:
    classes = {}
    for inside in sorted(file for file in root.iterdir() if file.is_dir() and not file.name.startswith(".")):
        if printable(inside.name) != inside.name:
            fix = "Rename it: class names are written into reports."
            raise InputError("the name of a class folder is no UTF-8", where=printable(inside), fix=fix)
        classes[inside.name] = find_pictures(inside)
        if not classes[inside.name]:
            fix = "Add images or remove the folder."
            raise InputError("a class folder without images", where=inside, fix=fix)
    if not classes:
        fix = "Put the images of each class in a sub-folder named after it."
        raise InputError("a folder without class folders", where=root, fix=fix)
    if stray := find_pictures(root, deep=False):
        raise InputError(
            "pictures without a label",
            where=printable(root),
            expected="each in the sub-folder of its class",
            got=f"{len(stray)}: {listed([printable(file.name) for file in stray], 5)}",
            fix="Move them into the folder of their class, or out of the way.",
        )
    return classes


def _idx(name: str, path: Path, class_names: tuple[str, ...]) -> Listing:
    parts = {}
    for part, stem in (("train", "train"), ("test", "t10k")):
        images = read_idx(_idx_file(path, f"{stem}-images", "idx3-ubyte"), IMAGES_MAGIC)
        labels = read_idx(_idx_file(path, f"{stem}-labels", "idx1-ubyte"), LABELS_MAGIC)
        if len(images) != len(labels):
            found = f"{len(images)} images, {len(labels)} labels"
            raise InputError("images and labels differ in number", where=path / stem, got=found)
        if labels.max() >= len(class_names):
            expected = f"0 to {len(class_names) - 1}"
            raise InputError("idx labels", where=path / stem, expected=expected, got=int(labels.max()))
        parts[part] = (images[:, None], labels)
    return _stacked(name, parts, class_names)


def _idx_file(path: Path, stem: str, kind: str) -> Path:
    spellings = [f"{stem}{mark}{kind}{end}" for mark in "-." for end in (".gz", "")]
    for spelling in spellings:
        if (path / spelling).is_file():
            return path / spelling
    fix = "Pass the folder that holds the four idx files."
    raise InputError("no idx file", where=path, expected=" or ".join(spellings), fix=fix)


def _stacked(name: str, parts: Mapping[str, tuple[Any, Any]], class_names: tuple[str, ...]) -> Listing:
    images = torch.from_numpy(np.concatenate([images for images, _ in parts.values()]))
    labels = torch.from_numpy(np.concatenate([labels for _, labels in parts.values()]).astype(np.int64))
    names = tuple(f"{name} {part} {i}" for part, (_, found) in parts.items() for i in range(len(found)))
    splits = consecutive({part: len(found) for part, (_, found) in parts.items()})
    return Listing(images, labels, Meaning("class", class_names), names, splits)
