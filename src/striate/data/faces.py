"""Tables of points on pictures of faces: the 68-point scheme beside its pictures, and Kaggle's facial keypoints."""

from __future__ import annotations

import csv
import io
import math
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from striate.errors import InputError
from striate.shapes import Float, Tensor, UInt8
from striate.zoo.landmarks import POINTS, POINTS_68

Numbers = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
SIDE = 96
# Room around the points' hull, as a share of its longer side: forehead and ears are in the crop.
MARGIN = 0.2
# Annotators place a chin that the picture's border cuts off where it must be: so far out, as a share of the side.
CUT_OFF = 0.05
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def _pairs(*pairs: tuple[int, int], count: int) -> tuple[int, ...]:
    partner = list(range(count))
    for left, right in pairs:
        partner[left], partner[right] = right, left
    return tuple(partner)


# The 68 points: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67; each with its partner in a mirror image.
MIRROR_68 = _pairs(
    *((i, 16 - i) for i in range(8)),
    *((17 + i, 26 - i) for i in range(5)),
    *((31, 35), (32, 34)),
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)),
    count=68,
)
# Left and right in the names of Kaggle's 15 points.
MIRROR_15 = tuple(
    POINTS.index(name.replace("left", "?").replace("right", "left").replace("?", "right")) for name in POINTS
)


class Faces(NamedTuple):
    """Square grey pictures, the points in each in pixels (NaN: missing), the points' names and the pictures'."""

    pictures: UInt8[Tensor, "n 1 h w"]
    points: Float[Tensor, "n p 2"]
    point_names: tuple[str, ...]
    names: tuple[str, ...]


def read_landmarks(path: Path, side: int = SIDE) -> Faces:
    """Faces cut out around their points, `side` pixels wide: PATH holds pictures and one CSV table, or is their tar.

    The table has the picture's name and x and y of every point, in pixels of the picture, (0, 0) the center of its
    first pixel: `image_name,part_0_x,part_0_y,...`. One picture may have several rows (faces). The crop is the square
    around the points' hull and a fifth of it more, filled beyond the picture's border with its edge; so it is where a
    face detector would put it. A point may lie outside the picture by a twentieth of its side (a face that the border
    cuts off).

    Raises InputError for a table that cannot be read, ragged rows, what is no number, points farther outside (picture
    and point are named), rows without picture and pictures without row, pictures that cannot be decoded.
    """
    names, opened = _files(path)
    tables = [name for name in names if name.lower().endswith(".csv")]
    if len(tables) != 1:
        raise InputError(
            "no single table of points", where=path, expected="one .csv beside the pictures", got=tables or "none"
        )
    where = f"{path}:{tables[0]}" if path.is_file() else path / tables[0]
    header, rows = _table(opened(tables[0]).decode("utf-8", "replace"), where)
    point_names = _point_names(header[1:], where)
    folder = str(PurePosixPath(tables[0]).parent)
    pictures = {str(PurePosixPath(name).relative_to(folder)): name for name in names if name.lower().endswith(SUFFIXES)}
    _check_complete([row[0] for _, row in rows], list(pictures), where)
    crops, points, labels = [], [], []
    for line, row in rows:
        found = np.array([_number(text, where, line, column) for column, text in enumerate(row[1:], 2)])
        places = found.reshape(-1, 2)
        pixels = _grey(opened(pictures[row[0]]), row[0])
        _check_inside(places, point_names, pixels.shape, f"{where}, line {line}, {row[0]}")
        crop, moved = cut(pixels, places, side)
        crops.append(crop)
        points.append(moved)
        labels.append(f"{row[0]} (line {line})" if row[0] in labels else row[0])
    stacked = torch.from_numpy(np.stack(crops))[:, None]
    return Faces(stacked, torch.from_numpy(np.stack(points)).float(), point_names, tuple(labels))


def cut(pixels: Bytes, points: Numbers, side: int, margin: float = MARGIN) -> tuple[Bytes, Numbers]:
    """The square around the points and `margin` of their extent more, `side` pixels wide, and the points in it.

    >>> corners = np.array([[10.0, 10.0], [19.0, 19.0]])
    >>> cut(np.zeros((30, 30), np.uint8), corners, 28, margin=0.2)[1].round(2).tolist()
    [[3.5, 3.5], [23.5, 23.5]]
    """
    low, high = points.min(0), points.max(0)
    half = max(float((high - low).max()), 1.0) * (0.5 + margin)
    left, top = (low + high) / 2 + 0.5 - half  # from the picture's corner: pixel i covers i to i + 1
    pad = math.ceil(max(0.0, -left, -top, left + 2 * half - pixels.shape[1], top + 2 * half - pixels.shape[0]))
    padded = Image.fromarray(np.pad(pixels, pad, mode="edge"))
    box = (left + pad, top + pad, left + pad + 2 * half, top + pad + 2 * half)
    crop = padded.resize((side, side), Image.Resampling.BILINEAR, box=box)
    moved = (points + 0.5 - [left, top]) * (side / (2 * half)) - 0.5
    return np.asarray(crop), moved


def read_kaggle(path: Path) -> Faces:
    """Kaggle's facial keypoints: a CSV of columns NAME_x, NAME_y and last `Image`, its grey values apart by spaces.

    Pictures are square (96x96 in the published files); an empty field is a missing point (NaN), and the point's other
    one must be empty as well. Points lie in pixels, (0, 0) the center of the first; they may lie on the border, up to
    one pixel out. Source: "Facial keypoints detection", Kaggle (2013), training.csv.

    Raises InputError for another header, ragged rows, grey values that are none or no square, pictures of different
    sizes, points outside and half points, each with its line.
    """
    header, rows = _table(path.read_text("utf-8", "replace"), path)
    if header[-1] != "Image":
        raise InputError("no facial keypoints", where=path, expected="a last column Image", got=header[-1])
    point_names = _point_names(header[:-1], path)
    pictures: list[Bytes] = []
    points: list[Numbers] = []
    for line, row in rows:
        pixels = _pixels(row[-1], path, line)
        if pictures and pixels.shape != pictures[0].shape:
            expected, got = ("x".join(map(str, shape)) for shape in (pictures[0].shape, pixels.shape))
            raise InputError("pictures of different sizes", where=f"{path}, line {line}", expected=expected, got=got)
        found = [_number(text, path, line, column, missing=True) for column, text in enumerate(row[:-1], 1)]
        places = np.array(found).reshape(-1, 2)
        for name, half in zip(point_names, np.isnan(places).sum(1) == 1, strict=True):
            if half:
                raise InputError("half a point", where=f"{path}, line {line}, {name}", expected="x and y, or neither")
        _check_inside(places, point_names, pixels.shape, f"{path}, line {line}", most=1)
        pictures.append(pixels)
        points.append(places)
    stacked = torch.from_numpy(np.stack(pictures))[:, None]
    names = tuple(f"{path.name} line {line}" for line, _ in rows)
    return Faces(stacked, torch.from_numpy(np.stack(points)).float(), point_names, names)


def mirror_of(point_names: Sequence[str]) -> tuple[int, ...]:
    """The partner of each point in a mirror image, known for the 68 and the 15 points; () for others."""
    if tuple(point_names) == POINTS:
        return MIRROR_15
    return MIRROR_68 if tuple(point_names) == POINTS_68 else ()


def _files(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    """The names inside the folder or the tar, and what gives the bytes of one."""
    if path.is_dir():
        inside = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return inside, lambda name: (path / name).read_bytes()
    try:
        with tarfile.open(path) as archive:
            held = {
                member.name: file.read()
                for member in archive
                if member.isfile() and (file := archive.extractfile(member)) is not None
            }
    except tarfile.TarError as error:
        got = str(error).partition("\n")[0]
        raise InputError("no tar of pictures", where=path, got=got, fix="Pass the faces' folder or tar.") from error
    return sorted(held), held.__getitem__


def _table(text: str, where: object) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line."""
    rows = [(reader.line_num, row) for reader in [csv.reader(io.StringIO(text))] for row in _wide(reader) if row]
    if len(rows) < 2:
        raise InputError("an empty table of points", where=where, expected="a header and a row for each picture")
    (_, header), body = rows[0], rows[1:]
    for line, row in body:
        if len(row) != len(header):
            raise InputError(
                "a ragged row", where=f"{where}, line {line}", expected=f"{len(header)} fields", got=len(row)
            )
    return header, body


def _wide(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 24))  # a picture is one field
    return reader


def _point_names(columns: Sequence[str], where: object) -> tuple[str, ...]:
    names = [column.removesuffix("_x") for column in columns[::2]]
    if not names or list(columns) != [f"{name}_{axis}" for name in names for axis in "xy"]:
        raise InputError(
            "a header that names no points", where=where, expected="pairs of NAME_x,NAME_y", got=", ".join(columns[:4])
        )
    return tuple(names)


def _number(text: str, where: object, line: int, column: int, *, missing: bool = False) -> float:
    if missing and not text.strip():
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        place = f"{where}, line {line}, column {column}"
        raise InputError("no coordinate", where=place, expected="a number", got=repr(text))
    return value


def _check_complete(rows: Sequence[str], pictures: Sequence[str], where: object) -> None:
    for what, absent in (
        ("rows without their picture", sorted(set(rows) - set(pictures))),
        ("pictures without a row of points", sorted(set(pictures) - set(rows))),
    ):
        if absent:
            shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
            raise InputError(what, where=where, got=f"{len(absent)} ({shown})", fix="Add or remove them.")


def _check_inside(
    points: Numbers, names: Sequence[str], shape: tuple[int, ...], where: str, most: float | None = None
) -> None:
    """`most`: how many pixels a point may lie out (None: `CUT_OFF` of the side)."""
    limits = np.array([shape[1], shape[0]])
    out = np.maximum(-points, points - (limits - 1))
    for i in np.flatnonzero((out > (CUT_OFF * limits if most is None else most)).any(1)).tolist():
        place = ", ".join(f"{value:g}" for value in points[i])
        raise InputError(
            "a point outside the picture",
            where=f"{where}, {names[i]}",
            expected=f"inside {shape[1]}x{shape[0]} pixels",
            got=f"({place})",
        )


def _grey(raw: bytes, name: str) -> Bytes:
    try:
        with Image.open(io.BytesIO(raw)) as picture:
            return np.asarray(picture.convert("L"))
    except Exception as error:
        raise InputError("cannot decode a picture", where=name, got=str(error) or type(error).__name__) from error


def _pixels(text: str, path: Path, line: int) -> Bytes:
    where = f"{path}, line {line}, Image"
    try:
        values = np.array(text.split(), dtype=np.int64)
    except ValueError as error:
        raise InputError("no grey values", where=where, expected="whole numbers", got=str(error)) from error
    side = math.isqrt(len(values))
    if not side or side * side != len(values):
        raise InputError("no square picture", where=where, expected="96x96 = 9216 grey values", got=len(values))
    if values.min() < 0 or values.max() > 255:
        got = int(values.min() if values.min() < 0 else values.max())
        raise InputError("no grey values", where=where, expected="0 to 255", got=got)
    return values.astype(np.uint8).reshape(side, side)
