"""`striate.interpret.top_patches` beside captum: the nine places that excite each unit most, and what of them does.

    python benchmarks/top_patches.py [--only ROW ...] [--quick]

VGG-16 on 64 pictures of 224x224, the channels of one layer. captum has no search, so its side is a plain pass of a
network with a hook, then `NeuronDeconvolution` of each place found: by default (one at a time), at its best batch (a
function selects each item's unit), and so on the network cut off after the layer, which is the fastest way to run whole
pictures. These run a sample of the projections, since each costs the same, and are scaled to all; striate does all. All
in turn, in one process. The projections of the sample are compared.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import sweeps
from striate import zoo
from striate.interpret import TopPatches, top_patches

BATCHES = (4, 8)
SAMPLE = 8  # projections that the slow ones run, a multiple of each batch
# Layer of VGG-16, channels: all of conv2_2 and conv3_3, some of conv4_3.
CASES = {"conv2_2": ("features.8", 128), "conv3_3": ("features.15", 256), "conv4_3": ("features.22", 64)}


def without_inplace(model: nn.Module) -> nn.Module:
    """A copy that captum's hooks take."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


@torch.no_grad()
def search(model: nn.Module, layer: str, x: Tensor, channels: int) -> float:
    """Seconds of a plain pass: the nine best items of each channel."""
    began = time.perf_counter()
    found: list[Tensor] = []
    with model.get_submodule(layer).register_forward_hook(
        lambda *a: found.append(a[2][:, :channels].flatten(2).amax(2))
    ):
        for part in x.split(16):
            model(part)
    torch.cat(found).topk(9, dim=0)
    return time.perf_counter() - began


def by_captum(
    model: nn.Module, layer: str, x: Tensor, units: list[tuple[int, int, int, int]], batch: int
) -> tuple[float, Tensor]:
    """Seconds a projection, and the projections onto whole pictures; `units` are item, channel, row and column."""
    from captum.attr import NeuronDeconvolution

    neuron = NeuronDeconvolution(model, model.get_submodule(layer))
    made = []
    began = time.perf_counter()
    for first in range(0, len(units), batch):
        items, *where = (torch.tensor(part) for part in zip(*units[first : first + batch], strict=True))
        each = torch.arange(len(items))
        one = tuple(int(part[0]) for part in where)
        selector = one if batch == 1 else functools.partial(_units, places=(each, *where))
        made.append(neuron.attribute(x[items], selector).detach())
    return (time.perf_counter() - began) / len(units), torch.cat(made)


def _units(output: Tensor, places: tuple[Tensor, ...]) -> Tensor:
    """One value of each item."""
    return output[places]


def whole(found: TopPatches, row: int, rank: int, side: int) -> Tensor:
    """A projection of ours on the whole picture, for an activation of one."""
    made = torch.zeros(3, side, side)
    (top, bottom), (left, right) = found.windows[row, rank].tolist()
    there = found.reconstructions[row, rank][
        :, max(-top, 0) : side - top, max(-left, 0) : side - left
    ]  # NaN beyond the border
    made[:, max(top, 0) : bottom + 1, max(left, 0) : right + 1] = there
    return made / found.values[row, rank]


def row(name: str, quick: bool) -> dict[str, Any]:
    """One layer."""
    layer, channels = CASES[name]
    side, width, count, rounds, batches, sample = (
        (64, 0.125, 12, 1, (2, 4), 4) if quick else (224, 1.0, 64, sweeps.ROUNDS, BATCHES, SAMPLE)
    )
    model = sweeps.with_signal(zoo.build("vgg16", width=width, input_size=(side, side)))
    number = int(layer.partition(".")[2])
    channels = min(channels, next(m.out_channels for m in model.features[number::-1] if isinstance(m, nn.Conv2d)))
    plain = without_inplace(model)
    cut = without_inplace(model.features[: number + 1])
    torch.manual_seed(1)
    x = torch.randn(count, 3, side, side)
    ours = functools.partial(top_patches, model, x.split(16), layer, channels=range(channels))
    found = ours()
    pick = torch.randperm(found.items.numel())[:sample].tolist()
    rows = [divmod(at, 9) for at in pick]
    units = [(int(found.items[at]), at[0], *found.places[at].tolist()) for at in rows]
    want = torch.stack([whole(found, *at, side) for at in rows])
    on_all = functools.partial(by_captum, plain, layer, x, units)
    on_cut = functools.partial(by_captum, cut, str(number), x, units)
    best = {
        "captum, best batch": sweeps.best_batch(batches, lambda batch: on_all(batch)[0]),
        "captum, cut network": sweeps.best_batch(batches, lambda batch: on_cut(batch)[0]),
    }
    errors = {
        "captum": sweeps.error(want, on_all(1)[1], want),
        "captum, cut network": sweeps.error(want, on_cut(best["captum, cut network"])[1], want),
    }
    total = found.items.numel()
    sides: dict[str, Callable[[], float]] = {
        "striate": lambda: sweeps.timed(ours),
        "captum, default": lambda: search(plain, layer, x, channels) + total * on_all(1)[0],
        "captum, best batch": lambda: search(plain, layer, x, channels) + total * on_all(best["captum, best batch"])[0],
        "captum, cut network": lambda: (
            search(cut, str(number), x, channels) + total * on_cut(best["captum, cut network"])[0]
        ),
    }
    return {
        "pictures": count,
        "projections": total,
        "sampled": sample,
        "window": list(found.patches.shape[3:]),
        "whole": found.whole,
        "best_batch": best,
        **sweeps.compared(sweeps.in_turn(sides, rounds), {}),
        "error": errors,
    }


def main() -> None:
    """Measure and write results/top_patches.json."""
    sweeps.run("top_patches", {name: functools.partial(row, name) for name in CASES}, ["captum"])


if __name__ == "__main__":
    main()
