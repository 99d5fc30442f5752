"""Where a network looks, on scenes whose objects are known: whole digits among fragments of others and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.data.scenes import scenes
from striate.data.sources.pictures import mnist
from striate.interpret import (
    box_regions,
    center_prior,
    compare_methods,
    energy_inside,
    grad_cam,
    input_edges,
    occlusion,
    pointing_game,
)
from striate.ops.boxes import edges

EPOCHS, BATCH, RATE = 8, 64, 6e-3


def composed(folder: Path, part: str, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scenes with a digit, its class, and the edges of its box."""
    digits = mnist(folder)
    where = torch.from_numpy(digits.splits[part])
    pictures, labels = scenes(digits.inputs[where, 0].numpy(), digits.targets[where].numpy(), count, seed=seed)
    there = labels[:, 4] > 0
    return pictures[there].float() / 255, labels[there, 5:].argmax(1), edges(labels[there, :4])


def trained(x: Tensor, classes: Tensor) -> nn.Sequential:
    """Four convolutions, a global average, a dense layer: the boxes are never shown to it."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64), (64, 96)):
        pool = [nn.MaxPool2d(2)] if before > 1 else []
        layers += [*pool, nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))
    updates = len(x) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * updates)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for update in range(updates):
            some = order[update * BATCH : (update + 1) * BATCH]
            loss = F.cross_entropy(model(x[some]), classes[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@pytest.mark.slow
def test_maps_of_a_trained_network_lie_on_the_digit(shared_data: Path) -> None:
    if not (shared_data / "mnist").is_dir():
        pytest.skip("no MNIST here")
    model = trained(*composed(shared_data / "mnist", "train", 6_000, 0)[:2])
    x, classes, boxes = composed(shared_data / "mnist", "test", 300, 1)
    with torch.no_grad():
        accuracy = float((model(x).argmax(1) == classes).float().mean())
    assert accuracy > 0.6  # 0.79 seen
    x, classes, regions = x[:100], classes[:100], box_regions(boxes[:100], (64, 64))

    def covered(network: nn.Module, one: Tensor, *, target: Any) -> Any:
        return occlusion(network, one, patch=8, stride=4, target=target, fill="mean")

    def energy(heat: Tensor) -> float:
        return float(energy_inside(heat, regions).nanmean())

    maps = {"Grad-CAM": grad_cam(model, x, target=classes).heatmap()}
    maps["occlusion"] = torch.stack(
        [covered(model, x[i : i + 1], target=int(classes[i])).heatmap() for i in range(100)]
    )
    blind = {"center": center_prior(model, x), "edges": input_edges(model, x)}
    best = max(energy(heat) for heat in blind.values())
    for heat in maps.values():
        assert energy(heat) > 1.4 * best  # Grad-CAM 0.53, occlusion 0.62; center prior 0.24, edges 0.27 seen
        assert float(pointing_game(heat, regions).float().mean()) > 0.8
    assert float(pointing_game(blind["center"], regions).float().mean()) < 0.6
    found = compare_methods(model, x[:20], {"Grad-CAM": grad_cam}, target=classes[:20], regions=regions[:20], steps=10)
    means = {metric: found.mean(metric)[0].tolist() for metric in found.scores}
    assert means["deletion"][0] < min(means["deletion"][1:])
    assert means["insertion"][0] > max(means["insertion"][1:])
    assert means["weights random"][0] < 0.5
