"""Data sources by name, each read into one listing, then split and sized the same way for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from striate.data.cache import Progress, decode, gather
from striate.data.formats import CIFAR10_CLASSES, IMAGES_MAGIC, LABELS_MAGIC, read_cifar10, read_idx
from striate.data.images import GREY_MODES, Data, ImageSet, Preprocess, moments
from striate.data.splits import Positions, split
from striate.errors import InputError
from striate.registry import Registry
from striate.shapes import Int64, Tensor


@dataclass(frozen=True, eq=False)
class Listing:
    """What a source holds, before it is read at a size.

    `pictures` are pixels (uint8 n c h w) or paths; `splits` has the positions of "train" and, where the
    source comes with them, "validation" and "test".
    """

    pictures: Tensor | tuple[Path, ...]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]
    names: Sequence[str]
    splits: Mapping[str, Positions]


@dataclass(frozen=True)
class Source:
    """A registered data source: `read` gets the path after the colon, or nothing without `has_path`.

    `size` is the height and width of its pictures, None where they differ.
    """

    name: str
    read: Callable[..., Listing]
    has_path: bool
    size: tuple[int, int] | None

    @property
    def spec(self) -> str:
        """How it is written: `digits`, `mnist:PATH`."""
        return f"{self.name}:PATH" if self.has_path else self.name

    @property
    def summary(self) -> str:
        return (self.read.__doc__ or "").partition("\n")[0]


SOURCES: Registry[Source] = Registry("data source")


def source(
    name: str, *, has_path: bool = True, size: tuple[int, int] | None = None
) -> Callable[[Callable[..., Listing]], Callable[..., Listing]]:
    """Register the decorated function as the data source `name`."""

    def add(read: Callable[..., Listing]) -> Callable[..., Listing]:
        SOURCES.add(Source(name, read, has_path, size))
        return read

    return add


@source("digits", has_path=False, size=(8, 8))
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
    return Listing(images, labels, tuple("0123456789"), names, {"train": np.arange(len(images))})


@source("mnist", size=(28, 28))
def mnist(path: Path) -> Listing:
    """MNIST: 60,000 + 10,000 handwritten digits of 28x28 grey pixels; PATH holds the four idx files."""
    return _idx("mnist", path, tuple("0123456789"))


@source("fashion", size=(28, 28))
def fashion(path: Path) -> Listing:
    """Fashion-MNIST: 60,000 + 10,000 articles of 28x28 grey pixels; PATH holds the four idx files."""
    names = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    return _idx("fashion", path, tuple(names.split(",")))


@source("cifar10", size=(32, 32))
def cifar10(path: Path) -> Listing:
    """CIFAR-10: 50,000 + 10,000 color pictures of 32x32; PATH is the folder of the batches or the tar."""
    return _stacked("cifar10", read_cifar10(path), CIFAR10_CLASSES)


@source("folder")
def folder(path: Path) -> Listing:
    """Pictures in one sub-folder per class under PATH, or under PATH/train, PATH/test and PATH/validation.

    Every file that Pillow reads counts, however deep in its class folder; hidden and other files do not.
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
    names = tuple(_printable(file) for file in paths)
    return Listing(tuple(paths), torch.tensor(labels), class_names, names, splits)


def _printable(path: Path | str) -> str:
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


def _class_folders(root: Path) -> dict[str, list[Path]]:
    Image.init()
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    classes = {}
    for inside in sorted(file for file in root.iterdir() if file.is_dir() and not file.name.startswith(".")):
        if _printable(inside.name) != inside.name:
            fix = "Rename it: class names are written into reports."
            raise InputError("the name of a class folder is no UTF-8", where=_printable(inside), fix=fix)
        files = sorted(file for file in inside.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
        classes[inside.name] = [
            file for file in files if not any(part.startswith(".") for part in file.relative_to(inside).parts)
        ]
        if not classes[inside.name]:
            fix = "Add images or remove the folder."
            raise InputError("a class folder without images", where=inside, fix=fix)
    if not classes:
        fix = "Put the images of each class in a sub-folder named after it."
        raise InputError("a folder without class folders", where=root, fix=fix)
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
    splits, first = {}, 0
    for part, (_, found) in parts.items():
        splits[part] = np.arange(first, first + len(found))
        first += len(found)
    return Listing(images, labels, class_names, names, splits)


def load_data(
    spec: str,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    skip_corrupt: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Data:
    """Read the data source `spec`, split it, and measure the mean and deviation of its training part.

    `spec` is a name of `SOURCES`, with a path after the first colon where it needs one. `image_size` (side,
    or height and width, in pixels) and `channels` (1 or 3) default to the source's own; a folder needs the
    size.
    Splits that the source comes with are kept; else `test` is a fraction of everything, class by class, and
    `validation` one of the training part (0: none; see `splits.split`). The same spec and seed give the same data.

    A folder's pictures are decoded once into a file under `cache` (default $STRIATE_CACHE or
    ~/.cache/striate), telling `progress` (done, total, "decoding images"). A corrupt one raises InputError,
    or with `skip_corrupt` is left out and listed in `skipped`. What else cannot be used raises InputError.

    >>> data = load_data("digits", seed=1)
    >>> data.shape, len(data.train), len(data.validation), len(data.test)
    ((1, 8, 8), 1295, 143, 359)
    """
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0 <= fraction < 1:
            raise InputError(f"{name} is not a fraction", expected="at least 0, less than 1", got=fraction)
    if seed < 0:
        raise InputError("seed is negative", expected="at least 0", got=seed)
    listing = _read(spec)
    if "train" not in listing.splits:
        raise InputError("no training part", where=spec, expected="a folder train", got=list(listing.splits))
    if len(listing.class_names) < 2:
        fix = "Put the images of each class in a sub-folder named after it."
        got = listing.class_names
        raise InputError("only one class", where=spec, expected="at least two", got=got, fix=fix)
    shape = _shape(spec, listing, image_size, channels)
    plain = Preprocess(shape, mean=(0.0,) * shape[0], std=(1.0,) * shape[0])
    images, corrupt = decode(listing.pictures, plain, skip_corrupt=skip_corrupt, cache=cache, progress=progress)
    kept = {name: positions[~np.isin(positions, corrupt)] for name, positions in listing.splits.items()}
    parts = split(listing.labels.numpy(), kept, listing.class_names, validation, test, seed)
    sets = {name: _subset(spec, name, listing, images, positions, cache) for name, positions in parts.items()}
    preprocess = measured(plain, sets["train"].images)
    skipped = tuple(listing.names[i] for i in corrupt)
    return Data(sets["train"], sets.get("validation"), sets.get("test"), preprocess, skipped)


def open_items(
    spec: str,
    preprocess: Preprocess,
    class_names: Sequence[str],
    *,
    skip_corrupt: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[ImageSet, tuple[str, ...]]:
    """The items on which a model is evaluated, and the names of the corrupt ones that `skip_corrupt` left out.

    The items are the source's own test split, or all of it where it has none. They are read through the model's
    `preprocess` and labeled in the order of its `class_names`. Classes are matched by name, so a folder may hold some
    of them; one that the model does not know raises InputError.
    """
    listing = _read(spec)
    strangers = sorted(set(listing.class_names) - set(class_names))
    if strangers:
        raise InputError(
            "classes that the model does not know",
            where=spec,
            expected=f"some of {', '.join(class_names)}",
            got=", ".join(strangers),
        )
    order = torch.tensor([list(class_names).index(name) for name in listing.class_names])
    listing = replace(listing, labels=order[listing.labels], class_names=tuple(class_names))
    images, corrupt = decode(listing.pictures, preprocess, skip_corrupt=skip_corrupt, cache=cache, progress=progress)
    part = "test" if "test" in listing.splits else "evaluation"
    positions = listing.splits.get("test", np.arange(len(images)))
    broken = np.isin(positions, corrupt)
    skipped = tuple(listing.names[i] for i in positions[broken].tolist())
    return _subset(spec, part, listing, images, positions[~broken], cache), skipped


def _read(spec: str) -> Listing:
    name, colon, rest = spec.partition(":")
    entry = SOURCES[name]
    if not entry.has_path:
        if colon:
            raise InputError("a data source that takes no path", where=spec, fix=f"Write just {entry.spec}.")
        return entry.read()
    if not rest:
        raise InputError("a data source without its path", where=spec, fix=f"Write {entry.spec}.")
    path = Path(rest).expanduser()
    if not path.exists():
        raise InputError("no such file or folder", where=path, fix="Check the path after the first colon.")
    return entry.read(path)


def _subset(
    spec: str, part: str, listing: Listing, images: Tensor, positions: Positions, cache: Path | None
) -> ImageSet:
    if len(positions) == 0:
        raise InputError(f"no images are left for {part}", where=spec, expected="at least one readable image")
    where = torch.from_numpy(positions)
    names = tuple(listing.names[i] for i in positions.tolist())
    return ImageSet(gather(images, where, cache), listing.labels[where], listing.class_names, names)


def _shape(
    spec: str, listing: Listing, size: int | tuple[int, int] | None, channels: int | None
) -> tuple[int, int, int]:
    if isinstance(listing.pictures, Tensor):
        own_channels, *own_size = listing.pictures.shape[1:]
    else:
        if size is None:
            fix = "Give an image size, 64 say."
            raise InputError("a folder of pictures has no size of its own", where=spec, fix=fix)
        own_channels, own_size = 0, []
    height, width = own_size if size is None else (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise InputError("image size is not positive", expected="at least 1", got=size)
    if channels is None:
        channels = own_channels or (1 if _all_grey(listing.pictures) else 3)
    return channels, height, width


def _all_grey(paths: Any) -> bool:
    for path in paths:
        try:
            with Image.open(path) as picture:
                if picture.mode not in GREY_MODES:
                    return False
        except Exception:  # decoding says what is wrong with it
            continue
    return True


def measured(plain: Preprocess, images: Tensor) -> Preprocess:
    """`plain` with the mean and the standard deviation of `images` (population, over all pixels, 0..1)."""
    mean, covariance = moments(images)
    std = covariance.diagonal().sqrt()
    # A channel that never changes says nothing; any positive number will do to divide it by.
    std = torch.where(std > 1e-6, std, 1.0)
    return replace(plain, mean=tuple(mean.tolist()), std=tuple(std.tolist()))
