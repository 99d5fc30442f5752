"""Regression: one or more quantities of each item."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from rich.table import Table

from striate.data import Data
from striate.errors import InputError, did_you_mean
from striate.plain import finite
from striate.shapes import Float, Tensor
from striate.tasks.registry import Task, task

LOSSES = ("squared", "huber")
UNITS = ("plain", "degrees", "radians", "inverse_radius")
WHEELBASE = 2.7  # meters between a usual car's axles


@dataclass(frozen=True)
class Values:
    """The quantities of one item, by name."""

    names: tuple[str, ...]
    values: tuple[float, ...]

    def row(self) -> dict[str, Any]:
        """A column a quantity."""
        return dict(zip(self.names, self.values, strict=True))

    def json(self) -> dict[str, Any]:
        """Names to numbers."""
        return {"values": self.row()}

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """Numbers are told in the table and need no file."""
        return []


@dataclass(frozen=True)
class ValueScore:
    """One quantity: mean absolute error, root mean squared error, and R2 = 1 - MSE / variance of the true values.

    `spread` is the standard deviation of the true values: the RMSE of always saying their mean.
    """

    name: str
    mae: float
    rmse: float
    r2: float
    spread: float


@dataclass(frozen=True)
class RegressionScores:
    """Scores of `n` items; mae, rmse and r2 are means over the quantities (one: its own).

    angle_error: mean absolute difference of the angles, in degrees, NaN where the quantities are no angles. loss: mean
    squared error of the standardized quantities.
    """

    n: int
    mae: float
    rmse: float
    r2: float
    angle_error: float
    loss: float
    per_value: tuple[ValueScore, ...]

    def summary(self) -> dict[str, float]:
        """The single numbers; an angle's error leads where there is one."""
        numbers = {key: value for key, value in asdict(self).items() if key != "per_value"}
        angle = numbers.pop("angle_error")
        n = numbers.pop("n")
        return {"n": n, **({} if math.isnan(angle) else {"angle_error": angle}), **numbers}

    def json(self) -> dict[str, Any]:
        """All of it as plain types; what is not defined is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def table(self) -> Table:
        """A row a quantity."""
        angle = "" if math.isnan(self.angle_error) else f"  mean error of the angle {self.angle_error:.3f} degrees"
        table = Table("quantity", "MAE", "RMSE", "R2", "spread", title=f"{self.n} items{angle}")
        for row in self.per_value:
            table.add_row(row.name, f"{row.mae:.5g}", f"{row.rmse:.5g}", f"{row.r2:.4f}", f"{row.spread:.5g}")
        return table


@task("regress", takes=("values",))
@dataclass(frozen=True)
class Regress(Task):
    """Quantities, learned standardized: output z says mean + std z, with the training set's mean and deviation.

    Targets and outputs: Float[n, k]. The loss is the mean over both axes of d^2 (`squared`) or of Huber's function of d
    (`huber`: d^2 / 2 below 1, then |d| - 1/2; P. Huber, "Robust estimation of a location parameter", 1964), d in
    standard deviations.

    `unit` says what the quantities are, for the error as an angle: degrees or radians (differences wrap around), or
    inverse_radius, 1/r of a turn in 1/m, whose angle is that of the front wheels of a car of wheelbase 2.7 m,
    atan(2.7 / r). Pictures reach the network in 0..1.
    Raises InputError for no quantity, statistics that do not fit them, an unknown loss or unit.
    """

    value_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    criterion: str = "squared"
    unit: str = "plain"

    scaled: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.value_names:
            raise InputError("nothing to regress", expected="at least one quantity", got=0)
        if {len(self.mean), len(self.std)} != {len(self.value_names)} or not min(self.std) > 0:
            raise InputError(
                "statistics of the quantities",
                expected=f"{len(self.value_names)} means and as many positive deviations",
                got=f"{self.mean}, {self.std}",
            )
        for what, known, given in (("loss", LOSSES, self.criterion), ("unit", UNITS, self.unit)):
            if given not in known:
                raise InputError(f"unknown {what}", got=repr(given), fix=did_you_mean(given, known))

    @classmethod
    def of(cls, data: Data, loss: str = "squared", unit: str = "plain") -> Regress:
        """For the quantities of `data`, with the mean and the deviation of its training part."""
        values = data.train.targets.double()
        if not values.isfinite().all():
            first = data.train.names[int((~values.isfinite()).any(1).nonzero()[0])]
            raise InputError("a quantity is no number", where=first, expected="finite numbers", got="NaN or infinite")
        std = values.std(0, unbiased=False)
        std = torch.where(std > 0, std, 1.0)  # one that never changes
        names = data.class_names or tuple(f"value_{i}" for i in range(values.shape[1]))
        return cls(names, tuple(values.mean(0).tolist()), tuple(std.tolist()), loss, unit)

    @property
    def outputs(self) -> int:
        """One number a quantity."""
        return len(self.value_names)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The quantities."""
        return self.value_names

    def encode(self, targets: Sequence[float] | Sequence[Sequence[float]]) -> Float[Tensor, "n k"]:
        """Numbers, or rows of them -> the tensor."""
        return torch.tensor(targets, dtype=torch.float32).view(len(targets), len(self.value_names))

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise InputError if the network's outputs or the targets do not fit the quantities."""
        if output.ndim != 2 or output.shape[1] != self.outputs:
            raise InputError(
                "the network's outputs do not fit the quantities",
                expected=f"{self.outputs} outputs for each item",
                got=f"shape {tuple(output.shape[1:])}",
                fix=f"Build the network with num_classes={self.outputs}.",
            )
        if target.shape != output.shape:
            raise InputError("the targets do not fit the task", expected=tuple(output.shape), got=tuple(target.shape))

    def loss(self, output: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """See the class."""
        wanted = (target - target.new_tensor(self.mean)) / target.new_tensor(self.std)
        return F.huber_loss(output, wanted) if self.criterion == "huber" else F.mse_loss(output, wanted)

    def values(self, output: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """Outputs in the quantities' own units."""
        return output.new_tensor(self.mean) + output.new_tensor(self.std) * output

    def translated(self, output: Float[Tensor, "n k"], into: Regress) -> Float[Tensor, "n k"]:
        """In the deviations of another training set."""
        return (self.values(output) - output.new_tensor(into.mean)) / output.new_tensor(into.std)

    def metrics(self, kept: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> Mapping[str, float]:
        """The loss, and the mean absolute error in the quantities' own units."""
        return {"loss": self.loss(kept, target).item(), "mae": (self.values(kept) - target).abs().mean().item()}

    def score(self, kept: Float[Tensor, "n k"], target: Float[Tensor, "n k"]) -> RegressionScores:
        """Every measure of a whole set; InputError for an empty one."""
        self.check(kept, target)
        if not len(kept):
            raise InputError("cannot score an empty set", expected="at least one item", got=0)
        kept, target = kept.double().cpu(), target.double().cpu()
        found = self.values(kept)
        off = found - target
        spread = target.std(0, unbiased=False)
        squared = off.square().mean(0)
        rows = tuple(
            ValueScore(name, mae, math.sqrt(mse), 1 - mse / variance if variance else math.nan, math.sqrt(variance))
            for name, mae, mse, variance in zip(
                self.value_names, off.abs().mean(0).tolist(), squared.tolist(), spread.square().tolist(), strict=True
            )
        )
        return RegressionScores(
            n=len(target),
            mae=sum(row.mae for row in rows) / len(rows),
            rmse=sum(row.rmse for row in rows) / len(rows),
            r2=sum(row.r2 for row in rows) / len(rows),
            angle_error=angle_errors(found, target, self.unit).mean().item(),
            loss=self.loss(kept, target).item(),
            per_value=rows,
        )

    def decode(self, output: Float[Tensor, "n k"]) -> tuple[Values, ...]:
        """The quantities of each item."""
        return tuple(Values(self.value_names, tuple(row)) for row in self.values(output.float().cpu()).tolist())


def angle_errors(found: Float[Tensor, "n k"], true: Float[Tensor, "n k"], unit: str) -> Float[Tensor, "n k"]:
    """Absolute differences between angles in degrees, at most 180; NaN for `plain` quantities.

    >>> angle_errors(torch.tensor([[350.0]]), torch.tensor([[10.0]]), "degrees")
    tensor([[20.]])
    """
    if unit == "plain":
        return torch.full_like(found, math.nan)
    if unit == "inverse_radius":
        found, true = (torch.atan(WHEELBASE * part) for part in (found, true))
    degrees = found - true if unit == "degrees" else torch.rad2deg(found - true)
    return ((degrees + 180) % 360 - 180).abs()
