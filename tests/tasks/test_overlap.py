"""Measures of overlap and class weights against torchmetrics, scikit-learn, and the definition in a loop."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn import metrics as sk
from torchmetrics import functional as tm

from striate.tasks.overlap import (
    balanced_pixel_weights,
    class_counts,
    median_frequency_weights,
    overlap_scores,
)
from striate.tasks.segment import Segment

cases = st.tuples(st.integers(2, 7), st.integers(1, 4), st.integers(0, 9999))
checked = settings(max_examples=30, deadline=None)


def segmented(classes: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, Segment]:
    """Logits and masks with void pixels; the last class is in no small mask."""
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(n, classes, 6, 5, generator=generator)
    target = torch.randint(max(2, classes - seed % 2), (n, 6, 5), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.2] = 255
    return output, target.to(torch.uint8), Segment(tuple(f"c{i}" for i in range(classes)))


@checked
@given(cases)
def test_measures_of_pixels(case: tuple[int, int, int]) -> None:
    output, target, task = segmented(*case)
    known = target != 255
    if not known.any():
        return
    scores = task.score(task.keep(output, target), target)
    true, taken = target[known].long(), output.argmax(1)[known]
    k = case[0]
    assert np.array_equal(scores.confusion, sk.confusion_matrix(true, taken, labels=range(k)))
    assert scores.accuracy == pytest.approx(sk.accuracy_score(true, taken))
    assert scores.pixel_error == pytest.approx(1 - sk.accuracy_score(true, taken))
    assert scores.mean_iou == pytest.approx(tm.jaccard_index(taken, true, "multiclass", num_classes=k).item())
    each = sk.jaccard_score(true, taken, labels=range(k), average=None, zero_division=0)
    there = np.bincount(true, minlength=k)
    assert scores.frequency_iou == pytest.approx((each * there).sum() / there.sum())
    recall = sk.recall_score(true, taken, labels=range(k), average=None, zero_division=0)
    assert scores.mean_accuracy == pytest.approx(recall[there > 0].mean())
    f1 = sk.f1_score(true, taken, labels=range(k), average=None, zero_division=0)
    anywhere = (there > 0) | (np.bincount(taken, minlength=k) > 0)
    assert scores.mean_dice == pytest.approx(f1[anywhere].mean())
    assert [row.pixels for row in scores.per_class] == there.tolist()
    for row, present, iou, dice in zip(scores.per_class, anywhere, each, f1, strict=True):
        assert np.isnan(row.iou) == np.isnan(row.dice) == (not present)
        assert not present or (row.iou, row.dice) == (pytest.approx(iou), pytest.approx(dice))
    loss = sk.log_loss(true, output.double().softmax(1).movedim(1, -1)[known], labels=range(k))
    assert scores.loss == pytest.approx(loss, rel=1e-4)


def test_a_wrong_pixel_is_seen() -> None:
    """The measures above must fail on another answer."""
    output, target, task = segmented(3, 2, 0)
    scores = task.score(task.keep(output, target), target)
    place = tuple((target != 255).nonzero()[0].tolist())
    output[place[0], :, place[1], place[2]] = output[place[0], :, place[1], place[2]].roll(1)
    assert task.score(task.keep(output, target), target).mean_iou != scores.mean_iou


def test_scores_worked_by_hand() -> None:
    confusion = torch.tensor([[3.0, 1, 0], [0, 4, 0], [0, 0, 0]])
    scores = overlap_scores(confusion, ("a", "b", "c"), n=1, loss=0.5, regions={})
    assert scores.mean_iou == pytest.approx((3 / 4 + 4 / 5) / 2)  # c is nowhere
    assert scores.mean_accuracy == pytest.approx((3 / 4 + 1) / 2)
    assert scores.frequency_iou == pytest.approx((4 * 3 / 4 + 4 * 4 / 5) / 8)
    assert scores.json()["per_class"][2] == {"name": "c", "iou": None, "accuracy": None, "dice": None, "pixels": 0}


def test_scores_are_plain_data_and_a_table() -> None:
    confusion = torch.tensor([[3.0, 1, 0], [0, 4, 0], [0, 0, 0]])
    scores = overlap_scores(confusion, ("[red]a", "b", "c"), n=7, loss=0.5, regions={"rand": 0.25})
    assert json.loads(json.dumps(scores.json(), allow_nan=False))["regions"] == {"rand": 0.25}
    console = Console(file=io.StringIO(), width=120)
    console.print(scores.table())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in (
        "7 images  mean IoU 0.7750",
        "class average 0.8750",
        "[red]a",
        "–",
        "rand 0.2500",
        "pixel error 0.1250",
    ):
        assert part in text
    assert next(iter(scores.summary())) == "n"
    assert list(scores.summary())[1] == "mean_iou"


@checked
@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 9999))
def test_median_frequency_balancing_by_its_definition(classes: int, n: int, seed: int) -> None:
    """Frequency over the images where the class is; weights in numpy, image by image."""
    masks = np.random.default_rng(seed).choice([*range(classes), 255], (n, 3, 4)).astype(np.uint8)
    frequency = []
    for c in range(classes):
        own = sum((mask == c).sum() for mask in masks)
        pixels = sum((mask != 255).sum() for mask in masks if (mask == c).any())
        frequency.append(own / pixels if pixels else np.nan)
    if np.isnan(frequency).all():
        return
    want = [0 if np.isnan(f) else np.nanmedian(frequency) / f for f in frequency]
    np.testing.assert_allclose(median_frequency_weights(torch.from_numpy(masks), classes), want)


def test_balanced_weights_against_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    masks = torch.tensor([[[0, 0, 1], [2, 2, 2]], [[0, 0, 0], [255, 255, 1]]], dtype=torch.uint8)
    labels = masks[masks != 255].numpy()
    want = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_pixel_weights(masks, 3), want)
    assert balanced_pixel_weights(masks, 4)[3] == median_frequency_weights(masks, 4)[3] == 0
    assert class_counts(masks, 3).tolist() == [[2, 1, 3], [3, 1, 0]]


def test_weights_of_masks_without_any_class() -> None:
    void = torch.full((2, 3, 3), 255, dtype=torch.uint8)
    assert median_frequency_weights(void, 2) == balanced_pixel_weights(void, 2) == (0.0, 0.0)
