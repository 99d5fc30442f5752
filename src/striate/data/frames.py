"""Clips and volumes as people have them: folders of numbered frames, multi-page TIFFs, animated pictures, arrays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageSequence

from striate.data.images import as_picture, is_picture
from striate.errors import InputError
from striate.shapes import Tensor

Pictures = list[Image.Image]
Frame = TypeVar("Frame")
ARRAYS, STACKS = (".npy", ".npz"), (".tif", ".tiff")


def read_frames(item: Any) -> Pictures:
    """The frames of a clip, or the slices of a volume, in order, all of one size.

    `item` is a folder of frames with numbers in their names, an animated GIF, PNG or WebP, a multi-page TIFF, a .npy or
    .npz file that holds one array, an array (t h w, or t h w c with c 3 or 4), a tensor (t h w, or c t h w) or a list
    of pictures. What cannot be read, and frames of different sizes, raise InputError with the name.
    """
    if isinstance(item, str | Path):
        return _same_size(_of_path(Path(item)), item)
    if isinstance(item, list | tuple):
        return _same_size([as_picture(picture) for picture in item], "a list")
    return _of_array(item, f"{type(item).__name__}")


def _of_path(path: Path) -> Pictures:
    if path.is_dir():
        return [_opened(file) for file in numbered(path)]
    if not path.exists():
        raise InputError("no such clip or volume", where=path, fix="Check the path.")
    suffix = path.suffix.lower()
    try:
        if suffix in STACKS:
            return _of_array(tifffile.imread(path), str(path))
        if suffix in ARRAYS:
            return _of_array(_stored(path), str(path))
        with Image.open(path) as picture:
            return [frame.copy() for frame in ImageSequence.Iterator(picture)]
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from None
    except Exception as error:  # broken files make decoders raise almost anything
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError("cannot read a clip or volume", where=path, got=reason) from error


def _opened(file: Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            picture.load()
            return picture.copy()
    except Exception as error:  # as above
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError("cannot decode a frame", where=file, got=reason) from error


def numbered(folder: Path) -> list[Path]:
    """The pictures of a folder by the last number in their names: frame_2.png before frame_10.png.

    A picture without a number, two with the same one, and a folder without pictures raise InputError.
    """
    files = [f for f in sorted(folder.iterdir()) if is_picture(f) and not f.name.startswith(".")]
    by_number: dict[int, Path] = {}
    for file in files:
        digits = re.findall(r"\d+", file.stem)
        if not digits:
            fix = "Number the frames: 0.png, 1.png ..."
            raise InputError("a frame without a number", where=file, fix=fix)
        other = by_number.setdefault(int(digits[-1]), file)
        if other is not file:
            raise InputError("two frames with one number", where=file, got=other.name, fix="Remove one of them.")
    if not by_number:
        raise InputError("a folder without frames", where=folder, expected="pictures with numbers in their names")
    return [by_number[number] for number in sorted(by_number)]


def _stored(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy or .npz file; nothing in it is executed."""
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1:
            names = ", ".join(loaded.files) or "none"
            raise InputError("which array is the clip?", where=path, expected="one array", got=names)
        array: npt.NDArray[Any] = loaded[loaded.files[0]]
        return array


def _of_array(array: Any, where: str) -> Pictures:
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.permute(1, 2, 3, 0) if array.ndim == 4 else array).numpy()
    if not isinstance(array, np.ndarray):
        expected = "a path, an array, a tensor or a list of pictures"
        raise InputError("a clip or volume", expected=expected, got=type(array).__name__)
    if array.ndim not in (3, 4) or not len(array):
        expected = "frames rows columns, or those and colors"
        raise InputError("axes of a clip or volume", where=where, expected=expected, got=f"shape {array.shape}")
    return [as_picture(frame) for frame in array]


def _same_size(frames: Pictures, where: object) -> Pictures:
    sizes = {frame.size for frame in frames}
    if len(sizes) > 1:
        first, other = frames[0], next(frame for frame in frames if frame.size != frames[0].size)
        got = f"{first.width}x{first.height} and {other.width}x{other.height}"
        raise InputError("frames of different sizes", where=where, expected="one size", got=got)
    if not frames:
        raise InputError("a clip or volume without frames", where=where, expected="at least one")
    return frames


def middle(frames: Sequence[Frame], count: int, where: object = None) -> Sequence[Frame]:
    """The `count` frames in the middle, as a square is cut from the middle of a picture; fewer raise InputError."""
    if len(frames) < count:
        fix = "Give a longer one, or a network of fewer frames."
        raise InputError(
            "a clip or volume is too short", where=where, expected=f"{count} frames", got=len(frames), fix=fix
        )
    first = (len(frames) - count) // 2
    return frames[first : first + count]
