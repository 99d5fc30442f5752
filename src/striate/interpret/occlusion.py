"""Occlusion: cover a part of the input, see what the output loses, place by place."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from torch import nn

from striate.errors import InputError
from striate.interpret.map import Changes
from striate.interpret.scoring import checked, feeding
from striate.interpret.sweep import BLOCK_BYTES, Change, Progress, Target, described, reporting, sweep
from striate.locality.patch.engine import PatchEngine
from striate.shapes import Bool, Float, Num, Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = {1: ("position",), 2: ("row", "column"), 3: ("plane", "row", "column")}
# A number for all, one for each channel, "mean" (that of each channel of x), or values (c, *space) to show instead.
Fill = int | float | Sequence[float] | str | Tensor | np.ndarray | np.generic
# One for all axes, or one for each.
Sizes = SupportsIndex | Sequence[SupportsIndex]


@dataclass(frozen=True, eq=False, repr=False)
class OcclusionMap(Changes):
    """Scores of `occlusion`. Its axes are the first positions that the patch covers: rows, columns, …."""

    def heatmap(self) -> Float[Tensor, "..."]:
        """How much a position matters, (*outputs, *space): the mean drop, base - score, over the patches that cover it.

        NaN where no patch does, at the far edges when the stride does not divide.
        """
        drop, count = -self.change, torch.ones(self.scores.shape[self.base.dim() :], dtype=self.scores.dtype)
        sides, patch = _sides(self.x), self.parameters["patch"]
        for axis, (starts, side, size) in enumerate(zip(self.axes.values(), sides, patch, strict=True)):
            first = torch.tensor([int(start) for start in starts])[:, None]
            covers = (torch.arange(side) >= first) & (torch.arange(side) < first + size)
            drop, count = (_apply(covers, part, axis - len(sides)) for part in (drop, count))
        return drop / count  # 0 / 0 is NaN

    def plot(self, output: int | Sequence[int] | None = None) -> Figure:
        """The input, and the heat map over it: red where covering lowers the output, blue where it raises it.

        Of a volume, the plane with the greatest value; a signal is drawn as rows of channels.
        """
        from striate.interpret.pictures import draw_occlusion

        return draw_occlusion(self, self.output(output))


def occlusion(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    patch: Sizes | None = None,
    stride: Sizes | None = None,
    target: Target = None,
    fill: Fill = 0.0,
    layer: str = "",
    progress: Progress = False,
) -> OcclusionMap:
    """The output with a patch of `x` (1, c, *space) covered, for each position of the patch; up to three dimensions.

    x may be tokens, too, (1, t): then the patch is covered by the token `fill`, 0 without it.
    `patch`, `stride`: in positions of x, one number or one for each axis; without them an eighth of each side (one
    token), and half of the patch. The patch starts at 0, stride, 2 stride, …
    while it lies within x: floor((size - patch) / stride) + 1 places; what remains at the far edge stays uncovered.
    `fill`: what covers: a number, one for each channel, "mean" (that of each channel of x), or a tensor (c, *space),
    as a blurred x. `target`: index along axis 1 of the output (the class), several, None for all, or a function of
    outputs (p, ...) that gives (p,) or (p, ...). `layer`: path of a module whose output is meant, "" for the network's
    (the first tensor of a tuple). `progress`: True draws a bar; or a function told (done, total, what).

    `scores` are (*outputs, *places): with one index and an image (rows, columns), with several or None the class is
    the first axis. Runs `PatchEngine`: each place recomputes only what it reaches, and equals the full run.

    Raises InputError for a patch larger than x, a stride below 1, and a fill or target that does not fit.
    Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", sec. 4.2.

    >>> bright = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())  # the mean of a 4x4 image
    >>> x = torch.zeros(1, 1, 4, 4)
    >>> x[0, 0, 0, 0] = 16
    >>> found = occlusion(bright, x, patch=2, stride=2, target=0)
    >>> found.base, found.scores
    (tensor(1.), tensor([[0., 1.],
            [1., 1.]]))
    """
    _check_item(x)
    sides = _sides(x)
    whole = [max(1, side // 8) if x.is_floating_point() else 1 for side in sides]
    windows = _per_axis("patch", whole if patch is None else patch, sides)
    strides = _per_axis("stride", [max(1, size // 2) for size in windows] if stride is None else stride, sides)
    for window, side in zip(windows, sides, strict=True):
        if window > side:
            raise InputError("the patch is larger than the input", expected=f"at most {sides}", got=windows)
    x = checked(model, x)
    filler = _filler(fill, x)
    places = [range(0, side - size + 1, step) for side, size, step in zip(sides, windows, strides, strict=True)]
    with feeding(model, x):
        engine = PatchEngine(model, x, layer=layer)
    changes = _changes(filler, places, windows)
    counts = [len(axis) for axis in places]
    with reporting(progress, math.prod(counts), "occlusion") as report:
        base, scores = sweep(engine, changes, counts, target, report)
    parameters: dict[str, Any] = {"patch": windows, "stride": strides, "target": described(target), "layer": layer}
    parameters["fill"] = _written(fill)
    axes = dict(zip(AXES[len(sides)], places, strict=True))
    return OcclusionMap("occlusion", x.cpu(), base, scores, axes, parameters, engine.plan())


def _sides(x: Tensor) -> tuple[int, ...]:
    """Of the positions of an input."""
    return tuple(x.shape[2 if x.is_floating_point() else 1 :])


def _check_item(x: Any) -> None:
    expected = "one item (1, c, *space) of floats, with 1 to 3 spatial axes, or tokens (1, t)"
    if not isinstance(x, torch.Tensor):
        fix = "Make it a tensor: torch.as_tensor(x)."
        raise InputError("cannot occlude this input", expected=expected, got=type(x).__name__, fix=fix)
    tokens = x.dim() == 2 and x.dtype in (torch.int32, torch.int64)
    if len(x) != 1 or not (tokens or (x.dim() - 2 in AXES and x.is_floating_point())):
        raise InputError("cannot occlude this input", expected=expected, got=f"{x.dtype} {tuple(x.shape)}")


def _changes(filler: Tensor, places: Sequence[range], window: tuple[int, ...]) -> Iterator[Change]:
    """All places; the same values at each, or in blocks what the filler has there."""
    starts = torch.stack(torch.meshgrid(*(torch.tensor(axis) for axis in places), indexing="ij"), -1)
    starts = starts.reshape(-1, len(places))
    everything = torch.arange(len(starts))
    if not filler.is_floating_point():
        yield everything, starts, filler.expand(1, *window)
        return
    if all(side == 1 for side in filler.shape[1:]):
        yield everything, starts, filler.expand(-1, *window)[None]
        return
    views = filler
    for axis, size in enumerate(window):
        views = views.unfold(axis + 1, size, 1)
    step = max(1, BLOCK_BYTES // (len(filler) * math.prod(window) * filler.element_size()))
    for first in range(0, len(starts), step):
        index = everything[first : first + step]
        at = starts[index].to(filler.device).unbind(1)
        yield index, starts[index], views.movedim(0, len(places))[at]


def _filler(fill: Fill, x: Tensor) -> Tensor:
    """(c, 1, …) for one value a channel, (c, *space) for one a position; (1,) for a token."""
    if not x.is_floating_point():
        if not isinstance(fill, int | float) or not math.isfinite(fill) or fill != int(fill) or fill < 0:
            raise InputError("the fill does not fit the input", expected="a token, from 0", got=repr(fill))
        return torch.tensor([int(fill)]).to(x)
    c, ones = x.shape[1], [1] * (x.dim() - 2)
    if isinstance(fill, str):
        if fill != "mean":
            raise InputError("unknown fill", expected='a number, one for each channel, a tensor or "mean"', got=fill)
        return x[0].flatten(1).mean(1).reshape(c, *ones)
    expected = f"one number, {c} (one for each channel) or {tuple(x.shape[1:])}"
    try:
        values = torch.as_tensor(fill, dtype=x.dtype, device=x.device).detach()
    except (TypeError, ValueError, RuntimeError):  # None, rows of several lengths
        raise InputError("the fill does not fit the input", expected=expected, got=repr(fill)) from None
    if not bool(values.isfinite().all()):
        got = float(values[~values.isfinite()][0])
        raise InputError("the fill has a value that is no number", expected="finite values", got=got)
    if values.shape == x.shape:
        return values[0]
    if values.shape == x.shape[1:]:
        return values
    if values.shape not in ((), (1,), (c,)):
        raise InputError("the fill does not fit the input", expected=expected, got=tuple(values.shape))
    return values.expand(c).reshape(c, *ones)


def _written(fill: Fill) -> Any:
    """A fill as plain types, for a record of it."""
    if isinstance(fill, str):
        return fill
    values = fill if isinstance(fill, torch.Tensor) else np.asarray(fill)
    return values.tolist() if len(values.shape) < 2 else f"a tensor {tuple(values.shape)}"


def _per_axis(name: str, value: Sizes, sides: tuple[int, ...]) -> tuple[int, ...]:
    several: Any = [value] * len(sides)
    with contextlib.suppress(TypeError):  # one number has no parts
        several = [*value]  # type: ignore[misc]
    values = tuple(_whole(number) for number in several)
    if len(values) != len(sides) or any(number < 1 for number in values):
        expected = f"a whole number from 1, or {len(sides)} of them"
        raise InputError(f"wrong {name}", expected=expected, got=repr(value))
    return values


def _whole(number: Any) -> int:
    """0 for what is no whole number."""
    if isinstance(number, bool) or getattr(number, "dtype", None) == torch.bool:
        return 0
    with contextlib.suppress(TypeError):
        return operator.index(number)
    return 0


def _apply(covers: Bool[Tensor, "p s"], values: Tensor, axis: int) -> Tensor:
    """Sums along an axis: out[…, s, …] = the sum over p of covers[p, s] values[…, p, …]."""
    return (values.movedim(axis, -1) @ covers.to(values)).movedim(-1, axis)
