"""`striate.interpret`'s attributions beside captum's: the same results, in turn, at captum's default and best batch.

    python benchmarks/attribution.py [--only ROW ...] [--quick]

The row "agreed" is no race: what has no row here and a sibling in captum, on small networks, and how far the two are
apart. Nor is "written": one network, its activations written in several ways, and what captum's guided
backpropagation, deconvolution and DeepLIFT make of each, beside the same network of modules that are called once.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sweeps
from striate import zoo
from striate.interpret import (
    deconvnet,
    deep_lift,
    feature_maps,
    grad_cam,
    gradient,
    gradient_times_input,
    guided_backpropagation,
    integrated_gradients,
    layer_cam,
    occlusion,
    smooth_grad,
)

TARGET, STEPS = 1, 50
# Of the attributions' norm: rectifiers and maxima near a tie, which rounding decides (integrated gradients of VGG-16:
# captum's are 4e-4 from captum's own in double precision, the worst pixel 2e-3; a single gradient has more of it).
ATTRIBUTED = 1e-2
OURS: dict[str, Callable[..., Any]] = {
    "integrated_gradients": functools.partial(integrated_gradients, steps=STEPS),
    "gradient": gradient,
    "smooth_grad": functools.partial(smooth_grad, samples=STEPS),
    "guided_backpropagation": guided_backpropagation,
    "deconvnet": deconvnet,
    "deep_lift": deep_lift,
}
# Method, network, images or sequences.
CASES: dict[str, tuple[str, str, int]] = {
    "integrated_gradients_resnet18": ("integrated_gradients", "resnet18", 1),
    "integrated_gradients_vgg16": ("integrated_gradients", "vgg16", 1),
    "gradient_resnet50": ("gradient", "resnet50", 16),
    "smooth_grad_resnet18": ("smooth_grad", "resnet18", 1),
    "guided_backpropagation_vgg16": ("guided_backpropagation", "vgg16", 8),
    "deconvnet_vgg16": ("deconvnet", "vgg16", 8),
    "deep_lift_vgg16": ("deep_lift", "vgg16", 4),
    "deep_lift_basset": ("deep_lift", "basset", 64),
}


def captums(
    method: str, model: nn.Module, x: Tensor, batch: int | None = None, baseline: Tensor | None = None
) -> Tensor:
    """What captum says, of `batch` inputs at a time where it can."""
    from captum import attr

    x = x.clone()
    if method == "integrated_gradients":
        return attr.IntegratedGradients(model).attribute(x, target=TARGET, n_steps=STEPS, internal_batch_size=batch)
    if method == "smooth_grad":
        return attr.NoiseTunnel(attr.Saliency(model)).attribute(
            x, nt_samples=STEPS, nt_samples_batch_size=batch, target=TARGET, abs=False, stdevs=0.1
        )
    if method == "gradient":
        return attr.Saliency(model).attribute(x.requires_grad_(), target=TARGET, abs=False)
    by = {
        "guided_backpropagation": attr.GuidedBackprop,
        "deconvnet": attr.Deconvolution,
        "deep_lift": attr.DeepLift,
    }[method](model)
    reference = {"baselines": baseline[None]} if baseline is not None else {}
    return by.attribute(x.requires_grad_(), target=TARGET, **reference).detach()


def inputs(network: str, count: int, quick: bool) -> tuple[nn.Module, Tensor]:
    """A network without activations in place, which captum's hooks do not allow, and what it takes."""
    side = 64 if quick else 224
    options = {"input_size": (side, side)} if network == "vgg16" else {}
    model = sweeps.with_signal(zoo.build(network, **({"width": 0.125} if quick else {}), **options))
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    torch.manual_seed(1)
    if network == "basset":
        return model, F.one_hot(torch.randint(4, (count, 600)), 4).movedim(-1, 1).float()
    return model, torch.randn(count, 3, side, side)


def row(name: str, quick: bool) -> dict[str, Any]:
    """One method on one network."""
    method, network, count = CASES[name]
    model, x = inputs(network, 2 if quick else count, quick)
    # No constant: of equal activations of a reference, rounding says which is the maximum.
    reference = {"baseline": x[0].flip(-1)} if network == "basset" else {}
    ours = functools.partial(OURS[method], model, x, target=TARGET, **reference)
    theirs = functools.partial(captums, method, copy.deepcopy(model), x, **reference)
    sides = {"striate": lambda: sweeps.timed(ours), "captum, default": lambda: sweeps.timed(theirs)}
    best = None
    if method in ("integrated_gradients", "smooth_grad"):
        best = sweeps.best_batch((5, 10, 25), lambda batch: sweeps.timed(lambda: theirs(batch)))
        sides["captum, best batch"] = lambda: sweeps.timed(lambda: theirs(best))
    found: dict[str, Any] = {"inputs": len(x), "best_batch": best}
    if method != "smooth_grad":  # which draws other noise
        mine, other = ours().scores.reshape(x.shape), theirs()
        found["error"] = float((mine - other).norm() / other.norm())
        if method == "deep_lift":
            found["gap"] = {"striate": _gap(model, x, mine, reference), "captum": _gap(model, x, other, reference)}
        complete = found.get("gap", {}).get("captum", 0) < ATTRIBUTED
        assert found["error"] < ATTRIBUTED or not complete, found["error"]
    return found | sweeps.compared(sweeps.in_turn(sides, 1 if quick else sweeps.ROUNDS), {})


def _gap(model: nn.Module, x: Tensor, shares: Tensor, reference: dict[str, Tensor]) -> float:
    """How far shares are from summing to the difference of the outputs, as a part of the greatest difference.

    captum's (0.9.0) do not where a network has `MaxPool1d`.
    """
    with torch.no_grad():
        nothing = reference.get("baseline", torch.zeros_like(x[0]))[None]
        wanted = model(x)[:, TARGET] - model(nothing)[:, TARGET]
    return float((shares.flatten(1).sum(1) - wanted).abs().max() / wanted.abs().max())


def agreed(_quick: bool) -> dict[str, Any]:
    """The greatest differences from captum, as a share of the greatest value."""
    found: dict[str, Any] = {}
    for network in ("resnet18", "vgg16"):
        model, x = inputs(network, 2, quick=True)
        for method, (mine, other) in _pairs(model, x).items():
            apart = float((mine - other).abs().max() / other.abs().max())
            assert mine.shape == other.shape, (network, method)
            assert apart < ATTRIBUTED, (network, method, apart)
            found.setdefault(method, {})[network] = apart
    return {"apart": found, "times_faster": {}}


def _pairs(model: nn.Module, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Ours and captum's, by method."""
    from captum import attr

    layer = grad_cam(model, x, target=TARGET).parameters["layer"]
    unit, window = model.get_submodule(layer), (3, 8, 8)
    first, stem = next((name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d))

    def maps_of(module: nn.Module) -> Tensor:
        return attr.LayerActivation(model, module).attribute(x).detach()

    shares = attr.LayerGradientXActivation(model, unit).attribute(x, target=TARGET).detach()
    positive = torch.where(shares * maps_of(unit) > 0, shares, 0)  # units whose derivative is positive
    signed = attr.LayerGradCam(model, unit).attribute(x, target=TARGET)[:, 0].detach()
    covered = attr.Occlusion(model).attribute(x[:1], window, strides=window, target=TARGET, baselines=0.2)
    ours = occlusion(model, x[:1], patch=8, stride=8, fill=0.2, target=TARGET)
    return {
        "activations": (
            feature_maps(model, x[:1])[first],
            attr.LayerActivation(model, stem).attribute(x[:1]).detach()[0],
        ),
        "grad_cam, signed": (grad_cam(model, x, target=TARGET, signed=True).scores, signed),
        "layer_cam": (layer_cam(model, x, target=TARGET).scores, positive.sum(1).clamp_min(0)),
        "gradient_times_input": (
            gradient_times_input(model, x, target=TARGET).scores,
            attr.InputXGradient(model).attribute(x.clone().requires_grad_(), target=TARGET).detach(),
        ),
        "occlusion": (ours.base - ours.scores, covered[0, 0, ::8, ::8]),
        "smooth_grad": _same_noise(model, x[:1]),
    }


def _same_noise(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """SmoothGrad by both, captum's moved by the noise that was ours."""
    from captum import attr

    seen: list[Tensor] = []
    with model.register_forward_pre_hook(lambda _model, args: seen.append(args[0].detach().clone())):
        mine = smooth_grad(model, x, target=TARGET, samples=10).scores
    noise = max(seen, key=len) - x  # that of the item itself is alone
    assert len(noise) == 10
    with mock.patch("torch.normal", return_value=noise):
        other = attr.NoiseTunnel(attr.Saliency(model)).attribute(x, nt_samples=10, target=TARGET, abs=False)
    return mine, other[0].detach()


class Written(nn.Module):
    """conv, activation, conv, +, concat, activation, dense."""

    def __init__(self, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convolutions = nn.ModuleList([nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
        self.dense = nn.Linear(16 * 8 * 8, 4)
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(self.convolutions[0](x))
        g = self.second(torch.cat([self.convolutions[1](h) + h, h - 0.1], 1))
        return self.dense(g.flatten(1))


def written(_quick: bool) -> dict[str, Any]:
    """Which ways of writing an activation each side follows."""
    shared = nn.ReLU()
    ways: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        "a module for each": (nn.ReLU(), nn.ReLU()),
        "one module called twice": (shared, shared),
        "modules in place": (nn.ReLU(inplace=True), nn.ReLU(inplace=True)),
        "F.relu": (F.relu, F.relu),
        "torch.relu": (torch.relu, torch.relu),
        "x.clamp(min=0)": (lambda x: x.clamp(min=0), lambda x: x.clamp(min=0)),
    }
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    methods = ("guided_backpropagation", "deconvnet", "deep_lift")
    right = {method: captums(method, Written(*ways["a module for each"]), x) for method in methods}
    plain = gradient(Written(*ways["a module for each"]), x, target=TARGET).scores
    found: dict[str, Any] = {}
    for way, activations in ways.items():
        for method in methods:
            ours = OURS[method](Written(*activations), x, target=TARGET).scores
            assert torch.allclose(ours, right[method], rtol=1e-4, atol=1e-6), (way, method)
            found.setdefault(way, {})[method] = _verdict(method, Written(*activations), x, right[method], plain)
    return {"ways": found, "times_faster": {}}


def _verdict(method: str, model: nn.Module, x: Tensor, right: Tensor, plain: Tensor) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = captums(method, model, x)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    if torch.allclose(found, right, rtol=1e-4, atol=1e-6):
        return "right"
    nothing = plain * x if method == "deep_lift" else plain
    return "the plain gradient, silently" if torch.allclose(found, nothing, rtol=1e-4, atol=1e-6) else "wrong, silently"


def main() -> None:
    """Measure and write results/attribution.json."""
    rows: dict[str, sweeps.Row] = {name: functools.partial(row, name) for name in CASES}
    sweeps.run("attribution", {**rows, "agreed": agreed, "written": written}, ["captum"])


if __name__ == "__main__":
    main()
