"""`striate.interpret.occlusion` beside captum and a tight loop: an image of 224x224, a patch at every place.

    python benchmarks/locality_occlusion.py [--only ROW ...] [--quick]

captum at its default (a place a run) and at its best batch; the tight loop of our own is the fastest way to run the
whole network for each place: inference mode, channels_last, batches made in place, the best batch. These run a sample
of the places, since each costs the same, and are scaled to all; striate runs all places, its tracing included. All in
turn, in one process. The outputs of the sample are compared.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import sweeps
from striate import zoo
from striate.interpret import occlusion

BATCHES = (2, 4, 8, 16, 32)
SAMPLE = 32  # places that the slow ones run, a multiple of each batch
TARGET = 1
# Network, patch, stride, ceilings by multiply-adds (recomputing what is reached; only differences meet the weights).
CASES: dict[str, tuple[str, int, int, dict[str, float | None]]] = {
    "vgg16_16_8": ("vgg16", 16, 8, {"recompute": 8.9, "difference": 12.5}),
    "vgg16_8_4": ("vgg16", 8, 4, {"recompute": 10.8, "difference": 16.0}),
    "resnet50_16_8": ("resnet50", 16, 8, {"recompute": 3.1, "difference": None}),
    "resnet18_16_8": ("resnet18", 16, 8, {"recompute": 3.8, "difference": None}),
}


class Enough(Exception):  # noqa: N818
    """Raised to stop captum after the sample."""


class Sampled(nn.Module):
    """Keeps outputs and the time after each run, and stops after a number of changed items; the first run is of the
    input itself."""

    def __init__(self, model: nn.Module, places: int) -> None:
        super().__init__()
        self.model, self.places = model, places
        self.outputs: list[Tensor] = []
        self.times: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        output = self.model(x)
        self.outputs.append(output)
        self.times.append(time.perf_counter())
        if sum(map(len, self.outputs[1:])) >= self.places:
            raise Enough
        return output


def by_captum(model: nn.Module, x: Tensor, patch: int, stride: int, places: int, batch: int) -> tuple[float, Tensor]:
    """Seconds a place, and the outputs of the first places; its rows run fastest."""
    from captum.attr import Occlusion

    sampled = Sampled(model, places)
    with contextlib.suppress(Enough):
        Occlusion(sampled).attribute(
            x,
            sliding_window_shapes=(x.shape[1], patch, patch),
            strides=(x.shape[1], stride, stride),
            target=TARGET,
            perturbations_per_eval=batch,
        )
    outputs = torch.cat(sampled.outputs[1:])
    return (sampled.times[-1] - sampled.times[0]) / len(outputs), outputs[:, TARGET]


@torch.inference_mode()
def by_loop(
    model: nn.Module, x: Tensor, patch: int, stride: int, places: list[tuple[int, int]], batch: int
) -> tuple[float, Tensor]:
    """Seconds a place, and the outputs; model and input are in channels_last."""
    xs = x.repeat(batch, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    outputs = []
    began = time.perf_counter()
    for first in range(0, len(places), batch):
        corners = [(row * stride, column * stride) for row, column in places[first : first + batch]]
        for item, (row, column) in enumerate(corners):
            xs[item, :, row : row + patch, column : column + patch] = 0
        outputs.append(model(xs[: len(corners)])[:, TARGET])
        for item, (row, column) in enumerate(corners):
            xs[item, :, row : row + patch, column : column + patch] = x[
                0, :, row : row + patch, column : column + patch
            ]
    return (time.perf_counter() - began) / len(places), torch.cat(outputs)


def row(name: str, quick: bool) -> dict[str, Any]:
    """One network and patch."""
    network, patch, stride, ceilings = CASES[name]
    side, width, rounds, batches, sample = (
        (64, 0.125, 1, (2, 4), 4) if quick else (224, 1.0, sweeps.ROUNDS, BATCHES, SAMPLE)
    )
    options = {"input_size": (side, side)} if network == "vgg16" else {}
    model = sweeps.with_signal(zoo.build(network, width=width, **options))
    fast = copy.deepcopy(model).to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    x = torch.randn(1, 3, side, side)
    per_side = (side - patch) // stride + 1
    total = per_side**2
    first = [(i % per_side, i // per_side) for i in range(sample)]  # captum goes down the columns
    places = [divmod(int(i), per_side) for i in torch.randperm(total)[:sample]]
    ours = functools.partial(occlusion, model, x, patch=patch, stride=stride, target=TARGET)
    captum = functools.partial(by_captum, model, x, patch, stride, sample)
    loop = functools.partial(by_loop, fast, x, patch, stride, places)
    best = {
        "captum": sweeps.best_batch(batches, lambda batch: captum(batch)[0]),
        "tight loop": sweeps.best_batch(batches, lambda batch: loop(batch)[0]),
    }
    found = ours()
    with torch.no_grad():
        scale = model(x)
    errors = {
        "captum": sweeps.error(found.scores[tuple(torch.tensor(first).T)], captum(best["captum"])[1], scale),
        "tight loop": sweeps.error(found.scores[tuple(torch.tensor(places).T)], loop(best["tight loop"])[1], scale),
    }
    sides: dict[str, Callable[[], float]] = {
        "striate": lambda: sweeps.timed(ours),
        "captum, default": lambda: total * captum(1)[0],
        "captum, best batch": lambda: total * captum(best["captum"])[0],
        "tight loop": lambda: total * loop(best["tight loop"])[0],
    }
    return {
        "places": total,
        "sampled": sample,
        "best_batch": best,
        **sweeps.compared(sweeps.in_turn(sides, rounds), ceilings),
        "error": errors,
        "effect": float(found.change.abs().max() / scale.abs().max()),
        "plan": sweeps.plan_of(model, x),
    }


def main() -> None:
    """Measure and write results/locality_occlusion.json."""
    rows = {name: functools.partial(row, name) for name in CASES}
    sweeps.run("locality_occlusion", rows, ["captum"])


if __name__ == "__main__":
    main()
