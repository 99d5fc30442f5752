from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from striate.errors import InputError
from striate.tasks import Classify
from striate.tasks.classify import balanced_weights

ABC = ("a", "b", "c")


def drawn(classes: int, seed: int, items: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(items, classes, generator=generator, dtype=torch.float64) * 3
    return logits, torch.randint(classes, (items,), generator=generator)


def task(classes: int, **options: Any) -> Classify:
    return Classify(tuple(f"class {i}" for i in range(classes)), **options)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(0, 999), st.floats(0, 0.9), st.booleans())
def test_the_loss_is_the_weighted_mean_cross_entropy_to_smoothed_targets(
    classes: int, seed: int, smoothing: float, weighted: bool
) -> None:
    output, target = drawn(classes, seed)
    weights = tuple(0.5 + i for i in range(classes)) if weighted else None
    total = normalizer = 0.0
    for row, true in zip(output, target.tolist(), strict=True):
        log_p = (row.exp() / row.exp().sum()).log()
        towards = [smoothing / classes + (1 - smoothing) * (k == true) for k in range(classes)]
        w = weights or (1.0,) * classes
        total -= sum(w[k] * towards[k] * log_p[k].item() for k in range(classes))
        normalizer += w[true]
    loss = task(classes, label_smoothing=smoothing, class_weights=weights).loss(output, target)
    assert loss.item() == pytest.approx(total / normalizer)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(0, 999), st.floats(0, 0.9), st.booleans())
def test_the_multi_label_loss_is_the_mean_binary_cross_entropy(
    classes: int, seed: int, smoothing: float, weighted: bool
) -> None:
    output, _ = drawn(classes, seed)
    target = (drawn(classes, seed + 1)[0] > 0).double()
    weights = tuple(0.5 + i for i in range(classes)) if weighted else None
    p, towards = 1 / (1 + (-output).exp()), target * (1 - smoothing / 2) + (1 - target) * smoothing / 2
    want = -(towards * p.log() + (1 - towards) * (1 - p).log()) * torch.tensor(weights or 1.0)
    chosen = task(classes, multi_label=True, label_smoothing=smoothing, class_weights=weights)
    assert chosen.loss(output, target).item() == pytest.approx(want.mean().item())


def test_the_metrics_ignore_smoothing_and_weights() -> None:
    output, target = drawn(3, 0)
    plain, changed = task(3), task(3, label_smoothing=0.5, class_weights=(1.0, 2.0, 3.0))
    assert changed.metrics(output, target) == plain.metrics(output, target)
    assert plain.metrics(output, target)["loss"] == pytest.approx(plain.loss(output, target).item())
    assert changed.loss(output, target) != plain.loss(output, target)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_metrics_agree_with_the_scores(multi_label: bool) -> None:
    output, target = drawn(4, 1)
    if multi_label:
        target = (drawn(4, 2)[0] > 0).double()
    chosen = task(4, multi_label=multi_label)
    quick, full = chosen.metrics(output, target), chosen.score(output, target.float() if multi_label else target)
    assert quick["loss"] == pytest.approx(full.loss, rel=1e-6)
    right = full.accuracy if not multi_label else ((output > 0) == (target > 0.5)).double().mean().item()
    assert quick["accuracy"] == pytest.approx(right)


def test_names_become_targets() -> None:
    assert Classify(ABC).encode(["c", "a"]).tolist() == [2, 0]
    assert Classify(ABC).encode([]).dtype == torch.int64
    assert Classify(ABC, multi_label=True).encode([["a", "c"], []]).tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(("multi_label", "targets"), [(False, ["a", "bee"]), (True, [["a"], ["bee", "a"]])])
def test_an_unknown_class_is_refused(multi_label: bool, targets: Any) -> None:
    with pytest.raises(InputError, match=r"^unknown class: got 'bee'\. Did you mean beet\?"):
        Classify(("a", "beet"), multi_label=multi_label).encode(targets)


def test_predictions_are_the_best_classes_first() -> None:
    output = torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.2, 0.3]]).log()
    first, second = Classify(ABC, top_k=2).decode(output)
    assert first.classes == ("b", "a")
    assert first.probabilities == pytest.approx((0.7, 0.2))
    assert second.classes == ("a", "c")
    assert Classify(ABC).decode(output)[0].classes == ("b", "a", "c")  # top_k 5 of three classes


def test_multi_label_predictions_are_those_of_at_least_one_half() -> None:
    output = torch.tensor([[0.0, 2.0, -1.0], [-1.0, -2.0, -3.0]])
    first, second = Classify(ABC, multi_label=True, top_k=1).decode(output)
    assert first.classes == ("b", "a")
    assert first.probabilities == pytest.approx((1 / (1 + 2.718281828**-2), 0.5))
    assert (second.classes, second.probabilities) == ((), ())
    assert first.row() == {"a": 0.5, "b": 0.880797, "c": 0.268941}


@settings(max_examples=30)
@given(st.integers(2, 12), st.integers(0, 999), st.booleans())
def test_decoding_gives_back_what_was_encoded(classes: int, seed: int, multi_label: bool) -> None:
    chosen = task(classes, multi_label=multi_label, top_k=1)
    target = drawn(classes, seed)[1]
    names = [[chosen.class_names[i]] if multi_label else chosen.class_names[i] for i in target.tolist()]
    encoded = chosen.encode(names)
    output = encoded * 20 - 10 if multi_label else torch.nn.functional.one_hot(encoded, classes).float() * 20
    chosen.check(output, encoded)
    decoded = chosen.decode(output)
    assert [list(p.classes) if multi_label else p.classes[0] for p in decoded] == names


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"class_names": ("a",)}, "^cannot classify: expected at least 2 classes, got 1"),
        ({"class_names": (), "multi_label": True}, "^cannot classify: expected at least 1 classes, got 0"),
        ({"class_names": ("a", "b", "a")}, "^two classes have one name: got a, b, a"),
        ({"label_smoothing": 1.0}, "^label smoothing is out of range: expected at least 0, below 1, got 1"),
        ({"label_smoothing": -0.1}, "^label smoothing is out of range"),
        ({"top_k": 0}, "^top_k is out of range: expected at least 1, got 0"),
        ({"class_weights": (1.0,)}, r"^class weights do not fit the classes: expected 3 finite numbers .* got \[1.0\]"),
        (
            {"class_weights": ()},
            r"^class weights do not fit .* \[\]\. Give one number for each of the 3 classes, or balanced",
        ),
        ({"class_weights": (1.0, -1.0, 1.0)}, "at least 0, not all 0, got"),
        ({"class_weights": (0.0, 0.0, 0.0)}, "at least 0, not all 0, got"),
        ({"class_weights": (1.0, float("nan"), 1.0)}, "at least 0, not all 0, got"),
        ({"class_weights": (1.0, float("inf"), 1.0)}, "at least 0, not all 0, got"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Classify(**({"class_names": ABC} | options))


ONE, MANY = torch.zeros(4, dtype=torch.int64), torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("multi_label", "output", "target", "text"),
    [
        (False, torch.zeros(4, 5), ONE, r"^the network's outputs do not fit .* 3 outputs .* got shape \(5,\)\. Build"),
        (False, torch.zeros(4, 3, 2), ONE, r"got shape \(3, 2\).*num_classes=3\.$"),
        (False, MANY, MANY, r"^the targets do not fit the task: expected one class index for each item, got \(4, 3\)"),
        (True, MANY, ONE, r"^the targets do not fit the task: expected a row of zeros and ones .* got \(4,\)"),
        (True, MANY, torch.zeros(4, 2), r"a row of zeros and ones .* got \(4, 2\)"),
    ],
)
def test_outputs_or_targets_that_do_not_fit_are_refused(
    multi_label: bool, output: torch.Tensor, target: torch.Tensor, text: str
) -> None:
    chosen = Classify(ABC, multi_label=multi_label)
    chosen.check(MANY, MANY if multi_label else ONE)
    with pytest.raises(InputError, match=text):
        chosen.check(output, target)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=50))
def test_balanced_weights_are_sklearns_and_zero_for_absent_classes(labels: list[int]) -> None:
    present = sorted(set(labels))
    weights = compute_class_weight("balanced", classes=np.array(present), y=labels)
    want = dict(zip(present, weights, strict=True))
    scale = len(present) / 5  # sklearn counts only the classes that are there
    got = balanced_weights(torch.tensor(labels), 5)
    assert got == pytest.approx([scale * want.get(k, 0) for k in range(5)])


def test_balanced_weights_of_labels_in_rows() -> None:
    assert balanced_weights(torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]]), 3) == (1 / 3, 2 / 3, 0)


def test_an_absent_class_leaves_the_loss_finite() -> None:
    output, target = drawn(3, 0)
    target[target == 2] = 0
    weights = balanced_weights(target, 3)
    assert task(3, class_weights=weights, label_smoothing=0.1).loss(output, target).isfinite()
