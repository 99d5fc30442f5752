"""Time series of one class each: the UCR archive, and folders of classes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import torch

from striate.data.items import Listing, Meaning
from striate.data.series import SERIES, read_rows, read_series
from striate.data.sources.folders import in_class_folders
from striate.data.sources.registry import source
from striate.data.splits import consecutive
from striate.errors import InputError

PARTS = ("TRAIN", "TEST")


@source("ucr", kind="series", inputs="series")
def ucr(path: Path) -> Listing:
    """A set of the UCR archive: PATH is its folder (…/GunPoint), or a tar of sets with the name (FILE.tar.gz:GunPoint).

    NAME_TRAIN.tsv and NAME_TEST.tsv hold a series a line: its label, then its values, with tabs (or commas) between
    them. NaN at the end of a line makes the series shorter; elsewhere it is a missing value, which the kind of input
    `series` refuses or fills (see there). An empty field is an error. Source: H. A. Dau et al., "The UCR time series
    archive" (2019).
    """
    name, texts = _texts(path)
    rows = {part: read_rows(text, where) for part, (where, text) in texts.items()}
    known = {row.label for row in rows["TRAIN"]}
    for row in rows["TEST"]:
        if row.label not in known:
            raise InputError(
                "a class without training series",
                where=row.where,
                expected=f"labels {', '.join(f'{label:g}' for label in sorted(known))}",
                got=f"{row.label:g}",
            )
    classes = sorted(known)
    both = [*rows["TRAIN"], *rows["TEST"]]
    return Listing(
        tuple(row.series for row in both),
        torch.tensor([classes.index(row.label) for row in both]),
        Meaning("class", tuple(f"{label:g}" for label in classes)),
        tuple(f"{name} {part.lower()} {i}" for part in PARTS for i in range(len(rows[part]))),
        consecutive({part.lower(): len(rows[part]) for part in PARTS}),
    )


@source("series", kind="series", inputs="series")
def series(path: Path) -> Listing:
    """Time series of your own, a file each, in one sub-folder per class under PATH, or under PATH/train, PATH/test ...

    A .csv, .tsv or .txt file has a row of numbers for each channel, with commas or blanks between; a .npy file an array
    (t or c t). What the kind of input `series` does with unequal lengths and missing values (NaN) is its option.
    """
    found = in_class_folders(path, _series_files, "series")
    names = tuple(str(file.relative_to(path)) for file in found.files)
    inputs = tuple(torch.from_numpy(read_series(file)).float() for file in found.files)
    return Listing(inputs, found.labels, found.meaning, names, found.splits)


def _series_files(root: Path, deep: bool) -> list[Path]:
    paths = root.rglob("*") if deep else root.glob("*")
    return sorted(p for p in paths if p.suffix.lower() in SERIES and p.is_file())


def _texts(path: Path) -> tuple[str, dict[str, tuple[str, str]]]:
    """Name of the set, and of both its files where they lie and their text."""
    packed, _, name = str(path).rpartition(":")
    if path.is_dir():
        name = path.resolve().name
        own = {part: _one(sorted(path.glob(f"*_{part}.tsv")), path, part) for part in PARTS}
        return name, {part: (str(file), _read(file)) for part, file in own.items()}
    if not packed:
        fix = f"Name one of its sets: ucr:{path}:GunPoint, say."
        raise InputError("a UCR set is a folder, or a set of a tar", where=path, fix=fix)
    try:
        with tarfile.open(packed) as archive:
            files = {Path(member.name).name: member for member in archive if member.isfile()}
            texts = {}
            for part in PARTS:
                member = files.get(f"{name}_{part}.tsv")
                content = None if member is None else archive.extractfile(member)
                if content is None:
                    known = sorted(n.removesuffix("_TRAIN.tsv") for n in files if n.endswith("_TRAIN.tsv"))
                    raise InputError("no such set in the archive", where=packed, expected=", ".join(known), got=name)
                texts[part] = f"{packed}:{name}_{part}.tsv", io.TextIOWrapper(content, "utf-8").read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError("cannot read the archive", where=packed, got=str(error)) from None
    return name, texts


def _one(files: list[Path], path: Path, part: str) -> Path:
    if len(files) != 1:
        got = ", ".join(file.name for file in files) or "none"
        raise InputError("a UCR set", where=path, expected=f"one file NAME_{part}.tsv", got=got)
    return files[0]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise InputError("a file of time series is no text", where=path) from None
