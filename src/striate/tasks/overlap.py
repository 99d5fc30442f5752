"""Measures of a segmentation, from the pixels of each class that were taken for each class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table
from rich.text import Text

from striate.plain import finite
from striate.shapes import Float, Tensor
from striate.tasks.spelling import spell


@dataclass(frozen=True)
class ClassOverlap:
    """One class. NaN: nothing of it is there (accuracy), or is neither there nor predicted (IoU, Dice)."""

    name: str
    iou: float
    accuracy: float
    dice: float
    pixels: int


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of `n` images; void pixels do not count.

    With p_ij the pixels of class i taken for class j, t_i their sum over j and s_j that over i:

        accuracy (global)      sum p_ii / sum t_i         pixel_error = 1 - accuracy
        mean_accuracy          mean of p_ii / t_i         over the classes that are there
        mean_iou               mean of p_ii / (t_i + s_i - p_ii)      over those that are there or predicted
        frequency_iou          mean of the same, weighted by t_i
        mean_dice              mean of 2 p_ii / (t_i + s_i)

    loss: mean cross-entropy a pixel, in nats. regions: see `regions.region_scores`, before and after ("thinned_") the
    borders are thinned, the mean over images; empty unless the task names a class whose regions are compared.

    Source: J. Long, E. Shelhamer, T. Darrell, "Fully convolutional networks for semantic segmentation" (2015),
    section 5; V. Badrinarayanan et al., "SegNet" (2017), section 4.1 (class average).
    """

    n: int
    mean_iou: float
    mean_accuracy: float
    accuracy: float
    pixel_error: float
    frequency_iou: float
    mean_dice: float
    loss: float
    regions: dict[str, float]
    per_class: tuple[ClassOverlap, ...]
    confusion: tuple[tuple[int, ...], ...]

    def json(self) -> dict[str, Any]:
        """All of it as plain types; what is not defined is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def summary(self) -> dict[str, float]:
        """The single numbers."""
        names = ("n", "mean_iou", "mean_accuracy", "accuracy", "pixel_error", "frequency_iou", "mean_dice", "loss")
        return {name: getattr(self, name) for name in names} | self.regions

    def table(self) -> Table:
        """The per-class scores as a table to print; class average, mean IoU and accuracy stand in its title."""
        title = f"{self.n} images  mean IoU {self.mean_iou:.4f}  class average {self.mean_accuracy:.4f}"
        rest = {k: v for k, v in self.summary().items() if k not in ("n", "mean_iou", "mean_accuracy", "accuracy")}
        caption = "\n".join(f"{spell(k)} {v:.4f}" for k, v in rest.items())
        table = Table(
            *("class", "IoU", "accuracy", "Dice", "pixels"),
            title=f"{title}  accuracy {self.accuracy:.4f}",
            caption=caption,
        )
        for row in self.per_class:
            values = (_shown(row.iou), _shown(row.accuracy), _shown(row.dice), f"{row.pixels:,}")
            table.add_row(Text(row.name), *values)  # brackets in a name are no markup
        return table


def overlap_scores(
    confusion: Float[Tensor, "k k"],
    class_names: tuple[str, ...],
    *,
    n: int,
    loss: float,
    regions: Mapping[str, float],
) -> SegmentationScores:
    """The measures of pixels counted by class (rows) and predicted class (columns)."""
    right, there, taken = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    iou = right / (there + taken - right)
    accuracy = right / there
    dice = 2 * right / (there + taken)
    total = (right.sum() / there.sum()).item()
    rows = zip(class_names, iou.tolist(), accuracy.tolist(), dice.tolist(), there.long().tolist(), strict=True)
    return SegmentationScores(
        n=n,
        mean_iou=iou.nanmean().item(),
        mean_accuracy=accuracy.nanmean().item(),
        accuracy=total,
        pixel_error=1 - total,
        frequency_iou=((iou * there).nansum() / there.sum()).item(),
        mean_dice=dice.nanmean().item(),
        loss=loss,
        regions=dict(regions),
        per_class=tuple(ClassOverlap(*row) for row in rows),
        confusion=tuple(map(tuple, confusion.long().tolist())),
    )


def _shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def median_frequency_weights(masks: Tensor, classes: int) -> tuple[float, ...]:
    """Median frequency balancing: the median of the classes' frequencies over that of each class.

    A class's frequency is its share of the pixels of those masks in which it is; void ones count as no pixels. A class
    in no mask weighs 0.

    Source: D. Eigen, R. Fergus, "Predicting depth, surface normals and semantic labels with a common multi-scale
    convolutional architecture" (2015), section 6.3.2; SegNet (2017), section 4.

    >>> median_frequency_weights(torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.uint8), 2)
    (0.6428571428571429, 2.25)
    """
    counts = class_counts(masks, classes)
    inside = counts.sum(1, keepdim=True) * (counts > 0)
    frequency = (counts.sum(0) / inside.sum(0)).tolist()
    known = sorted(f for f in frequency if not math.isnan(f))
    middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if known else 0.0
    return tuple(0.0 if math.isnan(f) else middle / f for f in frequency)


def balanced_pixel_weights(masks: Tensor, classes: int) -> tuple[float, ...]:
    """Weights by which every class weighs the same in the loss: pixels / (classes * pixels of the class); else 0.

    >>> balanced_pixel_weights(torch.tensor([[0, 0, 0, 1]], dtype=torch.uint8), 2)
    (0.6666666666666666, 2.0)
    """
    counts = class_counts(masks, classes).sum(0)
    return tuple(counts.sum().item() / (classes * c) if c else 0.0 for c in counts.tolist())


def class_counts(masks: Tensor, classes: int) -> Float[Tensor, "n k"]:
    """Pixels of each class in each mask (n *space); void ones (255) are left out."""
    rows = [torch.bincount(mask.flatten().long(), minlength=256)[:classes] for mask in masks]
    return torch.stack(rows).double()
