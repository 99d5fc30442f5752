from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from striate.data import Data, Items, Meaning, Pictures
from striate.errors import InputError
from striate.tasks import TASKS, Classify, Segment, Task, check_takes, read_task, task_of, told

PICTURES = Pictures((1, 2, 2), (0.5,), (0.5,))


def data(targets: torch.Tensor, meaning: Meaning) -> Data:
    items = Items(torch.zeros(len(targets), 1, 2, 2, dtype=torch.uint8), targets, meaning, "abcdefgh"[: len(targets)])
    return Data(items, None, None, PICTURES)


CLASSES = data(torch.tensor([0, 0, 0, 1]), Meaning("class", ("a", "b")))


def test_a_task_is_made_for_its_data() -> None:
    assert task_of("classify:top_k=1", CLASSES) == Classify(("a", "b"), top_k=1)
    labels = data(torch.tensor([[0.0, 1.0]]), Meaning("labels", ("a", "b")))
    assert task_of("classify", labels) == Classify(("a", "b"), multi_label=True)
    weighted = task_of(("classify", {"class_weights": "balanced"}), CLASSES)
    assert weighted == Classify(("a", "b"), class_weights=(2 / 3, 2.0))
    assert isinstance(weighted, Task)


def test_a_card_keeps_a_task() -> None:
    task = Classify(("a", "b"), class_weights=(0.5, 2.0), label_smoothing=0.1)
    assert read_task(json.loads(json.dumps(task.json()))) == task


def test_every_field_of_a_task_is_plain() -> None:
    for entry in TASKS.values():
        assert dataclasses.is_dataclass(entry.form), entry.name
        assert entry.form.takes, entry.name


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(InputError, match=r"^unknown task: got 'classfy'\. Did you mean classify\?"):
        task_of("classfy", CLASSES)
    with pytest.raises(InputError, match=r"^task classify has no option: got 'topk'\. Did you mean top_k\?"):
        task_of("classify:topk=1", CLASSES)
    with pytest.raises(InputError, match=r"^wrong type: task classify: top_k: expected a whole number, got 'abc'"):
        task_of("classify:top_k=abc", CLASSES)
    with pytest.raises(InputError, match=r"^class weights: expected balanced, or one number .*, got 'even'"):
        task_of("classify:class_weights=even", CLASSES)
    with pytest.raises(
        InputError,
        match=r"task does not fit the data: task classify, which learns from .* class or labels: got .*none",
    ):
        check_takes("classify", Meaning("none"))
    with pytest.raises(InputError, match=r"unknown fields of a task: classify: expected .*, got topk"):
        read_task({"name": "classify", "class_names": ["a", "b"], "topk": 1})


def test_a_prediction_sets_only_how_answers_are_read() -> None:
    task = Classify(("a", "b"))
    assert told(task, {"top_k": 1}) == Classify(("a", "b"), top_k=1)
    with pytest.raises(InputError, match=r"a prediction of task classify has no option: got 'class_names'. Known: top"):
        told(task, {"class_names": ("b", "a")})
    with pytest.raises(InputError, match=r"wrong type: task classify: top_k: expected a whole number, got 'many'"):
        told(task, {"top_k": "many"})
    with pytest.raises(
        InputError, match=r"a prediction of task segment has no option: got 'palette'. Write no options"
    ):
        told(Segment(("a", "b")), {"palette": ()})
    for entry in TASKS.values():
        assert set(entry.form.told_by) <= {field.name for field in dataclasses.fields(entry.form)}
