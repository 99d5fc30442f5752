"""Time series as network input: brought to one scale, filled up, gaps closed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from striate.data.inputs import input_kind
from striate.data.items import Input, Reading
from striate.errors import InputError
from striate.shapes import Float, Tensor


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

    def read(self, item: Any) -> Float[Tensor, "c t"]:
        """A series (an array or a tensor, c t or t; or a text file with a row a channel), NaN where it is filled up."""
        if isinstance(item, str | Path):
            item = read_series(Path(item))
        series = torch.as_tensor(np.asarray(item), dtype=torch.float32)
        series = series[None] if series.ndim == 1 else series
        if series.ndim != 2 or len(series) != self.rows or not series.shape[1]:
            raise InputError("a time series", expected=f"{self.rows} channels of values", got=tuple(series.shape))
        if series.isinf().any():
            raise InputError("a time series has a value that is infinite")
        series = self._filled(series)
        if self.normalization == "item":
            deviation = series.std(1, correction=0, keepdim=True)
            series = (series - series.mean(1, keepdim=True)) / torch.where(deviation > 1e-12, deviation, 1.0)
        steps = series.shape[1]
        if steps != self.length and (self.pad == "no" or steps > self.length):
            raise InputError(
                "series of unequal lengths",
                expected=f"{self.length} steps" + " or less" * (self.pad == "end"),
                got=steps,
                fix="Fill shorter ones up with pad=end (inputs series:pad=end), or give a greater length."
                if self.pad == "no"
                else "Cut it, or give a greater length.",
            )
        return torch.nn.functional.pad(series, (0, self.length - steps), value=math.nan)

    def _filled(self, series: Float[Tensor, "c t"]) -> Float[Tensor, "c t"]:
        """Missing values on straight lines, if that is wanted."""
        lost = series.isnan()
        if not lost.any():
            return series
        if self.missing == "no" or lost.all(1).any():
            raise InputError(
                "a time series has missing values",
                got=f"{int(lost.sum())} of {series.numel()}",
                fix="Put them on a line between their neighbors with missing=line (inputs series:missing=line)."
                if self.missing == "no"
                else "A channel without any value cannot be filled; leave the series out.",
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
                stored[position] = self.read(series)
            except InputError as error:
                if not reading.skip_corrupt:
                    name = reading.names[position] if reading.names else f"series {position + 1}"
                    raise InputError(f"{name}: {error}") from None
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
