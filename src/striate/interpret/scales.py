"""A classifier of crops on a whole image, at several sizes: what is where, and how large.

image -> resized to each scale -> scan: scores of every crop -> a vote over places and scales
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.locality import scan
from striate.ops import resize
from striate.shapes import Float, Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sighting:
    """A crop in which the classifier sees a class: `place` is its first corner and `size` its sides, in pixels of the
    image (rows, columns in 2-D); `scale` is that of the resized image in which it was seen."""

    target: int
    score: float
    place: tuple[float, ...]
    size: tuple[float, ...]
    scale: float

    def json(self) -> dict[str, Any]:
        """The sighting as plain types."""
        return asdict(self)

    def overlap(self, other: Sighting) -> float:
        """What both crops share, as a part of the smaller one: 1 where one lies within the other."""
        pairs = zip(self.place, self.size, other.place, other.size, strict=True)
        shared = math.prod(max(0.0, min(a + s, b + t) - max(a, b)) for a, s, b, t in pairs)
        return shared / min(math.prod(self.size), math.prod(other.size))


@dataclass(frozen=True, eq=False)
class Level:
    """The image at one scale: its sides there, and a score for each class and crop, (k, *positions)."""

    scale: float
    sides: tuple[int, ...]
    scores: Float[Tensor, "k *positions"]


@dataclass(frozen=True, eq=False)
class ScaleMap:
    """What `many_scales` returns: a map of scores for each level, from the largest image to the smallest.

    `x` is the image (1, c, *space), `patch` the sides of a crop, `stride` the step between crops, both in pixels of the
    resized images.
    """

    x: Float[Tensor, "1 c *space"]
    patch: tuple[int, ...]
    stride: tuple[int, ...]
    levels: tuple[Level, ...]

    def vote(self) -> Float[Tensor, " k"]:
        """A score of each class for the whole image: the mean over scales of the greatest over places.

        Source: Sermanet et al. 2014, OverFeat, section 3.3.
        """
        return torch.stack([level.scores.flatten(1).amax(1) for level in self.levels]).mean(0)

    def find(
        self, least: float, *, ignore: Sequence[int] = (), overlap: float = 0.3, most: int = 100
    ) -> tuple[Sighting, ...]:
        """The crops with the greatest scores, best first, of all classes, places and scales: at most `most`.

        A crop counts for its best class, from a score of `least` on, unless that is one to `ignore` (a background),
        and is dropped where it shares more than `overlap` of the smaller crop with a better one (of any class: one
        thing is seen in many crops).
        """
        found: list[Sighting] = []
        candidates = (seen for level in self.levels for seen in self._above(level, least) if seen.target not in ignore)
        for seen in sorted(candidates, key=lambda seen: -seen.score):
            if len(found) == most:
                break
            if all(seen.overlap(better) <= overlap for better in found):
                found.append(seen)
        return tuple(found)

    def sighting(self, level: Level, target: int, position: Sequence[int]) -> Sighting:
        """The crop at a position of a level's map, with its score for a class."""
        ratios = [side / scaled for side, scaled in zip(self.x.shape[2:], level.sides, strict=True)]
        place = tuple(i * step * ratio for i, step, ratio in zip(position, self.stride, ratios, strict=True))
        size = tuple(side * ratio for side, ratio in zip(self.patch, ratios, strict=True))
        return Sighting(target, float(level.scores[(target, *position)]), place, size, level.scale)

    def _above(self, level: Level, least: float) -> list[Sighting]:
        scores, classes = level.scores.max(0)
        return [
            self.sighting(level, int(classes[tuple(position)]), position)
            for position in (scores >= least).nonzero().tolist()
        ]

    def table(self, found: Sequence[Sighting], names: Sequence[str] = ()) -> Table:
        """What `find` found, a row each."""
        table = Table("class", "score", "place", "size", "scale", title=f"{len(self.levels)} scales")
        for seen in found:
            name = names[seen.target] if names else str(seen.target)
            place, size = (" x ".join(f"{value:.0f}" for value in values) for values in (seen.place, seen.size))
            table.add_row(name, f"{seen.score:.3f}", place, size, f"{seen.scale:.2f}")
        return table

    def json(self) -> dict[str, Any]:
        """Everything but `x` as plain types."""
        levels = [{"scale": x.scale, "sides": x.sides, "scores": x.scores.tolist()} for x in self.levels]
        return {"patch": self.patch, "stride": self.stride, "levels": levels}

    def plot(self, found: Sequence[Sighting], names: Sequence[str] = ()) -> Figure:
        """The image with what `find` found, and the best score of each crop at every scale; images only."""
        from striate.interpret.scale_pictures import draw_scales

        return draw_scales(self, found, names)


def many_scales(
    model: nn.Module,
    image: Float[Tensor, "n c *space"],
    *,
    scales: Sequence[float] | None = None,
    patch: Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    borders: str | None = "crops",
    budget_bytes: int | None = None,
) -> ScaleMap:
    """The probabilities (softmax) that a classifier gives to the crops of `image` (1, c, *space), at several scales.

    The image is resized by each of `scales` (see `ops.resize`) and scanned: at each scale the scores are exactly those
    of the classifier run on each crop alone. So things of size patch / scale are seen. By default the scales are 1,
    0.71, 0.5, ... (each the one before divided by the square root of 2) as long as a crop fits in. `patch`, `borders`
    and `budget_bytes` are those of `locality.scan`; `stride`, the step between crops, is by default the network's own,
    at which crops share all their maps.

    Raises InputError for scales that are not positive or at which the image is smaller than a crop, for no scale at
    all, for several images, and as `locality.scan` does.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 13 * 13, 10))
    >>> [(round(level.scale, 2), *level.scores.shape) for level in many_scales(net, torch.rand(1, 1, 60, 100)).levels]
    [(1.0, 10, 17, 37), (0.71, 10, 8, 22), (0.5, 10, 2, 12)]
    """
    scanner = scan(model, patch=patch, borders=borders, budget_bytes=budget_bytes)
    if image.dim() != len(scanner.patch) + 2 or len(image) != 1:
        expected = f"one image: 1, channels, {len(scanner.patch)} axes of space"
        raise InputError("cannot look at several scales", where="image", expected=expected, got=tuple(image.shape))
    steps = scanner.fragments or (1,) * len(scanner.patch) if stride is None else stride
    scanner = scan(model, patch=scanner.patch, stride=steps, borders=borders, budget_bytes=budget_bytes)
    levels = []
    for scale, sides in _sides(tuple(image.shape[2:]), scanner.patch, scales):
        scores = scanner(resize(image, sides))[0].float()
        levels.append(Level(scale, sides, scores.softmax(0).cpu()))
    return ScaleMap(image.cpu(), tuple(scanner.patch), tuple(scanner.stride), tuple(levels))


def _sides(
    space: tuple[int, ...], patch: Sequence[int], scales: Sequence[float] | None
) -> list[tuple[float, tuple[int, ...]]]:
    """Each scale, and the sides of the image at it."""

    def resized(scale: float) -> tuple[int, ...]:
        return tuple(round(side * scale) for side in space)

    def fits(scale: float) -> bool:
        return all(side >= size for side, size in zip(resized(scale), patch, strict=True))

    if scales is None:
        scales = [1.0, *takewhile(fits, (2 ** (-k / 2) for k in range(1, 64)))]
    for scale in scales:
        if not (scale > 0 and math.isfinite(scale) and fits(scale)):
            size, crop = ("x".join(map(str, sides)) for sides in (space, patch))
            raise InputError(
                "the image is smaller than a crop at this scale" if scale > 0 else "a scale is a positive number",
                where=f"image {size}, crop {crop}",
                got=scale,
                fix="Leave the scale out, or enlarge the image with a scale above 1.",
            )
    if not scales:
        raise InputError("no scale to look at", expected="one or more", got="none")
    return [(scale, resized(scale)) for scale in sorted(scales, reverse=True)]
