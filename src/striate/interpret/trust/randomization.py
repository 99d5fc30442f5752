"""Does a map depend on what the network has learned? Its weights, or its labels, are made random and the maps compared.

A method whose maps stay the same shows the input, not the network: an edge detector would pass for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError, did_you_mean
from striate.geometry.state import unwrapped
from striate.interpret.scoring import examined, output_of
from striate.interpret.sweep import Progress, Target, described, reporting
from striate.interpret.trust.maps import Method, fixed, heat_maps, name_of
from striate.shapes import Float, Num, Tensor
from striate.tasks.fidelity import WINDOW, ssim
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNMOVED = 0.5  # a rank correlation above it says that the map has hardly changed


@dataclass(frozen=True, eq=False)
class Randomization:
    """How like the maps before and after are: a row for each `layers` made random, a column for each item.

    `spearman`: rank correlation of the heat maps; `magnitude`: of their magnitudes, for methods whose sign flips;
    `ssim`: structural similarity of the maps brought to 0..1. All are 1 for equal maps, and about 0 for unrelated ones.
    `mode`: "cascading" (from the output down to and including the layer), "independent" (that layer alone), "labels".
    """

    method: str
    mode: str
    layers: tuple[str, ...]
    spearman: Float[Tensor, "layers n"]
    magnitude: Float[Tensor, "layers n"]
    ssim: Float[Tensor, "layers n"]
    parameters: Mapping[str, Any]

    @property
    def insensitive(self) -> bool:
        """Whether the map hardly changes with the network: with all layers random (or other labels, or, of independent
        ones, whichever layer it is) the median rank correlation of the magnitudes stays above 0.5."""
        rows = self.magnitude if self.mode == "independent" else self.magnitude[-1:]
        return bool((rows.quantile(0.5, 1) > UNMOVED).all())

    def table(self) -> Table:
        """Medians over the items, a row for each layer."""
        caption = "Hardly changes with the network." if self.insensitive else "Depends on the network."
        table = Table(title=self.title(), caption=caption)
        table.add_column("random", overflow="fold")
        for name in ("rank correlation", "of magnitudes", "SSIM"):
            table.add_column(name, justify="right")
        for row, layer in enumerate(self.layers):
            table.add_row(layer, *(f"{float(part[row].quantile(0.5)):.3f}" for part in self._parts().values()))
        return table

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        return {**self._facts(), **{name: part.tolist() for name, part in self._parts().items()}}

    def save(self, path: str | Path) -> None:
        """Write the similarities into a safetensors file, the rest as JSON into its header."""
        save_tensors(Path(path), self._parts(), self._facts())

    def plot(self) -> Figure:
        """Medians, and the middle half of the items, against the layers."""
        from striate.interpret.trust.pictures import draw_randomization

        return draw_randomization([self])

    def title(self) -> str:
        """Method and mode."""
        return f"{self.method}, {self.mode} randomization, {self.spearman.shape[1]} items"

    def _parts(self) -> dict[str, Tensor]:
        return {"spearman": self.spearman, "magnitude": self.magnitude, "ssim": self.ssim}

    def _facts(self) -> dict[str, Any]:
        facts = {"method": self.method, "mode": self.mode, "layers": list(self.layers)}
        return {**facts, "parameters": dict(self.parameters), "insensitive": self.insensitive}

    def __repr__(self) -> str:
        return f"Randomization({self.title()})"


def model_randomization(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    method: Method,
    *,
    target: Target = None,
    mode: str = "cascading",
    layers: Sequence[str] | None = None,
    seed: int = 0,
    name: str = "",
    progress: Progress = False,
) -> Randomization:
    """How the maps of a method change when the network's weights are drawn anew, layer by layer.

    `method`: a function (model, x, target=class) -> Map. `mode`: "cascading", from the output towards the input, what
    was drawn staying; or "independent", each layer alone in the trained network. `layers`: paths, in the order in which
    they are made random; all with weights of their own without it. A layer draws as at its construction
    (`reset_parameters`), one that does not know how from a normal of its weights' mean and deviation. The class of an
    item is that of the trained network throughout. The model is left alone: a copy is changed.

    Raises InputError for an unknown layer or mode, one without weights, and a method that is a finished map.
    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", sec. 3.1.
    """
    if mode not in ("cascading", "independent"):
        raise InputError("unknown mode", expected="cascading or independent", got=mode)
    if not callable(method):
        fix = "Pass the function: lambda model, x, target: …"
        raise InputError("a finished map does not change with the network", got=name_of(method), fix=fix)
    model = unwrapped(model)
    x, wanted, _ = fixed(model, x, target)
    order = _order(model, x, layers)
    before = heat_maps(method, model, x, wanted)
    rows = []
    with reporting(progress, len(order), f"{mode} randomization") as report:
        for changed in _randomized(model, order, mode, seed):
            rows.append(similarity(before, heat_maps(method, changed, x, wanted)))
            report(1)
    parameters = {"target": described(target), "seed": seed}
    ranked, unsigned, structure = (torch.stack(part) for part in zip(*rows, strict=True))
    name = name or name_of(method)
    return Randomization(name, mode, tuple(order), ranked, unsigned, structure, parameters)


def label_randomization(
    model: nn.Module,
    shuffled: nn.Module,
    x: Num[Tensor, "n ..."],
    method: Method,
    *,
    target: Target = None,
    name: str = "",
) -> Randomization:
    """How like the maps of two networks are: one trained on the true labels, one on `shuffled` ones.

    Both have the same form; the second has learned its training set by heart, and nothing of what the classes are.
    `target`: see `model_randomization`. Source: Adebayo et al. 2018, sec. 3.2.
    """
    if not callable(method):
        fix = "Pass the function: lambda model, x, target: …"
        raise InputError("a finished map does not change with the network", got=name_of(method), fix=fix)
    x, wanted, _ = fixed(model, x, target)
    parts = similarity(heat_maps(method, model, x, wanted), heat_maps(method, shuffled, x, wanted))
    ranked, unsigned, structure = (part[None] for part in parts)
    parameters, name = {"target": described(target)}, name or name_of(method)
    return Randomization(name, "labels", ("labels",), ranked, unsigned, structure, parameters)


def randomized(model: nn.Module, x: Float[Tensor, "n c *space"], seed: int = 0) -> nn.Module:
    """A copy of a network with all weights that x meets drawn anew, as by the last step of `model_randomization`."""
    model = unwrapped(model)
    return [*_randomized(model, _order(model, x, None), "cascading", seed)][-1]


def similarity(
    before: Float[Tensor, "n *space"], after: Float[Tensor, "n *space"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Rank correlation, that of the magnitudes, and SSIM of the maps brought to 0..1, item by item.

    What is NaN in either is left out (of SSIM: counts as the least). A map that is the same everywhere has no ranks:
    its correlation is 0, unless both are. SSIM is NaN where a side is shorter than its window of 11.

    >>> ramp = torch.arange(144.0).reshape(1, 12, 12)
    >>> [round(float(part), 3) for part in similarity(ramp, 2 * ramp + 1)]
    [1.0, 1.0, 1.0]
    """
    flat = [(a.flatten(), b.flatten()) for a, b in zip(before, after, strict=True)]
    ranked = torch.tensor([_spearman(a, b) for a, b in flat])
    unsigned = torch.tensor([_spearman(a.abs(), b.abs()) for a, b in flat])
    if min(before.shape[1:]) < WINDOW:
        return ranked, unsigned, torch.full_like(ranked, torch.nan)
    return ranked, unsigned, ssim(*(_unit(maps)[:, None] for maps in (before, after))).float()


def _spearman(a: Tensor, b: Tensor) -> float:
    from scipy.stats import rankdata

    known = a.isfinite() & b.isfinite()
    ranks = [torch.from_numpy(rankdata(part[known].numpy())) for part in (a, b)]
    first, second = (rank - rank.mean() for rank in ranks)
    norms = first.norm(), second.norm()
    if not norms[0] or not norms[1]:
        return float(not norms[0] and not norms[1])
    return float(first @ second / (norms[0] * norms[1]))


def _unit(maps: Tensor) -> Tensor:
    """From 0, the least, to 1, the greatest."""
    flat = maps.flatten(1)
    known = flat.isfinite()
    least = torch.where(known, flat, torch.inf).amin(1, keepdim=True)
    flat = torch.where(known, flat, least) - least
    return (flat / flat.amax(1, keepdim=True).clamp_min(1e-30)).reshape(maps.shape)


def _order(model: nn.Module, x: Tensor, layers: Sequence[str] | None) -> list[str]:
    """The layers with weights of their own, the last that runs first; or as named."""
    own = {
        path: module for path, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))
    }
    if layers is not None:
        for path in layers:
            if path not in own:
                raise InputError("no layer of this path has weights", got=repr(path), fix=did_you_mean(path, own))
        if not layers:
            raise InputError("nothing to make random", expected="one layer or more", got="none")
        return [*layers]
    called: list[str] = []
    hooks = [m.register_forward_hook(lambda *_, path=path: called.append(path)) for path, m in own.items()]
    try:
        with examined(model), torch.no_grad():
            output_of(model, x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise InputError("nothing to make random", where=type(model).__name__, expected="weights", got="none that runs")
    return list(dict.fromkeys(reversed(called)))


def _randomized(model: nn.Module, order: Sequence[str], mode: str, seed: int) -> Iterator[nn.Module]:
    """A copy of the network for each layer in turn, which the next one may change."""
    changed = copy.deepcopy(model)
    trained = copy.deepcopy(model.state_dict())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for path in order:
            if mode == "independent":
                changed.load_state_dict(trained)
            _draw(changed.get_submodule(path))
            state = torch.get_rng_state()
            yield changed
            torch.set_rng_state(state)  # what the method drew is not ours


def _draw(module: nn.Module) -> None:
    """New weights for a layer, not for those inside it."""
    if callable(draw := getattr(module, "reset_parameters", None)):
        draw()
        return
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            spread, mean = float(parameter.std()) if parameter.numel() > 1 else 0.0, float(parameter.mean())
            parameter.normal_(mean, spread or 1.0)
