"""Pictures with a mask each: matching files, and what the values in a mask file mean."""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from striate.data.images import GREY_MODES, find_pictures, to_channels
from striate.data.items import VOID
from striate.errors import InputError, listed
from striate.shapes import Tensor, UInt8

Color = tuple[int, int, int]
Mask = npt.NDArray[np.uint8]
Pair = tuple[Path, Path]
IMAGE_FOLDERS, MASK_FOLDERS = ("images", "image"), ("masks", "mask", "labels", "label")
SPLIT_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Legend:
    """The classes of a set of masks: names, colors, and the class index (or VOID) of each value or color in a file."""

    names: tuple[str, ...]
    palette: tuple[Color, ...]
    values: Mapping[int, int]
    colors: Mapping[Color, int]


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
        raise InputError("cannot read the mask", where=where, got=str(error).partition("\n")[0]) from None
    if stored.ndim == 3 and legend.colors:
        red, green, blue = (stored[..., channel].astype(np.int64) for channel in range(3))
        codes = {(r << 16) + (g << 8) + b: index for (r, g, b), index in legend.colors.items()}
        return _looked_up((red << 16) + (green << 8) + blue, codes, where, colors=True)
    if stored.ndim == 3:
        if (stored != stored[..., :1]).any():
            fix = "Write a line `name red green blue` for each class into classes.txt beside the folders."
            raise InputError("a mask of colors, whose classes are not known", where=where, fix=fix)
        stored = stored[..., 0]
    if stored.dtype.kind == "f":
        raise InputError("a mask of fractions", where=where, expected="whole numbers", got=f"{stored.dtype}")
    return _looked_up(stored.astype(np.int64), legend.values, where, colors=False)


def _looked_up(stored: npt.NDArray[np.int64], codes: Mapping[int, int], where: str, *, colors: bool) -> Mask:
    def spell(code: int) -> str:
        return f"({code >> 16}, {code >> 8 & 255}, {code & 255})" if colors else str(code)

    if colors or stored.min() < 0:
        found, places, counts = np.unique(stored, return_inverse=True, return_counts=True)
        stored = places.reshape(stored.shape)
    else:
        counts = np.bincount(stored.ravel())
        found = np.arange(len(counts))
    strange = [(code, count) for code, count in zip(found.tolist(), counts.tolist(), strict=True) if count]
    strange = [(code, count) for code, count in strange if code not in codes]
    if strange:
        known = [spell(code) for code in sorted(codes)]
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise InputError(
            f"unknown label {'color' if colors else 'value'}",
            where=where,
            expected=", ".join(known if len(known) < 20 else [*known[:10], "...", known[-1]]),
            got=", ".join(f"{spell(code)} in {count} pixels" for code, count in strange[:5]) + more,
            fix="Correct the mask, or give each value a class (or void) in classes.txt.",
        )
    mask: Mask = np.array([codes.get(code, VOID) for code in found.tolist()], np.uint8)[stored]
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


def read_pairs(pairs: Sequence[Pair], legend: Legend) -> tuple[UInt8[Tensor, "n c h w"], UInt8[Tensor, "n h w"]]:
    """Pictures and masks of all pairs: grey if all pictures are, else RGB.

    Where sizes differ, all lie in the middle of the greatest height and width, black and void around them. Raises
    InputError where a picture cannot be read, and where a mask and its picture differ in size.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes without the interpreter lock
        masks = list(threads.map(lambda pair: read_mask(pair[1], legend), pairs))
        pictures = list(threads.map(lambda pair: _picture(pair[0]), pairs))
    channels = 1 if all(picture.mode in GREY_MODES for picture in pictures) else 3
    height, width = (max(mask.shape[axis] for mask in masks) for axis in range(2))
    images = torch.zeros(len(pairs), channels, height, width, dtype=torch.uint8)
    targets = torch.full((len(pairs), height, width), VOID, dtype=torch.uint8)
    for number, (picture, mask, (_, file)) in enumerate(zip(pictures, masks, pairs, strict=True)):
        if (picture.height, picture.width) != mask.shape:
            raise InputError(
                "an image and its mask differ in size",
                where=file,
                expected=f"{picture.height}x{picture.width}, as the image",
                got="{}x{}".format(*mask.shape),
                fix="Give both the same height and width.",
            )
        top, left = ((side - own) // 2 for side, own in zip((height, width), mask.shape, strict=True))
        pixels = np.asarray(to_channels(picture, channels)).reshape(*mask.shape, channels)
        here = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
        images[(number, slice(None), *here)] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        targets[(number, *here)] = torch.from_numpy(mask)
    return images, targets


def _picture(file: Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
            upright.load()
            return upright
    except Exception as error:  # broken files make Pillow's plugins raise almost anything
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError("cannot decode an image", where=file, got=reason) from error


def guessed_legend(files: Sequence[Path]) -> Legend:
    """The classes of masks without `classes.txt`: what values occur in them.

    Two values, 0 and 255, are two classes. Else the classes are 0 up to the greatest value below 255, which is void.
    Colors of palette files are kept. Raises InputError where most of those numbers occur nowhere (0 and 128, say), and
    for JPEG files with other values than 0 and 255: its compression makes up values along every edge.
    """
    found: set[int] = set()
    palette: list[int] | None = None
    every = Legend(("any",), ((0, 0, 0),), {value: value for value in range(256)}, {})
    for file in files:
        own = set(np.unique(read_mask(file, every)).tolist())
        with Image.open(file) as picture:
            palette = palette or picture.getpalette()
            if picture.format in ("JPEG", "MPO") and not own <= {0, VOID}:
                fix = "Save the masks as PNG: JPEG changes values along edges."
                raise InputError("a mask in a lossy format", where=file, got=f"{len(own)} different values", fix=fix)
        found |= own
    if found <= {0, VOID}:
        return Legend(("0", "255"), default_palette(2), {0: 0, VOID: 1}, {})
    count = max(found - {VOID}) + 1
    if count > 2 * len(found - {VOID}):
        raise InputError(
            "the values of the masks are not numbers of classes",
            where=files[0].parent,
            expected="0, 1, 2 ... (255: void), or 0 and 255",
            got=listed([str(value) for value in sorted(found)]),
            fix="Write a line `name value` for each class into classes.txt beside the folders.",
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
