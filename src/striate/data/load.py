"""A data source, read, split, turned into numbers: the data of a training, or the items of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from striate.data.augment import build_augmentation
from striate.data.cache import gather
from striate.data.framing import Framing
from striate.data.images import Pictures
from striate.data.inputs import fit_input
from striate.data.items import Data, Input, Items, Listing, Meaning, Progress, Reading
from striate.data.loader import Change
from striate.data.masks import Pairs, read_pairs
from striate.data.sources import find_source, read_source
from striate.data.sources.folders import printable
from striate.data.splits import Positions, fold_of, split
from striate.data.volumes import Volumes
from striate.errors import InputError
from striate.recipe import read_sides
from striate.registry import parse_spec
from striate.shapes import Tensor


def load_data(
    spec: str,
    *,
    inputs: str | None = None,
    image_size: int | str | tuple[int, ...] | None = None,
    channels: int | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    folds: int | None = None,
    fold: int = 0,
    seed: int = 0,
    skip_corrupt: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Data:
    """Read the data source `spec`, split it, and fit the kind of input on its training part.

    `spec` is a name of `SOURCES`, with a path after the first colon where it needs one; `inputs` is a name of `INPUTS`
    with its options, by default the source's own. For pictures, `image_size` (side, height and width, or both as text,
    180x240, in pixels) and `channels` (1 or 3) default to the source's own; a folder needs the size.
    Splits that the source comes with are kept; else `test` is a fraction of everything, class by class, and
    `validation` one of the training part (0: none; see `splits.split`). With `folds`, part `fold` of so many equal ones
    of everything is the test part (see `splits.fold_of`). The same spec and seed give the same data.

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
    entry, listing = find_source(spec), read_source(spec)
    if "train" not in listing.splits:
        raise InputError("no training part", where=spec, expected="a folder train", got=list(listing.splits))
    if listing.meaning.kind == "class" and len(listing.class_names) < 2:
        fix = "Put the items of each class where the source looks for a class of its own (striate sources)."
        got = listing.class_names
        raise InputError("only one class", where=spec, expected="at least two", got=got, fix=fix)
    parts: dict[str, Positions] = {}

    def train(corrupt: Sequence[int]) -> Positions:
        given = {
            name: positions[~np.isin(positions, [*corrupt, *broken])] for name, positions in listing.splits.items()
        }
        classes, names = strata(listing)
        groups = None if listing.groups is None else listing.groups.numpy()
        if folds is not None:
            given = fold_of(classes, given, folds, fold, groups, seed)
        parts.update(split(classes, given, names, validation, test, seed, groups))
        for name, positions in parts.items():
            if len(positions) == 0:
                raise InputError(f"no items are left for {name}", where=spec, expected="at least one readable item")
        return parts["train"]

    reading = Reading(spec, train, skip_corrupt, cache, progress, listing.names)
    given = listing
    size = _size(image_size, inputs or entry.inputs)
    listing, broken = _from_files(listing, size, channels, reading)
    stored, fitted, corrupt = fit_input(
        inputs or entry.inputs, entry.kind, listing.inputs, reading, image_size=size, channels=channels
    )
    listing = _placed(listing, fitted)
    sets = {name: _subset(spec, name, listing, stored, positions, cache) for name, positions in parts.items()}
    skipped = tuple(broken.get(i, listing.names[i]) for i in sorted({*corrupt, *broken}))
    return Data(
        sets["train"],
        sets.get("validation"),
        sets.get("test"),
        fitted,
        skipped,
        entry.augment,
        (
            *(fitted.notes(listing.inputs) if isinstance(listing.inputs, tuple) else ()),
            *_cut_off(given, listing, fitted),
        ),
    )


def open_items(
    spec: str,
    preprocess: Input,
    meaning: Meaning,
    *,
    skip_corrupt: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Items, tuple[str, ...]]:
    """The items on which a model is evaluated, and the names of the corrupt ones that `skip_corrupt` left out.

    The items are the source's own test split, or all of it where it has none. They are read through the model's
    `preprocess`, and their targets numbered as in the model's `meaning`. Classes are matched by name, so a folder may
    hold some of them; one that the model does not know raises InputError, as do targets of another kind.
    """
    listing = read_source(spec)
    if meaning.kind != "none":
        listing = _renamed(spec, listing, meaning)
    reading = Reading(spec, skip_corrupt=skip_corrupt, cache=cache, progress=progress, names=listing.names)
    channels, size = (preprocess.channels, preprocess.shape[1:]) if isinstance(preprocess, Pictures) else (None, None)
    listing, left_out = _from_files(listing, size, channels, reading)
    stored, corrupt = preprocess.store(listing.inputs, reading)
    listing = _placed(listing, preprocess)
    part = "test" if "test" in listing.splits else "evaluation"
    positions = listing.splits.get("test", np.arange(len(stored)))
    broken = np.isin(positions, [*corrupt, *left_out])
    skipped = tuple(left_out.get(i, listing.names[i]) for i in positions[broken].tolist())
    return _subset(spec, part, listing, stored, positions[~broken], cache), skipped


def augmentation_of(specs: Sequence[str] | None, data: Data) -> Change | None:
    """The augmentation that `specs` name (None: those of the data), for its training items; None without any."""
    specs = data.augment if specs is None else specs
    return build_augmentation(specs, data.train.inputs, data.meaning, data.preprocess)


def strata(listing: Listing) -> tuple[Positions, tuple[str, ...]]:
    """The class of each item by which the parts are drawn, and the names: one for all where items have no class."""
    if listing.meaning.kind == "class":
        return listing.targets.numpy(), listing.class_names
    return np.zeros(len(listing.targets), np.int64), ("item",)


def _renamed(spec: str, listing: Listing, meaning: Meaning) -> Listing:
    """The listing with its targets numbered as in `meaning`."""
    if listing.meaning.kind != meaning.kind:
        raise InputError(
            "data with another kind of target than the model's", where=spec, expected=meaning.kind,
            got=listing.meaning.kind,
        )  # fmt: skip
    strangers = sorted(set(listing.class_names) - set(meaning.names))
    if strangers:
        raise InputError(
            "classes that the model does not know",
            where=spec,
            expected=f"some of {', '.join(meaning.names)}",
            got=", ".join(strangers),
        )
    if listing.class_names == meaning.names:
        return listing
    if meaning.kind == "box":
        labels = torch.zeros(len(listing.targets), 5 + len(meaning.names))
        labels[:, :5] = listing.targets[:, :5]
        labels[:, [5 + meaning.names.index(name) for name in listing.class_names]] = listing.targets[:, 5:]
        return replace(listing, targets=labels, meaning=meaning)
    if meaning.kind not in ("class", "mask", "text"):
        raise InputError(
            "the targets have other names than the model's", where=spec, expected=", ".join(meaning.names),
            got=", ".join(listing.class_names),
        )  # fmt: skip
    order = torch.tensor([meaning.names.index(name) for name in listing.class_names])
    if isinstance(listing.inputs, Pairs):
        legend = listing.inputs.legend.renumbered(order.tolist())
        return replace(listing, inputs=replace(listing.inputs, legend=legend), meaning=meaning)
    known = (listing.targets >= 0) & (listing.targets < len(order))
    numbers = order[torch.where(known, listing.targets.long(), 0)].to(listing.targets.dtype)
    return replace(listing, targets=torch.where(known, numbers, listing.targets), meaning=meaning)


def _size(given: int | str | Sequence[int] | None, inputs: str) -> tuple[int, int] | None:
    """Height and width as asked for, of the data or among the options of the kind of input."""
    own = parse_spec(inputs)[1].get("image_size")
    sizes = {read_sides(size) for size in (given, own) if size is not None}
    if len(sizes) > 1:
        raise InputError("two image sizes", where=inputs, got=f"{given} and {own}", fix="Give one of them.")
    return sizes.pop() if sizes else None


def _from_files(
    listing: Listing, size: tuple[int, int] | None, channels: int | None, reading: Reading
) -> tuple[Listing, dict[int, str]]:
    """The listing with its pairs of files read at that size, and what is left out of it: positions and names."""
    if not isinstance(listing.inputs, Pairs):
        return listing, {}
    images, masks, broken = read_pairs(listing.inputs, size, channels, reading)
    names = {i: f"{printable(file)}, and with it {printable(other)}" for i, (file, other) in broken.items()}
    return replace(listing, inputs=images, targets=masks), names


def _placed(listing: Listing, fitted: Input) -> Listing:
    """The listing with the targets that lie in the picture moved as the picture was."""
    if listing.sizes is not None and isinstance(fitted, Pictures):
        rows = zip(torch.split(listing.targets, 1), listing.sizes.tolist(), strict=True)
        moved = [fitted.place(target, listing.meaning, (h, w)) if h else target for target, (h, w) in rows]
        return replace(listing, targets=torch.cat(moved))
    if not isinstance(listing.inputs, Tensor) or not isinstance(fitted, Pictures | Volumes):
        return listing
    *depth, height, width = listing.inputs.shape[2:]
    if isinstance(fitted, Volumes):
        return replace(listing, targets=fitted.place(listing.targets, listing.meaning, (*depth, height, width)))
    return replace(listing, targets=fitted.place(listing.targets, listing.meaning, (height, width)))


def _cut_off(given: Listing, placed: Listing, fitted: Input) -> Iterator[str]:
    """A line on what lies beside the middle of the picture, which the network sees: boxes, points, parts of masks."""
    if given.meaning.kind == "mask" and isinstance(fitted, Pictures) and isinstance(given.inputs, Tensor | Pairs):
        yield from _cut_masks(given.inputs.size if isinstance(given.inputs, Pairs) else given.inputs.shape[2:], fitted)
        return
    if given.meaning.kind == "box":
        before, after = (int((listing.targets[:, 4] > 0).sum()) for listing in (given, placed))
        what = "boxes lie beside the middle of their picture, which the network sees: no object there"
    elif given.meaning.kind == "points":
        before, after = (int((~listing.targets.isnan()).all(2).sum()) for listing in (given, placed))
        what = "points lie beside the middle of their picture, which the network sees: not known there"
    else:
        return
    if after < before:
        yield f"{before - after:,} of {before:,} {what}"


def _cut_masks(size: tuple[int, ...], fitted: Pictures) -> Iterator[str]:
    """A line where pictures of `size` (h, w) lose a pixel of what the network sees, or more, to their framing."""
    framing = Framing(fitted.shape[1:], size)
    if max(framing.corners) < 0.5:
        return
    seen = math.prod(fitted.shape[1:]) / math.prod(framing.scales) / math.prod(size)
    own, new, whole = (
        "x".join(map(str, sides))
        for sides in (size, fitted.shape[1:], [round(side * min(fitted.shape[1:]) / min(size)) for side in size])
    )
    yield (
        f"image size {new} keeps the middle {seen:.0%} of pictures of {own}: nothing else is learned or scored. "
        f"The whole needs height and width in their proportions: --image-size {whole}, say"
    )


def _subset(spec: str, part: str, listing: Listing, stored: Tensor, positions: Positions, cache: Path | None) -> Items:
    if len(positions) == 0:
        raise InputError(f"no items are left for {part}", where=spec, expected="at least one readable item")
    where = torch.from_numpy(positions)
    names = tuple(listing.names[i] for i in positions.tolist())
    groups = None if listing.groups is None else listing.groups[where]
    return Items(gather(stored, where, cache), listing.targets[where], listing.meaning, names, groups)
