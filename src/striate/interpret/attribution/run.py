"""Networks run forward and back for attributions: some items at a time, at other values, by a rule."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from striate.errors import InputError
from striate.interpret.attribution.rules import Rectified, Rescaled, Rule
from striate.interpret.lean import laid_out, lean, parts, traced
from striate.interpret.map import Map
from striate.interpret.occlusion import AXES
from striate.interpret.scoring import checked, classes_of, examined, no_number, one_each, output_of, scored
from striate.interpret.sweep import Progress, Report, Target, described, native, reporting
from striate.shapes import Float, Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A number for all, one for each channel, values (c, *space), or several references (r, c, *space).
Baseline = int | float | Sequence[float] | Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Map):
    """What each value of x has to do with the output: `scores` have the axes of x, (channel, *space), or (t,) of
    tokens.

    `summed`: whether the scores of a position's channels add up to something, as shares of the output do; derivatives
    do not.
    """

    summed: bool = True

    def heatmap(self) -> Float[Tensor, "..."]:
        """The sum over the channels, or, of what does not add up, the greatest magnitude: (*outputs, *space)."""
        scores, channel = self.scores, self.base.dim()
        if not self.x.is_floating_point():
            return scores
        return scores.sum(channel) if self.summed else scores.abs().amax(channel)

    def plot(self, output: int | Sequence[int] | None = None) -> Figure:
        """The input beside the heat map; of derivatives of images, as a picture too."""
        from striate.interpret.attribution.pictures import draw_attribution

        return draw_attribution(self, self.output(output))


class Run:
    """Outputs and derivatives of the same items of x, at other values.

    `values` are the items' own, `rows` how many inputs to run at a time. The target of the first call, where it is the
    greatest output, is that of all.
    """

    def __init__(self, model: nn.Module, x: Tensor, target: Target, layer: str, rows: int) -> None:
        self.model, self.x, self.layer, self.target, self.rows = model, x, layer, target, rows
        self.values = x if x.is_floating_point() else torch.ones(x.shape).to(native(model, x))

    def score(self, values: Tensor) -> Tensor:
        """The scores of the items at other values."""
        with torch.no_grad():
            return self._scored(self._output(laid_out(values), 1))

    def __call__(self, values: Tensor, rule: Rule | None = None) -> tuple[Tensor, Tensor]:
        """The scores (rows,) and derivatives of copies of the items, (times n, ...), one after the other."""
        values = laid_out(values.detach()).requires_grad_()
        with torch.enable_grad():
            with rule or contextlib.nullcontext():
                output = self._output(values, len(values) // len(self.x))
            found = self._scored(output)
            if not found.requires_grad:
                raise self._no_gradient()
            # Of pairs, the second half are references, of which nothing is asked.
            wanted = found[: len(found) // 2] if isinstance(rule, Rescaled) else found
            (slopes,) = torch.autograd.grad(wanted.sum(), values, allow_unused=True)
        if slopes is None:
            raise self._no_gradient()
        if rule is not None and not rule.met and isinstance(rule, Rectified):
            raise InputError(
                "the network has no rectifier, so this rule is the plain gradient",
                where=self.layer or type(self.model).__name__,
                expected="ReLU or an activation like it",
                got="none between the input and the output",
                fix="Use gradient.",
            )
        return found.detach(), slopes

    def _scored(self, output: Tensor) -> Tensor:
        """The target's numbers; from then on the target is that of the first items."""
        if self.target is None:
            self.target = classes_of(output[: len(self.x)])
        each = self.target
        return scored(output, each * (len(output) // len(each)) if isinstance(each, list) else each)

    def _output(self, values: Tensor, times: int) -> Tensor:
        if self.x.is_floating_point():
            return output_of(self.model, values, self.layer)
        with _gated(self.model, values):
            return output_of(self.model, self.x.repeat(times, *[1] * (self.x.dim() - 1)), self.layer)

    def _no_gradient(self) -> InputError:
        return InputError(
            "the output has no derivative by the input",
            where=self.layer or type(self.model).__name__,
            expected="an output computed from x by differentiable operations",
            got="none (an argmax, a rounding, or a detached tensor on the way)",
            fix="Explain a layer before it (layer=...), or use occlusion.",
        )


@contextlib.contextmanager
def _gated(model: nn.Module, present: Float[Tensor, "n t"]) -> Iterator[None]:
    """All embeddings times how much each token is there."""

    def gate(_module: nn.Module, _args: Any, out: Tensor) -> Tensor:
        return out * present.unsqueeze(-1)

    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    if not embeddings:
        raise InputError(
            "tokens have no derivative, and the network has no embedding that could be explained",
            expected="an nn.Embedding, or x of floats",
            got=type(model).__name__,
        )
    with contextlib.ExitStack() as hooks:
        for module in embeddings:
            hooks.enter_context(module.register_forward_hook(gate))
        yield


def around(
    method: str,
    model: nn.Module,
    x: Tensor,
    target: Target,
    layer: str,
    progress: Progress,
    runs: int,
    find: Callable[[Run, Report], tuple[Tensor, Tensor]],
    parameters: dict[str, Any],
    *,
    summed: bool = False,
    copies: int = 1,
) -> Attribution:
    """What `find` makes of the items, some at a time: their own scores, and those of their values.

    `copies`: how many inputs it runs at once for each item.
    """
    x = checked(model, x)
    own = one_each(target, len(x))
    found, bases = [], []
    total = runs * len(x)
    with (
        examined(model) as network,
        lean(network, traced(network, x, total), layer) as rows,
        reporting(progress, total, method) as report,
    ):
        for part in parts(len(x), rows // copies):
            run = Run(network, x[part], target if own is None else own[part], layer, rows)
            base, scores = find(run, report)
            found.append(scores.contiguous().cpu())
            bases.append(base.cpu())
    if not bool(torch.cat(bases).isfinite().all()):
        raise no_number(torch.cat(bases))
    parameters = {"target": described(target), "layer": layer, **parameters}
    return _made(method, x, torch.cat(bases), torch.cat(found), parameters, summed)


def from_baseline(
    method: str,
    model: nn.Module,
    x: Tensor,
    target: Target,
    baseline: Baseline,
    layer: str,
    progress: Progress,
    steps: int,
    find: Callable[[Run, Tensor, Report], tuple[Tensor, Tensor, Tensor]],
    copies: int = 1,
) -> Attribution:
    """Mean slopes between the items and each reference times their difference; `find` gives both scores and slopes."""
    references = references_of(baseline, checked(model, x))
    written = baseline if isinstance(baseline, int | float) else f"{len(references)} given"
    parameters: dict[str, Any] = {"baseline": written, "gap": 0.0} | ({"steps": steps} if steps > 1 else {})

    def shares(run: Run, report: Report) -> tuple[Tensor, Tensor]:
        values = run.values
        found, nothing, base = torch.zeros_like(values), torch.zeros(len(values)).to(values), values
        for reference in references:
            there = reference.expand_as(values)
            base, other, slopes = find(run, there, report)
            found += (values - there) * slopes / len(references)
            nothing += other / len(references)
        if not bool(nothing.isfinite().all()):
            raise no_number(nothing, "the output for the baseline")
        apart = found.flatten(1).sum(1) - (base - nothing)
        parameters["gap"] = max(parameters["gap"], float(apart.abs().max()))
        return base, found

    runs = steps * len(references)
    return around(method, model, x, target, layer, progress, runs, shares, parameters, summed=True, copies=copies)


def references_of(baseline: Any, x: Tensor) -> Tensor:
    """(r, c, *space), or less of what is the same everywhere."""
    if not x.is_floating_point():
        if baseline != 0:
            raise InputError("the baseline of tokens is that they are not there", expected=0, got=baseline)
        return torch.zeros(1, 1, device=x.device)
    channels, expected = x.shape[1], f"a number, {x.shape[1]} (one for each channel), or {tuple(x.shape[1:])}"
    try:
        values = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).detach()
    except (TypeError, ValueError, RuntimeError):
        raise InputError("the baseline does not fit the input", expected=expected, got=repr(baseline)) from None
    if not bool(values.isfinite().all()):
        got = float(values[~values.isfinite()][0])
        raise InputError("the baseline has a value that is no number", expected="finite values", got=got)
    if values.dim() < 2 and values.numel() in (1, channels):
        return values.reshape(1, -1, *[1] * (x.dim() - 2))
    if values.shape == x.shape[1:]:
        return values[None]
    if values.dim() == x.dim() and values.shape[1:] == x.shape[1:] and len(values):
        return values
    raise InputError("the baseline does not fit the input", expected=expected, got=tuple(values.shape))


def _made(
    method: str, x: Tensor, base: Tensor, scores: Tensor, parameters: dict[str, Any], summed: bool
) -> Attribution:
    """The map, of one item without its axis."""
    if len(x) == 1:
        base, scores = base[0], scores[0]
    sides = x.shape[1:]
    names = ("channel", *AXES[len(sides) - 1]) if x.is_floating_point() else AXES[1]
    axes = {name: range(side) for name, side in zip(names, sides, strict=True)}
    return Attribution(method, x.cpu(), base, scores, axes, parameters, summed)
