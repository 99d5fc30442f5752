"""The problems that are timed to calibrate the choice: a few of each family, from small to large."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from striate.ops.algorithms import cost, forms
from striate.ops.algorithms.setting import Problem, Setting
from striate.shapes import Tensor

SECONDS = 0.006  # of repeated runs of one algorithm on one problem, at least
SKIP = 0.1  # what takes longer is timed once

# (items, channels, size of each axis, fields, window along each axis, stride, dilation, groups); padding is half
# the window
Shape = tuple[int, int, int, int, int, int, int, int]
SHAPES: dict[int, tuple[Shape, ...]] = {
    1: (
        *((n, c, t, c, k, 1, 1, c) for n, c, t, k in (
            (1, 1024, 256, 4), (8, 256, 512, 7), (4, 128, 1024, 3), (2, 128, 1024, 11),
            (4, 128, 2048, 31), (2, 64, 4096, 128), (1, 32, 8192, 512), (1, 64, 512, 16),
        )),
        *((n, c, t, k, w, s, d, 1) for n, c, t, k, w, s, d in (
            (1, 16, 64, 16, 3, 1, 1), (8, 128, 50, 128, 3, 1, 1), (4, 64, 1000, 64, 3, 1, 16),
            (4, 64, 1024, 64, 9, 2, 1),
            (1, 64, 4096, 128, 2, 1, 64), (2, 64, 1024, 64, 15, 1, 1), (4, 128, 256, 128, 11, 1, 1),
            (4, 32, 1024, 32, 31, 1, 1), (1, 64, 2048, 64, 128, 1, 1), (1, 32, 4096, 32, 512, 1, 1),
            (1, 16, 512, 16, 20, 1, 1),
        )),
        *((n, c, t, k, w, 1, 1, 1) for n, c, t, k, w in (
            (8, 4, 600, 64, 15), (4, 1, 4096, 32, 11), (4, 2, 512, 16, 3), (8, 4, 600, 256, 13),
            (8, 4, 600, 64, 19), (8, 4, 600, 256, 23), (4, 1, 4096, 32, 64), (1, 2, 4096, 16, 256),
            (4, 1, 4096, 1, 5), (1, 1, 16384, 1, 9), (2, 3, 1024, 3, 11), (2, 8, 1024, 2, 11), (4, 64, 512, 1, 7),
            (1, 32, 4096, 3, 3), (2, 32, 2048, 2, 64), (1, 16, 4096, 1, 21),
            (1, 1, 16384, 1, 16), (1, 1, 32768, 1, 256), (2, 2, 4096, 2, 512),
        )),
        *((n, c, t, k, 1, 1, 1, 1) for n, c, t, k in ((1, 64, 256, 64), (4, 128, 1024, 128), (4, 32, 4096, 64))),
        *((n, c, t, c, w, 1, 1, g) for n, c, t, w, g in (
            (1, 32, 256, 3, 8), (4, 64, 1024, 9, 8), (2, 64, 1024, 3, 4),
            (2, 64, 1024, 64, 4), (4, 64, 512, 21, 8), (1, 128, 1024, 128, 16),
        )),
    ),
    2: (
        *((n, c, h, c, k, s, 1, c) for n, c, h, k, s in (
            (1, 960, 7, 3, 1), (4, 96, 56, 3, 2), (8, 144, 28, 3, 1), (2, 96, 56, 7, 1), (1, 120, 28, 5, 1),
            (1, 32, 112, 3, 1),
            (1, 64, 28, 31, 1), (1, 32, 56, 21, 1), (2, 64, 14, 15, 1), (1, 64, 56, 15, 1),
        )),
        *((n, c, h, k, w, s, d, 1) for n, c, h, k, w, s, d in (
            (1, 8, 8, 8, 3, 1, 1), (1, 512, 4, 512, 3, 1, 1), (2, 64, 56, 64, 3, 1, 1), (1, 128, 28, 128, 3, 2, 1),
            (1, 64, 32, 64, 3, 1, 6), (2, 32, 32, 32, 7, 1, 1), (1, 6, 14, 16, 5, 1, 1), (1, 256, 14, 256, 3, 1, 1),
            (1, 16, 64, 16, 21, 1, 1), (1, 8, 64, 8, 31, 1, 1), (1, 32, 32, 32, 19, 1, 1), (1, 16, 96, 16, 31, 1, 1),
        )),
        *((n, c, h, k, w, s, 1, 1) for n, c, h, k, w, s in (
            (16, 1, 28, 32, 5, 1), (2, 3, 224, 64, 7, 2), (2, 3, 112, 64, 3, 1), (1, 1, 64, 8, 7, 1),
            (1, 3, 64, 16, 21, 1), (1, 1, 128, 8, 15, 1), (1, 2, 128, 8, 31, 1),
            (1, 1, 256, 2, 3, 1), (2, 1, 256, 1, 9, 1), (1, 1, 512, 1, 3, 1), (1, 16, 64, 3, 5, 1),
            (1, 64, 56, 3, 3, 1), (2, 32, 32, 2, 7, 1), (1, 16, 64, 3, 21, 1), (1, 32, 32, 1, 31, 1),
            (1, 1, 256, 1, 31, 1), (1, 3, 128, 3, 15, 1), (1, 1, 256, 1, 21, 1),
        )),
        *((n, c, h, k, 1, 1, 1, 1) for n, c, h, k in (
            (1, 96, 28, 24), (1, 512, 7, 2048), (4, 256, 28, 64), (1, 64, 56, 256), (1, 32, 14, 32),
        )),
        *((n, c, h, c, w, 1, 1, g) for n, c, h, w, g in (
            (2, 128, 56, 3, 32), (2, 96, 27, 5, 2), (1, 256, 14, 3, 32), (1, 32, 32, 21, 4), (1, 32, 48, 31, 8),
            (2, 64, 28, 19, 2),
        )),
    ),
    3: (
        *((n, c, s, c, k, 1, 1, g) for n, c, s, k, g in ((1, 32, 12, 3, 4), (1, 16, 16, 5, 2), (2, 32, 8, 3, 8))),
        *((n, c, s, c, k, 1, 1, c) for n, c, s, k in ((2, 64, 16, 3), (1, 16, 16, 7), (1, 32, 8, 5), (1, 64, 12, 3))),
        *((n, c, s, k, w, 1, 1, 1) for n, c, s, k, w in (
            (1, 16, 24, 16, 3), (1, 8, 16, 8, 7), (1, 8, 8, 16, 3), (1, 32, 16, 32, 3),
            (1, 1, 32, 16, 5), (1, 2, 24, 8, 3), (1, 4, 16, 32, 3),
            (1, 1, 32, 1, 9), (1, 1, 32, 1, 3), (1, 2, 24, 2, 5), (1, 8, 16, 2, 3), (1, 16, 24, 3, 3),
            (1, 16, 16, 2, 5), (1, 32, 16, 32, 1), (1, 16, 24, 8, 1), (1, 64, 8, 64, 1),
        )),
    ),
}  # fmt: skip


def problems() -> Iterator[Problem]:
    """The problems to be timed."""
    for rank, shapes in SHAPES.items():
        for items, channels, size, fields, window, stride, dilation, groups in shapes:
            ends = ((dilation * (window - 1) // 2,) * 2,) * rank
            setting = Setting((stride,) * rank, ends, (dilation,) * rank, groups)
            yield Problem(items, (size,) * rank, fields, channels // groups, (window,) * rank, setting)


def measure(device: str = "cpu") -> cost.Coefficients:
    """Coefficients fitted to the times of all problems, passes and algorithms."""
    rows: dict[str, list[tuple[tuple[float, ...], float]]] = {}
    seconds(lambda: torch.randn(512, 512, device=device) @ torch.randn(512, 512, device=device), device)
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


def runs(x: Tensor, kernel: Tensor, y: Tensor, problem: Problem) -> Iterator[tuple[str, str, Callable[[], Tensor]]]:
    """Name, pass and call of whatever is timed on one problem."""
    setting = problem.setting
    for name in cost.CANDIDATES:
        if not forms.undefined(name, "forward", problem, x.dtype) and not cost.unpromising(name, "forward", problem):
            yield name, "forward", partial(forms.forward, name, x, kernel, setting)
        if name in forms.KERNEL_GRADIENT and not cost.unpromising(name, "kernel_gradient", problem):
            yield name, "kernel_gradient", partial(forms.kernel_gradient, name, x, y, problem.window, setting)
    yield "direct", "input_gradient", partial(forms.input_gradient, "direct", y, kernel, problem.space, setting)


def seconds(run: Callable[[], Tensor], device: str) -> float:
    """Least seconds of a few runs after one to warm up, as what disturbs only adds; a slow one counts as it came."""
    times = []
    for _ in range(30):
        began = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
        if len(times) >= 3 and sum(times[1:]) > SECONDS:
            break
        if times[0] > SKIP:
            break
    return min(times[1:] or times)
