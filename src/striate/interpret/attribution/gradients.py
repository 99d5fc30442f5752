"""What each value of an input has to do with an output, by gradients and by rules in their place.

gradient, gradient_times_input     the derivative, and times the value
integrated_gradients, smooth_grad  means of derivatives, along a line and around x
deep_lift                          differences from a reference, shared out by the rescale rule
guided_backpropagation, deconvnet  gradients rectified on their way back: pictures of what a unit sees
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from striate.errors import InputError
from striate.interpret.attribution.rules import Rectified, Rescaled, Rule
from striate.interpret.attribution.run import Attribution, Baseline, Run, around, from_baseline
from striate.interpret.lean import parts
from striate.interpret.scoring import checked
from striate.interpret.sweep import Progress, Report, Target
from striate.shapes import Num, Tensor


def gradient(
    model: nn.Module, x: Num[Tensor, "n ..."], *, target: Target = None, layer: str = "", progress: Progress = False
) -> Attribution:
    """The derivative of an output by each value of x (n, c, *space), or by how much each token of x (n, t) is there.

    How much a token is there is a factor of its embedding, 1.

    `target`: None, the greatest output of each item; an index along axis 1 of the output (the class); one for each
    item; or a function of outputs (n, ...) that keeps the first axis; what is left of other axes is added up, so that
    of dense outputs (n, k, *space) an index takes a class's whole map. `layer`: path of a module whose output is
    meant, "" for the network's own (the first tensor of a tuple), at its last call. `progress`: True draws a bar; or a
    function told (done, total, what). The network runs in eval mode and is left as it was.

    Raises InputError for a target that is no class, an unknown layer or one that is not called, NaN in x, and an
    output that has no derivative.
    Source: Simonyan, Vedaldi & Zisserman 2014, "Deep inside convolutional networks", sec. 3.

    >>> twice = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
    >>> _ = nn.init.constant_(twice[1].weight, 2.0)
    >>> found = gradient(twice, torch.tensor([[[3.0, 5.0]]]))
    >>> found.base, found.scores
    (tensor(16.), tensor([[2., 2.]]))
    """
    return _simple("gradient", model, x, target, layer, progress)


def gradient_times_input(
    model: nn.Module, x: Num[Tensor, "n ..."], *, target: Target = None, layer: str = "", progress: Progress = False
) -> Attribution:
    """Each value of x times the output's derivative by it: its share of the output, were the network linear.

    Arguments and errors as of `gradient`.
    Source: Shrikumar et al. 2016, "Not just a black box", sec. 2.
    """
    return _simple("gradient × input", model, x, target, layer, progress, times_input=True)


def guided_backpropagation(
    model: nn.Module, x: Num[Tensor, "n ..."], *, target: Target = None, layer: str = "", progress: Progress = False
) -> Attribution:
    """The gradient, of which each rectifier on the way back lets only positive parts through, where it was open.

    Works on activations as modules, as functions, shared and in place, as clamps and maxima at zero, and as masks of
    their own input: where(h > 0, h, 0), h * (h > 0); one written in yet another way keeps its derivative. Arguments
    as of `gradient`.

    Raises InputError as `gradient`, and where the network has no rectifier.
    Source: Springenberg et al. 2015, "Striving for simplicity: the all convolutional net", sec. 3.4.
    """
    return _simple("guided backpropagation", model, x, target, layer, progress, rule=lambda: Rectified(guided=True))


def deconvnet(
    model: nn.Module, x: Num[Tensor, "n ..."], *, target: Target = None, layer: str = "", progress: Progress = False
) -> Attribution:
    """A unit projected back to x: filters transposed, pooling undone by its switches, all rectified on the way back.

    With `layer`, a channel's index as `target` takes its whole map; `strongest(channel)` takes its greatest value and
    leaves all others of the layer at zero, as the paper does. Rectifiers as of `guided_backpropagation`, arguments as
    of `gradient`.

    Raises InputError as `gradient`, and where the network has no rectifier.
    Source: Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", sec. 2.1.
    """
    return _simple("DeconvNet", model, x, target, layer, progress, rule=lambda: Rectified(guided=False))


def strongest(channel: int) -> Callable[[Tensor], Tensor]:
    """A target: the greatest value of a channel's map.

    >>> strongest(1)(torch.tensor([[[1.0, 9.0], [7.0, 3.0]]]))
    tensor([7.])
    """

    def greatest(output: Tensor) -> Tensor:
        # max, not amax: of equal values one is the unit, the others are not.
        return output[:, channel].flatten(1).max(1).values if output.dim() > 2 else output[:, channel]

    greatest.__qualname__ = f"strongest({channel})"
    return greatest


def integrated_gradients(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    target: Target = None,
    baseline: Baseline = 0.0,
    steps: int = 50,
    layer: str = "",
    progress: Progress = False,
) -> Attribution:
    """(x - baseline) times the mean derivative on the straight line between: shares of output(x) - output(baseline).

    `baseline`: what stands for nothing: a number, one for each channel, values (c, *space), or several references
    (r, c, *space), whose results are averaged; of tokens it is that they are not there, 0. `steps`: points of the
    Gauss-Legendre rule; `parameters["gap"]` is the greatest difference that it leaves between the sum of the shares
    and what they share. The other arguments as of `gradient`.

    Raises InputError as `gradient`, for less than 1 step, and a baseline that does not fit.
    Source: Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks", eq. 1.

    >>> sigmoid = nn.Sequential(nn.Flatten(), nn.Sigmoid())
    >>> found = integrated_gradients(sigmoid, torch.tensor([[[3.0]]]))
    >>> found.base, found.scores  # 0.9526 - 0.5
    (tensor(0.9526), tensor([[0.4526]]))
    """
    if steps < 1:
        raise InputError("too few steps", expected="1 or more", got=steps)
    places, weights = (torch.from_numpy(part / 2) for part in np.polynomial.legendre.leggauss(steps))
    places = places + 0.5

    def mean(run: Run, there: Tensor, report: Report) -> tuple[Tensor, Tensor, Tensor]:
        here = run.values
        base, nothing = run.score(here), run.score(there)
        line = places.to(here).reshape(-1, *[1] * here.dim())
        found = torch.zeros_like(here)
        for part in parts(steps, run.rows // len(here)):
            points = there + line[part] * (here - there)
            _, slopes = run(points.flatten(0, 1))
            found += torch.einsum("s,s...->...", weights[part].to(here), slopes.reshape(points.shape))
            report(points.shape[0] * points.shape[1])
        return base, nothing, found

    return from_baseline("integrated gradients", model, x, target, baseline, layer, progress, steps, mean)


def deep_lift(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    target: Target = None,
    baseline: Baseline = 0.0,
    layer: str = "",
    progress: Progress = False,
) -> Attribution:
    """Differences of x from a baseline times DeepLIFT's multipliers, by the rescale rule: shares of the difference.

    The rule reaches activations as modules, as functions, shared and in place, maximum pooling, products, softmax and
    batch, layer, group and instance norm; `parameters["gap"]` is the greatest difference between the sum of the shares
    and what they share: rounding, unless the network has operations without a rule (attention modules and
    `scaled_dot_product_attention`, `einsum` of two activations, `rms_norm`, `F.normalize`, Lp pooling), which hand back
    their derivative. Arguments as of `integrated_gradients`.

    Raises InputError as `gradient`, for a baseline that does not fit, and where a function with a rule meets a tensor
    that has no items on axis 0 (a network with time first).
    Source: Shrikumar, Greenside & Kundaje 2017, "Learning important features through propagating activation
    differences", sec. 3.5.1; several references as Lundberg & Lee 2017 (DeepSHAP).
    """

    def multipliers(run: Run, there: Tensor, report: Report) -> tuple[Tensor, Tensor, Tensor]:
        scores, slopes = run(torch.cat([run.values, there]), Rescaled(2 * len(there)))
        report(len(there))
        return *scores.chunk(2), slopes.chunk(2)[0]  # type: ignore[return-value]

    return from_baseline("DeepLIFT", model, x, target, baseline, layer, progress, 1, multipliers, copies=2)


def smooth_grad(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    *,
    target: Target = None,
    samples: int = 50,
    noise: float = 0.15,
    spread: float | None = None,
    squared: bool = False,
    seed: int = 0,
    layer: str = "",
    progress: Progress = False,
) -> Attribution:
    """The mean derivative at `samples` points around x, moved by Gaussian noise.

    `noise`: its standard deviation as a share of `spread`, by default the greatest less the least value of the item.
    `squared`: the mean of squared derivatives. The other arguments as of `gradient`.

    Raises InputError as `gradient`, for less than 1 sample, negative noise or a spread that is none, for an item whose
    values are all the same, unless `spread` is given, and for tokens, which have no values near their own.
    Source: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", eq. 1 and sec. 3.2; squared: Hooker et
    al. 2019, "A benchmark for interpretability methods in deep neural networks".
    """
    if samples < 1 or not noise >= 0:
        raise InputError("no such noise", expected="1 or more samples, noise from 0", got=f"{samples}, {noise}")
    if spread is not None and not 0 < spread < math.inf:
        raise InputError("no such spread of values", expected="a number above 0, in units of x, or None", got=spread)
    _movable(checked(model, x), bool(noise) and spread is None)
    generator = torch.Generator().manual_seed(seed)

    def mean(run: Run, report: Report) -> tuple[Tensor, Tensor]:
        values = run.values
        base = run.score(values)
        sigma = noise * (_ranges(values) if spread is None else spread)
        found = torch.zeros_like(values)
        for part in parts(samples, run.rows // len(values)):
            count = part.stop - part.start
            drawn = torch.randn(count, *values.shape, generator=generator).to(values)
            _, slopes = run((values + sigma * drawn).flatten(0, 1))
            found += (slopes**2 if squared else slopes).reshape(drawn.shape).sum(0) / samples
            report(count * len(values))
        return base, found

    parameters = {"samples": samples, "noise": noise, "spread": spread, "squared": squared, "seed": seed}
    return around("SmoothGrad", model, x, target, layer, progress, samples, mean, parameters)


def _ranges(x: Tensor) -> Tensor:
    """The greatest less the least value of each item, (n, 1, ...)."""
    return torch.sub(*reversed(torch.aminmax(x.flatten(1), dim=1, keepdim=True))).reshape(-1, *[1] * (x.dim() - 1))


def _movable(x: Tensor, by_range: bool) -> None:
    """Raise InputError where noise would move nothing, so that its mean derivative were the derivative."""
    if not x.is_floating_point():
        fix = "Use gradient, or integrated_gradients, which take tokens away."
        raise InputError("tokens have no values near their own", expected="x of floats", got=x.dtype, fix=fix)
    if by_range and bool((still := _ranges(x).flatten() == 0).any()):
        at = int(still.nonzero()[0])
        raise InputError(
            "the noise is a share of the range of values, and an item has none",
            expected="items of several values, or a spread",
            got=f"x[{at}] with {float(x[at].flatten()[0]):g} everywhere",
            fix="Say what noise is a share of, in units of x: spread=1.0.",
        )


def _simple(
    method: str,
    model: nn.Module,
    x: Tensor,
    target: Target,
    layer: str,
    progress: Progress,
    *,
    rule: Callable[[], Rule] | None = None,
    times_input: bool = False,
) -> Attribution:
    """One run forward and back."""

    def slopes(run: Run, report: Report) -> tuple[Tensor, Tensor]:
        base, found = run(run.values, rule() if rule else None)
        report(len(base))
        return base, found * run.values if times_input else found

    return around(method, model, x, target, layer, progress, 1, slopes, {}, summed=times_input)
