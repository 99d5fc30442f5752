"""A table of items and of what is known of each: classes, boxes, points or quantities of users' own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from striate.data.images import sizes_of
from striate.data.items import Listing
from striate.data.series import read_series
from striate.data.sources.folders import printable
from striate.data.sources.pictures import SLIGHTLY
from striate.data.sources.registry import source
from striate.data.tables import (
    Table,
    boxes_in,
    classes_of,
    files_of,
    groups_of,
    kind_of,
    parts_of,
    points_in,
    read_table,
    values_of,
)
from striate.errors import InputError

TASKS = {"class": "classify", "box": "localize", "points": "keypoints", "values": "regress"}
INPUTS = {"pictures": "pictures", "sound": "spectrogram", "series": "series", "text": "words", "sequences": "bases"}


def told_by(path: Path) -> Mapping[str, Any]:
    """What a table brings along: its kind of items and of input, its task, its augmentations."""
    found = read_table(path)
    kind, meaning = kind_of(found), found.meaning
    augment = SLIGHTLY if (kind, meaning) == ("pictures", "class") else ()
    return {"kind": kind, "inputs": INPUTS[kind], "task": TASKS[meaning], "augment": augment}


@source("table", of=told_by)
def table(path: Path) -> Listing:
    """Your own files and a CSV of what each shows: a class, a box, points or quantities; PATH is the CSV.

    Its header names the columns: `file` (a path from the table's folder: pictures, sound or series), or `text` or
    `sequence`; and what is to be learned:

        label                  a class
        x1,y1,x2,y2,label      a box in pixels from the picture's corner and its class; all empty: no object
        NAME_x,NAME_y, ...     points in pixels, (0, 0) the center of the first; empty: not known
        NAME, ...              quantities

    `part` (train, validation, test) and `group` (a speaker, a patient) are optional.
    """
    found = read_table(path)
    kind, meaning = kind_of(found), found.meaning
    if meaning in ("box", "points") and kind != "pictures":
        what = "boxes and points lie in pictures"
        raise InputError(what, where=path, got=kind, fix="Name pictures in the column file.")
    if found.item != "file":
        inputs: Any = _texts(found)
        names = tuple(row.where for row in found.rows)
    else:
        files = files_of(found)
        inputs = tuple(_series(file) for file in files) if kind == "series" else files
        names = tuple(printable(file) for file in files)
    sizes = sizes_of(files) if meaning in ("box", "points") else None
    if sizes is not None:
        targets, told = (boxes_in if meaning == "box" else points_in)(found, sizes)
    else:
        targets, told = (classes_of if meaning == "class" else values_of)(found)
    return Listing(inputs, targets, told, names, parts_of(found), groups_of(found), sizes)


def _texts(found: Table) -> tuple[str, ...]:
    if row := next((row for row in found.rows if not row.fields[found.item]), None):
        raise InputError(f"an empty {found.item}", where=row.where, fix="Remove the row.")
    return tuple(row.fields[found.item] for row in found.rows)


def _series(file: Path) -> torch.Tensor:
    return torch.from_numpy(read_series(file)).float()
