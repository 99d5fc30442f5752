"""Pictures of one class each: the digits of scikit-learn, MNIST, Fashion-MNIST, CIFAR-10, folders of classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from striate.data.formats import CIFAR10_CLASSES, IMAGES_MAGIC, LABELS_MAGIC, read_cifar10, read_idx
from striate.data.images import find_pictures
from striate.data.items import Listing, Meaning
from striate.data.sources.folders import in_class_folders, printable
from striate.data.sources.registry import source
from striate.data.splits import consecutive
from striate.errors import InputError

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
    found = in_class_folders(path, find_pictures, "images")
    names = tuple(printable(file) for file in found.files)
    return Listing(found.files, found.labels, found.meaning, names, found.splits)


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
