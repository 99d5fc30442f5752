"""One call, the fastest algorithm: shapes of real networks and of users' complaints, beside torch's own convolution.

    python benchmarks/convolution.py [PART OF A NAME ...]

Each row runs torch.nn.functional and striate's call with algorithm="auto" in turn, forward without gradients and
forward with backward; the difference is asserted. Long windows also run fft-conv-pytorch; windows of 3, Winograd.
Two rows are no call of a convolution: transposed, with another length at each call, and locally connected.
Writes results/convolution.json when all rows are run. A few minutes.
"""

from __future__ import annotations

import functools
import math
import statistics
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from fft_conv_pytorch import fft_conv

from measure import THREADS, spread, write
from striate.ops import correlate, correlate_locally, transposed
from striate.ops.algorithms import correlation, explain_choice

TOLERANCE = 1e-5
SECONDS = 0.35  # of alternated runs of one row
CONVOLUTIONS: dict[int, Callable[..., torch.Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Row(NamedTuple):
    """name, input (n, c, *space), kernel (k, c / groups, *window) and the options, one number for all axes."""

    name: str
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def options(self) -> dict[str, int]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


def depthwise(name: str, items: int, channels: int, *sizes: int, window: int, stride: int = 1) -> Row:
    kernel = (channels, 1, *[window] * len(sizes))
    return Row(name, (items, channels, *sizes), kernel, stride, window // 2, groups=channels)


ROWS = (
    # depthwise, 1-D
    depthwise("depthwise 1-D, Mamba short conv, K=4", 1, 1024, 1024, window=4),
    depthwise("depthwise 1-D, K=3", 4, 256, 1024, window=3),
    depthwise("depthwise 1-D, K=7", 8, 256, 2048, window=7),
    depthwise("depthwise 1-D, Conformer, K=31", 8, 256, 512, window=31),
    depthwise("depthwise 1-D, K=31, long", 4, 32, 16384, window=31),
    depthwise("depthwise 1-D, K=64", 4, 128, 2048, window=64),
    depthwise("depthwise 1-D, K=128", 4, 256, 4096, window=128),
    depthwise("depthwise 1-D, K=256", 4, 128, 4096, window=256),
    depthwise("depthwise 1-D, K=512", 2, 128, 8192, window=512),
    depthwise("depthwise 1-D, K=1024", 1, 128, 16384, window=1024),
    # depthwise, 2-D
    depthwise("depthwise 2-D, MobileNet 112", 4, 32, 112, 112, window=3),
    depthwise("depthwise 2-D, MobileNet 56, stride 2", 4, 144, 56, 56, window=3, stride=2),
    depthwise("depthwise 2-D, MobileNet 14", 8, 576, 14, 14, window=3),
    depthwise("depthwise 2-D, MobileNet 7, batch 1", 1, 960, 7, 7, window=3),
    depthwise("depthwise 2-D, EfficientNet 5x5, batch 1", 1, 120, 28, 28, window=5),
    depthwise("depthwise 2-D, ConvNeXt 7x7", 4, 96, 56, 56, window=7),
    depthwise("depthwise 2-D, 15x15", 2, 128, 56, 56, window=15),
    depthwise("depthwise 2-D, RepLKNet 31x31, 56", 1, 128, 56, 56, window=31),
    depthwise("depthwise 2-D, RepLKNet 31x31, 28", 2, 256, 28, 28, window=31),
    depthwise("depthwise 2-D, RepLKNet 31x31, 14", 4, 512, 14, 14, window=31),
    # depthwise, 3-D
    depthwise("depthwise 3-D, 3x3x3", 2, 64, 16, 28, 28, window=3),
    depthwise("depthwise 3-D, 7x7x7", 1, 48, 16, 32, 32, window=7),
    depthwise("depthwise 3-D, 5x5x5", 1, 32, 24, 24, 24, window=5),
    # long windows, 1-D, many channels
    *(
        Row(f"1-D, 64 channels, K={window}", (2, 64, 4096), (64, 64, window), padding=window // 2)
        for window in (32, 64, 128, 256, 512)
    ),
    Row("1-D, 64 channels, K=1024", (1, 64, 8192), (64, 64, 1024), padding=512),
    Row("1-D, 64 channels, K=2048", (1, 64, 8192), (64, 64, 2048), padding=1024),
    Row("1-D, 32 channels, K=4096", (1, 32, 16384), (32, 32, 4096), padding=2048),
    Row("1-D, 128 channels, K=128", (4, 128, 2048), (128, 128, 128), padding=64),
    Row("1-D, 16 channels, K=64", (16, 16, 4096), (16, 16, 64), padding=32),
    Row("1-D, STFT filter bank, 1 to 514 channels, stride 128", (1, 1, 32000), (514, 1, 512), 128),
    Row("1-D, sinc filters, 1 to 80 channels, K=251", (4, 1, 8000), (80, 1, 251)),
    Row("1-D, one channel, K=256", (1, 1, 65536), (1, 1, 256)),
    Row("1-D, one channel, K=1024", (1, 1, 65536), (1, 1, 1024)),
    Row("1-D, grouped by 16, K=128", (1, 256, 2048), (256, 16, 128), padding=64, groups=16),
    Row("1-D, DeepSEA 1", (16, 4, 1000), (320, 4, 8)),
    Row("1-D, Basset 1", (16, 4, 600), (300, 4, 19), padding=9),
    Row("1-D, Basset 2", (8, 300, 200), (200, 300, 11), padding=5),
    Row("1-D, BPNet first, K=25", (8, 4, 1000), (64, 4, 25), padding=12),
    Row("1-D, M5 audio, K=80, stride 4", (4, 1, 16000), (128, 1, 80), 4),
    # dilated
    Row("1-D, WaveNet, dilation 64", (1, 64, 8192), (128, 64, 2), dilation=64),
    Row("1-D, BPNet, dilation 32", (8, 64, 1000), (64, 64, 3), padding=32, dilation=32),
    Row("2-D, DeepLab, dilation 12", (1, 256, 32, 32), (64, 256, 3, 3), padding=12, dilation=12),
    # large windows, 2-D and 3-D
    Row("2-D, one channel, 15x15", (1, 1, 512, 512), (1, 1, 15, 15), padding=7),
    Row("2-D, one channel, 31x31", (1, 1, 512, 512), (1, 1, 31, 31), padding=15),
    Row("2-D, 16 channels, 31x31", (1, 16, 128, 128), (16, 16, 31, 31), padding=15),
    Row("2-D, 8 channels, 64x64", (1, 8, 128, 128), (8, 8, 64, 64)),
    Row("3-D, 8 channels, 11x11x11", (1, 8, 32, 32, 32), (8, 8, 11, 11, 11), padding=5),
    Row("3-D, one channel, 9x9x9", (1, 1, 48, 48, 48), (1, 1, 9, 9, 9), padding=4),
    Row("2-D, template matching, 1x3x41x41", (1, 3, 256, 256), (1, 3, 41, 41)),
    # few channels
    Row("2-D, MNIST 5x5", (64, 1, 28, 28), (32, 1, 5, 5)),
    Row("2-D, Sobel", (1, 1, 512, 512), (2, 1, 3, 3), padding=1),
    Row("2-D, blur 9x9", (4, 1, 256, 256), (1, 1, 9, 9), padding=4),
    Row("2-D, AlexNet 1", (4, 3, 224, 224), (64, 3, 11, 11), 4, 2),
    Row("2-D, VGG 1", (1, 3, 224, 224), (64, 3, 3, 3), padding=1),
    Row("2-D, ResNet 1", (4, 3, 224, 224), (64, 3, 7, 7), 2, 3),
    Row("2-D, to RGB, 5x5", (1, 64, 128, 128), (3, 64, 5, 5), padding=2),
    Row("3-D, V-Net 1", (1, 1, 32, 64, 64), (16, 1, 5, 5, 5), padding=2),
    # grouped, pointwise
    Row("2-D, ResNeXt", (2, 128, 56, 56), (128, 4, 3, 3), padding=1, groups=32),
    Row("2-D, AlexNet 2 groups", (4, 96, 27, 27), (256, 48, 5, 5), padding=2, groups=2),
    Row("2-D, ShuffleNet 1x1, 3 groups", (4, 240, 28, 28), (240, 80, 1, 1), groups=3),
    Row("2-D, 1x1, MobileNet", (1, 96, 28, 28), (24, 96, 1, 1)),
    Row("2-D, 1x1, ResNet", (4, 256, 56, 56), (64, 256, 1, 1)),
    Row("2-D, 1x1, ResNet last", (1, 512, 7, 7), (2048, 512, 1, 1)),
    # plain and tiny
    Row("2-D, VGG 56", (2, 128, 56, 56), (128, 128, 3, 3), padding=1),
    Row("2-D, ResNet 14, batch 1", (1, 256, 14, 14), (256, 256, 3, 3), padding=1),
    Row("2-D, 512 channels, 4x4", (1, 512, 4, 4), (512, 512, 3, 3), padding=1),
    Row("2-D, 512 channels, 7x7", (4, 512, 7, 7), (512, 512, 3, 3), padding=1),
    Row("2-D, LeNet 2", (1, 6, 14, 14), (16, 6, 5, 5)),
    Row("2-D, LeNet 2, batch 64", (64, 6, 14, 14), (16, 6, 5, 5)),
    Row("1-D, text, K=3", (32, 128, 50), (100, 128, 3), padding=1),
    Row("3-D, U-Net", (1, 16, 32, 64, 64), (16, 16, 3, 3, 3), padding=1),
)


def call(row: Row, algorithm: str = "auto") -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """striate's call as a layer makes it: options checked once, by `ops.correlate`, and not at every call."""
    rank = len(row.x) - 2
    stride, dilation, padding = (row.stride,) * rank, (row.dilation,) * rank, ((row.padding, row.padding),) * rank
    return lambda x, kernel: correlation(
        x, kernel, stride=stride, padding=padding, dilation=dilation, groups=row.groups, algorithm=algorithm
    )


def microseconds_of_a_call() -> dict[str, float]:
    """Least microseconds of the smallest convolution by torch, by the call beneath, and by the checked call."""
    x, kernel = torch.randn(1, 1, 4), torch.randn(1, 1, 2)
    beneath = call(Row("", x.shape, kernel.shape))
    works = {"torch": lambda: F.conv1d(x, kernel), "correlation": lambda: beneath(x, kernel)}
    works["correlate"] = lambda: correlate(x, kernel)
    with torch.no_grad():
        return {name: min(timeit.repeat(work, number=2000, repeat=5)) / 2000 * 1e6 for name, work in works.items()}


def alternate(*works: Callable[[], Any], seconds: float = SECONDS) -> list[list[float]]:
    """Seconds of each work, run in turn, after one round to warm up."""
    times: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    began = time.perf_counter()
    while len(times[0]) < 3 or (time.perf_counter() - began < seconds and len(times[0]) < 101):
        for work, own in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            own.append(time.perf_counter() - start)
    return times


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Norm of the difference relative to the norm; asserted."""
    value = float((ours - theirs).norm() / theirs.norm())
    assert value < TOLERANCE, value
    return value


def measured(row: Row) -> dict[str, Any]:
    """Both passes of one row, its choices, and its further peers."""
    x, kernel = torch.randn(row.x), torch.randn(row.kernel)
    native, options, ours = CONVOLUTIONS[len(row.x) - 2], row.options(), call(row)
    found: dict[str, Any] = {"name": row.name, "x": row.x, "kernel": row.kernel, **options}
    for passage in ("forward", "input_gradient", "kernel_gradient"):
        found[f"chosen {passage}"] = explain_choice(row.x, row.kernel, passage=passage, **options).chosen
    with torch.no_grad():
        theirs = native(x, kernel, None, **options)
        found["error"] = error(ours(x, kernel), theirs)
        found["forward"] = compared(lambda: native(x, kernel, None, **options), lambda: ours(x, kernel))
        if max(row.kernel[2:]) * row.dilation > 14:
            padding = (row.padding,) * (len(row.x) - 2)
            peer = functools.partial(fft_conv, x, kernel, **{**options, "padding": padding})
            error(peer(), theirs)
            found["fft-conv-pytorch"] = compared(peer, lambda: ours(x, kernel))
        if set(row.kernel[2:]) == {3} and row.stride == row.dilation == row.groups == 1:
            winograd = call(row, "winograd")
            found["winograd error"] = error(winograd(x, kernel), theirs)
            found["winograd"] = compared(lambda: native(x, kernel, None, **options), lambda: winograd(x, kernel))
    x.requires_grad_(), kernel.requires_grad_()
    change = torch.randn_like(theirs)

    def learn(forward: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(forward(x, kernel), (x, kernel), change)

    def theirs_too(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return native(x, kernel, None, **options)

    found["gradient error"] = max(map(error, learn(ours), learn(theirs_too)))
    found["backward"] = compared(lambda: learn(theirs_too), lambda: learn(ours))
    return found


def compared(peer: Callable[[], Any], ours: Callable[[], Any]) -> dict[str, Any]:
    """Median milliseconds of both, and the spread of the ratio, pair by pair."""
    slow, fast = alternate(peer, ours)
    ratio = spread([s / f for s, f in zip(slow, fast, strict=True)])
    del ratio["values"]
    return {"peer ms": statistics.median(slow) * 1e3, "ms": statistics.median(fast) * 1e3, "ratio": ratio}


def others() -> list[dict[str, Any]]:
    """Forward passes that are no `correlate`: with another length at each call (pytorch#133304), or by weights that
    are not shared (pytorch#499)."""
    kernel = torch.randn(64, 32, 4)
    lengths = [torch.randn(1, 64, 1000 + 7 * i) for i in range(202)]  # more than are timed
    theirs, ours = iter(lengths), iter(lengths)
    x, weights = torch.randn(16, 16, 30, 30), torch.randn(28, 28, 32, 16, 3, 3)

    def native(x: torch.Tensor) -> torch.Tensor:
        return F.conv_transpose1d(x, kernel, stride=2)

    def scattered(x: torch.Tensor) -> torch.Tensor:
        return transposed(x, kernel, stride=2, form="scatter")

    def einsum() -> torch.Tensor:
        return torch.einsum("nchwij,hwkcij->nkhw", x.unfold(2, 3, 1).unfold(3, 3, 1), weights)

    with torch.no_grad():
        return [
            {
                "name": "transposed 1-D, K=4, stride 2, another length at each call",
                "error": error(scattered(lengths[0]), native(lengths[0])),
                "forward": compared(lambda: native(next(theirs)), lambda: scattered(next(ours))),
            },
            {
                "name": "locally connected 2-D, 3x3, to unfold and einsum",
                "error": error(correlate_locally(x, weights), einsum()),
                "forward": compared(einsum, lambda: correlate_locally(x, weights)),
            },
        ]


def targets(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What was to be reached, and what was."""

    def ratios(part: str, test: Callable[[dict[str, Any]], bool] = lambda _: True) -> list[float]:
        return [row[part]["ratio"]["median"] for row in rows if part in row and test(row)]

    def many_and_long(row: dict[str, Any]) -> bool:
        return len(row["x"]) == 3 and row["kernel"][2] >= 128 and row["kernel"][1] >= 16

    def long_depthwise(row: dict[str, Any]) -> bool:
        return row["groups"] == row["x"][1] > 1 and row["kernel"][2] >= (128 if len(row["x"]) == 3 else 31)

    def other(row: dict[str, Any]) -> bool:
        return row["chosen forward"] != "direct"

    every = ratios("forward") + ratios("backward")
    return {
        "geometric mean, forward": (math.exp(statistics.fmean(map(math.log, ratios("forward")))), 1.5),
        "geometric mean, backward": (math.exp(statistics.fmean(map(math.log, ratios("backward")))), 1.5),
        "least, K >= 128, 1-D, many channels": (min(ratios("forward", many_and_long), default=math.nan), 5),
        "least, long depthwise": (min(ratios("forward", long_depthwise), default=math.nan), 8),
        "least, to fft-conv-pytorch": (min(ratios("fft-conv-pytorch"), default=math.nan), 2),
        "least of all rows": (min(every), 0.97),
        "least, forward, where another than torch's own is chosen": (
            min(ratios("forward", other), default=math.nan),
            0.97,
        ),
        "best of Winograd": (max(ratios("winograd"), default=math.nan), 1.3),
    }


def main() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    wanted = sys.argv[1:]
    rows = []
    for row in ROWS:
        if wanted and not any(part in row.name for part in wanted):
            continue
        rows.append(found := measured(row))
        told = "  ".join(
            f"{part} {found[part]['ratio']['median']:.2f}"
            for part in ("forward", "backward", "fft-conv-pytorch", "winograd")
            if part in found
        )
        chosen = " ".join(found[f"chosen {p}"] for p in ("forward", "input_gradient", "kernel_gradient"))
        print(f"{row.name:<50} {found['forward']['peer ms']:9.3f} ms  {told}  [{chosen}]", flush=True)
    apart = [found for found in others() if not wanted or any(part in found["name"] for part in wanted)]
    for found in apart:
        forward = found["forward"]
        print(f"{found['name']:<50} {forward['peer ms']:9.3f} ms  forward {forward['ratio']['median']:.2f}")
    if not rows:
        return
    reached = targets(rows)
    for name, (value, wish) in reached.items():
        print(f"{name}: {value:.2f}, wanted {wish}: {'reached' if value >= wish else 'missed'}")
    if not wanted:
        result = {"targets": reached, "microseconds of a call": microseconds_of_a_call(), "rows": rows, "others": apart}
        write("convolution", result, ["fft-conv-pytorch"])


if __name__ == "__main__":
    main()
