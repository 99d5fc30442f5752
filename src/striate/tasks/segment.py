"""Semantic segmentation: a class for each pixel of a signal, a picture or a volume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from striate.data import Data
from striate.data.items import VOID
from striate.data.masks import default_palette
from striate.errors import InputError, did_you_mean
from striate.shapes import Float, Tensor, UInt8
from striate.tasks.mask_picture import MaskPicture
from striate.tasks.overlap import (
    SegmentationScores,
    balanced_pixel_weights,
    median_frequency_weights,
    overlap_scores,
)
from striate.tasks.regions import region_scores, regions, thinned
from striate.tasks.registry import Task, task

REGION_MEASURES = tuple(
    f"{thin}{measure}{part}"
    for thin in ("", "thinned_")
    for measure in ("rand", "info")
    for part in ("", "_split", "_merge")
)
ENLARGING = {1: "linear", 2: "bilinear", 3: "trilinear"}


@task("segment", takes=("mask",))
@dataclass(frozen=True)
class Segment(Task):
    """A class for each pixel (position, voxel): cross-entropy of each, and the class with the greatest logit.

    Targets: UInt8[n, *space] class indices, 255 = void: not learned from, not scored. Outputs: logits
    Float[n, k, *out]. An `out` smaller than the mask stands for its middle: `stride` mask pixels each. The loss takes
    every stride-th target there (the nearest to the output's center); scores and masks take the logits enlarged
    linearly. So U-Net without padding (572 -> 388 pixels) needs nothing, and a network with a score for each 8 pixels
    (dilated_context: 66 x 66 for 528) needs stride 8.

    `class_weights` (one a class) weigh each pixel's loss by its class, and the mean is weighted alike. `dice` in 0..1
    mixes in the soft Dice loss, 1 minus the mean over classes of 2 sum(p g) / (sum p^2 + sum g^2) with probabilities p
    and truth g over the batch: loss = (1 - dice) cross-entropy + dice Dice loss (Milletari et al. 2016, V-Net,
    section 3). `regions` names a class whose connected pieces are compared, too (cells between membranes).

    Raises InputError for fewer than two classes or more than 255, repeated names, weights or a palette that do not
    fit, a dice outside 0..1, a stride below 1, an unknown class of regions.
    """

    dense: ClassVar[Literal["", "resized", "own"]] = "resized"
    class_names: tuple[str, ...]
    class_weights: tuple[float, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] = ()
    dice: float = 0.0
    stride: int = 1
    regions: str | None = None

    def __post_init__(self) -> None:
        count, weights = len(self.class_names), self.class_weights
        if not 2 <= count <= VOID:
            raise InputError("cannot segment", expected=f"2 to {VOID} classes", got=count)
        if len(set(self.class_names)) != count:
            raise InputError("two classes have one name", got=", ".join(self.class_names))
        if weights is not None and (
            len(weights) != count or not all(0 <= weight < math.inf for weight in weights) or not sum(weights)
        ):
            raise InputError(
                "class weights do not fit the classes",
                expected=f"{count} finite numbers of at least 0, not all 0",
                got=list(weights),
                fix="Give one number for each class, or class_weights=median or class_weights=balanced.",
            )
        if self.palette and len(self.palette) != count:
            raise InputError("the palette does not fit the classes", expected=f"{count} colors", got=len(self.palette))
        if not 0 <= self.dice <= 1:
            raise InputError("the share of the Dice loss is out of range", expected="0 to 1", got=self.dice)
        if self.stride < 1:
            raise InputError("the stride of the output is out of range", expected="at least 1", got=self.stride)
        if self.regions is not None and self.regions not in self.class_names:
            fix = did_you_mean(self.regions, self.class_names)
            raise InputError("regions of an unknown class", got=repr(self.regions), fix=fix)

    @classmethod
    def of(
        cls,
        data: Data,
        class_weights: str | tuple[float, ...] | None = None,
        dice: float = 0.0,
        stride: int = 1,
        regions: str | None = None,
    ) -> Segment:
        """For the classes of `data`; `class_weights` median or balanced are those of its training masks."""
        if isinstance(class_weights, str):
            class_weights = weights_of(data.train.targets, len(data.class_names), class_weights)
        return cls(data.class_names, class_weights, data.meaning.palette, dice, stride, regions)

    @property
    def outputs(self) -> int:
        """Channels that the network gives: one a class."""
        return len(self.class_names)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The classes."""
        return self.class_names

    def encode(self, targets: Sequence[Any]) -> UInt8[Tensor, "n *space"]:
        """Arrays of class indices, 255 where void, all of one shape -> the target tensor."""
        masks = [np.asarray(target) for target in targets]
        shapes = sorted({mask.shape for mask in masks})
        if len(shapes) != 1:
            raise InputError(
                "masks differ in shape", expected="one shape", got=", ".join(map(str, shapes)) or "no mask"
            )
        for number, mask in enumerate(masks):
            strange = np.setdiff1d(np.unique(mask), [*range(self.outputs), VOID])
            if strange.size:
                raise InputError(
                    "unknown label value",
                    where=f"mask {number}",
                    expected=f"0 to {self.outputs - 1}, or {VOID} for void",
                    got=", ".join(map(str, strange[:5].tolist())),
                )
        return torch.from_numpy(np.stack(masks).astype(np.uint8))

    def check(self, output: Float[Tensor, "n ..."], target: Tensor) -> None:
        """Raise InputError if the network's outputs or the targets do not fit the classes or each other."""
        if target.dtype != torch.uint8 or target.ndim < 2:
            expected = "masks of whole numbers (uint8: n *space)"
            raise InputError(
                "the targets do not fit the task", expected=expected, got=f"{target.dtype} {tuple(target.shape)}"
            )
        if output.ndim != target.ndim + 1 or output.shape[1] != self.outputs:
            raise InputError(
                "the network's outputs do not fit the classes",
                expected=f"{self.outputs} maps for each image, with {target.ndim - 1} spatial axes",
                got=f"shape {tuple(output.shape[1:])}",
                fix=f"Take a network that gives maps (unet, segnet, fcn8s ...), with num_classes={self.outputs}.",
            )
        out, space = tuple(output.shape[2:]), tuple(target.shape[1:])
        if any(o * self.stride > s for o, s in zip(out, space, strict=True)):
            raise InputError(
                "the network's maps are larger than the masks",
                expected=f"at most {space}",
                got=f"{out}, {self.stride} mask pixels each",
                fix="Set stride to the mask pixels of one output.",
            )
        largest = int(torch.where(target == VOID, 0, target).max()) if target.numel() else 0
        if largest >= self.outputs:
            expected = f"0 to {self.outputs - 1}, or {VOID} for void"
            raise InputError("unknown label value", where="masks", expected=expected, got=largest)

    def loss(self, output: Float[Tensor, "n k *out"], target: UInt8[Tensor, "n *space"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of the pixels in nats, mixed with the Dice loss; 0 where all of them are void."""
        size = tuple(side * self.stride for side in output.shape[2:])
        nearest = (slice(self.stride // 2, None, self.stride),) * len(size)
        truth = middle(target, size)[(slice(None), *nearest)].long()
        known = truth != VOID
        weights = None if self.class_weights is None else output.new_tensor(self.class_weights)
        counted = known.any() if weights is None else weights[truth[known]].any()
        if not counted:
            return output.sum() * 0  # the mean over nothing
        total = output.new_zeros(())
        if self.dice < 1:
            total = (1 - self.dice) * F.cross_entropy(output, truth, weight=weights, ignore_index=VOID)
        if self.dice > 0:
            total = total + self.dice * dice_loss(output, truth)
        return total

    def keep(self, output: Float[Tensor, "n k *out"], target: UInt8[Tensor, "n *space"]) -> Float[Tensor, "n m"]:
        """What the scores need of each image: pixels by class and predicted class, loss, pixels, region scores.

        A row is k*k counts, the summed cross-entropy, and 12 measures (`REGION_MEASURES`) where `regions` is set.
        """
        classes = self.outputs
        logits = self._enlarged(output)
        truth = middle(target, logits.shape[2:])
        predicted = logits.argmax(1)
        known = truth != VOID
        item = torch.arange(len(output), device=output.device).view(-1, *(1,) * (truth.ndim - 1)).expand_as(predicted)
        cells = (item * classes + truth.long()) * classes + predicted
        confusion = torch.bincount(cells[known], minlength=len(output) * classes**2).view(-1, classes**2)
        losses = F.cross_entropy(logits.float(), truth.long(), ignore_index=VOID, reduction="none")
        columns = [confusion.double(), losses.flatten(1).double().sum(1, keepdim=True)]
        if self.regions is not None:
            columns.append(self._compared(truth, predicted))
        return torch.cat(columns, 1)

    def metrics(self, kept: Float[Tensor, "n m"], target: Tensor) -> Mapping[str, float]:
        """Loss, mean IoU and accuracy."""
        scores = self.score(kept, target)
        return {"loss": scores.loss, "mean_iou": scores.mean_iou, "accuracy": scores.accuracy}

    def score(self, kept: Float[Tensor, "n m"], target: Tensor) -> SegmentationScores:
        """Every measure of a whole set; InputError for an empty one."""
        if not len(kept):
            raise InputError("cannot score an empty set", expected="at least one image", got="0")
        kept, cells = kept.double().cpu(), self.outputs**2
        confusion = kept[:, :cells].sum(0).view(self.outputs, self.outputs)
        measures = kept[:, cells + 1 :].nanmean(0).tolist()
        return overlap_scores(
            confusion,
            self.class_names,
            n=len(kept),
            loss=(kept[:, cells].sum() / confusion.sum()).item(),
            regions=dict(zip(REGION_MEASURES, measures, strict=True)) if measures else {},
        )

    def decode(self, output: Float[Tensor, "n k *out"]) -> tuple[MaskPicture, ...]:
        """A mask for each image, as large as the part of it that the network's output stands for."""
        scores = self._enlarged(output).cpu()
        masks = scores.argmax(1).to(torch.uint8).numpy()
        palette = self.palette or default_palette(self.outputs)
        return tuple(MaskPicture(mask, self.class_names, palette, own) for mask, own in zip(masks, scores, strict=True))

    def _enlarged(self, output: Float[Tensor, "n k *out"]) -> Float[Tensor, "n k *space"]:
        if self.stride == 1:
            return output
        mode = ENLARGING[output.ndim - 2]
        return F.interpolate(output.float(), scale_factor=self.stride, mode=mode, align_corners=False)

    def _compared(self, truth: Tensor, predicted: Tensor) -> Float[Tensor, "n 12"]:
        assert self.regions is not None
        inside, rows = self.class_names.index(self.regions), []
        for true, proposed in zip(truth.cpu().numpy(), predicted.cpu().numpy(), strict=True):
            true_regions, proposed_regions = regions(true == inside), regions(proposed == inside)
            rows.append(
                [
                    *region_scores(true_regions, proposed_regions).values(),
                    *region_scores(true_regions, thinned(proposed_regions)).values(),
                ]
            )
        return torch.tensor(rows, dtype=torch.float64, device=truth.device)


def middle(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle part of that size of the last axes; where it cannot be centered, a step nearer to the start.

    >>> middle(torch.arange(6)[None], (3,))
    tensor([[1, 2, 3]])
    """
    for axis, side in zip(range(-len(size), 0), size, strict=True):
        x = x.narrow(axis, (x.shape[axis] - side) // 2, side)
    return x


def dice_loss(output: Float[Tensor, "n k *out"], truth: Tensor) -> Float[Tensor, ""]:
    """1 minus the mean over classes of 2 sum(p g) / (sum p^2 + sum g^2), over all pixels but void ones (255).

    A class that is not in the batch has no overlap to gain and is left out of the mean.

    >>> truth = torch.tensor([[0, 1, 1]])
    >>> certain = torch.tensor([[[9.0, -9, -9], [-9, 9, 9]]])
    >>> round(dice_loss(certain, truth).item(), 4), round(dice_loss(-certain, truth).item(), 4)
    (0.0, 1.0)
    """
    classes, known = output.shape[1], (truth != VOID).flatten()
    probability = output.softmax(1).movedim(1, -1).reshape(-1, classes)[known]
    right = F.one_hot(truth.flatten()[known], classes).to(probability.dtype)
    there = right.any(0)
    overlap = 2 * (probability * right).sum(0) / (probability.square().sum(0) + right.sum(0))
    return 1 - overlap[there].mean()


def weights_of(masks: UInt8[Tensor, "n *space"], classes: int, kind: str) -> tuple[float, ...]:
    """Class weights from training masks: `median` (median frequency balancing) or `balanced`."""
    kinds = {"median": median_frequency_weights, "balanced": balanced_pixel_weights}
    if kind not in kinds:
        raise InputError("unknown class weights", got=repr(kind), fix=did_you_mean(kind, kinds))
    return kinds[kind](masks, classes)
