"""Several methods on the same items and the same network, by all checks, beside maps that know no network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.interpret.occlusion import Fill
from striate.interpret.sweep import Progress, Target, described, reporting
from striate.interpret.trust.curves import deletion, insertion
from striate.interpret.trust.maps import Method, center_prior, fixed, heat_maps, input_edges
from striate.interpret.trust.pointing import energy_inside, pointing_game
from striate.interpret.trust.randomization import randomized, similarity
from striate.shapes import Bool, Float, Num, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINES: dict[str, Method] = {"center prior": center_prior, "edges": input_edges}
# What is measured, and whether more of it is better.
METRICS = {
    "deletion": False,
    "insertion": True,
    "pointing game": True,
    "energy inside": True,
    "weights random": False,
    "labels random": False,
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """`scores[metric]`: (methods, n), a row for each of `methods`, of which the last are `baselines`.

    metric         | what it is, of one item                                                            | better
    ---------------|------------------------------------------------------------------------------------|-------
    deletion       | area under the deletion curve                                                      | low
    insertion      | area under the insertion curve                                                     | high
    pointing game  | 1 where the highest position lies in the region                                    | high
    energy inside  | share of the map's positive values in the region                                   | high
    weights random | rank correlation of magnitudes with the map after all weights were made random     | low
    labels random  | the same with the map of a network that has learned shuffled labels                | low
    """

    methods: tuple[str, ...]
    baselines: tuple[str, ...]
    scores: Mapping[str, Float[Tensor, "methods n"]]
    heats: Float[Tensor, "methods n *space"]
    x: Float[Tensor, "n c *space"]
    parameters: Mapping[str, Any]

    def table(self) -> Table:
        """Means over the items, with their standard errors."""
        items = len(self.x)
        table = Table(title=f"{len(self.methods)} methods, {items} items: mean ± standard error")
        table.add_column("method")
        for metric in self.scores:
            table.add_column(f"{metric} {'↑' if METRICS[metric] else '↓'}", justify="right")
        for row, name in enumerate(self.methods):
            if name in self.baselines and row and self.methods[row - 1] not in self.baselines:
                table.add_section()
            cells = [self.mean(metric) for metric in self.scores]
            table.add_row(name, *(f"{float(m[row]):.3f} ± {float(e[row]):.3f}" for m, e in cells))
        return table

    def mean(self, metric: str) -> tuple[Float[Tensor, " methods"], Float[Tensor, " methods"]]:
        """Mean and standard error over the items of which the metric says something."""
        values = self.scores[metric].double()
        known = (~values.isnan()).sum(1)
        mean = values.nanmean(1)
        spread = (values - mean[:, None]).square().nansum(1) / (known - 1).clamp_min(1)
        return mean, (spread / known).sqrt()

    def json(self) -> dict[str, Any]:
        """The numbers of every item as plain types, without x and the maps."""
        return {**self._facts(), "scores": {name: values.tolist() for name, values in self.scores.items()}}

    def save(self, path: str | Path) -> None:
        """Write x, the heat maps and the scores into a safetensors file, the rest as JSON into its header."""
        save_tensors(Path(path), {"x": self.x, "heats": self.heats, **self.scores}, self._facts())

    def plot(self) -> Figure:
        """Each metric with a dot for each method, its mean, and twice its standard error."""
        from striate.interpret.trust.pictures import draw_comparison

        return draw_comparison(self)

    def gallery(self, items: int = 6) -> Figure:
        """The first items, and what each method says of them."""
        from striate.interpret.trust.pictures import draw_gallery

        return draw_gallery(self, items)

    def _facts(self) -> dict[str, Any]:
        return {
            "methods": list(self.methods),
            "baselines": list(self.baselines),
            "better": {name: "high" if METRICS[name] else "low" for name in self.scores},
            "parameters": dict(self.parameters),
        }

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.methods)}: {', '.join(self.scores)}; {len(self.x)} items)"


def compare_methods(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    methods: Mapping[str, Callable[..., Any]],
    *,
    target: Target = None,
    regions: Bool[Tensor, "n *space"] | None = None,
    shuffled: nn.Module | None = None,
    steps: int = 20,
    fill: Fill = "blur",
    tolerance: int = 0,
    seed: int = 0,
    progress: Progress = False,
) -> Comparison:
    """Which method to trust on this network: all checks for all `methods`, and for two maps that know no network.

    `methods`: name -> function (model, x, target=class) -> Map. The two are a center prior and the input's edges: a
    method that is no better than they are tells nothing.

    `target`: see `deletion`. `regions`: where the object is (see `box_regions`); without them no pointing game and no
    energy. `shuffled`: a network of the same form that was trained on shuffled labels, for their row. `steps`, `fill`:
    of both curves. Weights are made random all at once, with `seed`.

    Raises InputError where there is no method, a name is that of a baseline, or a map or region does not fit.
    """
    if not methods:
        raise InputError("nothing to compare", expected="one method or more", got="none")
    if taken := [name for name in methods if name in BASELINES]:
        raise InputError("this is the name of a baseline", got=taken[0], fix="Choose another one.")
    x, wanted, _ = fixed(model, x, target)
    everything: dict[str, Any] = {**methods, **BASELINES}
    others = {"weights random": randomized(model, x, seed)}
    if shuffled is not None:
        others["labels random"] = shuffled
    heats, rows = [], []
    with reporting(progress, len(everything), "methods") as report:
        for method in everything.values():
            heat = heat_maps(method, model, x, wanted)
            curve = functools.partial(_area, model, x, heat, wanted, steps, fill)
            row = {"deletion": curve(deletion), "insertion": curve(insertion)}
            if regions is not None:
                row["pointing game"] = pointing_game(heat, regions, tolerance).double()
                row["energy inside"] = energy_inside(heat, regions).double()
            for name, other in others.items():
                row[name] = similarity(heat, heat_maps(method, other, x, wanted))[1].double()
            heats.append(heat)
            rows.append(row)
            report(1)
    scores = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    parameters = {"target": described(target), "steps": steps, "fill": fill if isinstance(fill, str) else "values"}
    parameters |= {"tolerance": tolerance, "seed": seed}
    return Comparison(tuple(everything), tuple(BASELINES), scores, torch.stack(heats), x.cpu(), parameters)


def _area(model: nn.Module, x: Tensor, heat: Tensor, target: Any, steps: int, fill: Fill, curve: Any) -> Tensor:
    areas: Tensor = curve(model, x, heat, target=target, steps=steps, fill=fill).auc
    return areas
