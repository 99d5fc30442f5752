"""Time series as network input: brought to one scale, filled up, gaps closed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from striate.data.inputs import input_kind
from striate.data.items import Entry, Input, Reading
from striate.data.sequences import read_lines
from striate.errors import InputError
from striate.shapes import Float, Tensor

SERIES = (".csv", ".tsv", ".txt", ".npy")


@input_kind("series", reads=("series",))
@dataclass(frozen=True)
class Series(Input):
    """Time series Float[c, t], each brought to mean 0 and standard deviation 1, channel by channel.

    Options: `normalize` is `item` (each series for itself), `set` (by the training set) or `none`. Series of unequal
    lengths are refused, or with `pad=end` filled up behind with zeros (their mean) to `length` steps, by default those
    of the longest. Missing values (NaN) are refused, or with `missing=line` lie on a straight line between their
    neighbors, or are equal to the nearest value at an end.
    """

    family: ClassVar[str] = "signals"
    extremes: ClassVar[tuple[float, float] | None] = None
    rows: int
    length: int
    normalization: str = "item"
    pad: str = "no"
    missing: str = "no"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        choices = {"normalize": ("item", "set", "none"), "pad": ("no", "end"), "missing": ("no", "line")}
        given = {"normalize": self.normalization, "pad": self.pad, "missing": self.missing}
        for key, allowed in choices.items():
            if given[key] not in allowed:
                raise InputError(f"option {key} of series", expected=" or ".join(allowed), got=repr(given[key]))

    @classmethod
    def fit(
        cls,
        raw: Sequence[Tensor],
        reading: Reading,
        normalize: str = "item",
        pad: str = "no",
        missing: str = "no",
        length: int | None = None,
    ) -> tuple[Float[Tensor, "n c t"], Series, list[int]]:
        """All series, this kind of input measured on the training ones, and the positions of broken ones (none)."""
        longest = max(series.shape[1] for series in raw)
        plain = cls(len(raw[0]), length or longest, normalize, pad, missing)
        stored, corrupt = plain.store(raw, reading)
        train = stored[torch.from_numpy(reading.train(corrupt))]
        if normalize != "set":
            return stored, plain, corrupt
        columns = train.transpose(0, 1).flatten(1).double()
        mean = columns.nanmean(1)
        std = (columns - mean[:, None]).square().nanmean(1).sqrt()
        std = torch.where(std > 1e-12, std, 1.0)
        return stored, replace(plain, mean=tuple(mean.tolist()), std=tuple(std.tolist())), corrupt

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, t)."""
        return self.rows, self.length

    def reads(self, file: Path) -> bool:
        """Numbers as text or as an array."""
        return file.suffix.lower() in SERIES

    def expand(self, file: Path) -> Sequence[tuple[str, Any]]:
        """A file is a series, but a .tsv may be a table of the UCR archive: a series a line, behind its label.

        That it is for a network of one channel, unless it is one line of no more values than the network takes.
        """
        if file.suffix.lower() != ".tsv" or self.rows > 1:
            return super().expand(file)
        lines = {f"{file}, line {k}": line for k, line in enumerate(read_lines(file), 1) if line.strip()}
        if len(lines) == 1 and len(next(iter(lines.values())).replace(",", " ").split()) <= self.length:
            return super().expand(file)
        return [(where, _entry(line, where)) for where, line in lines.items()]

    def notes(self, raw: Sequence[Any]) -> tuple[str, ...]:
        """How each .tsv of a user is taken."""
        tables = dict.fromkeys(item.where.rpartition(", ")[0] for item in raw if isinstance(item, Entry))
        alone = [item for item in raw if isinstance(item, Path) and item.suffix.lower() == ".tsv" and self.rows == 1]
        return (
            *(f"{file} is a table: the first value of each line is taken for its label" for file in tables),
            *(f"{file} is one series, without a label" for file in alone),
        )

    def read(self, item: Any) -> Float[Tensor, "c t"]:
        """A series (an array or a tensor, c t or t; or a text file with a row a channel), NaN where it is filled up."""
        where = None
        if isinstance(item, Entry):
            item, where = item.value, item.where
        elif isinstance(item, str | Path):
            item, where = read_series(Path(item)), item
        series = torch.as_tensor(np.asarray(item), dtype=torch.float32)
        series = series[None] if series.ndim == 1 else series
        if series.ndim != 2 or len(series) != self.rows or not series.shape[1]:
            expected, got = f"{self.rows} channels of values", tuple(series.shape)
            raise InputError("a time series", where=where, expected=expected, got=got)
        if series.isinf().any():
            raise InputError("a time series has a value that is infinite", where=where)
        series = self._filled(series, where)
        if self.normalization == "item":
            deviation = series.std(1, correction=0, keepdim=True)
            series = (series - series.mean(1, keepdim=True)) / torch.where(deviation > 1e-12, deviation, 1.0)
        steps = series.shape[1]
        if steps != self.length and (self.pad == "no" or steps > self.length):
            raise InputError(
                "series of unequal lengths",
                where=where,
                expected=f"{self.length} steps" + " or less" * (self.pad == "end"),
                got=steps,
                fix="Fill it up (in training, --inputs series:pad=end does so)."
                if steps < self.length
                else "Cut it (in training, the option length of series says how long the longest may be).",
            )
        return torch.nn.functional.pad(series, (0, self.length - steps), value=math.nan)

    def _filled(self, series: Float[Tensor, "c t"], where: object) -> Float[Tensor, "c t"]:
        """Missing values on straight lines, if that is wanted."""
        lost = series.isnan()
        if not lost.any():
            return series
        if self.missing == "no" or lost.all(1).any():
            raise InputError(
                "a time series has missing values",
                where=where,
                got=f"{int(lost.sum())} of {series.numel()}",
                fix="Put them on a line between their neighbors (in training, --inputs series:missing=line does so)."
                if self.missing == "no"
                else "A channel without any value cannot be filled.",
            )
        steps = np.arange(series.shape[1])
        rows = [
            np.interp(steps, steps[~gone], row[~gone]) for row, gone in zip(series.numpy(), lost.numpy(), strict=True)
        ]
        return torch.from_numpy(np.stack(rows)).float()

    def store(self, raw: Sequence[Tensor], reading: Reading) -> tuple[Float[Tensor, "n c t"], list[int]]:
        """All series through `read`; with `skip_corrupt` those it refuses are zeros, and their positions told."""
        stored = torch.zeros(len(raw), self.rows, self.length)
        corrupt = []
        for position, series in enumerate(raw):
            try:
                name = reading.names[position] if reading.names else f"series {position + 1}"
                stored[position] = self.read(Entry(series, name))
            except InputError as error:
                if not reading.skip_corrupt:
                    raise error.or_skip() from None
                corrupt.append(position)
        return stored, corrupt

    def units(self, stored: Float[Tensor, "n c t"]) -> Float[Tensor, "n c t"]:
        """Values as they are stored."""
        return stored

    def standardize(self, units: Float[Tensor, "n c t"]) -> Float[Tensor, "n c t"]:
        """Values to network input: by the training set with normalize=set; what was filled up is 0."""
        if self.mean:
            mean, std = (units.new_tensor(values)[:, None] for values in (self.mean, self.std))
            units = (units - mean) / std
        return units.nan_to_num(0.0)

    def unscaled(self) -> Series:
        """The same without scaling by the training set."""
        return replace(self, mean=(), std=())

    def json(self) -> dict[str, Any]:
        """As plain types, for a card."""
        return {"kind": "series", **asdict(self)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Series:
        """The inverse of `json`."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items() if k != "kind"}
        return cls(**values)


def read_series(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The series in a file, (c, t): an array of a .npy file, or rows of numbers with commas or white space between.

    Raises InputError, naming the file, for anything else.
    """
    try:
        if path.suffix.lower() == ".npy":
            return np.atleast_2d(np.load(path, allow_pickle=False).astype(np.float64))
        text = path.read_text("utf-8").replace(",", " ")
        found = np.array([[float(cell) for cell in line.split()] for line in text.splitlines() if line.strip()])
        if not found.size:
            raise ValueError("no numbers")
        return found
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise InputError("cannot read the series", where=path, expected="a row of numbers a channel", got=got) from None


class Row(NamedTuple):
    """A line of a table of the UCR archive: where it stands, its label and its series."""

    where: str
    label: float
    series: Float[Tensor, "1 t"]


def read_rows(text: str, where: str) -> list[Row]:
    """Each line that is not empty, without the NaN at its end that the archive fills shorter series up with.

    InputError, naming `where` and the line, for what cannot be read.

    >>> [(row.label, row.series.tolist()) for row in read_rows("1\\t0.5\\t0.25\\n2\\t1\\tNaN\\n", "a set")]
    [(1.0, [[0.5, 0.25]]), (2.0, [[1.0]])]
    """
    lines = {f"{where}, line {number}": line for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    if not lines:
        raise InputError("a file without time series", where=where, expected="a label and values a line")
    return [_read_row(line, place) for place, line in lines.items()]


def _entry(line: str, place: str) -> Entry | InputError:
    """The series of a line, whose label is not looked at; or why it cannot be read."""
    try:
        return Entry(_read_row(line, place, labeled=False).series, place)
    except InputError as error:
        return error


def _read_row(line: str, place: str, *, labeled: bool = True) -> Row:
    # A tab may end the line; one at its beginning stands behind a label that is not there.
    cells = line.removesuffix("\t").split("\t" if "\t" in line else "," if "," in line else None)
    if not labeled:
        cells[0] = "0"
    if empty := [column for column, cell in enumerate(cells, 1) if not cell.strip()]:
        got, fix = f"an empty column {empty[0]}", "Write NaN for a missing value." if empty[0] > 1 else ""
        raise InputError("a time series", where=place, expected="a label, then values", got=got, fix=fix)
    try:
        label, *values = map(float, cells)
    except ValueError:
        wrong = next(cell for cell in cells if not _is_number(cell))
        raise InputError("a time series", where=place, expected="numbers", got=repr(wrong)) from None
    if not math.isfinite(label):
        raise InputError("a time series without a label", where=place, expected="a number in the first column")
    while values and math.isnan(values[-1]):
        values.pop()
    if not values:
        raise InputError("a time series without values", where=place, expected="values after the label")
    if any(map(math.isinf, values)):
        raise InputError("a time series has a value that is infinite", where=place)
    return Row(place, label, torch.tensor([values]))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
