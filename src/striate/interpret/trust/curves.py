"""Does the network need what a map points at? Positions are deleted or inserted, the highest first, and it is asked."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.interpret.lean import laid_out, lean, parts, traced
from striate.interpret.occlusion import Fill
from striate.interpret.scoring import examined, output_of, scored
from striate.interpret.sweep import Progress, Target, described, reporting
from striate.interpret.trust.fills import filled, written
from striate.interpret.trust.maps import Method, fixed, heat_maps, name_of
from striate.shapes import Float, Num, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Curves:
    """The scores of each item (n, steps + 1) after the share `fractions` of its positions was deleted or inserted."""

    method: str
    kind: str
    fractions: Float[Tensor, " s"]
    scores: Float[Tensor, "n s"]
    parameters: Mapping[str, Any]

    @property
    def auc(self) -> Float[Tensor, " n"]:
        """Area under each item's curve, by trapezoids over fractions from 0 to 1: for deletion the less, for insertion
        the more the better."""
        return torch.trapezoid(self.scores, self.fractions)

    def table(self) -> Table:
        """The mean curve at tenths."""
        table = Table(title=self.title(), caption=f"area under the curve: {float(self.auc.mean()):.4g}")
        for name in ("positions", "mean score"):
            table.add_column(name, justify="right")
        for tenth in range(11):
            place = int((self.fractions - tenth / 10).abs().argmin())
            table.add_row(f"{float(self.fractions[place]):.0%}", f"{float(self.scores[:, place].mean()):.4g}")
        return table

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        parts = {"fractions": self.fractions, "scores": self.scores, "auc": self.auc}
        return {**self._facts(), **{name: part.tolist() for name, part in parts.items()}}

    def save(self, path: str | Path) -> None:
        """Write fractions and scores into a safetensors file, the rest as JSON into its header."""
        save_tensors(Path(path), {"fractions": self.fractions, "scores": self.scores}, self._facts())

    def plot(self) -> Figure:
        """The mean curve, and the middle half of the items."""
        from striate.interpret.trust.pictures import draw_curves

        return draw_curves([self])

    def title(self) -> str:
        """Method, kind and number of items."""
        return f"{self.method}, {self.kind}, {len(self.scores)} items"

    def _facts(self) -> dict[str, Any]:
        return {"method": self.method, "kind": self.kind, "parameters": dict(self.parameters)}

    def __repr__(self) -> str:
        return f"Curves({self.title()}, area {float(self.auc.mean()):.4g})"


def deletion(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    method: Method,
    *,
    target: Target = None,
    steps: int = 50,
    fill: Fill = 0.0,
    scale: str = "probability",
    name: str = "",
    progress: Progress = False,
) -> Curves:
    """The score after the highest positions of the map have been replaced by `fill`, in `steps` equal parts.

    A map that points at what the network uses makes it fall soon: a small area under the curve. `method`: a function
    (model, x, target=class) -> Map, a finished map of all items, or heat maps (n, *space); where they are NaN, which is
    nothing known, comes last; ties keep the order of reading. `fill`: a number, one for each channel, "mean" (that of
    each channel of x), "blur" (x under a Gaussian, an eighth of each side wide) or values (c, *space). `scale`:
    "probability" is the softmax over axis 1 of the output, as in the paper; "output" the number itself; a target that
    is a function gets the output as it is. `target`: None means each item's greatest output for the whole x.

    Raises InputError for a fill or a map that does not fit, and fewer than one step.
    Source: Petsiuk, Das & Saenko 2018 (RISE), sec. 4.2.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[4.0, 3, 2, 1]]))
    >>> x = torch.ones(1, 1, 4)
    >>> found = deletion(net, x, torch.tensor([[4.0, 3, 2, 1]]), target=0, steps=4, scale="output")
    >>> found.scores.tolist(), found.auc.tolist()
    ([[10.0, 6.0, 3.0, 1.0, 0.0]], [3.75])
    """
    return _curve("deletion", model, x, method, target, steps, fill, scale, name, progress)


def insertion(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    method: Method,
    *,
    target: Target = None,
    steps: int = 50,
    fill: Fill = "blur",
    scale: str = "probability",
    name: str = "",
    progress: Progress = False,
) -> Curves:
    """The score after the highest positions of the map have been put into `fill` from x, in `steps` equal parts.

    A map that points at what the network uses makes it rise soon: a large area under the curve. Everything else is as
    in `deletion`. Source: Petsiuk, Das & Saenko 2018 (RISE), sec. 4.2.
    """
    return _curve("insertion", model, x, method, target, steps, fill, scale, name, progress)


def _curve(
    kind: str,
    model: nn.Module,
    x: Tensor,
    method: Method,
    target: Target,
    steps: int,
    fill: Fill,
    scale: str,
    name: str,
    progress: Progress,
) -> Curves:
    if scale not in ("probability", "output"):
        raise InputError("unknown scale", expected="probability or output", got=scale)
    x, wanted, _ = fixed(model, x, target)
    positions = math.prod(x.shape[2:])
    if steps < 1:
        raise InputError("a curve needs steps", expected="1 or more", got=steps)
    heat = heat_maps(method, model, x, wanted)
    counts = torch.linspace(0, positions, min(steps, positions) + 1, dtype=torch.float64).round().long()
    number = functools.partial(_number, target=wanted, probability=scale == "probability")
    rows = []
    runs = len(x) * len(counts)
    with (
        examined(model) as network,
        lean(network, traced(network, x, runs)) as size,
        torch.no_grad(),
        reporting(progress, runs, kind) as report,
    ):
        for item, (one, other) in enumerate(zip(x, filled(fill, x), strict=True)):
            ranks = _ranks(heat[item]).to(x.device)
            before, after = (one, other) if kind == "deletion" else (other, one)
            scores = []
            for part in parts(len(counts), size):
                some = counts[part].to(x.device)
                changed = ranks < some.reshape(-1, *[1] * ranks.dim())
                batch = torch.where(changed[:, None], after, before)
                scores.append(number(output_of(network, laid_out(batch)), item=item))
                report(len(some))
            rows.append(torch.cat(scores).cpu())
    parameters = {"target": described(target), "fill": written(fill), "scale": scale}
    return Curves(name or name_of(method), kind, counts / positions, torch.stack(rows).double(), parameters)


def _number(output: Tensor, *, target: Any, probability: bool, item: int) -> Tensor:
    """The scores of changed copies of one item."""
    if probability and not callable(target) and output.dim() > 1:
        output = output.softmax(1)
    if isinstance(target, list):
        return scored(output, [target[item]] * len(output))
    return scored(output, target)


def _ranks(heat: Tensor) -> Tensor:
    """The place of each position in the order, 0 for the highest."""
    order = heat.flatten().nan_to_num(-math.inf).argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order))
    return ranks.reshape(heat.shape)
