"""Regression: losses and scores against scikit-learn and torch, angles against geometry."""

from __future__ import annotations

import json
import math

import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from striate.data import Data, Items, Meaning, Pictures
from striate.errors import InputError
from striate.tasks import Regress, task_of
from striate.tasks.regress import angle_errors

NAMES = ("age", "weight")
TASK = Regress(NAMES, mean=(40.0, 70.0), std=(10.0, 5.0))


def made(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(50, 2, generator=generator) * torch.tensor([10.0, 5]) + torch.tensor([40.0, 70])
    return torch.randn(50, 2, generator=generator), target


def test_outputs_are_standardized() -> None:
    assert TASK.values(torch.tensor([[0.0, 0], [1, -2]])).tolist() == [[40, 70], [50, 60]]
    assert TASK.decode(torch.tensor([[1.0, -2]]))[0].row() == {"age": 50, "weight": 60}


def test_losses_are_torchs_on_standardized_targets() -> None:
    output, target = made()
    wanted = (target - torch.tensor([40.0, 70])) / torch.tensor([10.0, 5])
    torch.testing.assert_close(TASK.loss(output, target), torch.nn.MSELoss()(output, wanted))
    huber = Regress(NAMES, TASK.mean, TASK.std, "huber")
    torch.testing.assert_close(huber.loss(output, target), torch.nn.HuberLoss()(output, wanted))


def test_scores_are_scikit_learns() -> None:
    output, target = made()
    scores = TASK.score(output, target)
    found = TASK.values(output).numpy()
    for i, row in enumerate(scores.per_value):
        pair = (target[:, i].numpy(), found[:, i])
        assert row.mae == pytest.approx(mean_absolute_error(*pair), rel=1e-5)
        assert row.rmse == pytest.approx(root_mean_squared_error(*pair), rel=1e-5)
        assert row.r2 == pytest.approx(r2_score(*pair), rel=1e-5)
        assert row.spread == pytest.approx(pair[0].std(), rel=1e-5)
    assert scores.r2 == pytest.approx((scores.per_value[0].r2 + scores.per_value[1].r2) / 2)
    assert math.isnan(scores.angle_error)
    assert list(scores.summary()) == ["n", "mae", "rmse", "r2", "loss"]
    assert json.loads(json.dumps(scores.json()))["per_value"][1]["name"] == "weight"
    assert scores.table().title == "50 items"
    assert TASK.metrics(output, target)["mae"] == pytest.approx(scores.mae, rel=1e-5)


def test_a_quantity_that_never_changes_has_no_r2() -> None:
    scores = Regress(("a",), (0.0,), (1.0,)).score(torch.zeros(3, 1), torch.ones(3, 1))
    assert math.isnan(scores.r2)
    assert scores.rmse == 1


def test_angles_wrap_around() -> None:
    found, true = torch.tensor([[359.0], [10], [-180]]), torch.tensor([[1.0], [370], [180]])
    assert angle_errors(found, true, "degrees").flatten().tolist() == pytest.approx([2, 0, 0])
    radians = angle_errors(torch.tensor([[math.pi - 0.01]]), torch.tensor([[-math.pi + 0.01]]), "radians")
    assert radians.item() == pytest.approx(math.degrees(0.02), rel=1e-3)


def test_the_front_wheels_angle() -> None:
    # On a circle of 27 m, the axles 2.7 m apart: the wheels turn by atan(0.1).
    error = angle_errors(torch.tensor([[1 / 27]]), torch.tensor([[0.0]]), "inverse_radius")
    assert error.item() == pytest.approx(math.degrees(math.atan(0.1)), rel=1e-5)
    task = Regress(("inverse_radius",), (0.0,), (0.01,), unit="inverse_radius")
    scores = task.score(torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 1))
    assert list(scores.summary())[1] == "angle_error"
    assert scores.angle_error == pytest.approx(math.degrees(math.atan(0.027)), rel=1e-5)
    assert "1.547 degrees" in str(scores.table().title)


def data(values: torch.Tensor, names: tuple[str, ...] = NAMES) -> Data:
    items = Items(torch.zeros(len(values), 1, 4, 4, dtype=torch.uint8), values, Meaning("values", names), "abcd")
    return Data(items, None, None, Pictures((1, 4, 4), (0.0,), (1.0,)))


def test_the_task_of_data_measures_its_training_part() -> None:
    values = torch.tensor([[1.0, 5], [3, 5], [5, 5], [7, 5]])
    task = task_of("regress:loss=huber", data(values))
    assert task == Regress(NAMES, (4.0, 5.0), (math.sqrt(5), 1.0), "huber")
    assert task.outputs == 2
    assert Regress.of(data(values, ())).value_names == ("value_0", "value_1")
    assert Regress(("a",), (0.0,), (1.0,)).encode([1, 2.5]).tolist() == [[1], [2.5]]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Regress((), (), ()), "nothing to regress: expected at least one quantity, got 0"),
        (lambda: Regress(NAMES, (0.0,), (1.0,)), "statistics of the quantities: expected 2 means"),
        (lambda: Regress(("a",), (0.0,), (0.0,)),
         "statistics of the quantities: expected 1 means and as many positive"),
        (lambda: Regress(("a",), (0.0,), (1.0,), "hubert"), "unknown loss: got 'hubert'. Did you mean huber"),
        (lambda: Regress(("a",), (0.0,), (1.0,), unit="degree"), "unknown unit: got 'degree'. Did you mean degrees"),
        (lambda: Regress.of(data(torch.tensor([[1.0, 2]] * 3 + [[math.nan, 1]]))),
         "a quantity is no number: d: expected finite numbers"),
        (lambda: TASK.check(torch.zeros(3, 1), torch.zeros(3, 2)),
         r"outputs do not fit the quantities: expected 2 outputs for each item, got shape \(1,\). "
         r"Build the network with num_classes=2"),
        (lambda: TASK.check(torch.zeros(3, 2), torch.zeros(3, 1)), r"targets do not fit the task: expected \(3, 2\)"),
        (lambda: TASK.score(torch.zeros(0, 2), torch.zeros(0, 2)), "cannot score an empty set"),
    ],
)  # fmt: skip
def test_what_does_not_fit(make: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()  # type: ignore[operator]
