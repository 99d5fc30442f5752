"""Tables of users: a row an item, its file (or the text itself) and what is known of it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from striate.data.faces import mirror_of
from striate.data.images import is_picture
from striate.data.items import Meaning
from striate.data.series import SERIES
from striate.data.sound import SOUNDS
from striate.errors import InputError, did_you_mean, listed
from striate.shapes import Int64, Tensor

ITEM, BOX, OTHERS = ("file", "text", "sequence"), ("x1", "y1", "x2", "y2"), ("part", "group")


@dataclass(frozen=True)
class Row:
    """A line of a table: where it stands, for errors, and its fields by column."""

    where: str
    fields: dict[str, str]

    def number(self, column: str) -> float:
        """A finite number; InputError for anything else."""
        try:
            value = float(self.fields[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                "no number in a table",
                where=f"{self.where}, column {column}",
                expected="a finite number (the name of a class stands in a column called label)",
                got=repr(self.fields[column]),
            )
        return value


@dataclass(frozen=True)
class Table:
    """The rows of a table, the column of its items (file, text or sequence) and the columns of its targets."""

    path: Path
    item: str
    targets: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def meaning(self) -> str:
        """What the columns of targets are: class, box, points or values; InputError where they fit no kind."""
        names = set(self.targets)
        if names & set(BOX):
            if lost := [name for name in (*BOX, "label") if name not in names]:
                raise self._columns("a table of boxes lacks columns", ", ".join((*BOX, "label")), ", ".join(lost))
            if more := sorted(names - {*BOX, "label"}):
                raise self._columns("unknown columns in a table of boxes", ", ".join((*BOX, "label")), ", ".join(more))
            return "box"
        if "label" in names:
            if more := sorted(names - {"label"}):
                raise self._columns("columns that do not go with label", "label alone", ", ".join(more))
            return "class"
        return "points" if points_of(self) else "values"

    def _columns(self, what: str, expected: str, got: str) -> InputError:
        return InputError(what, where=f"{self.path}, line 1", expected=expected, got=got)


def read_table(path: Path) -> Table:
    """A CSV file with a header; commas, semicolons or tabs between its fields, UTF-8.

    Raises InputError, naming the line, for a file that is no text, a header without file, text or sequence, with two
    columns of one name or without targets, and for rows with too few or too many fields.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or "other bytes"
        raise InputError("cannot read a table", where=path, expected="a CSV file in UTF-8", got=got) from None
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a genome is a field, too
    lines = [(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    lines = [(number, fields) for number, fields in lines if any(fields)]
    if len(lines) < 2:
        raise InputError("an empty table", where=path, expected="a header, and a row for each item", got=len(lines))
    (_, header), body = lines[0], lines[1:]
    where = f"{path}, line 1"
    items = [name for name in header if name in ITEM]
    if len(items) != 1:
        near = next((did_you_mean(name, ITEM) for name in header if "mean" in did_you_mean(name, ITEM)), "")
        expected = f"a header with one column {' or '.join(ITEM)}"
        raise InputError(
            "a table without a column of items", where=where, expected=expected, got=listed(header), fix=near
        )
    if twice := sorted({name or "(no name)" for name in header if header.count(name) > 1}):
        raise InputError("two columns of a table have one name", where=where, got=", ".join(twice))
    targets = tuple(name for name in header if name not in (*items, *OTHERS))
    if not targets:
        fix = "Add columns, or read pictures without targets with photos:FOLDER."
        raise InputError("a table without targets", where=where, expected="label, boxes, points or quantities", fix=fix)
    rows = []
    for number, fields in body:
        if len(fields) != len(header):
            expected = f"{len(header)}, as the header"
            raise InputError("fields of a row", where=f"{path}, line {number}", expected=expected, got=len(fields))
        rows.append(Row(f"{path}, line {number}", dict(zip(header, fields, strict=True))))
    return Table(path, items[0], targets, tuple(rows))


def points_of(table: Table) -> tuple[str, ...]:
    """Names of the points of columns NAME_x and NAME_y (or x and y alone); () where there are none.

    Raises InputError where some columns are half a point or none.
    """
    axes = [
        (name.removesuffix("_x").removesuffix("_y"), name[-1]) for name in table.targets if name[-2:] in ("_x", "_y")
    ]
    axes += [("point", name) for name in table.targets if name in ("x", "y")]
    if not axes:
        return ()
    names = tuple(dict.fromkeys(name for name, _ in axes))
    halves = [name for name in names if {(name, "x"), (name, "y")} - set(axes)]
    if halves or len(axes) < len(table.targets) or len(axes) > 2 * len(names):
        raise InputError(
            "columns of a table of points",
            where=f"{table.path}, line 1",
            expected="NAME_x and NAME_y for each point",
            got=f"half of {halves[0]}" if halves else listed(table.targets),
        )
    return names


def kind_of(table: Table) -> str:
    """What the items are: pictures, sound, series (by the endings of the files), text or sequences.

    Raises InputError, naming the line, for another ending, and for two kinds in one table.
    """
    if table.item != "file":
        return {"text": "text", "sequence": "sequences"}[table.item]
    endings = dict.fromkeys(SOUNDS, "sound") | dict.fromkeys(SERIES, "series")
    kinds: dict[str, str] = {}
    for row in table.rows:
        name = row.fields["file"]
        kind = "pictures" if is_picture(Path(name)) else endings.get(Path(name).suffix.lower())
        if kind is None:
            raise InputError(
                "a file of no known kind", where=row.where, expected="a picture, sound or series", got=repr(name)
            )
        kinds.setdefault(kind, name)
    if len(kinds) > 1:
        raise InputError("files of several kinds in one table", where=table.path, got=", ".join(kinds.values()))
    return next(iter(kinds))


def files_of(table: Table) -> tuple[Path, ...]:
    """The file of each row, from the table's folder; InputError for one that is missing or named twice."""
    found: dict[Path, str] = {}
    for row in table.rows:
        file = table.path.parent / Path(row.fields["file"]).expanduser()
        if not file.is_file():
            fix = "Paths count from the folder of the table."
            raise InputError("no such file", where=row.where, got=repr(row.fields["file"]), fix=fix)
        if file in found:
            fix = "Keep one row for each."
            raise InputError(
                "a file has two rows", where=f"{row.where} and {found[file]}", got=row.fields["file"], fix=fix
            )
        found[file] = row.where.rpartition(", ")[2]
    return tuple(found)


def classes_of(table: Table) -> tuple[Tensor, Meaning]:
    """The class of each row; InputError for one without."""
    if row := next((row for row in table.rows if not row.fields["label"]), None):
        raise InputError("a row without a label", where=row.where, fix="Fill it in, or take the row out.")
    labels = [row.fields["label"] for row in table.rows]
    names = tuple(sorted(set(labels)))
    return torch.tensor([names.index(label) for label in labels]), Meaning("class", names)


def values_of(table: Table) -> tuple[Tensor, Meaning]:
    """The quantities of each row."""
    rows = [[row.number(name) for name in table.targets] for row in table.rows]
    return torch.tensor(rows), Meaning("values", table.targets)


def points_in(table: Table, sizes: Int64[Tensor, "n 2"]) -> tuple[Tensor, Meaning]:
    """The points of each row in pixels, NaN where both fields are empty.

    Raises InputError for half a point, and for one outside of its picture.
    """
    names = points_of(table)
    points = torch.full((len(table.rows), len(names), 2), torch.nan)
    for target, row, (height, width) in zip(points, table.rows, sizes.tolist(), strict=True):
        for place, name in zip(target, names, strict=True):
            columns = [axis if axis in table.targets and name == "point" else f"{name}_{axis}" for axis in "xy"]
            given = [row.fields[column] for column in columns]
            if not any(given):
                continue
            if not all(given):
                raise InputError("half a point", where=f"{row.where}, {name}", expected="x and y, or neither")
            x, y = (row.number(column) for column in columns)
            if height and not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
                raise _outside("a point", f"{row.where}, {name}", row, (height, width), (x, y))
            place[:] = torch.tensor([x, y])
    return points, Meaning("points", names, mirror_of(names) or partners(names))


def boxes_in(table: Table, sizes: Int64[Tensor, "n 2"]) -> tuple[Tensor, Meaning]:
    """The label [x, y, height, width, presence, one class each] of each row; zeros where all five fields are empty.

    Raises InputError for a box without a label, without area or outside of its picture.
    """
    names = tuple(sorted({row.fields["label"] for row in table.rows} - {""}))
    if not any(row.fields[column] for row in table.rows for column in (*BOX, "label")):
        raise InputError("a table without any box", where=table.path, expected=", ".join((*BOX, "label")))
    labels = torch.zeros(len(table.rows), 5 + len(names))
    for target, row, (height, width) in zip(labels, table.rows, sizes.tolist(), strict=True):
        if not any(row.fields[column] for column in (*BOX, "label")):
            continue
        if not row.fields["label"]:
            raise InputError(
                "a box without a label", where=row.where, fix="Fill it in, or leave all five fields empty."
            )
        box = left, top, right, bottom = tuple(row.number(column) for column in BOX)
        if not (left < right and top < bottom):
            raise InputError("a box without area", where=row.where, expected="x1 < x2 and y1 < y2", got=_spelled(box))
        if height and not (left >= 0 and top >= 0 and right <= width and bottom <= height):
            raise _outside("a box", row.where, row, (height, width), box)
        target[:5] = torch.tensor([left, top, bottom - top, right - left, 1.0])
        target[5 + names.index(row.fields["label"])] = 1
    return labels, Meaning("box", names)


def partners(names: Sequence[str]) -> tuple[int, ...]:
    """The partner of each point in a mirror image, by left and right in their names; () where these do not tell.

    >>> partners(["left_eye", "nose", "right_eye"]), partners(["tip"]), partners(["a", "b"])
    ((2, 1, 0), (0,), ())
    """
    swapped = [name.replace("left", "?").replace("right", "left").replace("?", "right") for name in names]
    told = len(names) == 1 or any(name != other for name, other in zip(names, swapped, strict=True))
    return tuple(map(list(names).index, swapped)) if told and set(swapped) == set(names) else ()


def parts_of(table: Table) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The positions of the parts that a column `part` names: train, validation (or val) and test; else all train."""
    if "part" not in table.rows[0].fields:
        return {"train": np.arange(len(table.rows))}
    spelled = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
    parts: dict[str, list[int]] = {}
    for number, row in enumerate(table.rows):
        if row.fields["part"] not in spelled:
            expected = "train, validation or test"
            raise InputError("a part of a table", where=row.where, expected=expected, got=repr(row.fields["part"]))
        parts.setdefault(spelled[row.fields["part"]], []).append(number)
    return {part: np.array(numbers) for part, numbers in parts.items()}


def groups_of(table: Table) -> Int64[Tensor, " n"] | None:
    """Numbers of what a column `group` names; None without one."""
    if "group" not in table.rows[0].fields:
        return None
    groups = [row.fields["group"] for row in table.rows]
    names = list(dict.fromkeys(groups))
    return torch.tensor([names.index(group) for group in groups])


def _outside(what: str, where: str, row: Row, size: tuple[int, int], got: Sequence[float]) -> InputError:
    expected = f"inside the {size[1]}x{size[0]} pixels of {row.fields['file']}"
    return InputError(f"{what} outside the picture", where=where, expected=expected, got=_spelled(got))


def _spelled(numbers: Sequence[float]) -> str:
    return f"({', '.join(f'{number:g}' for number in numbers)})"
