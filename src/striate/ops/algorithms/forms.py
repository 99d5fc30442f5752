"""All algorithms by name: what computes the correlation and its two gradients, and where each is defined."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from striate.errors import InputError, did_you_mean
from striate.ops.algorithms.direct import (
    channels_last,
    channels_last_kernel_gradient,
    direct,
    direct_adjoint,
    direct_kernel_gradient,
)
from striate.ops.algorithms.fft import fft, fft_kernel_gradient
from striate.ops.algorithms.im2col import banded, im2col
from striate.ops.algorithms.matrix import entries, matrix
from striate.ops.algorithms.setting import (
    Problem,
    Setting,
    adjoint_problem,
    adjoint_setting,
    flipped,
    problem_of,
    spread,
)
from striate.ops.algorithms.winograd import winograd
from striate.shapes import Float, Tensor

FORWARD: dict[str, Callable[[Tensor, Tensor, Setting], Tensor]] = {
    "direct": direct,
    "channels_last": channels_last,
    "im2col": im2col,
    "banded": banded,
    "fft": fft,
    "winograd": winograd,
    "matrix": matrix,
}
KERNEL_GRADIENT: dict[str, Callable[[Tensor, Tensor, Sequence[int], Setting], Tensor]] = {
    "direct": direct_kernel_gradient,
    "channels_last": channels_last_kernel_gradient,
    "fft": fft_kernel_gradient,
}
PASSES = ("forward", "input_gradient", "kernel_gradient")
MATRIX_ENTRIES = 1 << 26


def known(algorithm: str) -> None:
    """InputError unless there is an algorithm of this name."""
    if algorithm != "auto" and algorithm not in FORWARD:
        raise InputError("unknown algorithm", got=repr(algorithm), fix=did_you_mean(algorithm, ["auto", *FORWARD]))


def undefined(name: str, passage: str, problem: Problem, dtype: torch.dtype) -> str:
    """Why an algorithm does not serve one pass of a problem; empty where it does."""
    if name == "direct":
        return ""
    if passage == "kernel_gradient" and name not in KERNEL_GRADIENT:
        return "has no form of its own for the kernel's gradient"
    if passage == "input_gradient":
        problem = adjoint_problem(problem)
    plain, window = problem.setting.plain, problem.window
    if name == "fft" and dtype not in (torch.float32, torch.float64):
        return f"needs float32 or float64, not {dtype}".replace("torch.", "")
    if name == "winograd" and not (plain and set(window) == {3}):
        return "needs a window of 3 on every axis, stride 1 and dilation 1"
    if name == "banded" and not (
        plain and len(window) == 1 and problem.depth == 1 == problem.fields // problem.channels
    ):
        return "needs 1-D, one kernel to each channel (depthwise), stride 1 and dilation 1"
    if name == "matrix" and (count := entries(problem)) > MATRIX_ENTRIES:
        return f"its matrix would have {count:,} entries, more than {MATRIX_ENTRIES:,}"
    return ""


def forward(name: str, x: Tensor, kernel: Tensor, setting: Setting) -> Float[Tensor, "n k *output"]:
    """The correlation by one algorithm."""
    return FORWARD[name](x, kernel, setting)


def input_gradient(
    name: str, y: Tensor, kernel: Tensor, space: Sequence[int], setting: Setting
) -> Float[Tensor, "n c *space"]:
    """The adjoint by one algorithm: torch's own for "direct", else the correlation of y with the flipped kernel."""
    if name == "direct":
        return direct_adjoint(y, kernel, space, setting)
    turned = adjoint_setting(space, kernel.shape[2:], setting)
    return FORWARD[name](spread(y, setting.stride), flipped(kernel, setting.groups), turned)


def kernel_gradient(
    name: str, x: Tensor, y: Tensor, window: Sequence[int], setting: Setting
) -> Float[Tensor, "k d *window"]:
    """The gradient with respect to the kernel by one algorithm."""
    return KERNEL_GRADIENT[name](x, y, window, setting)


def demand(name: str, x: Tensor, kernel: Tensor, setting: Setting) -> None:
    """InputError unless the algorithm is defined for this call."""
    problem = problem_of(x, kernel, setting)
    reason = undefined(name, "forward", problem, x.dtype)
    if reason:
        others = [other for other in FORWARD if not undefined(other, "forward", problem, x.dtype)]
        raise InputError(
            f"algorithm {name!r} {reason}",
            where=f"x {tuple(x.shape)}, kernel {tuple(kernel.shape)}",
            fix=f"Use 'auto', which finds the fastest that is defined, or one of: {', '.join(others)}.",
        )
