"""Every measure against torchmetrics, scikit-learn or a loop, on random sets of 2 to 12 classes."""

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

from striate.errors import InputError
from striate.tasks import ClassificationScores, Classify

sets = st.tuples(st.integers(2, 12), st.integers(1, 60), st.integers(0, 9999))
checked = settings(max_examples=30, deadline=None)


def single(classes: int, items: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, ClassificationScores]:
    """Logits, labels (of only the first few classes in small sets) and their scores."""
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(items, classes, generator=generator) * 2
    target = torch.randint(max(2, classes - seed % 3), (items,), generator=generator)
    return output, target, Classify(tuple(map(str, range(classes)))).score(output, target)


def labels(classes: int, items: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, ClassificationScores]:
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(items, classes, generator=generator) * 2
    target = (torch.rand(items, classes, generator=generator) < 0.3).float()
    return output, target, Classify(tuple(map(str, range(classes))), multi_label=True).score(output, target)


@checked
@given(sets)
def test_accuracy_top_k_and_confusion(case: tuple[int, int, int]) -> None:
    output, target, scores = single(*case)
    k = case[0]
    assert scores.n == case[1]
    assert scores.accuracy == pytest.approx(tm.accuracy(output, target, "multiclass", num_classes=k).item())
    assert set(scores.top_k) == set(range(1, min(5, k) + 1))
    for top, value in scores.top_k.items():
        want = tm.accuracy(output, target, "multiclass", num_classes=k, top_k=top, average="micro")
        assert value == pytest.approx(want.item())
    assert np.array_equal(scores.confusion, sk.confusion_matrix(target, output.argmax(1), labels=range(k)))


@checked
@given(sets)
def test_per_class_and_macro_scores_also_of_absent_classes(case: tuple[int, int, int]) -> None:
    output, target, scores = single(*case)
    want = sk.precision_recall_fscore_support(target, output.argmax(1), labels=range(case[0]), zero_division=0)
    got = [(c.precision, c.recall, c.f1, c.support) for c in scores.per_class]
    np.testing.assert_allclose(np.array(got).T, want)
    assert scores.macro_f1 == pytest.approx(np.mean(want[2]))
    assert [c.name for c in scores.per_class] == [str(i) for i in range(case[0])]


@checked
@given(sets)
def test_loss_and_brier(case: tuple[int, int, int]) -> None:
    output, target, scores = single(*case)
    probability = output.double().softmax(1).numpy()
    assert scores.loss == pytest.approx(sk.log_loss(target, probability, labels=range(case[0])), rel=1e-5)
    loop = [
        [(p - (k == t)) ** 2 for k, p in enumerate(row)] for row, t in zip(probability, target.tolist(), strict=True)
    ]
    assert scores.brier == pytest.approx(np.sum(loop, 1).mean(), rel=1e-5, abs=1e-8)
    by_sklearn = sk.brier_score_loss(target, probability, labels=range(case[0]), scale_by_half=False)
    assert scores.brier == pytest.approx(by_sklearn, rel=1e-5, abs=1e-8)


@checked
@given(sets)
def test_calibration_error_over_15_bins(case: tuple[int, int, int]) -> None:
    output, target, scores = single(*case)
    want = tm.calibration_error(output, target, "multiclass", num_classes=case[0], n_bins=15, norm="l1")
    assert scores.calibration_error == pytest.approx(want.item(), abs=1e-5)
    other = tm.calibration_error(output, target, "multiclass", num_classes=case[0], n_bins=15, norm="max")
    assert scores.calibration_error <= other.item() + 1e-5


@checked
@given(sets)
def test_reliability_bins_by_loop(case: tuple[int, int, int]) -> None:
    output, target, scores = single(*case)
    confidence, predicted = output.softmax(1).max(1)
    assert len(scores.reliability) == 15
    for number, row in enumerate(scores.reliability):
        inside = [i for i, c in enumerate(confidence.tolist()) if number / 15 < c <= (number + 1) / 15]
        assert (row.lower, row.upper) == pytest.approx((number / 15, (number + 1) / 15))
        assert row.count == len(inside)
        if inside:
            assert row.confidence == pytest.approx(confidence[inside].mean().item(), rel=1e-5)
            assert row.accuracy == pytest.approx((predicted == target)[inside].double().mean().item())
        else:
            assert (row.confidence, row.accuracy) == (0, 0)


@checked
@given(sets)
def test_multi_label_accuracy_confusion_and_f1(case: tuple[int, int, int]) -> None:
    output, target, scores = labels(*case)
    given_, true = (output.sigmoid() > 0.5).int().numpy(), target.int().numpy()
    assert scores.accuracy == pytest.approx(sk.accuracy_score(true, given_))
    assert np.array_equal(scores.confusion, sk.multilabel_confusion_matrix(true, given_).reshape(-1, 4))
    want = sk.precision_recall_fscore_support(true, given_, zero_division=0)
    np.testing.assert_allclose(np.array([(c.precision, c.recall, c.f1, c.support) for c in scores.per_class]).T, want)
    macro = tm.f1_score(output.sigmoid(), target.int(), "multilabel", num_labels=case[0], average="none").mean()
    assert scores.macro_f1 == pytest.approx(macro.item())
    assert scores.top_k == {}


@checked
@given(sets)
def test_multi_label_loss_brier_and_calibration(case: tuple[int, int, int]) -> None:
    output, target, scores = labels(*case)
    p, flat = output.double().sigmoid().flatten(), target.int().flatten()
    assert scores.loss == pytest.approx(sk.log_loss(flat, p, labels=[0, 1]), rel=1e-5)
    assert scores.brier == pytest.approx(sk.brier_score_loss(flat, p, labels=[0, 1], pos_label=1), rel=1e-5)
    yes_or_no = torch.stack([1 - p, p], 1)
    want = tm.calibration_error(yes_or_no, flat, "multiclass", num_classes=2, n_bins=15)
    assert scores.calibration_error == pytest.approx(want.item(), abs=1e-5)


def test_scores_worked_by_hand() -> None:
    output = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]]).log()
    scores = Classify(("no", "yes")).score(output, torch.tensor([0, 1, 1, 0]))
    assert scores.accuracy == 0.75
    assert scores.confusion == ((2, 0), (1, 1))
    assert [(c.precision, c.recall) for c in scores.per_class] == [(pytest.approx(2 / 3), 1), (1, 0.5)]
    assert scores.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert scores.brier == pytest.approx((2 * 0.04 + 2 * 0.36 + 2 * 0.09 + 2 * 0.01) / 4)
    assert scores.calibration_error == pytest.approx((0.2 + 0.6 + 0.3 + 0.1) / 4)
    assert scores.summary()["top_2"] == 1


@pytest.mark.parametrize(("classes", "number"), [(2, 7), (3, 4), (5, 2)])
def test_a_confidence_is_in_the_bin_that_it_closes(classes: int, number: int) -> None:
    """Bins are (lower, upper]: 1/3 = 5/15 closes the fifth and 1/5 = 3/15 the third; 1/2 is inside the eighth."""
    output = torch.zeros(1, classes)
    scores = Classify(tuple(map(str, range(classes)))).score(output, torch.tensor([0]))
    assert [row.count for row in scores.reliability].index(1) == number


def test_certainty_is_in_the_last_bin() -> None:
    scores = Classify(("a", "b")).score(torch.tensor([[100.0, -100.0]]), torch.tensor([0]))
    assert scores.reliability[-1].count == 1
    assert scores.calibration_error == 0


@pytest.mark.parametrize("multi_label", [False, True])
def test_scores_are_plain_data_and_a_table(multi_label: bool) -> None:
    *_, scores = (labels if multi_label else single)(4, 30, 0)
    stored = json.loads(json.dumps(scores.json()))
    assert stored["accuracy"] == scores.accuracy
    assert stored["per_class"][0]["name"] == "0"
    assert stored["confusion"] == [list(row) for row in scores.confusion]
    table = scores.table()
    assert table.row_count == 4
    assert f"30 items  accuracy {scores.accuracy:.4f}" in str(table.title)
    assert set(scores.summary()) >= {"n", "accuracy", "loss", "macro_f1", "brier", "calibration_error"}


def test_an_empty_set_has_no_scores() -> None:
    for task, target in (
        (Classify(("a", "b")), torch.zeros(0, dtype=torch.int64)),
        (Classify(("a", "b"), multi_label=True), torch.zeros(0, 2)),
    ):
        with pytest.raises(InputError, match="^cannot score an empty set: expected at least one item, got 0"):
            task.score(torch.zeros(0, 2), target)


def test_half_precision_outputs_are_scored_in_full() -> None:
    output, target, scores = single(5, 40, 0)
    half = Classify(tuple("01234")).score(output.bfloat16(), target)
    assert half.brier == pytest.approx(scores.brier, rel=0.02)


def test_class_names_are_printed_as_they_are() -> None:
    names = ("photo[final]", "[/x]", "[bold]b[/bold]")
    console = Console(file=io.StringIO(), width=200)
    console.print(Classify(names).score(torch.eye(3), torch.arange(3)).table())
    assert all(name in console.file.getvalue() for name in names)  # type: ignore[attr-defined]


@checked
@given(sets)
def test_areas_under_the_curves_of_labels(case: tuple[int, int, int]) -> None:
    output, target, scores = labels(*case)
    whole = [i for i in range(case[0]) if 0 < target[:, i].sum() < len(target)]
    for i, row in enumerate(scores.per_class):
        assert (row.auroc is None) == (row.auprc is None) == (i not in whole)
        if i in whole:
            column, true = output[:, i].sigmoid().double(), target[:, i].int()
            assert row.auroc == pytest.approx(tm.auroc(column, true, "binary").item(), abs=1e-5)
            assert row.auprc == pytest.approx(tm.average_precision(column, true, "binary").item(), abs=1e-5)
    if whole:
        assert list(scores.summary())[:3] == ["n", "auroc", "auprc"]
        assert scores.summary()["auroc"] == pytest.approx(np.mean([scores.per_class[i].auroc for i in whole]))
        assert scores.table().columns[-2].header == "auroc"


def test_areas_by_hand_and_of_two_classes() -> None:
    """Of 2 x 2 pairs of a positive and a negative three are in order; hits at rank 1 (of 1) and 3 (2 of 3)."""
    task = Classify(("bound",), multi_label=True)
    scores = task.score(torch.tensor([[4.0], [3.0], [2.0], [1.0]]), torch.tensor([[1.0], [0.0], [1.0], [0.0]]))
    assert scores.areas == {"auroc": 0.75, "auprc": pytest.approx((1 + 2 / 3) / 2)}
    output, target, two = single(2, 40, 3)
    assert two.per_class[0].auroc == pytest.approx(two.per_class[1].auroc)
    assert two.per_class[1].auroc == pytest.approx(sk.roc_auc_score(target, output.softmax(1)[:, 1]))
    assert list(two.summary())[1] == "accuracy"
    assert single(3, 40, 3)[2].areas == {}


def test_unknown_labels_count_nowhere() -> None:
    """A set with unknown labels has the scores and the loss of its known ones, label by label."""
    output, target, _ = labels(3, 60, 1)
    unknown = torch.rand(60, 3, generator=torch.Generator().manual_seed(2)) < 0.4
    target = target.masked_fill(unknown, torch.nan)
    task = Classify(("a", "b", "c"), multi_label=True)
    scores = task.score(output, target)
    alone, losses = [], []
    for i, name in enumerate("abc"):
        known = ~unknown[:, i]
        own = Classify((name,), multi_label=True)
        part = own.score(output[known, i : i + 1], target[known, i : i + 1])
        assert scores.per_class[i] == part.per_class[0]
        assert scores.confusion[i] == part.confusion[0]
        alone.append(part.n * part.loss)
        losses.append(part.n)
    loss = sum(alone) / sum(losses)
    assert scores.loss == pytest.approx(loss)
    assert task.loss(output, target).item() == pytest.approx(loss, rel=1e-5)
    assert task.metrics(output, target)["loss"] == pytest.approx(loss, rel=1e-5)
    output = output.requires_grad_()
    task.loss(output, target).backward()
    assert output.grad is not None
    assert (output.grad[unknown] == 0).all()
    assert (output.grad[~unknown] != 0).all()
