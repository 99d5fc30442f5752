"""Inversion: what a layer still knows of an input, seen as another input of which the layer says the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.interpret.features.canvas import (
    Limits,
    alpha_norm,
    canvas,
    continuous,
    descend,
    limits_of,
    noise,
    plain,
    total_variation,
)
from striate.interpret.features.representations import find_layers, run_layers
from striate.interpret.features.sight import Until
from striate.interpret.lean import laid_out, lean, traced
from striate.interpret.scoring import examined
from striate.interpret.sweep import Progress, reporting
from striate.shapes import Float, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS = 8  # at most, where none is named: each takes hundreds of steps


@dataclass(frozen=True, eq=False)
class Inverted:
    """What `invert` found, on the CPU: for each of `layers`, inputs (n, c, *space) that it takes for `x`.

    `errors` (layers, n): how far the representations are apart, |f(x') - f(x)| / |f(x)|; `distances` (layers, n): the
    same of the inputs themselves. `curve` (layers, steps): the mean of |f(x') - f(x)|² / |f(x)|² on the way. `count`:
    how many layers there are, of which `layers` may be some.
    """

    x: Float[Tensor, "n c *space"]
    layers: tuple[str, ...]
    found: Float[Tensor, "layers n c *space"]
    errors: Float[Tensor, "layers n"]
    distances: Float[Tensor, "layers n"]
    curve: Float[Tensor, "layers steps"]
    parameters: dict[str, Any]
    count: int

    def title(self) -> str:
        """Of how many items, at how many layers."""
        layers = str(self.count) if len(self.layers) == self.count else f"{len(self.layers)} of {self.count}"
        return f"inversion, {len(self.x)} item{'s' * (len(self.x) != 1)} at {layers} layer{'s' * (self.count != 1)}"

    def plot(self) -> Figure:
        """The input, and what each layer in turn takes for it, below each other for several items."""
        from striate.interpret.features.panels import draw_inverted

        return draw_inverted(self)

    def table(self) -> Table:
        """A row for each layer: the means over the items."""
        table = Table("layer", "error of the layer", "distance of the input", title=self.title())
        for layer, error, distance in zip(self.layers, self.errors.mean(1), self.distances.mean(1), strict=True):
            table.add_row(layer or "output", f"{float(error):.3g}", f"{float(distance):.3g}")
        return table

    def json(self) -> dict[str, Any]:
        """Everything but the inputs as plain types."""
        numbers = {name: getattr(self, name).tolist() for name in ("errors", "distances", "curve")}
        return {
            "method": "invert",
            "layers": list(self.layers),
            "of": self.count,
            "parameters": self.parameters,
            **numbers,
        }

    def save(self, path: str | Path) -> None:
        """Write all tensors into a safetensors file, the rest into its header."""
        names = ("x", "found", "errors", "distances", "curve")
        facts = {"method": "invert", "layers": list(self.layers), "parameters": self.parameters}
        save_tensors(Path(path), {name: getattr(self, name) for name in names}, facts)


def invert(
    model: nn.Module,
    x: Float[Tensor, "n c *space"],
    layers: str | Sequence[str] | None = None,
    *,
    paint: str = "pixels",
    limits: Limits = None,
    steps: int = 400,
    rate: float = 0.05,
    tv: float = 0.01,
    beta: float = 2.0,
    norm: float = 0.0,
    alpha: float = 6.0,
    spread: float = 0.1,
    seed: int = 0,
    progress: Progress = False,
) -> Inverted:
    """Inputs x' whose representation f(x') at a layer equals that of x, for each layer by itself, by Adam from noise.

        x* = argmin  |f(x') - f(x)|² / |f(x)|² + tv·TV(x') + norm·mean(|x'|**alpha),    x' within `limits`

    `layers`: module paths, one or several, "" for the network's output; by default those of `find_layers`, at most
    eight. The network runs no further than the layer.
    `paint`, `limits`: as of `maximize`. `tv`, `beta`: the total variation and its exponent; `norm`, `alpha`: the alpha
    norm: what natural images have little of (Mahendran and Vedaldi take beta 2, alpha 6). `seed`: the noise, of
    deviation `spread` (half the range's, with limits).

    Raises InputError for layers that are not there, one that gives only zeros for x, and numbers out of range.
    Source: Mahendran & Vedaldi 2015, "Understanding deep image representations by inverting them", section 3.

    >>> turn = nn.Conv1d(2, 2, 1, bias=False)
    >>> _ = turn.weight.data.copy_(torch.tensor([[0.0, 1.0], [-1.0, 0.0]])[:, :, None])
    >>> x = torch.tensor([[[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]]])
    >>> float(invert(turn, x, "", tv=0).distances) < 0.01  # a layer that loses nothing
    True
    """
    if steps < 1 or not rate > 0 or min(tv, norm, spread) < 0 or beta <= 0 or alpha <= 0:
        got = f"steps={steps}, rate={rate}, tv={tv}, norm={norm}, spread={spread}, beta={beta}, alpha={alpha}"
        raise InputError("cannot invert", expected="positive numbers, tv, norm and spread of at least 0", got=got)
    x = continuous(model, x)
    wanted = [layers] if isinstance(layers, str) else layers
    paths, count = find_layers(model, x, wanted, LAYERS)
    bounds = limits_of(limits, x)
    penalties = (tv, beta, norm, alpha)
    found, errors, curves = [], [], []
    with examined(model) as model, reporting(progress, steps * len(paths), "invert") as report:
        graph = traced(model, x, steps * len(paths))
        for path in paths:
            start = noise(x.shape[1:], len(x), x, bounds, seed, spread)
            board = canvas(paint, start, limits=bounds)
            with torch.no_grad():
                goal = run_layers(model, x, [path])[path]
            _check_goal(goal, path)
            with lean(model, graph, path):
                until = Until(model, path, x)
                told = descend(board, _loss(until, goal, penalties), steps, rate, report)
                with torch.no_grad():
                    made = board.paint().detach()
                    errors.append(_apart(until(laid_out(made)), goal).sqrt().cpu())
            curves.append(torch.stack(told).mean(1))
            found.append(made)
    distances = torch.stack([_apart(made, x).sqrt().cpu() for made in found])
    parameters = {
        "paint": paint, "limits": plain(bounds), "steps": steps, "rate": rate, "tv": tv, "beta": beta,
        "norm": norm, "alpha": alpha, "spread": spread, "seed": seed,
    }  # fmt: skip
    every = torch.stack(found).cpu()
    return Inverted(
        x.cpu(), tuple(paths), every, torch.stack(errors), distances, torch.stack(curves), parameters, count
    )


def _loss(
    until: nn.Module, goal: Tensor, penalties: tuple[float, float, float, float]
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What inputs are to make small: how far each is from the goal, which is told, and its penalties."""
    tv, beta, norm, alpha = penalties

    def loss(made: Tensor) -> tuple[Tensor, Tensor]:
        apart = _apart(until(laid_out(made)), goal)
        return apart.sum() + tv * total_variation(made, beta).sum() + norm * alpha_norm(made, alpha).sum(), apart

    return loss


def _apart(one: Tensor, other: Tensor) -> Float[Tensor, " n"]:
    """|one - other|² / |other|² of each item."""
    return (one - other).flatten(1).square().sum(1) / other.flatten(1).square().sum(1).clamp_min(1e-30)


def _check_goal(goal: Tensor, path: str) -> None:
    if not goal.is_floating_point() or not bool(goal.flatten(1).square().sum(1).all()):
        expected = "numbers other than zeros"
        raise InputError("a layer says nothing of the input", where=path or "output", expected=expected, got="zeros")
