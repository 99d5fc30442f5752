"""Localization: loss, scores and boxes against their definitions, in every convention."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from striate import zoo
from striate.data import Data, Items, Meaning, Pictures
from striate.data.volumes import Volumes
from striate.errors import InputError
from striate.ops.boxes import CONVENTIONS
from striate.tasks import Localize, task_of

NAMES = ("cat", "dog")
BOX = (10.0, 20.0, 34.0, 40.0)  # left, top, right, bottom


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perfect(task: Localize, labels: torch.Tensor) -> torch.Tensor:
    """Outputs that say the labels, worked out by hand for a picture 64 wide and 48 high."""
    out = torch.zeros_like(labels)
    x, y, tall, wide = labels[:, :4].unbind(1)
    places = {
        "upper_left": (x, y),
        "lower_left": (x, y + tall),
        "upward": (x, 48 - y - tall),
        "center": (x + wide / 2, y + tall / 2),
    }
    px, py = places[task.convention]
    out[:, :4] = torch.stack([px / 64, py / 48, tall / 48, wide / 64], 1)
    out[:, 4] = labels[:, 4] * 40 - 20
    out[:, 5:] = labels[:, 5:] * 40 - 20
    return out


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("box_loss", ["smooth", "squared"])
def test_a_perfect_network_has_no_loss_and_every_score(convention: str, box_loss: str) -> None:
    task = Localize(NAMES, (48, 64), convention, box_loss)
    labels = task.encode([{"class": "dog", "box": BOX}, None, {"class": "cat", "box": (0, 0, 64, 48)}])
    said = perfect(task, labels)
    assert task.loss(said, labels).item() == pytest.approx(0, abs=1e-6)
    scores = task.score(task.keep(said, labels), labels)
    assert (scores.n, scores.right, scores.presence, scores.accuracy, scores.iou_50) == (3, 1, 1, 1, 1)
    assert scores.mean_iou == pytest.approx(1)
    dog, nothing, _ = task.decode(said)
    assert dog.box == pytest.approx(BOX, abs=1e-4)
    assert (dog.there, dog.name, nothing.there) == (True, "dog", False)


def test_the_loss_is_the_sum_of_its_parts() -> None:
    task = Localize(NAMES, (64, 64), "upper_left", "squared", box_weight=3.0)
    labels = task.encode([{"class": "dog", "box": BOX}, None])
    said = torch.randn(2, 7, generator=generator())
    presence = -(F.logsigmoid(said[0, 4]) + F.logsigmoid(-said[1, 4])) / 2
    named = -said[0, 5:].log_softmax(0)[1]
    wanted = torch.tensor([10.0, 20, 20, 24]) / 64
    box = ((said[0, :4] - wanted) ** 2).sum()
    torch.testing.assert_close(task.loss(said, labels), presence + named + 3 * box)
    smooth = Localize(NAMES, (64, 64), "upper_left", "smooth", box_weight=1.0)
    near = torch.cat([wanted + torch.tensor([0.01, -0.2, 0, 0]), said[0, 4:]])[None]
    rest = smooth.loss(torch.cat([wanted, said[0, 4:]])[None], labels[:1])
    difference = smooth.loss(near, labels[:1]) - rest
    assert difference.item() == pytest.approx(0.01**2 / 0.1 + (0.2 - 0.025), rel=1e-4)


def test_pictures_without_an_object_teach_presence_only() -> None:
    task = Localize(NAMES, (64, 64))
    said = torch.randn(3, 7, requires_grad=True, generator=generator())
    task.loss(said, torch.zeros(3, 7)).backward()
    assert said.grad is not None
    assert (said.grad[:, 4] != 0).all()
    assert (said.grad[:, [0, 1, 2, 3, 5, 6]] == 0).all()


def test_scores_count_what_is_wrong() -> None:
    task = Localize(NAMES, (48, 64), "upper_left")
    labels = task.encode([{"class": name, "box": BOX} for name in ("dog", "dog", "cat", "cat")] + [None, None])
    said = perfect(task, labels)
    said[0, 0] += 12 / 64  # half of the width aside: IoU 1/3
    said[1, 5:] = said[1, [6, 5]]  # another class
    said[2, 4] = -1  # not found
    said[4, 4] = 1  # found where nothing is
    scores = task.score(said, labels)
    assert scores.right == pytest.approx(2 / 6)
    assert scores.presence == pytest.approx(4 / 6)
    assert scores.accuracy == pytest.approx(3 / 4)
    assert scores.iou_50 == pytest.approx(3 / 4)
    assert scores.mean_iou == pytest.approx((3 + 1 / 3) / 4)
    cat, dog = scores.per_class
    assert (cat.support, cat.found, cat.named, cat.boxed) == (2, 0.5, 1, 1)
    assert (dog.support, dog.found, dog.named, dog.boxed) == (2, 1, 0.5, 0.5)
    assert list(scores.summary())[:2] == ["n", "right"]
    assert json.loads(json.dumps(scores.json()))["per_class"][0]["name"] == "cat"
    assert "presence: 0.6667" in str(scores.table().caption)
    assert "IoU ≥ 0.5: 0.7500  mean IoU: 0.8333" in str(scores.table().caption)
    metrics = task.metrics(said, labels)
    assert metrics["right"] == pytest.approx(2 / 6)
    assert metrics["loss"] == pytest.approx(scores.loss, abs=1e-5)


def test_results_are_written_and_drawn(tmp_path: Path) -> None:
    task = Localize(NAMES, (48, 64))
    labels = task.encode([{"class": "dog", "box": BOX}, None])
    dog, nothing = task.decode(perfect(task, labels))
    picture = torch.rand(1, 48, 64, generator=generator())
    text, drawn = dog.save(tmp_path / "new", "a", picture)
    assert json.loads(text.read_text())["box"] == pytest.approx(BOX, abs=1e-4)
    shown = Image.open(drawn)
    assert shown.size == (256, 192)
    marked = {shown.getpixel((4 * 10, 4 * y)) for y in range(20, 40)}
    assert marked == {(255, 64, 32)}  # the left edge
    plain = Image.open(nothing.save(tmp_path, "b", picture)[1])
    assert not (np.asarray(plain) == (255, 64, 32)).all(2).any()
    assert nothing.row() == {"presence": 0.0, "class": "", "probability": "", "left": "", "top": "", "right": "",
                             "bottom": ""}  # fmt: skip
    assert dog.row()["right"] == 34


def data(shape: tuple[int, ...] = (1, 16, 16)) -> Data:
    pixels = torch.zeros(4, *shape, dtype=torch.uint8)
    labels = torch.tensor([[2.0, 3, 4, 5, 1, 0, 1], [0, 0, 0, 0, 0, 0, 0]]).repeat(2, 1)
    items = Items(pixels, labels, Meaning("box", NAMES), "abcd")
    return Data(items, None, None, Pictures(shape, (0.0,), (1.0,)))  # type: ignore[arg-type]


def test_the_task_of_data_fits_the_zoos_localizer() -> None:
    task = task_of("localize:convention=center,box_loss=squared,box_weight=2", data())
    assert task == Localize(NAMES, (16, 16), "center", "squared", 2)
    net = zoo.build("localizer", num_classes=task.outputs, in_channels=1, input_size=(16, 16), width=0.25)
    said = net(torch.rand(4, 1, 16, 16))
    labels = data().train.targets
    task.check(said, labels)
    assert task.keep(said, labels).shape == (4, 7)
    torch.testing.assert_close(task.loss(said, labels), task.loss(task.keep(said, labels), labels))
    assert len(task.decode(said)) == 4


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Localize((), (8, 8)), "cannot localize: expected at least one class, got 0"),
        (lambda: Localize(NAMES, (8, 0)), r"the pictures' size: expected height and width, got \(8, 0\)"),
        (lambda: Localize(NAMES, (8, 8), "middle"), "unknown convention of boxes: got 'middle'. Known: center"),
        (lambda: Localize(NAMES, (8, 8), box_loss="squred"),
         "unknown loss of boxes: got 'squred'. Did you mean squared"),
        (lambda: Localize(NAMES, (8, 8), box_weight=-1), "weight of the box's loss: expected at least 0, got -1"),
        (lambda: Localize(NAMES, (8, 8)).encode([{"class": "cow", "box": BOX}]), "unknown class: got 'cow'"),
        (lambda: Localize(NAMES, (8, 8)).encode([{"class": "cat", "box": (3, 3, 3, 9)}]), "no box: expected left, top"),
        (lambda: Localize(NAMES, (8, 8)).score(torch.zeros(0, 7), torch.zeros(0, 7)), "cannot score an empty set"),
        (lambda: Localize(NAMES, (8, 8)).check(torch.zeros(1, 6), torch.zeros(1, 7)),
         r"no box with presence and classes: .* got shape \(6,\). Use the zoo's localizer with num_classes=2"),
        (lambda: Localize(NAMES, (8, 8)).check(torch.zeros(1, 7), torch.zeros(1, 9)),
         "targets do not fit the task: expected 7"),
    ],
)  # fmt: skip
def test_what_does_not_fit(make: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()  # type: ignore[operator]


def test_boxes_need_pictures() -> None:
    volumes = data()
    items = Items(torch.zeros(4, 1, 4, 4, 4, dtype=torch.uint8), volumes.train.targets, volumes.meaning, "abcd")
    with pytest.raises(InputError, match=r"boxes lie in pictures: expected inputs c h w, got shape \(1, 4, 4, 4\)"):
        Localize.of(Data(items, None, None, Volumes((1, 4, 4, 4), (0.0,), (1.0,))))
