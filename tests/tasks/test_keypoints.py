"""Keypoints: loss and errors against their definitions, missing points, groups of specialists."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from striate.data import Data, Items, Meaning, Pictures
from striate.data.volumes import Volumes
from striate.errors import InputError
from striate.tasks import FindKeypoints, spell, task_of
from striate.tasks.keypoints import find_group, mean_points
from striate.zoo.landmarks import POINTS, POINTS_68, SPECIALISTS, SPECIALISTS_68

NAMES = ("left", "right", "nose")
NAN = math.nan
TASK = FindKeypoints(NAMES, (80, 96))
POINTS_HERE = torch.tensor([[[10.0, 20], [70, 21], [40, 50]], [[12, 22], [NAN, NAN], [41, 52]]])


def test_outputs_are_halves_of_the_picture() -> None:
    said = torch.tensor([[-1.0, -1, 1, 1, 0, 0.5]])
    assert TASK.pixels(said).tolist() == [[[0, 0], [96, 80], [48, 60]]]
    torch.testing.assert_close(TASK.pixels(TASK.answer_of(POINTS_HERE[:1])), POINTS_HERE[:1])


def test_loss_and_scores_by_hand_with_a_missing_point() -> None:
    moved = POINTS_HERE.clone()
    moved[0, 0] += torch.tensor([3.0, 4])  # 5 pixels off
    moved[1, 2] += torch.tensor([0.0, 1.45])
    moved[1, 1] = 7  # what is said of a missing point does not count
    said = TASK.answer_of(moved)
    expected = ((3 / 48) ** 2 + (4 / 40) ** 2 + (1.45 / 40) ** 2) / 10
    assert TASK.loss(said, POINTS_HERE).item() == pytest.approx(expected, rel=1e-4)
    scores = TASK.score(said, POINTS_HERE)
    assert scores.error == pytest.approx((5 + 1.45) / 5, rel=1e-5)
    assert scores.rmse == pytest.approx(math.sqrt((25 + 1.45**2) / 10), rel=1e-5)
    assert (scores.within_1_4, scores.within_1_5, scores.within_1_6) == (3 / 5, 4 / 5, 4 / 5)
    assert scores.per_picture == pytest.approx((5 / 3, 1.45 / 2), rel=1e-5)
    left, right, nose = scores.per_point
    assert (left.n, right.n, nose.n) == (2, 1, 2)
    assert (left.error, nose.error) == pytest.approx((2.5, 0.725), rel=1e-5)
    assert scores.mark == "outstanding"
    assert TASK.metrics(said, POINTS_HERE)["error"] == pytest.approx(scores.error, rel=1e-4)
    assert list(scores.summary())[:2] == ["n", "error"]
    assert [spell(name) for name in scores.summary()][4:7] == ["within 1.4 px", "within 1.5 px", "within 1.6 px"]
    assert json.loads(json.dumps(scores.json()))["mark"] == "outstanding"
    assert "1.290 pixels (outstanding)" in str(scores.table().title)


@pytest.mark.parametrize(("off", "mark"), [(1.39, "outstanding"), (1.45, "very good"), (1.55, "ok"), (1.61, "")])
def test_the_lectures_marks(off: float, mark: str) -> None:
    points = torch.full((1, 3, 2), 40.0)
    assert TASK.score(TASK.answer_of(points + torch.tensor([off, 0])), points).mark == mark


def test_missing_points_teach_nothing() -> None:
    said = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    TASK.loss(said, POINTS_HERE).backward()
    assert said.grad is not None
    assert (said.grad[1, 2:4] == 0).all()
    assert (said.grad[1, 4:] != 0).all()
    nothing = torch.full((2, 3, 2), NAN)
    assert TASK.loss(said, nothing).item() == 0


def test_specialists_learn_their_points_only() -> None:
    task = FindKeypoints(NAMES, (80, 96), learned=(2, 0))
    assert (task.outputs, task.chosen_names) == (4, ("nose", "left"))
    said = task.answer_of(POINTS_HERE)
    assert task.loss(said, POINTS_HERE).item() == pytest.approx(0, abs=1e-10)
    assert [score.name for score in task.score(said, POINTS_HERE).per_point] == ["nose", "left"]
    assert task.decode(said)[0].points[1] == pytest.approx((10, 20))


def test_groups_by_name_or_by_their_points() -> None:
    for names, groups in ((POINTS, SPECIALISTS), (POINTS_68, SPECIALISTS_68)):
        covered = [i for group in groups for i in find_group(group, names)]
        assert sorted(covered) == list(range(len(names)))
    assert find_group("nose+left", NAMES) == (2, 0)
    with pytest.raises(InputError, match="unknown group of points: got 'nase'. Did you mean nose"):
        find_group("left+nase", NAMES)
    with pytest.raises(InputError, match="unknown group of points: got 'eye'. Did you mean eyes"):
        find_group("eye", POINTS_68)


def test_the_mean_face_ignores_what_is_missing() -> None:
    assert mean_points(POINTS_HERE).tolist() == [[11, 21], [70, 21], [40.5, 51]]


def test_results_are_written_and_drawn(tmp_path: Path) -> None:
    (found,) = TASK.decode(TASK.answer_of(POINTS_HERE[:1]))
    table, drawn = found.save(tmp_path / "new", "a", torch.zeros(1, 80, 96))
    (row,) = csv.DictReader(io.StringIO(table.read_text()))
    assert list(row) == [f"{name}_{axis}" for name in NAMES for axis in "xy"]
    assert [float(value) for value in row.values()] == pytest.approx([10, 20, 70, 21, 40, 50])
    shown = Image.open(drawn)
    assert shown.size == (288, 240)
    # The middle of pixel (40, 50), three times as large.
    assert shown.getpixel((121, 151)) == (255, 64, 32)
    assert shown.getpixel((140, 151)) == (0, 0, 0)
    assert found.json()["points"]["nose"] == pytest.approx([40, 50])


def data() -> Data:
    items = Items(torch.zeros(2, 1, 80, 96, dtype=torch.uint8), POINTS_HERE, Meaning("points", NAMES), "ab")
    return Data(items, None, None, Pictures((1, 80, 96), (0.0,), (1.0,)))


def test_the_task_of_data() -> None:
    assert task_of("keypoints", data()) == TASK
    assert task_of("keypoints:group=nose+left", data()) == FindKeypoints(NAMES, (80, 96), (2, 0))
    assert torch.equal(TASK.encode([{"left": (10, 20), "right": (70, 21), "nose": (40, 50)}]), POINTS_HERE[:1])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: FindKeypoints((), (8, 8)), "no points to find: expected at least one, got 0"),
        (lambda: FindKeypoints(NAMES, (8, 0)), "the pictures' size: expected height and width"),
        (lambda: FindKeypoints(NAMES, (8, 8), (3,)), "points to learn: expected different numbers of points, 0 to 2"),
        (lambda: FindKeypoints(NAMES, (8, 8), (1, 1)), "points to learn: expected different numbers of points, 0 to 2"),
        (lambda: TASK.encode([{"noes": (1, 2)}]), "unknown point: got 'noes'. Did you mean nose"),
        (lambda: TASK.check(torch.zeros(1, 4), POINTS_HERE), r"outputs do not fit the points: expected 6 outputs "
         r".x and y of 3 points. for each picture, got shape \(4,\). Build the network with num_classes=6"),
        (lambda: TASK.check(torch.zeros(1, 6), POINTS_HERE[:, :2]),
         "targets do not fit the task: expected 3 points x, y"),
        (lambda: TASK.score(torch.zeros(1, 6), torch.full((1, 3, 2), NAN)),
         "cannot score an empty set: expected at least one point that is known, got 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit(make: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()  # type: ignore[operator]


def test_points_need_pictures() -> None:
    items = Items(torch.zeros(2, 1, 2, 80, 96, dtype=torch.uint8), POINTS_HERE, Meaning("points", NAMES), "ab")
    with pytest.raises(InputError, match=r"points lie in pictures: expected inputs c h w, got shape \(1, 2, 80, 96\)"):
        FindKeypoints.of(Data(items, None, None, Volumes((1, 2, 80, 96), (0.0,), (1.0,))))
