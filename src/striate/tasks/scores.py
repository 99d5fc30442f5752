"""Measures of a classifier on a whole set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from rich.table import Table
from rich.text import Text

from striate.plain import finite
from striate.shapes import Bool, Float, Int64, Tensor
from striate.tasks.spelling import spell

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ClassScore:
    """One class: precision, recall and F1 (0 where nothing was predicted or nothing is there), and its items.

    Of two classes and of labels also the areas under the receiver operating characteristic (auroc) and under the curve
    of precision and recall (auprc, the mean precision at each hit); None where all items or none have the class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    auroc: float | None = None
    auprc: float | None = None


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence lies in (lower, upper]: their mean confidence, accuracy and count."""

    lower: float
    upper: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class ClassificationScores:
    """Scores of `n` items.

    accuracy: share of items with the right class (multi-label: with every label right). loss: mean cross-entropy
    in nats. top_k: accuracy counting the k best classes (single-label; key k). macro_f1: unweighted mean over
    classes. confusion[i][j]: items of class i taken for class j; multi-label, a row a class of true negatives,
    false positives, false negatives, true positives. brier: squared error of the probabilities, summed over the
    classes (Brier 1950; multi-label, their mean).
    calibration_error: expected gap between confidence and accuracy over 15 equal bins (Guo et al. 2017, eq. 3).
    auroc, auprc: mean over the classes that have them (see `ClassScore`); with labels they come first.
    Labels that are not known (NaN) count nowhere.
    """

    n: int
    accuracy: float
    loss: float
    top_k: dict[int, float]
    macro_f1: float
    brier: float
    calibration_error: float
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[Bin, ...]

    @property
    def areas(self) -> dict[str, float]:
        """Mean auroc and auprc, of two classes and of labels."""
        rows = [(row.auroc, row.auprc) for row in self.per_class if row.auroc is not None and row.auprc is not None]
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        return dict(zip(("auroc", "auprc"), means, strict=True)) if rows else {}

    def json(self) -> dict[str, Any]:
        """All of it as plain types; what is not defined is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    @property
    def shares(self) -> tuple[str, ...]:
        """Which of the single numbers are shares of the n items."""
        return ("accuracy", *(f"top_{k}" for k in self.top_k if k > 1))

    @property
    def fixed(self) -> tuple[str, ...]:
        """Which of them no items change: the right class is always among all."""
        return tuple(f"top_{k}" for k in self.top_k if k >= len(self.per_class))

    def summary(self) -> dict[str, float]:
        """The single numbers."""
        return {
            "n": self.n,
            **({} if self.top_k else self.areas),
            "accuracy": self.accuracy,
            **{f"top_{k}": value for k, value in self.top_k.items() if k > 1},
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "brier": self.brier,
            "calibration_error": self.calibration_error,
            **(self.areas if self.top_k else {}),
        }

    def table(self) -> Table:
        """The per-class scores as a table to print; accuracy and loss stand in its title, all else under it."""
        rest = {k: v for k, v in self.summary().items() if k not in ("n", "accuracy", "loss")}
        title = f"{self.n} items  accuracy {self.accuracy:.4f}  loss {self.loss:.4f}"
        caption = "\n".join(f"{spell(k)} {v:.4f}" for k, v in rest.items())
        more = ["auroc", "auprc"] if self.areas else []
        table = Table("class", "precision", "recall", "f1", "support", *more, title=title, caption=caption)
        for row in self.per_class:
            name = Text(row.name)  # brackets in it are no markup
            cells = [f"{row.precision:.4f}", f"{row.recall:.4f}", f"{row.f1:.4f}", f"{row.support}"]
            cells += ["–" if value is None else f"{value:.4f}" for value in (row.auroc, row.auprc)] if more else []
            table.add_row(name, *cells)
        return table


def score_single(
    output: Float[Tensor, "n k"], target: Int64[Tensor, " n"], class_names: tuple[str, ...], top_k: int
) -> ClassificationScores:
    """Scores of single-label logits."""
    classes = len(class_names)
    probability = output.softmax(1)
    confidence, predicted = probability.max(1)
    right = predicted == target
    confusion = torch.bincount(target * classes + predicted, minlength=classes**2).view(classes, classes)
    hits = confusion.diagonal()
    ranked = output.topk(min(top_k, classes), 1).indices == target[:, None]
    per_class = _per_class(class_names, hits, confusion.sum(0), confusion.sum(1))
    if classes == 2:
        per_class = _with_areas(per_class, output - output.flip(1), F.one_hot(target, classes).float())
    return ClassificationScores(
        n=len(target),
        accuracy=right.double().mean().item(),
        loss=F.cross_entropy(output.double(), target).item(),
        top_k={k: ranked[:, :k].any(1).double().mean().item() for k in range(1, ranked.shape[1] + 1)},
        macro_f1=sum(row.f1 for row in per_class) / classes,
        brier=(probability.double() - F.one_hot(target, classes)).square().sum(1).mean().item(),
        per_class=per_class,
        confusion=tuple(map(tuple, confusion.tolist())),
        **_calibration(confidence, right),
    )


def score_labels(
    output: Float[Tensor, "n k"], target: Float[Tensor, "n k"], class_names: tuple[str, ...]
) -> ClassificationScores:
    """Scores of multi-label logits; a label is given where its probability is above one half."""
    probability = output.sigmoid()
    known = ~target.isnan()
    given, true = (output > 0) & known, target > 0.5
    hits = (given & true).sum(0)
    cells = torch.stack([(~given & ~true & known).sum(0), (given & ~true).sum(0), (~given & true).sum(0), hits], 1)
    per_class = _with_areas(_per_class(class_names, hits, given.sum(0), true.sum(0)), output, target)
    return ClassificationScores(
        n=len(target),
        accuracy=(given == true).all(1).double().mean().item(),
        loss=F.binary_cross_entropy_with_logits(output[known].double(), target[known].double()).item(),
        top_k={},
        macro_f1=sum(row.f1 for row in per_class) / len(class_names),
        brier=(probability.double() - target)[known].square().mean().item(),
        per_class=per_class,
        confusion=tuple(map(tuple, cells.tolist())),
        **_calibration(torch.where(given, probability, 1 - probability)[known], (given == true)[known]),
    )


def _per_class(
    names: tuple[str, ...], hits: Int64[Tensor, " k"], given: Int64[Tensor, " k"], true: Int64[Tensor, " k"]
) -> tuple[ClassScore, ...]:
    return tuple(
        ClassScore(
            name,
            precision=hit / has if has else 0.0,
            recall=hit / is_ if is_ else 0.0,
            f1=2 * hit / (has + is_) if has + is_ else 0.0,
            support=is_,
        )
        for name, hit, has, is_ in zip(names, hits.tolist(), given.tolist(), true.tolist(), strict=True)
    )


def _with_areas(
    rows: tuple[ClassScore, ...], score: Float[Tensor, "n k"], target: Float[Tensor, "n k"]
) -> tuple[ClassScore, ...]:
    """The rows with the areas under their curves, over the items whose label is known."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # 0.5 s

    found = []
    for row, values, labels in zip(rows, score.double().T.numpy(), target.T.numpy(), strict=True):
        known = labels == labels  # not NaN
        values, labels = values[known], labels[known] > 0.5
        if 0 < labels.sum() < len(labels):
            auroc, auprc = roc_auc_score(labels, values), average_precision_score(labels, values)
            row = replace(row, auroc=float(auroc), auprc=float(auprc))
        found.append(row)
    return tuple(found)


def _calibration(confidence: Float[Tensor, " n"], right: Bool[Tensor, " n"]) -> dict[str, Any]:
    """The bins of the reliability diagram, and the calibration error over them."""
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1)
    place = torch.bucketize(confidence, edges[1:-1])
    count = torch.bincount(place, minlength=CALIBRATION_BINS)
    confident = torch.bincount(place, confidence.double(), CALIBRATION_BINS) / count.clamp(min=1)
    accurate = torch.bincount(place, right.double(), CALIBRATION_BINS) / count.clamp(min=1)
    error = (count * (confident - accurate).abs()).sum().item() / len(right)
    bins = tuple(
        Bin(*row)
        for row in zip(
            edges[:-1].tolist(),
            edges[1:].tolist(),
            confident.tolist(),
            accurate.tolist(),
            count.tolist(),
            strict=True,
        )
    )
    return {"reliability": bins, "calibration_error": error}
