"""Where a network looks, on scenes whose objects are known: whole digits among fragments of others and noise."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

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

SCRIPT = Path(__file__).parents[3] / "docs" / "cams_pictures.py"


@pytest.mark.slow
def test_maps_of_a_trained_network_lie_on_the_digit(shared_data: Path) -> None:
    if not (shared_data / "mnist").is_dir():
        pytest.skip("no MNIST here")
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    model = page.trained(*page.composed(shared_data / "mnist", "train", 6_000, 0)[:2])
    x, classes, boxes = page.composed(shared_data / "mnist", "test", 600, 1)
    assert page.accuracy(model, x, classes) > 0.6  # 0.79 seen
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
