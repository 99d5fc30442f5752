"""Localization: whether one object is there, what it is, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from rich.table import Table

from striate.data import Data, Framing
from striate.errors import InputError, did_you_mean
from striate.ops.boxes import CONVENTIONS, boxes, edges, overlap
from striate.plain import finite, to_json
from striate.shapes import Float, Tensor
from striate.tasks.drawing import draw_box
from striate.tasks.registry import Task, task
from striate.tasks.spelling import spell
from striate.zoo.localizer import label_vector

BOX_LOSSES = ("smooth", "squared")
# The distance, as a share of the picture's side, from which the smooth loss grows no faster than linearly.
SMOOTH_FROM = 0.05
Outputs = tuple[Float[Tensor, "n k"], Float[Tensor, "n 4"], Float[Tensor, "n 1"]] | Float[Tensor, "n v"]


@dataclass(frozen=True)
class Located:
    """What was found in one picture, in its pixels: rows are counted downward from its corner.

    `name` and `probability` are the best class's; `presence` is the probability that there is an object at all.
    `box` is (left, top, right, bottom).
    """

    name: str
    probability: float
    presence: float
    box: tuple[float, float, float, float]

    @property
    def there(self) -> bool:
        """Whether an object is more likely than none."""
        return self.presence >= 0.5

    def within(self, framing: Framing) -> Located:
        """The same in the pixels of the whole picture."""
        left, top, right, bottom = (
            framing.out(torch.tensor(self.box, dtype=torch.float64).view(2, 2)).flatten().tolist()
        )
        return replace(self, box=(left, top, right, bottom))

    def row(self) -> dict[str, Any]:
        """Class and box, empty where there is no object."""
        sides = dict(zip(("left", "top", "right", "bottom"), (round(side, 2) for side in self.box), strict=True))
        found = {"class": self.name, "probability": round(self.probability, 6), **sides}
        return {"presence": round(self.presence, 6), **(found if self.there else dict.fromkeys(found, ""))}

    def json(self) -> dict[str, Any]:
        """All fields, and whether there is an object."""
        return {"there": self.there, **asdict(self), "box": list(self.box)}

    def save(self, folder: Path, stem: str, given: Float[Tensor, "c h w"]) -> list[Path]:
        """Write STEM.json and STEM.png: the picture with the box and its class, nothing drawn where nothing is."""
        folder.mkdir(parents=True, exist_ok=True)
        text, picture = folder / f"{stem}.json", folder / f"{stem}.png"
        text.write_text(to_json(self.json(), indent=2) + "\n", encoding="utf-8")
        drawn = [(self.box, f"{self.name} {self.probability:.2f}")] if self.there else []
        draw_box(given, drawn).save(picture)
        return [text, picture]


@dataclass(frozen=True)
class ClassPlaces:
    """The objects of one class: how many, and the shares found, named rightly and boxed with an IoU of 0.5."""

    name: str
    support: int
    found: float
    named: float
    boxed: float


@dataclass(frozen=True)
class LocalizationScores:
    """Scores of `n` pictures.

    right: share of pictures in which all is right: no object where there is none; else presence, class and a box with
    an intersection over union (IoU) of at least 0.5. presence: share with the right answer whether an object is there.
    Of the pictures that show one: `accuracy` of the class, `iou_50`, the share of boxes with an IoU of at least 0.5,
    and `mean_iou`; whether the network says that there is an object plays no part in these three. NaN where no picture
    shows one.
    """

    n: int
    right: float
    presence: float
    accuracy: float
    iou_50: float
    mean_iou: float
    loss: float
    per_class: tuple[ClassPlaces, ...]

    shares: ClassVar[tuple[str, ...]] = ("right", "presence")

    def summary(self) -> dict[str, float]:
        """The single numbers."""
        return {key: value for key, value in asdict(self).items() if key != "per_class"}

    def json(self) -> dict[str, Any]:
        """All of it as plain types; what is not defined is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def table(self) -> Table:
        """A row a class; the measures of the whole set stand above."""
        rest = "  ".join(f"{spell(key)}: {value:.4f}" for key, value in self.summary().items() if key != "n")
        table = Table("class", "pictures", "found", "named", spell("iou_50"), title=f"{self.n} pictures", caption=rest)
        for row in self.per_class:
            table.add_row(row.name, str(row.support), f"{row.found:.4f}", f"{row.named:.4f}", f"{row.boxed:.4f}")
        return table


@task("localize", takes=("box",))
@dataclass(frozen=True)
class Localize(Task):
    """One object or none: presence, class and box (the lectures' label of two heads).

    Targets: Float[n, 5 + k], the label [x, y, height, width, presence, one class each] in pixels, x and y the box's
    left upper corner, y downward. Outputs: the zoo's `localizer`'s three tensors, or one in the label's order: box,
    logit of presence, logits of the classes. The network's box is in shares of the picture's width and height and in
    the `convention` (see `ops.boxes`): `lower_left` is the one that the lectures print.

    The loss is the binary cross-entropy of presence and, over pictures that show an object, the cross-entropy of the
    class and `box_weight` times the box's loss, the sum over its four numbers of d^2 (`squared`) or of Huber's function
    (`smooth`: d^2 / 2b below b = 0.05, then d - b / 2; R. Girshick, "Fast R-CNN", 2015, eq. 3). What the lectures leave
    open is chosen here: the losses and their weights.

    Raises InputError for no class, a size that is none, an unknown convention or loss, a weight below 0.
    """

    class_names: tuple[str, ...]
    size: tuple[int, int]
    convention: str = "lower_left"
    box_loss: str = "smooth"
    box_weight: float = 10.0

    def __post_init__(self) -> None:
        if not self.class_names:
            raise InputError("cannot localize", expected="at least one class", got=0)
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError("the pictures' size", expected="height and width", got=self.size)
        for what, known, given in (
            ("convention of boxes", CONVENTIONS, self.convention),
            ("loss of boxes", BOX_LOSSES, self.box_loss),
        ):
            if given not in known:
                raise InputError(f"unknown {what}", got=repr(given), fix=did_you_mean(str(given), known))
        if not self.box_weight >= 0:
            raise InputError("weight of the box's loss", expected="at least 0", got=self.box_weight)

    @classmethod
    def of(
        cls,
        data: Data,
        convention: str = "lower_left",
        box_loss: str = "smooth",
        box_weight: float = 10.0,
    ) -> Localize:
        """For the classes and the size of the pictures of `data`."""
        if len(data.shape) != 3:
            raise InputError("boxes lie in pictures", expected="inputs c h w", got=f"shape {data.shape}")
        return cls(data.class_names, (data.shape[1], data.shape[2]), convention, box_loss, box_weight)

    @property
    def outputs(self) -> int:
        """The classes; box and presence have outputs of their own in every localizer."""
        return len(self.class_names)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The classes."""
        return self.class_names

    def alike(self, other: Task) -> bool:
        """Boxes must be written alike, too."""
        return super().alike(other) and isinstance(other, Localize) and self.convention == other.convention

    def encode(self, targets: Sequence[Mapping[str, Any] | None]) -> Float[Tensor, "n v"]:
        """A class and a box (left, top, right, bottom) an item, or None for no object -> the labels.

        >>> task = Localize(("cat", "dog"), (64, 64))
        >>> task.encode([{"class": "dog", "box": (10, 20, 30, 50)}, None]).tolist()
        [[10.0, 20.0, 30.0, 20.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
        """
        labels = torch.zeros(len(targets), 5 + len(self.class_names))
        for label, target in zip(labels, targets, strict=True):
            if target is None:
                continue
            name, sides = str(target["class"]), torch.tensor(target["box"]).float()
            if name not in self.class_names:
                raise InputError("unknown class", got=repr(name), fix=did_you_mean(name, self.class_names))
            if sides.shape != (4,) or not (sides[2:] > sides[:2]).all():
                raise InputError("no box", expected="left, top, right, bottom", got=tuple(target["box"]))
            label[:4] = boxes(sides[None])[0]
            label[4] = label[5 + self.class_names.index(name)] = 1
        return labels

    def check(self, output: Outputs, target: Tensor) -> None:
        """Raise InputError if the network's outputs or the targets do not fit the label."""
        classes = len(self.class_names)
        shapes = [tuple(part.shape[1:]) for part in output] if isinstance(output, tuple) else tuple(output.shape[1:])
        if shapes not in ([(classes,), (4,), (1,)], (5 + classes,)):
            raise InputError(
                "the network's outputs are no box with presence and classes",
                expected=f"{classes} classes, 4 numbers of a box, 1 of presence for each picture",
                got=f"shape {shapes}",
                fix=f"Use the zoo's localizer with num_classes={classes}.",
            )
        if tuple(target.shape[1:]) != (5 + classes,):
            raise InputError("the targets do not fit the task", expected=f"{5 + classes} numbers", got=target.shape)

    def loss(self, output: Outputs, target: Float[Tensor, "n v"]) -> Float[Tensor, ""]:
        """See the class."""
        found = joined(output)
        presence = F.binary_cross_entropy_with_logits(found[:, 4], target[:, 4])
        there = target[:, 4] > 0.5
        if not there.any():
            return presence
        classes = F.cross_entropy(found[there, 5:], target[there, 5:].argmax(1))
        return presence + classes + self.box_weight * self._distance(found[there, :4], target[there, :4])

    def _distance(self, found: Float[Tensor, "m 4"], target: Float[Tensor, "m 4"]) -> Float[Tensor, ""]:
        wanted = self.boxes_said(edges(target))
        if self.box_loss == "squared":
            return (found - wanted).square().sum(1).mean()
        return F.smooth_l1_loss(found, wanted, beta=SMOOTH_FROM, reduction="none").sum(1).mean()

    def keep(self, output: Outputs, target: Tensor) -> Float[Tensor, "n v"]:
        """The outputs as one row a picture, in the label's order."""
        return joined(output).float()

    def boxes_said(self, sides: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
        """What a network says of boxes (left, top, right, bottom): shares of the picture, in the convention."""
        height, width = self.size
        return boxes(sides, self.convention, height) / sides.new_tensor([width, height, height, width])

    def edges_of(self, kept: Float[Tensor, "n v"]) -> Float[Tensor, "n 4"]:
        """The boxes of outputs: (left, top, right, bottom) in pixels."""
        height, width = self.size
        sides = kept.new_tensor([width, height, height, width])
        return edges(kept[:, :4] * sides, self.convention, height)

    def metrics(self, kept: Float[Tensor, "n v"], target: Float[Tensor, "n v"]) -> Mapping[str, float]:
        """The loss, and the share of pictures in which all is right."""
        return {"loss": self.loss(kept, target).item(), "right": self._right(kept, target)[0].mean().item()}

    def _right(self, kept: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One number a picture: all right, presence right, class right, IoU (the last two where an object is)."""
        there = target[:, 4] > 0.5
        presence = (kept[:, 4] > 0) == there
        named = kept[:, 5:].argmax(1) == target[:, 5:].argmax(1)
        iou = overlap(self.edges_of(kept), edges(target[:, :4]))
        everything = presence & (~there | (named & (iou >= 0.5)))
        return everything.double(), presence.double(), named.double(), iou.double()

    def score(self, kept: Float[Tensor, "n v"], target: Float[Tensor, "n v"]) -> LocalizationScores:
        """Every measure of a whole set; InputError for an empty one."""
        self.check(kept, target)
        if not len(kept):
            raise InputError("cannot score an empty set", expected="at least one picture", got=0)
        kept, target = kept.float().cpu(), target.float().cpu()
        right, presence, named, iou = self._right(kept, target)
        there = target[:, 4] > 0.5
        boxed = (iou >= 0.5).double()
        rows = []
        for i, name in enumerate(self.class_names):
            own = there & (target[:, 5 + i] > 0.5)
            shares = [part[own].mean().item() if own.any() else 0.0 for part in (presence, named, boxed)]
            rows.append(ClassPlaces(name, int(own.sum()), *shares))
        return LocalizationScores(
            n=len(target),
            right=right.mean().item(),
            presence=presence.mean().item(),
            accuracy=named[there].mean().item(),
            iou_50=boxed[there].mean().item(),
            mean_iou=iou[there].mean().item(),
            loss=self.loss(kept, target).item(),
            per_class=tuple(rows),
        )

    def decode(self, output: Outputs) -> tuple[Located, ...]:
        """Presence, class and box of each picture."""
        found = joined(output).float().cpu()
        chance, best = found[:, 5:].softmax(1).max(1)
        return tuple(
            Located(self.class_names[i], p, there, (box[0], box[1], box[2], box[3]))
            for i, p, there, box in zip(
                best.tolist(),
                chance.tolist(),
                found[:, 4].sigmoid().tolist(),
                self.edges_of(found).tolist(),
                strict=True,
            )
        )


def joined(output: Outputs) -> Float[Tensor, "n v"]:
    """A localizer's outputs as one tensor in the label's order."""
    return label_vector(*output) if isinstance(output, tuple) else output
