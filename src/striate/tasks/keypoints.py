"""Keypoints: where the named points of a picture lie."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from striate.data import Data, Framing
from striate.errors import InputError, did_you_mean
from striate.plain import finite
from striate.shapes import Float, Tensor
from striate.tasks.drawing import draw_points
from striate.tasks.registry import Task, task
from striate.tasks.spelling import spell
from striate.zoo.landmarks import groups_of

# The lectures' marks of a mean pixel error, for pictures of 96x96.
MARKS = {1.4: "outstanding", 1.5: "very good", 1.6: "ok"}


@dataclass(frozen=True)
class Keypoints:
    """The points of one picture: a name and (x, y) each, in its pixels, (0, 0) the center of the first."""

    names: tuple[str, ...]
    points: tuple[tuple[float, float], ...]

    def within(self, framing: Framing) -> Keypoints:
        """The same in the pixels of the whole picture."""
        moved = framing.out(torch.tensor(self.points, dtype=torch.float64).view(-1, 2) + 0.5) - 0.5
        return Keypoints(self.names, tuple((x, y) for x, y in moved.tolist()))

    def row(self) -> dict[str, Any]:
        """Columns NAME_x and NAME_y, as the tables of points have them."""
        return {
            f"{name}_{axis}": round(value, 3)
            for name, point in zip(self.names, self.points, strict=True)
            for axis, value in zip("xy", point, strict=True)
        }

    def json(self) -> dict[str, Any]:
        """Names to places."""
        return {"points": {name: list(point) for name, point in zip(self.names, self.points, strict=True)}}

    def save(self, folder: Path, stem: str, given: Float[Tensor, "c h w"]) -> list[Path]:
        """Write STEM.csv, one row of coordinates, and STEM.png, the picture with its points."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.row()), lineterminator="\n")
        writer.writeheader()
        writer.writerow(self.row())
        folder.mkdir(parents=True, exist_ok=True)
        table, picture = folder / f"{stem}.csv", folder / f"{stem}.png"
        table.write_text(text.getvalue(), encoding="utf-8")
        draw_points(given, self.points).save(picture)
        return [table, picture]


@dataclass(frozen=True)
class PointScore:
    """One point: in how many pictures it is known, the mean of its errors in pixels, and half of them lie below."""

    name: str
    n: int
    error: float
    median: float


@dataclass(frozen=True)
class KeypointScores:
    """Scores of `n` pictures; only points whose place is known count.

    error: mean distance between a point and where it was found, pixels. rmse: root of the mean squared error of a
    coordinate, pixels (the measure of Kaggle's facial keypoints). within_1_4, within_1_5, within_1_6: share of the
    points with at most so large an error, the lectures' marks for 96x96 pixels (outstanding, very good, ok), which they
    set for the mean. per_picture: mean error of each picture.
    """

    n: int
    error: float
    rmse: float
    median: float
    within_1_4: float
    within_1_5: float
    within_1_6: float
    loss: float
    per_point: tuple[PointScore, ...]
    per_picture: tuple[float, ...]

    @property
    def mark(self) -> str:
        """What the lectures call a mean error this small; empty above 1.6 pixels."""
        return next((mark for least, mark in MARKS.items() if self.error <= least), "")

    def summary(self) -> dict[str, float]:
        """The single numbers."""
        return {key: value for key, value in asdict(self).items() if not key.startswith("per_")}

    def json(self) -> dict[str, Any]:
        """All of it as plain types, and the lectures' mark."""
        plain: dict[str, Any] = finite({**asdict(self), "mark": self.mark})
        return plain

    def table(self) -> Table:
        """A row a point; the measures of the whole set stand above and below."""
        mark = f" ({self.mark})" if self.mark else ""
        rest = "  ".join(f"{spell(key)} {self.summary()[key]:.4f}" for key in WITHIN)
        title = f"{self.n} pictures  mean error {self.error:.3f} pixels{mark}  RMSE {self.rmse:.3f}"
        table = Table("point", "pictures", "mean error", "median", title=title, caption=rest)
        for row in self.per_point:
            table.add_row(row.name, str(row.n), f"{row.error:.3f}", f"{row.median:.3f}")
        return table


WITHIN = {f"within_{str(limit).replace('.', '_')}": limit for limit in MARKS}


@task("keypoints", takes=("points",))
@dataclass(frozen=True)
class FindKeypoints(Task):
    """Coordinates of named points by regression.

    Targets: Float[n, p, 2], (x, y) in pixels, NaN where a point is not known. Outputs: Float[n, 2 q], x and y of each
    of the q points that are learned, in -1..1: pixel w/2 (1 + x) horizontally, h/2 (1 + y) vertically. The loss is the
    mean of the squared errors in those units over what is known (the tutorial of the zoo's `facial_points`).

    `learned` are the positions of those points among `point_names`: all, or one specialist's (`group=`: a name from
    `zoo.landmarks`' groups, or names of points apart by +).
    Raises InputError for no point, unknown groups or points, a size that is none.
    """

    point_names: tuple[str, ...]
    size: tuple[int, int]
    learned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.point_names:
            raise InputError("no points to find", expected="at least one", got=0)
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError("the pictures' size", expected="height and width", got=self.size)
        outside = [i for i in self.learned if not 0 <= i < len(self.point_names)]
        if outside or len(set(self.learned)) < len(self.learned):
            expected = f"different numbers of points, 0 to {len(self.point_names) - 1}"
            raise InputError("points to learn", expected=expected, got=self.learned)

    @classmethod
    def of(cls, data: Data, group: str | None = None) -> FindKeypoints:
        """For the points of `data`; with `group`, for a specialist's."""
        if len(data.shape) != 3:
            raise InputError("points lie in pictures", expected="inputs c h w", got=f"shape {data.shape}")
        names = data.class_names
        return cls(names, (data.shape[1], data.shape[2]), () if group is None else find_group(group, names))

    @property
    def chosen(self) -> tuple[int, ...]:
        """Positions of the points that are learned."""
        return self.learned or tuple(range(len(self.point_names)))

    @property
    def chosen_names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.point_names[i] for i in self.chosen)

    @property
    def outputs(self) -> int:
        """x and y of each point that is learned."""
        return 2 * len(self.chosen)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The points that are learned."""
        return self.chosen_names

    def encode(self, targets: Sequence[Mapping[str, Sequence[float]]]) -> Float[Tensor, "n p 2"]:
        """Names to (x, y) an item -> the tensor; points that are not named are missing.

        >>> FindKeypoints(("nose", "chin"), (96, 96)).encode([{"nose": (40, 50)}]).tolist()
        [[[40.0, 50.0], [nan, nan]]]
        """
        points = torch.full((len(targets), len(self.point_names), 2), torch.nan)
        for row, target in zip(points, targets, strict=True):
            for name, place in target.items():
                if name not in self.point_names:
                    raise InputError("unknown point", got=repr(name), fix=did_you_mean(name, self.point_names))
                row[self.point_names.index(name)] = torch.tensor(place, dtype=torch.float32)
        return points

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise InputError if the network's outputs or the targets do not fit the points."""
        if output.ndim != 2 or output.shape[1] != self.outputs:
            raise InputError(
                "the network's outputs do not fit the points",
                expected=f"{self.outputs} outputs (x and y of {len(self.chosen)} points) for each picture",
                got=f"shape {tuple(output.shape[1:])}",
                fix=f"Build the network with num_classes={self.outputs}.",
            )
        if target.shape[1:] != (len(self.point_names), 2):
            expected = f"{len(self.point_names)} points x, y for each picture"
            raise InputError("the targets do not fit the task", expected=expected, got=f"{tuple(target.shape)}")

    def _half(self, like: Tensor) -> Tensor:
        return like.new_tensor([self.size[1] / 2, self.size[0] / 2])

    def loss(self, output: Float[Tensor, "n v"], target: Float[Tensor, "n p 2"]) -> Float[Tensor, ""]:
        """Mean squared error in units of half the picture, over the coordinates that are known."""
        half = self._half(output)
        wanted = target[:, list(self.chosen)] / half - 1
        known = ~wanted.isnan()
        errors = torch.where(known, output.view(wanted.shape) - wanted.nan_to_num(), 0)
        return errors.square().sum() / known.sum().clamp(min=1)

    def pixels(self, output: Float[Tensor, "n v"]) -> Float[Tensor, "n q 2"]:
        """Outputs as (x, y) in pixels."""
        return (output.view(len(output), -1, 2) + 1) * self._half(output)

    def metrics(self, kept: Float[Tensor, "n v"], target: Float[Tensor, "n p 2"]) -> Mapping[str, float]:
        """The loss, and the mean error in pixels."""
        error = (self.pixels(kept) - target[:, list(self.chosen)]).norm(dim=2)
        return {"loss": self.loss(kept, target).item(), "error": error.nanmean().item()}

    def score(self, kept: Float[Tensor, "n v"], target: Float[Tensor, "n p 2"]) -> KeypointScores:
        """Every measure of a whole set; InputError for an empty one and where no point is known."""
        self.check(kept, target)
        kept, target = kept.double().cpu(), target.double().cpu()
        wanted = target[:, list(self.chosen)]
        known = ~wanted.isnan().any(2)
        if not known.any():
            raise InputError("cannot score an empty set", expected="at least one point that is known", got=0)
        off = self.pixels(kept) - wanted
        error = off.norm(dim=2)
        each = error[known]
        shares = {key: (each <= limit).double().mean().item() for key, limit in WITHIN.items()}
        per_point = tuple(
            PointScore(name, int(known[:, i].sum()), error[:, i].nanmean().item(), error[:, i].nanmedian().item())
            for i, name in enumerate(self.chosen_names)
        )
        return KeypointScores(
            n=len(target),
            error=each.mean().item(),
            rmse=math.sqrt(off[known].square().mean().item()),
            median=each.median().item(),
            **shares,
            loss=self.loss(kept, target).item(),
            per_point=per_point,
            per_picture=tuple(error.nanmean(1).tolist()),
        )

    def decode(self, output: Float[Tensor, "n v"]) -> tuple[Keypoints, ...]:
        """Names and places of each picture's points."""
        places = self.pixels(output.float().cpu()).tolist()
        return tuple(Keypoints(self.chosen_names, tuple((x, y) for x, y in points)) for points in places)

    def answer_of(self, points: Float[Tensor, "n p 2"]) -> Float[Tensor, "n v"]:
        """The outputs of a network that says these places (of all points, in pixels): so anything can be scored."""
        return (points[:, list(self.chosen)] / self._half(points) - 1).flatten(1)


def mean_points(points: Float[Tensor, "n p 2"]) -> Float[Tensor, "p 2"]:
    """The mean place of each point over the pictures in which it is known: what is said without looking."""
    return points.nanmean(0)


def find_group(spec: str, names: tuple[str, ...]) -> tuple[int, ...]:
    """Positions of a specialist's points: a group's name, or names of points apart by +."""
    groups = groups_of(names)
    chosen = groups[spec] if spec in groups else tuple(spec.split("+"))
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise InputError(
            "unknown group of points", got=repr(unknown[0]), fix=did_you_mean(unknown[0], (*groups, *names))
        )
    return tuple(names.index(name) for name in chosen)
