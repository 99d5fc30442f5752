"""Locally connected layers, stochastic, blur and L2 pooling beside what people write by hand: time and memory.

    python benchmarks/layers.py            # writes results/layers.json

Peers: the unfold-and-einsum of pytorch#499 for locally connected layers, as written there and compiled; the depthwise
convolution of Zhang's code for blur pooling; torch.nn.LPPool for L2 pooling; unfold and multinomial for stochastic
pooling (in the mean: unfold and a weighted sum). Forward alone, and forward and backward; both sides in turn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import measure
from striate import layers

# name: items, channels, fields a place, side, kernel
LOCAL = {
    "MNIST, one field (L06), batch 1": (1, 1, 1, 28, 5),
    "MNIST, one field (L06), batch 128": (128, 1, 1, 28, 5),
    "color, five fields (L08), batch 128": (128, 3, 5, 28, 5),
    "16 to 32 channels, 28x28, batch 16": (16, 16, 32, 28, 3),
    "64 to 64 channels, 28x28, batch 1": (1, 64, 64, 28, 3),
    "64 to 64 channels, 14x14, batch 32": (32, 64, 64, 14, 3),
    "faces: 3 to 16 channels, 32x32, 9x9 fields, batch 128": (128, 3, 16, 32, 9),
}


class Einsum(nn.Module):
    """A locally connected layer as people write it."""

    def __init__(self, layer: layers.LocallyConnected) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().permute(2, 3, 0, 1, 4, 5).contiguous())
        self.bias, self.kernel = nn.Parameter(layer.bias.detach().clone()), layer.kernel_size[0]

    def forward(self, x: Tensor) -> Tensor:
        patches = x.unfold(2, self.kernel, 1).unfold(3, self.kernel, 1)
        return torch.einsum("nchwij,kchwij->nkhw", patches, self.weight) + self.bias


class ZhangBlur(nn.Module):
    """Reflection padding and a depthwise convolution with stride, as in the paper's code."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("kernel", (torch.outer(line, line) / 16).expand(channels, 1, 3, 3).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel, stride=2, groups=x.shape[1])


class Multinomial(nn.Module):
    """Stochastic pooling as people write it: unfolded windows, torch.multinomial."""

    def forward(self, x: Tensor) -> Tensor:
        seen = x.unfold(2, 2, 2).unfold(3, 2, 2).reshape(*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2, 4)
        if not self.training:
            return (seen.square().sum(-1)) / seen.sum(-1)
        picks = torch.multinomial(seen.detach().flatten(0, 3), 1).view(*seen.shape[:4], 1)
        return seen.gather(-1, picks)[..., 0]


def run(layer: nn.Module, x: Tensor, backward: bool) -> Tensor:
    if not backward:
        with torch.no_grad():
            return layer(x)
    x.grad = None
    layer.zero_grad()
    y = layer(x)
    y.sum().backward()
    return y


def timed(work: Callable[[], object], least: float = 0.05) -> float:
    """Milliseconds of one call, the mean of as many as fit into `least` seconds."""
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < least:
        work()
        calls += 1
    return 1e3 * (time.perf_counter() - began) / calls


def compared(
    ours: nn.Module, theirs: nn.Module, x: Tensor, backward: bool, runs: int, same: bool = True
) -> dict[str, Any]:
    """Both in turn; the error between them where they compute the same."""
    x = x.clone().requires_grad_(backward)
    results = [run(layer, x, backward).detach() for layer in (ours, theirs)]
    error = float((results[0] - results[1]).abs().max()) if same else None
    assert error is None or error < 1e-3 * float(results[1].abs().max()), error
    pairs = [(timed(lambda: run(theirs, x, backward)), timed(lambda: run(ours, x, backward))) for _ in range(runs + 1)]
    slow, fast = ([pair[side] for pair in pairs[1:]] for side in (0, 1))
    return {
        "striate_ms": measure.spread(fast),
        "peer_ms": measure.spread(slow),
        "factor": measure.ratios(slow, fast),
        "error": error,
    }


def peak(side: str) -> int:
    """Bytes that one forward and backward add to a fresh process: 64 items of 3x64x64, 16 fields of 9x9 a place."""
    done = subprocess.run([sys.executable, __file__, "--peak", side], capture_output=True, text=True, check=True)
    return int(done.stdout)


def measured_peak(side: str) -> None:
    layer = layers.LocallyConnected(3, 16, (64, 64), 9)
    layer = Einsum(layer) if side == "peer" else layer
    run(layer, torch.rand(1, 3, 64, 64, requires_grad=True), True)
    x = torch.rand(64, 3, 64, 64, requires_grad=True)
    before = most()
    run(layer, x, True)
    print(most() - before)


def most() -> int:
    """Bytes that this process held at most (getrusage would count the parent's)."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--peak", choices=["striate", "peer"], help="print the bytes of one side and stop")
    arguments = parser.parse_args()
    torch.set_num_threads(measure.THREADS)
    torch.manual_seed(0)
    if arguments.peak:
        measured_peak(arguments.peak)
        return
    rows: dict[str, Any] = {}
    for name, (items, channels, fields, side, kernel) in LOCAL.items():
        layer, x = (
            layers.LocallyConnected(channels, fields, (side, side), kernel),
            torch.rand(items, channels, side, side),
        )
        for backward in (False, True):
            key = f"locally connected, {name}, {'forward and backward' if backward else 'forward'}"
            rows[key] = compared(layer, Einsum(layer), x, backward, arguments.runs)
    x = torch.rand(16, 64, 56, 56) + 0.01
    for name, ours, theirs in (
        ("blur", layers.BlurPool(), ZhangBlur(64)),
        ("L2", layers.LpPool(2), nn.LPPool2d(2, 2)),
        ("stochastic, mean", layers.StochasticPool(2).eval(), Multinomial().eval()),
        ("stochastic, drawn", layers.StochasticPool(2), Multinomial()),
    ):
        for backward in (False, True):
            key = f"{name} pooling, 16x64x56x56, {'forward and backward' if backward else 'forward'}"
            rows[key] = compared(ours, theirs, x, backward, arguments.runs, same="drawn" not in name)
    for key, row in rows.items():
        print(f"{key:90} {row['striate_ms']['median']:8.3f} ms  {row['factor']['median']:6.2f}x")
    memory = {side: peak(side) for side in ("striate", "peer")}
    print(memory)
    measure.write("layers", {"rows": rows, "peak_bytes": memory})


if __name__ == "__main__":
    main()
