"""A U-Net over an image far larger than memory, tile by tile, against the whole at once and against overlapping tiles.

    python benchmarks/locality_tile.py [--side 20000] [--width 0.25] [--quick]

(a) Throughput, in one process, in turn: the whole image at a size that fits, as the network is usually run and with
channels_last; `tile` on an image of `TILED` a side; MONAI's `sliding_window_inference` on the same, with windows as
large as the crops of `tile`, half of each overlapping, one at a time (its default) and four; and the same as a plain
loop that keeps the middle of each window. (b) In a process of its own: an image of `--side` a side in a file of 8-bit
numbers, read as it is needed and written to a file, within `MEMORY`; seconds, and the most that the process held.

The result of `tile` equals the whole to 1e-5 of its greatest value, asserted where the whole fits. What the others
differ by is written down: their windows see padding where the image goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import measure
import striate
from striate.locality import tile

TILED, ROUNDS = 4000, 3
# Bytes that the whole process may hold; what it holds before the call comes off the budget of the call.
MEMORY = 2_000_000_000


def network(width: float) -> nn.Module:
    torch.manual_seed(0)
    return striate.build("unet", width=width).eval()


def timed(work: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    began = time.perf_counter()
    with torch.inference_mode():
        out = work()
    return time.perf_counter() - began, out


def crops(net: nn.Module, x: torch.Tensor) -> tuple[int, ...]:
    """The size of the crops that `tile` takes."""
    sizes: list[tuple[int, ...]] = []
    hook = net.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape[2:])))
    try:
        tile(net, x, budget_bytes=MEMORY)
    finally:
        hook.remove()
    return sizes[-1]


def overlapping(net: nn.Module, x: torch.Tensor, size: int) -> torch.Tensor:
    """Windows half of which overlap; the middle of each is kept, to the border at a border."""
    side, step = x.shape[-1], size // 2
    starts = [*range(0, side - size, step), side - size]
    out: torch.Tensor | None = None
    for row in starts:
        for column in starts:
            part = net(x[..., row : row + size, column : column + size])
            out = part.new_empty((*part.shape[:2], side, side)) if out is None else out
            top, left = (size // 4 if row else 0), (size // 4 if column else 0)
            out[..., row + top : row + size, column + left : column + size] = part[..., top:, left:]
    assert out is not None
    return out


def throughput(width: float, tiled: int, whole: int) -> dict[str, Any]:
    """Pixels per second of each way, in turn."""
    net, last = network(width), network(width).to(memory_format=torch.channels_last)
    x, y = torch.rand(1, 1, tiled, tiled), torch.rand(1, 1, whole, whole)
    window = crops(net, x)
    size = min(min(window), tiled)
    ways: dict[str, tuple[int, Callable[[], torch.Tensor]]] = {
        "tile": (tiled, lambda: tile(net, x, budget_bytes=MEMORY)),
        "whole": (whole, lambda: net(y)),
        "whole, channels_last": (whole, lambda: last(y)),
        "50 % overlap, plain loop": (tiled, lambda: overlapping(last, x, size)),
    }
    with contextlib.suppress(ImportError):
        from monai.inferers import sliding_window_inference as sliding

        for batch in (1, 4):
            ways[f"MONAI, 50 % overlap, {batch} at a time"] = (
                tiled,
                lambda n=batch: sliding(x, (size, size), n, last, overlap=0.5),  # type: ignore[misc]
            )
    error = relative(tile(net, y, budget_bytes=MEMORY // 8), timed(lambda: net(y))[1])
    assert error <= 1e-5, error
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    errors: dict[str, float] = {}
    for turn in range(ROUNDS + 1):
        made = None
        for name, (_, work) in ways.items():
            took, out = timed(work)
            made = out if name == "tile" else made
            if turn:
                seconds[name].append(took)
            elif out.shape == made.shape and name != "tile":
                errors[name] = relative(out, made)
    rates = {name: [ways[name][0] ** 2 / s for s in seconds[name]] for name in ways}
    return {
        "width": width,
        "crop": window,
        "tiled side": tiled,
        "whole side": whole,
        "error against the whole": error,
        "error of others against tile": errors,
        "pixels per second": {name: measure.spread(values) for name, values in rates.items()},
        "tile against": {name: measure.ratios(rates["tile"], rates[name]) for name in ways if name != "tile"},
    }


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).abs().max() / wanted.abs().max())


def held(what: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024


def large(width: float, side: int, folder: Path) -> dict[str, Any]:
    """One image from file to file. Run in a process of its own."""
    image = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, (side, side))
    generator = np.random.default_rng(0)
    for row in range(0, side, 500):
        image[row : row + 500] = generator.integers(0, 256, image[row : row + 500].shape, np.uint8)
    image.flush()
    del image
    net = network(width)
    before = held("VmRSS")
    began = time.perf_counter()
    tile(
        net,
        folder / "x.npy",
        axes="yx",
        prepare=lambda part: part / 255,
        budget_bytes=MEMORY - before,
        out=folder / "y.npy",
        progress=True,
    )
    seconds = time.perf_counter() - began
    done = json.loads((folder / "y.npy.json").read_text())
    return {
        "side": side,
        "width": width,
        "seconds": seconds,
        "pixels per second": side**2 / seconds,
        "bytes held before": before,
        "most bytes held": held("VmHWM"),
        "crop": done["made_of"]["crop"],
        "tiles": done["done"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--quick", action="store_true", help="small sides, to see that it runs; nothing is written")
    parser.add_argument("--large", type=Path, help="only (b), in this folder; printed as JSON")
    given = parser.parse_args()
    torch.set_num_threads(measure.THREADS)
    side = 2000 if given.quick else given.side
    if given.large:
        print(json.dumps(large(given.width, given.side, given.large)))
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--large", folder, "--side", str(side), "--width", str(given.width)]
        one = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    assert one["most bytes held"] <= MEMORY, one
    many = throughput(given.width, *((1500, 1024) if given.quick else (TILED, 3072)))
    whole = {name: rate["median"] for name, rate in many["pixels per second"].items() if name.startswith("whole")}
    result = {
        "image": one,
        "throughput": many,
        "image against": {name: one["pixels per second"] / rate for name, rate in whole.items()},
    }
    print(json.dumps(result, indent=1))
    if not given.quick:
        with contextlib.suppress(ImportError):
            import monai

            result["monai"] = monai.__version__
        measure.write("locality_tile", result)


if __name__ == "__main__":
    main()
