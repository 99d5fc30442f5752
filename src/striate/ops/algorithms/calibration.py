"""The problems that are timed to calibrate the choice: a few of each family, from small to large."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch

from striate.ops.algorithms import cost, forms
from striate.ops.algorithms.setting import Problem, Setting
from striate.shapes import Tensor

SECONDS = 0.012  # of repeated runs of one algorithm on one problem, at least
SKIP = 0.25  # what takes longer is timed once

# (items, channels, space, fields, window, stride, dilation, groups); padding is half the window
SHAPES: tuple[tuple[int, int, tuple[int, ...], int, tuple[int, ...], int, int, int], ...] = (
    # 1-D: depthwise, dense, few channels, pointwise, grouped
    *((n, c, (t,), c, (k,), 1, 1, c) for n, c, t, k in (
        (1, 1024, 256, 4), (8, 256, 512, 7), (4, 128, 2048, 31), (2, 64, 4096, 128), (1, 64, 8192, 512),
    )),
    *((n, c, (t,), k, (w,), s, d, 1) for n, c, t, k, w, s, d in (
        (1, 16, 64, 16, 3, 1, 1), (8, 128, 50, 128, 3, 1, 1), (4, 64, 1000, 64, 3, 1, 16), (4, 64, 1024, 64, 9, 2, 1),
        (4, 32, 2048, 32, 31, 1, 1), (2, 64, 2048, 64, 128, 1, 1), (1, 64, 4096, 64, 512, 1, 1),
    )),
    *((n, c, (t,), k, (w,), 1, 1, 1) for n, c, t, k, w in (
        (1, 1, 16384, 1, 16), (1, 1, 65536, 1, 256), (8, 4, 600, 64, 19), (4, 1, 8192, 32, 64), (2, 2, 8192, 2, 1024),
    )),
    *((n, c, (t,), k, (1,), 1, 1, 1) for n, c, t, k in ((1, 64, 256, 64), (4, 128, 1024, 128), (8, 32, 4096, 64))),
    *((n, c, (t,), c, (w,), 1, 1, g) for n, c, t, w, g in ((1, 32, 256, 3, 8), (4, 64, 1024, 9, 8), (2, 64, 2048, 64, 4))),
    # 2-D
    *((n, c, (h, h), c, (k, k), s, 1, c) for n, c, h, k, s in (
        (1, 960, 7, 3, 1), (4, 96, 56, 3, 2), (8, 144, 28, 3, 1), (2, 96, 56, 7, 1), (1, 64, 28, 31, 1), (1, 32, 64, 21, 1),
    )),
    *((n, c, (h, h), k, (w, w), s, d, 1) for n, c, h, k, w, s, d in (
        (1, 8, 8, 8, 3, 1, 1), (1, 512, 4, 512, 3, 1, 1), (2, 64, 56, 64, 3, 1, 1), (1, 128, 28, 128, 3, 2, 1),
        (1, 64, 32, 64, 3, 1, 6), (2, 32, 32, 32, 7, 1, 1), (1, 16, 64, 16, 21, 1, 1), (1, 6, 14, 16, 5, 1, 1),
    )),
    *((n, c, (h, h), k, (w, w), s, 1, 1) for n, c, h, k, w, s in (
        (16, 1, 28, 32, 5, 1), (1, 1, 256, 2, 3, 1), (2, 3, 224, 64, 7, 2), (2, 3, 112, 64, 3, 1), (2, 1, 256, 1, 9, 1),
        (1, 1, 256, 1, 31, 1), (1, 1, 512, 1, 3, 1),
    )),
    *((n, c, (h, h), k, (1, 1), 1, 1, 1) for n, c, h, k in (
        (1, 96, 28, 24), (1, 512, 7, 2048), (4, 256, 28, 64), (1, 64, 56, 256), (1, 32, 14, 32),
    )),
    *((n, c, (h, h), c, (w, w), 1, 1, g) for n, c, h, w, g in (
        (2, 128, 56, 3, 32), (2, 96, 27, 5, 2), (4, 120, 28, 1, 3), (1, 256, 14, 3, 32),
    )),
    # 3-D
    *((n, c, (s, s, s), c, (k, k, k), 1, 1, c) for n, c, s, k in ((2, 64, 16, 3), (1, 16, 16, 7), (1, 32, 8, 5), (1, 64, 12, 3))),
    *((n, c, (s, s, s), k, (w, w, w), 1, 1, 1) for n, c, s, k, w in (
        (1, 16, 24, 16, 3), (1, 8, 16, 8, 7), (1, 8, 8, 16, 3), (1, 32, 16, 32, 3),
    )),
    *((n, c, (s, s, s), k, (w, w, w), 1, 1, 1) for n, c, s, k, w in ((1, 1, 32, 16, 5), (1, 1, 32, 1, 9), (1, 2, 24, 8, 3))),
    *((1, c, (s, s, s), k, (1, 1, 1), 1, 1, 1) for c, s, k in ((32, 16, 32), (16, 32, 8), (64, 8, 64))),
)  # fmt: skip


def problems() -> Iterator[Problem]:
    """The problems to be timed."""
    for items, channels, space, fields, window, stride, dilation, groups in SHAPES:
        rank = len(space)
        ends = tuple((dilation * (k - 1) // 2,) * 2 for k in window)
        setting = Setting((stride,) * rank, ends, (dilation,) * rank, groups)
        yield Problem(items, space, fields, channels // groups, window, setting)


def measure(device: str = "cpu") -> cost.Coefficients:
    """Coefficients fitted to the times of all problems, passes and algorithms."""
    rows: dict[str, list[tuple[tuple[float, ...], float]]] = {}
    with torch.no_grad():
        for problem in problems():
            x = torch.randn(problem.items, problem.channels, *problem.space, device=device)
            kernel = torch.randn(problem.fields, problem.depth, *problem.window, device=device)
            y = torch.randn(problem.items, problem.fields, *problem.output, device=device)
            for name, passage, run in runs(x, kernel, y, problem):
                family, features = cost.describe(name, passage, problem)
                rows.setdefault(family, []).append((features, seconds(run, device)))
    return {
        family: cost.fit(*(torch.tensor(column, dtype=torch.float64) for column in zip(*points, strict=True)))
        for family, points in rows.items()
    }


def runs(
    x: Tensor, kernel: Tensor, y: Tensor, problem: Problem
) -> Iterator[tuple[str, str, Callable[[], Tensor]]]:
    """Name, pass and call of whatever is timed on one problem."""
    setting = problem.setting
    for name in cost.CANDIDATES:
        if not forms.undefined(name, "forward", problem, x.dtype):
            yield name, "forward", lambda name=name: forms.forward(name, x, kernel, setting)  # type: ignore[misc]
        if name in forms.KERNEL_GRADIENT:
            yield (
                name,
                "kernel_gradient",
                lambda name=name: forms.kernel_gradient(name, x, y, problem.window, setting),  # type: ignore[misc]
            )
    yield "direct", "input_gradient", lambda: forms.input_gradient("direct", y, kernel, problem.space, setting)


def seconds(run: Callable[[], Tensor], device: str) -> float:
    """Median seconds of a few runs after one to warm up; a slow one counts as it came."""
    times = []
    for _ in range(30):
        began = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        if len(times) >= 4 and sum(times[1:]) > SECONDS:
            break
        if times[0] > SKIP:
            break
    return statistics.median(times[1:] or times)
