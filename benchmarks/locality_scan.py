"""Every pixel of an image classified by what surrounds it: `striate.locality.scan` beside crop by crop.

    python benchmarks/locality_scan.py [--quick]

Networks of Ciresan, Giusti, Gambardella, Schmidhuber 2012 (Deep neural networks segment neuronal membranes in electron
microscopy images): 48 maps a layer, N4 on windows of 95x95, and the like on 65x65; image 512x512. Crop by crop is a
tight loop: inference mode, channels last, the best of several batch sizes. It runs on a sample of the crops, in turn
with the scan, and its time is scaled to all of them. The scores of the sample are asserted to be equal. The ceiling is
the ratio of multiply-adds, all crops to one pass in which every cell is computed once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import measure
from striate import describe
from striate.locality import scan

MAPS, HIDDEN, SIDE = 48, 200, 512
# Window, kernels of the convolutions (each with 2x2 max pooling), side of the last map.
NETWORKS = {"65x65": (65, (4, 5, 4), 5), "95x95 (N4)": (95, (4, 5, 4, 4), 3)}
BATCHES = (1, 4, 8, 16, 32, 64, 128, 256)
TOLERANCE = 1e-5


def network(kernels: tuple[int, ...], last: int) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for number, kernel in enumerate(kernels):
        layers += [nn.Conv2d(MAPS if number else 1, MAPS, kernel), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    dense = (nn.Linear(MAPS * last**2, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, 2))
    return nn.Sequential(*layers, nn.Flatten(), *dense).eval()


def dense_macs(kernels: tuple[int, ...], last: int) -> int:
    """For one position where every cell is computed once, the border of the image aside."""
    convolutions = sum(k**2 * (MAPS if number else 1) * MAPS for number, k in enumerate(kernels))
    return convolutions + MAPS * last**2 * HIDDEN + HIDDEN * 2


def crop_by_crop(model: nn.Module, crops: Tensor, batch: int) -> Tensor:
    """A tight loop; `crops` is a view into the image."""
    with torch.inference_mode():
        parts = [model(part.contiguous(memory_format=torch.channels_last)) for part in crops.split(batch)]
    return torch.cat(parts)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compared(window: int, kernels: tuple[int, ...], last: int, quick: bool) -> dict[str, Any]:
    rounds, sample = (2, 128) if quick else (7, 768)
    model = network(kernels, last)
    image = torch.rand(1, 1, SIDE, SIDE)
    looped = network(kernels, last).to(memory_format=torch.channels_last)
    crops = image[0, 0].unfold(0, window, 1).unfold(1, window, 1)
    count = crops.shape[0] * crops.shape[1]
    places = torch.randperm(count)[:sample]
    chosen = crops[places // crops.shape[1], places % crops.shape[1]][:, None]
    scanner = scan(model, patch=(window, window))
    scores = scanner(image)
    right = crop_by_crop(looped, chosen, 16)
    error = float((scores[0].flatten(1).T[places] - right).abs().max() / right.abs().max())
    assert error < TOLERANCE, error
    tried = {b: min(seconds(lambda b=b: crop_by_crop(looped, chosen[:256], b)) for _ in range(3)) for b in BATCHES}
    batch = min(tried, key=lambda b: tried[b])
    loop, ours = [], []
    for _ in range(rounds):
        loop.append(seconds(lambda: crop_by_crop(looped, chosen, batch)) / sample * count)
        ours.append(seconds(lambda: scanner(image)))
    per_crop = describe(model, (1, window, window)).macs
    ceiling = per_crop / dense_macs(kernels, last)
    factor = measure.ratios(loop, ours)
    return {
        "crops": count,
        "crop_by_crop_seconds": measure.spread(loop),
        "crop_by_crop_batch": batch,
        "crop_by_crop_sample": sample,
        "crop_by_crop_gflops": round(2 * per_crop * count / measure.spread(loop)["median"] / 1e9),
        "scan_seconds": measure.spread(ours),
        "scan_gflops": round(2 * dense_macs(kernels, last) * count / measure.spread(ours)["median"] / 1e9),
        "factor": factor,
        "ceiling_by_macs": round(ceiling, 1),
        "share_of_ceiling": round(factor["median"] / ceiling, 2),
        "error": error,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few rounds; nothing is written")
    quick = parser.parse_args().quick
    torch.set_num_threads(measure.THREADS)
    torch.set_flush_denormal(True)
    results = {}
    for name, (window, kernels, last) in NETWORKS.items():
        found = compared(window, kernels, last, quick)
        results[name] = found
        loop, ours, factor = (found[key] for key in ("crop_by_crop_seconds", "scan_seconds", "factor"))
        print(f"{name}: crop by crop {loop['median']:.1f} s (batch {found['crop_by_crop_batch']}),", end=" ")
        print(
            f"scan {ours['median']:.3f} s, {factor['median']:.0f}x ({factor['min']:.0f} to {factor['max']:.0f});",
            end=" ",
        )
        print(f"ceiling by MACs {found['ceiling_by_macs']}x, share {found['share_of_ceiling']:.0%}", end="; ")
        print(f"error {found['error']:.1e}", flush=True)
    if not quick:
        measure.write("locality_scan", {"image": [1, SIDE, SIDE], "networks": results})


if __name__ == "__main__":
    main()
