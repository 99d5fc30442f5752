"""Classification: one class for each item, or any number of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from striate.data import Data
from striate.errors import InputError, did_you_mean
from striate.shapes import Float, Num, Tensor
from striate.tasks.registry import Task, task
from striate.tasks.scores import ClassificationScores, score_labels, score_single


@dataclass(frozen=True)
class Prediction:
    """Classes of one item by falling probability: the `top_k` best, or, with several labels, those at least 0.5.

    `labels` has the probability of every label, in the order of the task, where there are labels.
    """

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    labels: Mapping[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The best class, its probability, and those that follow; or the probability of each label."""
        if self.labels:
            return {name: round(probability, 6) for name, probability in self.labels.items()}
        # With several labels, an item may have none.
        best, *rest = zip(self.classes or ("–",), self.probabilities or (0.0,), strict=True)
        others = ", ".join(f"{name} {probability:.3f}" for name, probability in rest)
        return {"class": best[0], "probability": round(best[1], 6), "next": others}

    def json(self) -> dict[str, Any]:
        """All of it."""
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"classes": list(self.classes), "probabilities": list(self.probabilities), **labels}

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """A class is told in the table and needs no file."""
        return []


@task("classify", takes=("class", "labels"))
@dataclass(frozen=True)
class Classify(Task):
    """Single-label (softmax, cross-entropy) or multi-label (sigmoid, binary cross-entropy) classification.

    Targets: Int64[n] class indices, or with `multi_label` Float[n, k] of zeros and ones; NaN is a label that is not
    known and counts neither in the loss nor in the scores. Outputs: logits Float[n, k]. A network with one score for
    two classes (bound or not) is `multi_label` with one label. `label_smoothing` s trains towards 1 - s + s/k (Szegedy
    et al. 2016, section 7; multi-label: towards 1 - s/2 and s/2). `class_weights` (one a class) weigh each item's loss
    by its class, and the mean is weighted alike; multi-label, they weigh each class's column.

    Raises InputError for fewer than two classes (multi-label: one), repeated names, weights that do not fit.
    """

    told_by: ClassVar[tuple[str, ...]] = ("top_k",)
    class_names: tuple[str, ...]
    multi_label: bool = False
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    top_k: int = 5

    def __post_init__(self) -> None:
        least = 1 if self.multi_label else 2
        if len(self.class_names) < least:
            raise InputError("cannot classify", expected=f"at least {least} classes", got=f"{len(self.class_names)}")
        if len(set(self.class_names)) != len(self.class_names):
            raise InputError("two classes have one name", got=", ".join(self.class_names))
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                "label smoothing is out of range", expected="at least 0, below 1", got=self.label_smoothing
            )
        if self.top_k < 1:
            raise InputError("top_k is out of range", expected="at least 1", got=self.top_k)
        weights = self.class_weights
        if weights is not None and (
            len(weights) != len(self.class_names)
            or not all(0 <= weight < math.inf for weight in weights)
            or not sum(weights)
        ):
            raise InputError(
                "class weights do not fit the classes",
                expected=f"{len(self.class_names)} finite numbers of at least 0, not all 0",
                got=list(weights),
                fix=f"Give one number for each of the {len(self.class_names)} classes, or balanced.",
            )

    @classmethod
    def of(
        cls,
        data: Data,
        label_smoothing: float = 0.0,
        class_weights: str | tuple[float, ...] | None = None,
        top_k: int = 5,
    ) -> Classify:
        """For the classes of `data`; `class_weights="balanced"` weighs each by the inverse of its frequency."""
        weights = class_weights
        if weights == "balanced":
            weights = balanced_weights(data.train.targets, len(data.class_names))
        elif isinstance(weights, str):
            raise InputError("class weights", expected="balanced, or one number for each class", got=repr(weights))
        return cls(data.class_names, data.meaning.kind == "labels", label_smoothing, weights, top_k)

    @property
    def outputs(self) -> int:
        """One score for each class."""
        return len(self.class_names)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The classes."""
        return self.class_names

    def encode(self, targets: Sequence[str] | Sequence[Sequence[str]]) -> Num[Tensor, " n *k"]:
        """Class names (multi-label: a list of names an item) -> the target tensor."""
        index = {name: i for i, name in enumerate(self.class_names)}

        def look_up(name: str) -> int:
            if name not in index:
                raise InputError("unknown class", got=repr(name), fix=did_you_mean(name, self.class_names))
            return index[name]

        if not self.multi_label:
            return torch.tensor([look_up(str(name)) for name in targets], dtype=torch.int64)
        encoded = torch.zeros(len(targets), len(self.class_names))
        for row, names in zip(encoded, targets, strict=True):
            row[[look_up(name) for name in names]] = 1
        return encoded

    def check(self, output: Float[Tensor, "n ..."], target: Num[Tensor, " n *k"]) -> None:
        """Raise InputError if the network's outputs or the targets do not fit the classes."""
        if output.ndim != 2 or output.shape[1] != len(self.class_names):
            raise InputError(
                "the network's outputs do not fit the classes",
                expected=f"{len(self.class_names)} outputs for each item",
                got=f"shape {tuple(output.shape[1:])}",
                fix=f"Build the network with num_classes={len(self.class_names)}.",
            )
        if target.ndim != 1 + self.multi_label or (self.multi_label and target.shape != output.shape):
            kind = "a row of zeros and ones" if self.multi_label else "one class index"
            raise InputError(
                "the targets do not fit the task",
                expected=f"{kind} for each item",
                got=f"{tuple(target.shape)}",
            )

    def loss(self, output: Float[Tensor, "n k"], target: Num[Tensor, " n *k"]) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats; multi-label, the mean over items and classes."""
        weights = None if self.class_weights is None else output.new_tensor(self.class_weights)
        if not self.multi_label:
            if weights is not None and not weights[target].any():
                # The mean over no weight at all: nothing to learn from this batch.
                return output.sum() * 0
            return F.cross_entropy(output, target, weight=weights, label_smoothing=self.label_smoothing)
        known = ~target.isnan()
        target = target.nan_to_num() * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(output, target, weight=weights, reduction="none")
        return (losses * known).sum() / known.sum().clamp(min=1)

    def probabilities(self, output: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """Softmax over the classes, or the sigmoid of each."""
        return output.sigmoid() if self.multi_label else output.softmax(-1)

    def decode(self, output: Float[Tensor, "n k"]) -> tuple[Prediction, ...]:
        """Names and probabilities, best first."""
        count = len(self.class_names) if self.multi_label else min(self.top_k, len(self.class_names))
        values, indices = self.probabilities(output).topk(count)
        rows = []
        for probabilities, classes in zip(values.tolist(), indices.tolist(), strict=True):
            keep = sum(p >= 0.5 for p in probabilities) if self.multi_label else count
            named = {self.class_names[i]: p for i, p in zip(classes, probabilities, strict=True)}
            labels = {name: named[name] for name in self.class_names} if self.multi_label else {}
            rows.append(Prediction(tuple(named)[:keep], tuple(probabilities[:keep]), labels))
        return tuple(rows)

    def metrics(self, output: Float[Tensor, "n k"], target: Num[Tensor, " n *k"]) -> Mapping[str, float]:
        """Loss without smoothing and weights, and accuracy (multi-label: share of right yes/no answers)."""
        if self.multi_label:
            known = ~target.isnan()
            loss = F.binary_cross_entropy_with_logits(output[known], target[known])
            right = ((output > 0) == (target > 0.5))[known]
        else:
            loss = F.cross_entropy(output, target)
            right = output.argmax(1) == target
        return {"loss": loss.item(), "accuracy": right.float().mean().item()}

    def score(self, output: Float[Tensor, "n k"], target: Num[Tensor, " n *k"]) -> ClassificationScores:
        """Every measure of a whole set; InputError for an empty one."""
        self.check(output, target)
        if not len(output):
            raise InputError("cannot score an empty set", expected="at least one item", got="0")
        output, target = output.float().cpu(), target.cpu()
        if self.multi_label:
            return score_labels(output, target, self.class_names)
        return score_single(output, target, self.class_names, self.top_k)


def balanced_weights(labels: Num[Tensor, " n *k"], classes: int) -> tuple[float, ...]:
    """Weights n / (classes * count): every class weighs the same in the loss, however rare it is.

    A class without labels weighs 0.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    (0.6666666666666666, 2.0)
    """
    counts = torch.bincount(labels, minlength=classes) if labels.ndim == 1 else labels.nansum(0)
    known = torch.full((classes,), len(labels)) if labels.ndim == 1 else (~labels.isnan()).sum(0)
    return tuple(n / (classes * c) if c else 0.0 for n, c in zip(known.tolist(), counts.tolist(), strict=True))
