"""The one call, and the three operators beneath it that torch knows: the correlation and its two gradients.

With <a, b> the sum of products, the trilinear form T(x, w, y) = <y, correlation(x, w)> has three derivatives: the
correlation, its adjoint (the gradient with respect to x) and the gradient with respect to w. The derivatives of each
are the other two, so gradients of every order come out of these three, each with its own choice of algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.library import custom_op
from torch.nn import Parameter

from striate.errors import InputError
from striate.ops.algorithms import cost, forms
from striate.ops.algorithms.direct import CONVOLUTIONS, direct
from striate.ops.algorithms.setting import Problem, Setting, output_space, problem_of
from striate.shapes import Float, Tensor

SMEARING = ("banded", "fft", "winograd")  # whose outputs read more than their window, though times 0 or canceling

_plans: dict[Any, str] = {}


def correlation(
    x: Float[Tensor, "n c *space"],
    kernel: Float[Tensor, "k d *window"],
    bias: Float[Tensor, "k"] | None = None,
    *,
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int = 1,
    algorithm: str = "auto",
) -> Float[Tensor, "n k *output"]:
    """Cross-correlation of x with kernel (k, c / groups, *window), zeros before and after each axis, by one algorithm:

    - "direct": torch's own, `torch.nn.functional.conv1d` to `conv3d`
    - "channels_last": the same with channels innermost in memory, 1-D as pictures of one row
    - "im2col": windows as columns and one matrix product; a window of one place needs no columns
    - "banded": depthwise 1-D as products with a band of its Toeplitz matrix
    - "fft": products of spectra, tile by tile (overlap-save); float32 and float64
    - "winograd": F(4, 3) or F(2, 3) along every axis; windows of 3, stride 1
    - "matrix": the sparse Toeplitz matrix
    - "auto": the one that the cost model of this machine predicts to be fastest, "direct" unless another wins by a
      margin; `explain_choice` tells. Forward pass and the two gradients choose each for itself. The choice depends on
      shapes, type and the calibration only, never on the clock or the values, so equal calls give equal results.

    Differentiable any number of times. On other devices than those calibrated, in half precision, in channels_last,
    under transforms of torch.func and under dispatch modes (which count or trace), "auto" is "direct".
    Values that are not finite raise InputError for "fft", which would smear them; "auto", "banded" and "winograd" then
    compute directly. Under torch.autocast every algorithm takes and gives the types that torch's own convolution does
    there (float64 stays); "fft" and "winograd", whose transforms magnify rounding, compute in float32 before.
    """
    if algorithm not in ("auto", "direct") and _autocast(x):
        return _lowered(x, kernel, bias, Setting(stride, padding, dilation, groups), algorithm)
    if torch.compiler.is_compiling():
        return _compiled(x, kernel, bias, Setting(stride, padding, dilation, groups), algorithm)
    learning = torch.is_grad_enabled() and (x.requires_grad or kernel.requires_grad)
    key = (x.shape, kernel.shape, stride, padding, dilation, groups, algorithm, learning, x.dtype, x.device)
    try:
        plan = _plans.get(key)
    except TypeError:  # sizes are symbols: someone traces
        return _compiled(x, kernel, bias, Setting(stride, padding, dilation, groups), algorithm)
    if plan is None:
        plan = _plans[key] = _plan(x, kernel, Setting(stride, padding, dilation, groups), algorithm, learning)
    if plan == "torch":
        return CONVOLUTIONS[len(stride)](x, kernel, bias, stride, [pair[0] for pair in padding], dilation, groups)
    setting = Setting(stride, padding, dilation, groups)
    ordinary = _ordinary(x)
    if plan == "direct" or (algorithm == "auto" and not ordinary):
        return direct(x, kernel, setting, bias)
    if plan == "learning" or not ordinary:
        y: Tensor = correlation_operator(x, kernel, stride, _flat(padding), dilation, groups, algorithm)
        return y if bias is None else y + bias.view(-1, *[1] * len(stride))
    y = _forward(plan, x, kernel, setting, strict=algorithm == "fft")
    return y if bias is None else y.add_(bias.view(-1, *[1] * len(stride)))


def _plan(x: Tensor, kernel: Tensor, setting: Setting, algorithm: str, learning: bool) -> str:
    """What to do with calls of these shapes: "torch" and "direct" are torch's own, without and with padding put on
    beforehand; "learning" is our operators; else the name of an algorithm."""
    forms.known(algorithm)
    if len(_plans) >= 4096:
        _plans.clear()
    problem = problem_of(x, kernel, setting)
    own = "torch" if all(before == after for before, after in setting.padding) else "direct"
    if algorithm == "direct" or min(problem.output) < 1:
        return own
    if algorithm == "auto":
        passes = forms.PASSES if learning else forms.PASSES[:1]
        chosen = {passage: cost.fastest(passage, problem, x.dtype, x.device.type) for passage in passes}
        if set(chosen.values()) == {"direct"} or (learning and not cost.pays(chosen, problem, x.dtype, x.device.type)):
            return own
        return "learning" if learning else chosen["forward"]
    forms.demand(algorithm, x, kernel, setting)
    return "learning" if learning else algorithm


def _ordinary(x: Tensor) -> bool:
    """Whether torch would just compute: no subclass, transform, mode, autocast or layout of the user's choosing."""
    return (
        type(x) in (Tensor, Parameter)
        and not x.is_meta
        and (x.ndim == 3 or x.is_contiguous() or not _channels_last(x))
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and not _autocast(x)
    )


def _autocast(x: Tensor) -> bool:
    return torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)


def _lowered(x: Tensor, kernel: Tensor, bias: Tensor | None, setting: Setting, algorithm: str) -> Tensor:
    """A named algorithm in the type of torch.autocast, as torch lowers the convolutions that it knows."""
    device = x.device.type
    result = x.dtype if x.dtype == torch.float64 else torch.get_autocast_dtype(device)
    inner = torch.float32 if algorithm in ("fft", "winograd") and x.dtype != torch.float64 else result
    given = None if bias is None else bias.to(inner)
    with torch.autocast(device, enabled=False):
        y = correlation(x.to(inner), kernel.to(inner), given, **setting._asdict(), algorithm=algorithm)
    return y.to(result)


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)


def _compiled(x: Tensor, kernel: Tensor, bias: Tensor | None, setting: Setting, algorithm: str) -> Tensor:
    """What the compiler shall see: torch's convolution where nothing else is likely to win, else our operator.

    Exported programs get torch's, which every other runtime knows.
    """
    forms.known(algorithm)
    window = kernel.shape[2:]
    long = max(window) >= 16 or (len(window) == 1 and kernel.shape[1] == 1 and window[0] >= 8)
    if algorithm == "direct" or (algorithm == "auto" and (not long or torch.compiler.is_exporting())):
        return direct(x, kernel, setting, bias)
    flat = _flat(setting.padding)
    y: Tensor = correlation_operator(x, kernel, setting.stride, flat, setting.dilation, setting.groups, algorithm)
    return y if bias is None else y + bias.view(-1, *[1] * len(window))


def _flat(padding: tuple[tuple[int, int], ...]) -> list[int]:
    return [amount for pair in padding for amount in pair]


def _setting(stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> Setting:
    pairs = tuple(pair for i, pair in enumerate(pairwise(padding)) if i % 2 == 0)
    return Setting(tuple(stride), pairs, tuple(dilation), groups)


def _forward(name: str, x: Tensor, kernel: Tensor, setting: Setting, strict: bool = False) -> Tensor:
    return _finite(name, lambda name: forms.forward(name, x, kernel, setting), (x, kernel), strict=strict)


def _finite(name: str, compute: Callable[[str], Tensor], inputs: tuple[Tensor, Tensor], strict: bool) -> Tensor:
    """`compute(name)`; where that has smeared what is not finite, an error (strict) or `compute("direct")`."""
    if name not in SMEARING or any(tensor.numel() == 0 for tensor in inputs):
        return compute("direct" if name in SMEARING else name)
    y = compute(name)
    if bool(y.sum().isfinite()) or all(bool(tensor.isfinite().all()) for tensor in inputs):
        return y
    if strict:
        raise InputError(
            "a Fourier transform smears a value that is not finite over its whole tile",
            where="algorithm 'fft'",
            expected="finite x and kernel",
            got="nan or inf",
            fix="Use 'auto' or 'direct', which keep it where it is.",
        )
    return compute("direct")


def _pick(algorithm: str, passage: str, problem: Problem, x: Tensor) -> str:
    """The named algorithm where it serves this pass, else the fastest."""
    if algorithm != "auto" and not forms.undefined(algorithm, passage, problem, x.dtype):
        return algorithm
    return cost.fastest(passage, problem, x.dtype, x.device.type)


REST = "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups, str algorithm) -> Tensor"


@custom_op("striate::correlation", mutates_args=(), schema=f"(Tensor x, Tensor kernel, {REST}")
def correlation_operator(
    x: Tensor,
    kernel: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    algorithm: str,
) -> Tensor:
    setting = _setting(stride, padding, dilation, groups)
    name = _pick(algorithm, "forward", problem_of(x, kernel, setting), x)
    return _forward(name, x, kernel, setting, strict=algorithm == "fft").contiguous()


@custom_op(
    "striate::correlation_input_gradient", mutates_args=(), schema=f"(Tensor y, Tensor kernel, SymInt[] space, {REST}"
)
def input_gradient_operator(
    y: Tensor,
    kernel: Tensor,
    space: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    algorithm: str,
) -> Tensor:
    setting = _setting(stride, padding, dilation, groups)
    problem = Problem(len(y), tuple(space), kernel.shape[0], kernel.shape[1], tuple(kernel.shape[2:]), setting)

    def compute(name: str) -> Tensor:
        return forms.input_gradient(name, y, kernel, space, setting)

    return _finite(_pick(algorithm, "input_gradient", problem, y), compute, (y, kernel), strict=False).contiguous()


@custom_op(
    "striate::correlation_kernel_gradient", mutates_args=(), schema=f"(Tensor x, Tensor y, SymInt[] window, {REST}"
)
def kernel_gradient_operator(
    x: Tensor,
    y: Tensor,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    algorithm: str,
) -> Tensor:
    setting = _setting(stride, padding, dilation, groups)
    problem = Problem(len(x), tuple(x.shape[2:]), y.shape[1], x.shape[1] // groups, tuple(window), setting)

    def compute(name: str) -> Tensor:
        return forms.kernel_gradient(name, x, y, window, setting)

    return _finite(_pick(algorithm, "kernel_gradient", problem, x), compute, (x, y), strict=False).contiguous()


@correlation_operator.register_fake
def _(x, kernel, stride, padding, dilation, groups, algorithm):  # type: ignore[no-untyped-def]  # noqa: ARG001
    setting = _setting(stride, padding, dilation, groups)
    return x.new_empty([x.shape[0], kernel.shape[0], *output_space(x.shape[2:], kernel.shape[2:], setting)])


@input_gradient_operator.register_fake
def _(y, kernel, space, stride, padding, dilation, groups, algorithm):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return y.new_empty([y.shape[0], kernel.shape[1] * groups, *space])


@kernel_gradient_operator.register_fake
def _(x, y, window, stride, padding, dilation, groups, algorithm):  # type: ignore[no-untyped-def]  # noqa: ARG001
    return x.new_empty([y.shape[1], x.shape[1] // groups, *window])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:2])
    ctx.rest = inputs[-5:]


def _correlation_backward(ctx: Any, change: Tensor) -> tuple[Any, ...]:
    x, kernel = ctx.saved_tensors
    along_x = input_gradient_operator(change, kernel, x.shape[2:], *ctx.rest) if ctx.needs_input_grad[0] else None
    along_kernel = kernel_gradient_operator(x, change, kernel.shape[2:], *ctx.rest) if ctx.needs_input_grad[1] else None
    return (along_x, along_kernel, *[None] * 5)


def _input_gradient_backward(ctx: Any, change: Tensor) -> tuple[Any, ...]:
    y, kernel = ctx.saved_tensors
    along_y = correlation_operator(change, kernel, *ctx.rest) if ctx.needs_input_grad[0] else None
    along_kernel = kernel_gradient_operator(change, y, kernel.shape[2:], *ctx.rest) if ctx.needs_input_grad[1] else None
    return (along_y, along_kernel, *[None] * 6)


def _kernel_gradient_backward(ctx: Any, change: Tensor) -> tuple[Any, ...]:
    x, y = ctx.saved_tensors
    along_x = input_gradient_operator(y, change, x.shape[2:], *ctx.rest) if ctx.needs_input_grad[0] else None
    along_y = correlation_operator(x, change, *ctx.rest) if ctx.needs_input_grad[1] else None
    return (along_x, along_y, *[None] * 6)


correlation_operator.register_autograd(_correlation_backward, setup_context=_remember)
input_gradient_operator.register_autograd(_input_gradient_backward, setup_context=_remember)
kernel_gradient_operator.register_autograd(_kernel_gradient_backward, setup_context=_remember)
