"""Pictures with a mask each: matching files, and what the values in a mask file mean."""

from __future__ import annotations

import mimetypes
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from striate.data.cache import decode
from striate.data.images import Pictures, all_grey, find_pictures, sizes_of, to_channels
from striate.data.items import VOID, Meaning, Reading
from striate.errors import InputError, listed
from striate.shapes import Int64, Tensor, UInt8

Color = tuple[int, int, int]
Mask = npt.NDArray[np.uint8]
Pair = tuple[Path, Path]
STRIP = 1 << 20  # pixels that are looked up at once
IMAGE_FOLDERS, MASK_FOLDERS = ("images", "image"), ("masks", "mask", "labels", "label")
SPLIT_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Legend:
    """The classes of a set of masks: names, colors, and the class index (or VOID) of each value or color in a file.

    `fix` is the way out of a value that is no class, where no classes.txt says what is one.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    values: Mapping[int, int]
    colors: Mapping[Color, int]
    fix: str = ""

    def renumbered(self, order: Sequence[int]) -> Legend:
        """The same where class i has the number `order[i]`."""
        numbers = {**dict(enumerate(order)), VOID: VOID}
        values = {code: numbers[i] for code, i in self.values.items()}
        return replace(self, values=values, colors={code: numbers[i] for code, i in self.colors.items()})


class UnreadableError(InputError):
    """A mask that cannot be decoded."""


@dataclass(frozen=True)
class Pairs:
    """Pictures with masks in files, to be read when it is known at which size: see `read_pairs`.

    `sizes` are height and width of each picture, zeros where it cannot be opened; `channels` 1 if all are grey, else 3.
    """

    files: tuple[Pair, ...]
    legend: Legend
    sizes: Int64[Tensor, "n 2"]
    channels: int

    @classmethod
    def of(cls, files: Sequence[Pair], legend: Legend) -> Pairs:
        """The pairs of these files; only the heads of the pictures are read."""
        images = [image for image, _ in files]
        return cls(tuple(files), legend, sizes_of(images), 1 if all_grey(images) else 3)

    @property
    def size(self) -> tuple[int, int]:
        """The greatest height and the greatest width."""
        height, width = self.sizes.amax(0).clamp(min=1).tolist()
        return height, width


def default_palette(classes: int) -> tuple[Color, ...]:
    """As many distinct colors: those of the PASCAL VOC masks, without its black.

    The bits of class c are dealt out in turn to red, green and blue, from the highest bit of each down.

    >>> default_palette(3)
    ((128, 0, 0), (0, 128, 0), (128, 128, 0))
    """
    return tuple(
        tuple(sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3))  # type: ignore[misc]
        for number in range(1, classes + 1)
    )


def read_legend(path: Path) -> Legend:
    """Read `classes.txt`: a class a line, as `name`, `name value` or `name red green blue`.

    A line without a value has the number of its class, from 0. Lines named void are no class: their values are not
    trained on and not scored; 255 is void, too, unless a class has that value. Empty lines and those that begin with
    # are skipped. Raises InputError for anything else, naming the line.
    """
    names: list[str] = []
    palette: list[Color | None] = []
    values: dict[int, int] = {}
    colors: dict[Color, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, code = _class_line(line, f"{path}, line {number}")
        void = name.lower() == "void"
        if not void and name in names:
            raise InputError("two classes have one name", where=f"{path}, line {number}", got=name)
        index = VOID if void else len(names)
        value: int | Color = code[0] if len(code) == 1 else (code[0], code[1], code[2]) if code else index
        taken = values if isinstance(value, int) else colors
        if value in taken:
            raise InputError("two classes have one value", where=f"{path}, line {number}", got=value)
        taken[value] = index  # type: ignore[index]
        if not void:
            names.append(name)
            palette.append(None if isinstance(value, int) else value)
    if not names:
        raise InputError("no classes", where=path, expected="a class a line", fix="Write the names of the classes.")
    values.setdefault(VOID, VOID)
    shown = tuple(own or other for own, other in zip(palette, default_palette(len(names)), strict=True))
    return Legend(tuple(names), shown, values, colors)


def _class_line(line: str, where: str) -> tuple[str, tuple[int, ...]]:
    """Name and whole numbers of a line: none, one or three, each in 0..255."""
    found = re.fullmatch(r"(.*?\S)((?:[\s,]+\d+){3}|[\s,]+\d+|)\s*", line.lstrip())
    assert found
    name, code = found[1].strip(" ,"), tuple(int(digits) for digits in re.findall(r"\d+", found[2]))
    if any(value > 255 for value in code) or not name:
        raise InputError(
            "a class", where=where, expected="name, name value or name red green blue, each 0 to 255", got=line
        )
    return name, code


def read_mask(file: Path | BytesIO, legend: Legend, name: str = "") -> Mask:
    """The class of each pixel (h w), 255 where it is void.

    The file holds numbers (grey, palette, black-and-white or 16-bit), or, where the legend has colors, colors. Raises
    InputError for a file that cannot be read, and for a value or color that the legend does not have, with its pixels
    counted.
    """
    where = name or str(file)
    try:
        with Image.open(file) as picture:
            if (frames := getattr(picture, "n_frames", 1)) > 1:
                fix = "Save each picture in a file of its own."
                raise InputError("a mask of several pictures", where=where, got=frames, fix=fix)
            colored = picture.mode in ("RGBA", "LA", "CMYK") or (picture.mode == "P" and bool(legend.colors))
            stored = np.asarray(picture.convert("RGB") if colored else picture)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableError("cannot read the mask", where=where, got=str(error).partition("\n")[0]) from None
    if stored.ndim == 3 and legend.colors:
        return _looked_up(stored, legend, where)
    if stored.ndim == 3:
        if (stored != stored[..., :1]).any():
            fix = "Write a line `name red green blue` for each class into classes.txt beside the folders."
            fix = legend.fix or fix
            raise InputError("a mask of colors, whose classes are not known", where=where, fix=fix)
        stored = stored[..., 0]
    if stored.dtype.kind == "f":
        raise InputError("a mask of fractions", where=where, expected="whole numbers", got=f"{stored.dtype}")
    return _looked_up(stored, legend, where)


def _looked_up(stored: npt.NDArray[Any], legend: Legend, where: str) -> Mask:
    """The class of each value (h w) or color (h w 3)."""
    colors = stored.ndim == 3
    codes = {(r << 16) + (g << 8) + b: i for (r, g, b), i in legend.colors.items()} if colors else legend.values

    def spell(code: int) -> str:
        return f"({code >> 16}, {code >> 8 & 255}, {code & 255})" if colors else str(code)

    stored = stored.astype(np.uint8) if stored.dtype == np.bool_ else stored
    mask = np.empty(stored.shape[:2], np.uint8)
    strange: Counter[int] = Counter()
    step = max(1, STRIP // stored.shape[1])
    for first in range(0, len(stored), step):
        strip = stored[first : first + step]
        if colors:
            strip = strip.astype(np.int64)
            strip = (strip[..., 0] << 16) + (strip[..., 1] << 8) + strip[..., 2]
        if colors or strip.min() < 0 or strip.max() > 0xFFFF:  # a count for each value would be too many
            found, places, counts = np.unique(strip, return_inverse=True, return_counts=True)
            strip = places.reshape(strip.shape)
        else:
            counts = np.bincount(strip.ravel())
            found = np.arange(len(counts))
        seen = zip(found.tolist(), counts.tolist(), strict=True)
        strange.update({code: count for code, count in seen if count and code not in codes})
        mask[first : first + step] = np.array([codes.get(code, VOID) for code in found.tolist()], np.uint8)[strip]
    if strange:
        known = [spell(code) for code in sorted(codes)]
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise InputError(
            f"unknown label {'color' if colors else 'value'}",
            where=where,
            expected=", ".join(known if len(known) < 20 else [*known[:10], "...", known[-1]]),
            got=", ".join(f"{spell(code)} in {count} pixels" for code, count in sorted(strange.items())[:5]) + more,
            fix=legend.fix or "Correct the mask, or give each value a class (or void) in classes.txt.",
        )
    return mask


def pair_up(images: Path, masks: Path) -> list[Pair]:
    """Image and mask files of the same name but for the ending, ordered by the numbers in their names.

    Hidden files and files that are no pictures do not count. Raises InputError for images without a mask and masks
    without an image, counted and named, and for two files that differ in their endings only: nothing is left out.
    """
    by_stem = {}
    for folder in (images, masks):
        files = find_pictures(folder, deep=False)
        by_stem[folder] = {file.stem: file for file in files}
        if unread := sorted(file.name for file in folder.iterdir() if file not in files and _pictured(file)):
            fix = "Save them as PNG, or move them out of the folder."
            got = f"{len(unread)}: {listed(unread)}"
            raise InputError("pictures in formats that Pillow does not read", where=folder, got=got, fix=fix)
        if len(by_stem[folder]) < len(files):
            twice = _twice([file.stem for file in files])
            raise InputError("two pictures have one name", where=folder, got=listed(twice), fix="Keep one of each.")
        if not by_stem[folder]:
            raise InputError("no pictures", where=folder, expected="files that Pillow reads: .png, .jpg, .tif ...")
    for folder, other, what in ((images, masks, "images without a mask"), (masks, images, "masks without an image")):
        lost = [file.name for stem, file in by_stem[folder].items() if stem not in by_stem[other]]
        if lost:
            got = f"{len(lost)} of {len(by_stem[folder])}: {listed(lost)}"
            fix = "Add what is missing, or move these out of the folder."
            raise InputError(what, where=folder, expected=f"files of the same names in {other.name}", got=got, fix=fix)
    return [(by_stem[images][stem], by_stem[masks][stem]) for stem in sorted(by_stem[images], key=natural)]


def pairs_of_list(file: Path, root: Path) -> list[Pair]:
    """Pairs named in a list file, `image mask` in turn, as SegNet's train.txt has them.

    Of each path its last two parts count, under `root`: lists are written for the folders of another machine. Raises
    InputError for an odd number of paths and for files that are missing, counted and named.
    """
    paths = [root.joinpath(*Path(word).parts[-2:]) for word in file.read_text(encoding="utf-8").split()]
    if len(paths) % 2 or not paths:
        raise InputError(
            "a list of images and masks", where=file, expected="image and mask in turn", got=f"{len(paths)} paths"
        )
    lost = [str(path.relative_to(root)) for path in paths if not path.is_file()]
    if lost:
        fix = "Add the files, or take their lines out."
        raise InputError(
            "files of a list are missing", where=file, got=f"{len(lost)} of {len(paths)}: {listed(lost)}", fix=fix
        )
    return list(zip(paths[::2], paths[1::2], strict=True))


def read_pairs(
    pairs: Pairs, size: tuple[int, int] | None, channels: int | None, reading: Reading
) -> tuple[UInt8[Tensor, "n c h w"], UInt8[Tensor, "n h w"], dict[int, Pair]]:
    """Pictures and masks at one size, resized and cut alike, and which pairs are left out: broken file, other file.

    Where sizes differ, all lie in the middle of the greatest height and width, black and void around them. `size` and
    `channels` are by default those of the pairs. Pictures come from the cache; files are open one at a time in each
    thread. Raises InputError where a mask and its picture differ in size, for values that are no class, and, unless
    `reading.skip_corrupt`, where a file cannot be read.
    """
    channels = channels or pairs.channels
    fitted = Pictures((channels, *(size or pairs.size)), mean=(0.0,) * channels, std=(1.0,) * channels)
    masks = torch.full((len(pairs.files), *fitted.shape[1:]), VOID, dtype=torch.uint8)
    left_out = {}
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes without the interpreter lock
        found = threads.map(partial(_read_mask_of, pairs, fitted), range(len(masks)))
        for number, ((image, file), mask) in enumerate(zip(pairs.files, found, strict=True)):
            if isinstance(mask, Tensor):
                masks[number] = mask
            elif reading.skip_corrupt:
                left_out[number] = (file, image)
            else:
                fix = "Replace it, remove it and its image, or leave both out with --skip-corrupt (skip_corrupt=True)."
                raise InputError(str(mask), fix=fix)
            if reading.progress is not None:
                reading.progress(number + 1, len(masks), "reading masks")
    alike = bool((pairs.sizes == torch.tensor(pairs.size)).all(1)[pairs.sizes[:, 0] > 0].all())
    images, corrupt = decode(
        [image for image, _ in pairs.files],
        fitted if alike else InTheMiddle(fitted, pairs.size),
        key=() if alike else pairs.size,
        skip_corrupt=reading.skip_corrupt,
        cache=reading.cache,
        progress=reading.progress,
    )
    return images, masks, left_out | {number: pairs.files[number] for number in corrupt}


@dataclass(frozen=True)
class InTheMiddle:
    """Reads files as `pictures` does, from the middle of a black picture of `size` (h, w)."""

    pictures: Pictures
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pictures.shape

    def read(self, item: Any) -> Tensor:
        picture = to_channels(self.pictures.opened(item), self.pictures.channels)
        around = Image.new(picture.mode, self.size[::-1])
        around.paste(picture, ((around.width - picture.width) // 2, (around.height - picture.height) // 2))
        return self.pictures.read(around)


def _read_mask_of(pairs: Pairs, fitted: Pictures, number: int) -> UInt8[Tensor, "h w"] | UnreadableError:
    """The mask of a pair in the middle of the greatest size, resized and cut as its picture; or why it is not read."""
    try:
        mask = read_mask(pairs.files[number][1], pairs.legend)
    except UnreadableError as error:
        return error
    height, width = pairs.sizes[number].tolist()
    if height and mask.shape != (height, width):
        raise InputError(
            "an image and its mask differ in size",
            where=pairs.files[number][1],
            expected=f"{height}x{width}, as the image",
            got="{}x{}".format(*mask.shape),
            fix="Give both the same height and width.",
        )
    around = torch.full((1, *pairs.size), VOID, dtype=torch.uint8)
    top, left = ((side - own) // 2 for side, own in zip(pairs.size, (height, width), strict=True))
    around[0, top : top + height, left : left + width] = torch.from_numpy(mask)[:height, :width]
    return fitted.place(around, Meaning("mask"), pairs.size)[0]


def guessed_legend(files: Sequence[Path]) -> Legend:
    """The classes of masks without `classes.txt`: what values occur in them.

    Two values, 0 and 255, are two classes. Else the classes are 0 up to the greatest value below 255, which is void.
    Colors of palette files are kept. Raises InputError where most of those numbers occur nowhere (0 and 128, say), and
    for JPEG files with other values than 0 and 255: its compression makes up values along every edge.
    """
    first: dict[int, tuple[int, Path]] = {}  # of each value, how many pixels of which file have it
    palette: list[int] | None = None
    every = Legend(("any",), ((0, 0, 0),), {value: value for value in range(256)}, {})
    for file in files:
        try:
            counts = Image.fromarray(read_mask(file, every)).histogram()
        except UnreadableError:  # told when the pairs are read
            continue
        own = {value: count for value, count in enumerate(counts) if count}
        with Image.open(file) as picture:
            palette = palette or picture.getpalette()
            if picture.format in ("JPEG", "MPO") and not own.keys() <= {0, VOID}:
                fix = "Save the masks as PNG: JPEG changes values along edges."
                raise InputError("a mask in a lossy format", where=file, got=f"{len(own)} different values", fix=fix)
        first = {value: (count, file) for value, count in own.items()} | first
    if first.keys() <= {0, VOID}:
        return Legend(("0", "255"), default_palette(2), {0: 0, VOID: 1}, {})
    count = max(first.keys() - {VOID}) + 1
    if count > 2 * len(first.keys() - {VOID}):
        usual = [str(value) for value in (0, VOID) if value in first]
        others = [(value, *first[value]) for value in sorted(first.keys() - {0, VOID})]
        raise InputError(
            "the values of the masks are not numbers of classes",
            where=files[0].parent,
            expected="0, 1, 2 ... (255: void), or 0 and 255",
            got=listed([*usual, *(f"{value} in {pixels} pixels of {file.name}" for value, pixels, file in others)]),
            fix="Correct the masks, or write a line `name value` for each class into classes.txt beside the folders.",
        )
    colors = default_palette(count)
    if palette and len(palette) >= 3 * count:
        colors = tuple((palette[3 * i], palette[3 * i + 1], palette[3 * i + 2]) for i in range(count))
    return Legend(tuple(map(str, range(count))), colors, {**{i: i for i in range(count)}, VOID: VOID}, {})


def natural(name: str) -> list[tuple[int, str]]:
    """A key that orders names by the numbers in them.

    >>> sorted(["10.png", "9.png", "a2", "a10"], key=natural)
    ['a2', 'a10', '9.png', '10.png']
    """
    return [(int(digits) if digits else -1, text) for digits, text in re.findall(r"(\d+)|(\D+)", name)]


def _pictured(file: Path) -> bool:
    """Whether the ending is that of a picture, read or not."""
    kind = mimetypes.guess_type(file.name, strict=False)[0] or ""
    return kind.startswith("image/") and not file.name.startswith(".") and file.is_file()


def _twice(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})
