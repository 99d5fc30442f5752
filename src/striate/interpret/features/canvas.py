"""What an optimized input is made of: its values, frequencies or letters, within the range that inputs have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.interpret.scoring import checked
from striate.interpret.sweep import Report
from striate.ops.kernels import binomial
from striate.ops.pool import weighted_pool
from striate.shapes import Float, Tensor

# None: any number. (low, high): each a number, or one for each channel. Or a card's `preprocess`: 0 to 1 in its units.
Limits = Any
Range = tuple[Tensor, Tensor]
PAINTS = ("fourier", "pixels", "letters")


@dataclass(frozen=True, eq=False)
class Canvas:
    """`values` are what is optimized; `paint` makes the inputs (n, c, *space) of them; `clip` keeps them in range."""

    values: Tensor
    paint: Callable[[], Tensor]
    clip: Callable[[], None] = lambda: None


def canvas(
    kind: str,
    start: Float[Tensor, "n c *space"],
    *,
    limits: Range | None = None,
    norm: float | None = None,
    color: Tensor | None = None,
) -> Canvas:
    """The canvas of this kind that shows `start` (as nearly as the kind can).

    pixels: x itself, cut to `limits`. fourier: the frequencies of x, each weighted by its wavelength, so that steps of
    one size give natural images (Olah et al. 2017); `color` (c, c) mixes independent colors into channels; a sigmoid
    keeps `limits`. letters: x = softmax(z) over channels, a probability of each letter at each position.
    `norm`: x is scaled to this L2 norm.
    Raises InputError for an unknown kind, and for limits and a norm at once.
    """
    if kind not in PAINTS:
        raise InputError("unknown canvas", expected=" or ".join(PAINTS), got=repr(kind))
    if norm is not None and (limits is not None or kind == "letters" or not norm > 0):
        expected = "a positive norm, or limits, of pixels or frequencies"
        raise InputError("a norm does not go with this", expected=expected, got=f"norm={norm}, canvas={kind}")
    if kind == "letters":
        values = start.clamp_min(1e-6).log()
        return _leaf(values, lambda z: z.softmax(1))
    if kind == "fourier":
        return _fourier(start, limits, norm, color)
    if norm is not None:
        return _leaf(start.clone(), lambda z: _scaled(z, norm))
    made = _leaf(start.clone(), lambda z: z)
    if limits is None:
        return made

    def clip() -> None:
        with torch.no_grad():
            made.values.copy_(made.values.clamp(*limits))

    clip()
    return Canvas(made.values, made.paint, clip)


def _leaf(values: Tensor, paint: Callable[[Tensor], Tensor]) -> Canvas:
    leaf = values.detach().requires_grad_()
    return Canvas(leaf, lambda: paint(leaf))


def _fourier(start: Tensor, limits: Range | None, norm: float | None, color: Tensor | None) -> Canvas:
    sides = tuple(start.shape[2:])
    axes = tuple(range(2, start.dim()))
    weights = _wavelengths(sides).to(start)
    mix = torch.eye(start.shape[1]).to(start) if color is None else color.to(start)
    x = start
    if limits is not None:  # what the sigmoid makes of it again
        low, high = limits
        x = ((start - low) / (high - low)).clamp(0.02, 0.98).logit()
    x = torch.einsum("dc,nc...->nd...", torch.linalg.inv(mix), x)
    spectrum = torch.view_as_real(torch.fft.rfftn(x, dim=axes, norm="ortho")) / weights[..., None]

    def paint(z: Tensor) -> Tensor:
        values = torch.fft.irfftn(torch.view_as_complex(z * weights[..., None]), s=sides, dim=axes, norm="ortho")
        values = torch.einsum("dc,nc...->nd...", mix, values)
        if limits is not None:
            return limits[0] + (limits[1] - limits[0]) * values.sigmoid()
        return values if norm is None else _scaled(values, norm)

    return _leaf(spectrum.contiguous(), paint)


def _wavelengths(sides: Sequence[int]) -> Tensor:
    """One over each frequency of `rfftn`, at most the longest side; scaled to a mean square of 1."""
    parts = [torch.fft.fftfreq(side) for side in sides[:-1]] + [torch.fft.rfftfreq(sides[-1])]
    squares = torch.zeros(1, dtype=torch.float64)
    for part in parts:
        squares = squares[..., None] + part.double().square()
    frequency = squares[0].sqrt()
    weights = 1 / frequency.clamp_min(1 / max(sides))
    scaled: Tensor = weights / weights.square().mean().sqrt()
    return scaled


def _scaled(x: Tensor, norm: float) -> Tensor:
    length = x.flatten(1).norm(dim=1).clamp_min(1e-30)
    scaled: Tensor = norm * x / length.reshape(-1, *[1] * (x.dim() - 1))
    return scaled


def limits_of(limits: Limits, x: Float[Tensor, "n c *space"]) -> Range | None:
    """The least and greatest value of each channel as tensors that broadcast with x; None for none.

    A card's preprocess has those of its `extremes`; none where these are None, as for spectrograms.

    Raises InputError for what is no range.

    >>> low, high = limits_of((0, [1.0, 2.0]), torch.zeros(1, 2, 3))
    >>> low.flatten().tolist(), high.flatten().tolist()
    ([0.0, 0.0], [1.0, 2.0])
    """
    if limits is None:
        return None
    shape, channels = (1, -1, *[1] * (x.dim() - 2)), x.shape[1]
    if hasattr(limits, "standardize") and hasattr(limits, "shape"):
        extremes = getattr(limits, "extremes", (0.0, 1.0))
        if extremes is None:
            return None
        ends = [limits.standardize(torch.full((1, *limits.shape), end)) for end in extremes]
        limits = [end.transpose(0, 1).flatten(1)[:, 0] for end in ends]
    expected = f"(low, high), each a number or {channels} of them, low below high, or a card's preprocess"
    try:
        low, high = (torch.as_tensor(end).to(x).expand(channels).reshape(shape) for end in limits)
    except (TypeError, ValueError, RuntimeError):
        raise InputError("no range of values", expected=expected, got=repr(limits)) from None
    if not bool((low < high).all()):
        raise InputError("no range of values", expected=expected, got=(low.flatten().tolist(), high.flatten().tolist()))
    return low, high


def continuous(model: nn.Module, x: Tensor) -> Float[Tensor, "n c *space"]:
    """`scoring.checked`, of inputs that can be changed by small steps; InputError for tokens."""
    found = checked(model, x)
    if not found.is_floating_point():
        fix = "Explain the network behind its embedding, with the vectors of words as channels."
        raise InputError("tokens have no values between them", expected="floats", got=found.dtype, fix=fix)
    return found


def descend(
    board: Canvas,
    loss: Callable[[Tensor], tuple[Tensor, Tensor]],
    steps: int,
    rate: float,
    report: Report,
    blur: int = 0,
) -> list[Float[Tensor, " n"]]:
    """Adam on the canvas, its rate falling to 0 along half a cosine; what `loss` tells of the inputs before each step.

    `loss`: inputs (n, c, *space) to the number that becomes small, and what is told of each input. `blur`: pixels are
    blurred every so many steps.
    """
    optimizer = torch.optim.Adam([board.values], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    curve = []
    for step in range(steps):
        with torch.enable_grad():
            total, told = loss(board.paint())
        # Gradients of the canvas alone: the network's own are left as they are.
        (board.values.grad,) = torch.autograd.grad(total, board.values)
        optimizer.step()
        schedule.step()
        if blur and step % blur == blur - 1:
            board.values.data.copy_(blurred(board.values.data))
        board.clip()
        curve.append(told.detach().cpu())
        report(1)
    return curve


def plain(bounds: Range | None) -> list[list[float]] | None:
    """Limits for a record of them."""
    return None if bounds is None else [end.flatten().tolist() for end in bounds]


def total_variation(x: Float[Tensor, "n c *space"], beta: float = 2.0) -> Float[Tensor, " n"]:
    """The mean over positions of (sum over axes of the squared difference to the next one) ** (beta / 2).

    Source: Mahendran & Vedaldi 2015, "Understanding deep image representations by inverting them", section 3.1.

    >>> total_variation(torch.tensor([[[0.0, 1.0, 1.0, 3.0]]])).tolist()
    [1.25]
    """
    squares = torch.zeros_like(x)
    for axis in range(2, x.dim()):
        step = x.diff(dim=axis).square()
        squares = squares + torch.cat([step, torch.zeros_like(x.narrow(axis, 0, 1))], axis)
    # The root has no finite slope at 0.
    return (squares if beta == 2 else (squares + 1e-12) ** (beta / 2)).flatten(1).mean(1)


def alpha_norm(x: Float[Tensor, "n c *space"], alpha: float = 6.0) -> Float[Tensor, " n"]:
    """The mean of |x| ** alpha: a soft bound on values, the squared L2 norm (per value) with alpha 2.

    >>> alpha_norm(torch.tensor([[[1.0, -2.0]]]), 2).tolist()
    [2.5]
    """
    return (x.abs() ** alpha).flatten(1).mean(1)


def blurred(x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
    """x under the binomial kernel 1 2 1 along each axis; its border is repeated."""
    rank = x.dim() - 2
    return weighted_pool(x, binomial(3, rank).to(x), 1, padding="same", padding_mode="replicate")


def noise(
    start: Sequence[int] | Tensor, starts: int, like: Tensor, limits: Range | None, seed: int, spread: float
) -> Float[Tensor, "n c *space"]:
    """Where the optimization starts: `start` itself if it is a tensor, else normal noise about the middle of the range.

    Raises InputError for a shape that is none.
    """
    if isinstance(start, Tensor):
        return start.detach().to(like)
    shape = tuple(start)
    if len(shape) < 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise InputError("no shape of an input", expected="(c, *space), or a tensor (n, c, *space)", got=shape)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(starts, *shape, generator=generator).to(like)
    if limits is None:
        return spread * drawn
    low, high = limits_of([end.flatten() for end in limits], drawn) or (drawn, drawn)
    return ((low + high) / 2 + spread * (high - low) / 4 * drawn).clamp(low, high)


def color_of(x: Float[Tensor, "n c *space"]) -> Float[Tensor, "c c"]:
    """The mixing of independent colors into channels: the Cholesky root of the covariance of the items' channels.

    Scaled so that its largest row has length 1. For `maximize(color=color_of(images))`.
    """
    pixels = x.transpose(0, 1).flatten(1).double()
    covariance = pixels.cov().reshape(x.shape[1], x.shape[1])
    root = torch.linalg.cholesky(covariance + 1e-6 * torch.eye(len(covariance)).to(covariance))
    mixing: Tensor = (root / root.norm(dim=1).max()).to(x)
    return mixing
