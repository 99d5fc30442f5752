"""Grad-CAM of a whole set beside captum's `LayerGradCam`: 64 images of 224x224, the class of each map the same.

    python benchmarks/cam.py [--only ROW ...] [--quick]

captum at its default (all images at once) and at its best batch, striate as it is called, its tracing included; both
explain the layer that striate finds by itself. All in turn, in one process. The maps are compared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import measure
import sweeps
from striate import zoo
from striate.interpret import grad_cam

NETWORKS = ("resnet18", "resnet50", "vgg16")
IMAGES = 64
BATCHES = (1, 2, 4, 8, 16)
TARGET = 1


def by_captum(model: nn.Module, layer: str, x: Tensor, batch: int) -> Tensor:
    """Maps of all images (n, rows, columns)."""
    from captum.attr import LayerGradCam

    method = LayerGradCam(model, model.get_submodule(layer))
    found = [method.attribute(part, target=TARGET, relu_attributions=True) for part in x.split(batch)]
    return torch.cat(found)[:, 0].detach()


def row(name: str, quick: bool) -> dict[str, Any]:
    """One network."""
    images, side, rounds = (4, 64, 1) if quick else (IMAGES, 224, sweeps.ROUNDS)
    options = {"input_size": (side, side)} if name == "vgg16" else {}
    model = sweeps.with_signal(zoo.build(name, **options))
    torch.manual_seed(1)
    x = torch.randn(images, 3, side, side)
    found = grad_cam(model, x, target=TARGET)
    captum = functools.partial(by_captum, model, found.parameters["layer"], x)
    some = functools.partial(by_captum, model, found.parameters["layer"], x[:16])
    best = sweeps.best_batch(BATCHES, lambda batch: sweeps.timed(lambda: some(batch)))
    error = sweeps.error(found.scores, captum(best), found.scores)
    sides: dict[str, Callable[[], float]] = {
        "striate": lambda: sweeps.timed(lambda: grad_cam(model, x, target=TARGET)),
        "captum, default": lambda: sweeps.timed(lambda: captum(images)),
        "captum, best batch": lambda: sweeps.timed(lambda: captum(best)),
    }
    seconds = sweeps.in_turn(sides, rounds)
    ours = seconds["striate"]
    return {
        "images": images,
        "layer": found.parameters["layer"],
        "best_batch": best,
        "seconds": {peer: measure.spread(values) for peer, values in seconds.items()},
        "times_faster": {peer: measure.ratios(values, ours) for peer, values in seconds.items() if peer != "striate"},
        "error": error,
    }


def main() -> None:
    """Measure and write results/cam.json."""
    sweeps.run("cam", {name: functools.partial(row, name) for name in NETWORKS}, ["captum"])


if __name__ == "__main__":
    main()
