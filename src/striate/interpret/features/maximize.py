"""Activation maximization: the input for which a unit, a channel, a class or a layer is most active."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn

from striate.data.augment.move import warp
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
from striate.interpret.features.representations import Set, in_batches, taken
from striate.interpret.scoring import checked, examined, output_of, scored
from striate.interpret.sweep import Progress, Target, described, native, reporting
from striate.shapes import Float, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Maximized:
    """What `maximize` found, on the CPU: inputs `x` (n, c, *space) and their `scores`, one of each start.

    `curve` (steps + 1, n): the scores on the way, of the moved inputs; the last row is `scores`. `best` (1, c, *space)
    and `best_score`: the item of the data with the greatest score, None without data. `parameters`: how it was made.
    """

    x: Float[Tensor, "n c *space"]
    scores: Float[Tensor, " n"]
    curve: Float[Tensor, "steps n"]
    best: Float[Tensor, "_ c *space"] | None
    best_score: float | None
    parameters: dict[str, Any]

    def plot(self) -> Figure:
        """The inputs beside each other with their scores, then the data's best; below, the scores step by step."""
        from striate.interpret.features.panels import draw_maximized

        return draw_maximized(self)

    def title(self) -> str:
        """What was maximized: "output of features.3, target 5"."""
        layer, target = self.parameters["layer"], self.parameters["target"]
        unit = "" if self.parameters["unit"] is None else f" at {self.parameters['unit']}"
        return f"{layer or 'output'}, target {target}{unit}"

    def table(self) -> Table:
        """A row for each start, and one for the data's best."""
        table = Table("start", "first score", "score", title=self.title())
        for number, (first, last) in enumerate(zip(self.curve[0].tolist(), self.scores.tolist(), strict=True)):
            table.add_row(str(number), f"{first:.4g}", f"{last:.4g}")
        if self.best_score is not None:
            table.add_row("data's best", "", f"{self.best_score:.4g}")
        return table

    def json(self) -> dict[str, Any]:
        """Everything but the inputs as plain types."""
        numbers = {"scores": self.scores.tolist(), "curve": self.curve.tolist(), "best_score": self.best_score}
        return {"method": "maximize", "parameters": self.parameters, **numbers}

    def save(self, path: str | Path) -> None:
        """Write `x`, `scores`, `curve` and `best` into a safetensors file, the rest into its header."""
        tensors = {"x": self.x, "scores": self.scores, "curve": self.curve}
        if self.best is not None:
            tensors["best"] = self.best
        facts = {"method": "maximize", "parameters": self.parameters, "best_score": self.best_score}
        save_tensors(Path(path), tensors, facts)


def maximize(
    model: nn.Module,
    x: Sequence[int] | Float[Tensor, "n c *space"],
    *,
    target: Target,
    layer: str = "",
    unit: Sequence[int] | None = None,
    paint: str = "fourier",
    limits: Limits = None,
    norm: float | None = None,
    color: Float[Tensor, "c c"] | None = None,
    starts: int = 4,
    steps: int = 256,
    rate: float = 0.05,
    jitter: int | None = None,
    scale: float = 0.1,
    rotate: float = 10.0,
    tv: float = 0.0,
    l2: float = 0.0,
    blur: int = 0,
    diversity: float = 0.0,
    spread: float = 0.1,
    data: Set | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Maximized:
    """Inputs for which the score of `target` at `layer` is greatest, by gradient ascent (Adam) from several starts.

        x* = argmax  score(x) - tv·TV(x) - l2·mean(x²),    x within `limits`, or of L2 norm `norm`

    `x`: the shape (c, *space) of an input, for `starts` starts of noise (deviation `spread`, of half the range with
    limits), or inputs to start from. `target`: an index of axis 1 of the layer's output: a class, or a channel, whose
    map is summed; or a function of outputs (n, ...) that gives (n, ...): `lambda y: y.square()` is a whole layer.
    `unit`: a position of the channel's map instead. `paint`: fourier, pixels or letters, see `canvas`; `limits`:
    (low, high), or a card's `preprocess`; `color`: see `color_of`.

    Before each step the input is moved at random: by up to `jitter` positions (by default a 16th of the side), `scale`
    (0.1: 0.9 to 1.1 times) and `rotate` degrees, which keeps out patterns that only exact pixels make (Olah et al.);
    a rank without rotation has none. Letters are only jittered. `blur`: pixels are blurred every so many steps.
    `diversity`: a penalty on the mean cosine of the starts' channel correlations (Gram matrices) at the layer.
    `data`: batches whose greatest score is put beside. `seed`: all that is drawn.

    Raises InputError for a target or layer that is not there, limits that are none, and numbers out of range.
    Source: Erhan et al. 2009, "Visualizing higher-layer features of a deep network"; Simonyan et al. 2014, "Deep inside
    convolutional networks"; Olah et al. 2017, "Feature visualization".

    >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
    >>> _ = linear[1].weight.data.copy_(torch.tensor([[3.0, 4.0]]))
    >>> found = maximize(linear, (1, 2), target=0, paint="pixels", norm=1.0, starts=1, steps=400, jitter=0, scale=0)
    >>> found.x.round(decimals=2).tolist()  # w / |w|
    [[[0.6000000238418579, 0.800000011920929]]]
    """
    _check(target, starts, steps, rate, (tv, l2, blur, diversity, spread), (scale, rotate))
    like = native(model, x)
    bounds = limits_of(limits, x if isinstance(x, Tensor) else torch.empty(1, *x[:1], *[1] * (len(x) - 1)).to(like))
    start = continuous(model, noise(x, starts, like, bounds, seed, spread))
    if paint == "letters" and not isinstance(x, Tensor):
        # Nearly whole letters: a mixture of all may leave every filter silent, without a slope.
        start = (50 * start).softmax(1)
    board = canvas(paint, start, limits=bounds, norm=norm, color=color)
    if blur and paint != "pixels":
        raise InputError("only pixels are blurred", expected="paint='pixels'", got=paint)
    side = min(start.shape[2:], default=1)
    moves = (side // 16 if jitter is None else jitter, *((0.0, 0.0) if paint == "letters" else (scale, rotate)))
    generator = torch.Generator().manual_seed(seed)

    def scores(inputs: Tensor) -> tuple[Tensor, Tensor]:
        output = output_of(model, inputs, layer)
        return scored(output if unit is None else _at(output, unit), target), output

    def loss(inputs: Tensor) -> tuple[Tensor, Tensor]:
        values, output = scores(moved(inputs, generator, *moves))
        worth = values - tv * total_variation(inputs) - l2 * alpha_norm(inputs, 2)
        return -worth.sum() + diversity * len(values) * _alike(output, diversity), values

    with examined(model) as model, reporting(progress, steps, "maximize") as report:
        curve = descend(board, loss, steps, rate, report, blur)
        with torch.no_grad():
            found = board.paint().detach()
            last = scores(found)[0].detach().cpu()
            best, best_score = _best(model, data, lambda inputs: scores(inputs)[0])
    parameters = {
        "target": described(target), "layer": layer, "unit": None if unit is None else list(unit), "paint": paint,
        "limits": plain(bounds), "norm": norm, "steps": steps, "rate": rate, "jitter": moves[0], "scale": moves[1],
        "rotate": moves[2], "tv": tv, "l2": l2, "blur": blur, "diversity": diversity, "spread": spread, "seed": seed,
    }  # fmt: skip
    return Maximized(found.cpu(), last, torch.stack([*curve, last]), best, best_score, parameters)


def moved(
    x: Float[Tensor, "n c *space"], generator: torch.Generator, jitter: int, scale: float, rotate: float
) -> Float[Tensor, "n c *space"]:
    """Each item moved by its own draw: whole positions along each axis, a scale, an angle in the last two axes."""
    n, rank = len(x), x.dim() - 2
    rotate = rotate if rank > 1 else 0.0
    if not (jitter or scale or rotate):
        return x

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    angle = (2 * draw(n) - 1) * rotate * math.pi / 180
    matrix = torch.eye(rank, dtype=torch.float64).repeat(n, 1, 1)
    if rank > 1:
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).reshape(n, 2, 2)
        matrix[:, :2, :2] = turn
    matrix = matrix / (1 + scale * (2 * draw(n) - 1)).reshape(n, 1, 1)
    by = (draw(n, rank, 1) * (2 * jitter + 1)).floor() - jitter
    return warp(x, torch.cat([matrix, by], 2).to(x), "reflect")


def _best(model: nn.Module, data: Set | None, scores: Any) -> tuple[Tensor | None, float | None]:
    """The item of the data with the greatest score, and the score."""
    best, greatest = None, None
    for batch in in_batches(data) if data is not None else ():
        inputs = checked(model, taken(batch)[0])
        values = scores(inputs)
        place = int(values.argmax())
        if greatest is None or float(values[place]) > greatest:
            best, greatest = inputs[place : place + 1].cpu(), float(values[place])
    return best, greatest


def _at(output: Tensor, unit: Sequence[int]) -> Tensor:
    """One position of each map, (n, k)."""
    sides = tuple(output.shape[2:])
    if len(unit) != len(sides) or not all(-side <= i < side for i, side in zip(unit, sides, strict=True)):
        raise InputError("no such unit", expected=f"a position in a map {sides}", got=tuple(unit))
    for side in unit:
        output = output.select(2, side)
    return output


def _alike(output: Tensor, weight: float) -> Tensor | float:
    """The mean cosine between the Gram matrices of any two items; 0 where it does not count."""
    n = len(output)
    if not weight or n < 2:
        return 0.0
    maps = output.flatten(2) if output.dim() > 2 else output[:, :, None]
    gram = nn.functional.normalize((maps @ maps.mT).flatten(1), dim=1)
    return ((gram @ gram.T).sum() - n) / (n * (n - 1))


def _check(target: Any, starts: int, steps: int, rate: float, weights: Sequence[float], moves: Sequence[float]) -> None:
    if target is None:
        raise InputError("nothing to maximize", expected="a target: a class, a channel or a function", got="None")
    if starts < 1 or steps < 1 or not rate > 0:
        got = f"starts={starts}, steps={steps}, rate={rate}"
        raise InputError("cannot maximize", expected="starts and steps of at least 1, a positive rate", got=got)
    if min(weights) < 0 or not 0 <= moves[0] < 1 or moves[1] < 0:
        expected = "tv, l2, blur, diversity, spread and rotate of at least 0, a scale from 0 to below 1"
        raise InputError("cannot maximize", expected=expected, got=(*weights, *moves))
