"""Small trainings of the tasks of places on generated data, through the one `fit`."""

from __future__ import annotations

import pytest
import torch

from striate import zoo
from striate.data import Data, Items, Meaning, Pictures
from striate.data.steering import drives
from striate.recipe import Recipe
from striate.tasks import Task, task_of
from striate.train import evaluate, fit


def data_of(pictures: torch.Tensor, targets: torch.Tensor, meaning: Meaning, held_out: int) -> Data:
    names = [str(i) for i in range(len(pictures))]
    items = Items(pictures, targets, meaning, names)
    everything = range(len(items))
    shape = tuple(pictures.shape[1:])
    to_input = Pictures(shape, (0.0,) * shape[0], (1.0,) * shape[0])  # type: ignore[arg-type]
    return Data(items.subset(everything[held_out:]), None, items.subset(everything[:held_out]), to_input)


def trained(task: str, model: str, data: Data, **options: object) -> tuple[Task, torch.Tensor, torch.Tensor]:
    """The task, what it kept of the outputs on the held out items, and their targets."""
    meant = task_of(task, data)
    torch.manual_seed(0)
    net = zoo.build(model, num_classes=meant.outputs, in_channels=data.shape[0], input_size=data.shape[1:])
    recipe = Recipe(device="cpu", optimizer="adamw", validation=0.0, **options)  # type: ignore[arg-type]
    for _ in fit(net, meant, data, recipe):
        pass
    kept, targets = evaluate(net, meant, data.tested, data.preprocess, torch.device("cpu"))
    return meant, kept, targets


def dotted(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of 32x32 with two bright dots of different sizes, each anywhere in its half."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, 2, 2, generator=generator) * torch.tensor([10.0, 22]) + torch.tensor([[3.0, 5], [19, 5]])
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    far = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
    shown = torch.exp(-far / torch.tensor([4.0, 12]).view(1, 2, 1, 1)).amax(1, keepdim=True)
    return (shown * 255).byte(), points


def test_points_are_learned_with_flips_that_swap_them() -> None:
    pictures, points = dotted(400)
    points[::7, 1] = torch.nan  # missing ones do not disturb
    data = data_of(pictures, points, Meaning("points", ("small", "large"), mirror=(0, 1)), 100)
    task, kept, targets = trained(
        "keypoints", "facial_points:width=0.25,hidden=64,dropout=0", data, epochs=8, batch_size=20,
        learning_rate=0.003, augment=("flip",),
    )  # fmt: skip
    mean = data.train.targets.nanmean(0).expand_as(targets)
    blind = task.score(task.answer_of(mean), targets)  # type: ignore[attr-defined]
    found = task.score(kept, targets)
    assert blind.error > 5  # type: ignore[attr-defined]
    assert found.error < 0.5 * blind.error  # type: ignore[attr-defined]


@pytest.mark.slow
def test_roads_are_followed() -> None:
    pictures, commands = drives(900)
    data = data_of(pictures, commands, Meaning("values", ("inverse_radius",)), 200)
    task, kept, targets = trained(
        "regress:unit=inverse_radius", "pilotnet", data, epochs=6, batch_size=20, learning_rate=0.001
    )
    assert task.score(kept, targets).r2 > 0.8  # type: ignore[attr-defined]
