"""The kernels of a convolution: the weights themselves, and the Gabor functions that they are like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from torch import nn
from torch.nn.parameter import is_lazy

from striate.errors import InputError
from striate.interpret.features.gabor import Gabors, fit_gabors
from striate.interpret.map import as_image
from striate.interpret.scoring import find_layer
from striate.shapes import Float, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
WAYS = ("auto", "slices", "principal")


@dataclass(frozen=True, eq=False, repr=False)
class Filters:
    """The kernels of a convolution as a copy on the CPU; c is its input channels per group."""

    layer: str
    weights: Float[Tensor, "k c *space"]

    def plot(self, way: str = "auto") -> Figure:
        """The kernels as pictures. 3 channels in 2-D are colors, 1 is red above and blue below zero, more are a row of
        slices for each kernel; of 1-D kernels channels by time, of 3-D ones each plane (the middle one of channels).

        `way`: "slices": each channel by itself; "principal": the three principal components of all channels as colors
        (2-D). The title says what is shown, the note on which scale.

        Raises InputError for another way, and for principal components of less than 3 channels or other ranks.
        """
        from striate.interpret.features.filter_pictures import draw_filters

        if way not in WAYS:
            raise InputError("unknown way to draw kernels", expected=", ".join(WAYS), got=way)
        return draw_filters(self.weights, way, self.layer)

    def gabors(self) -> Gabors:
        """The Gabor function that is most like each kernel, in 1-D and 2-D: see `fit_gabors`."""
        return fit_gabors(self.weights)

    def table(self, rows: int = 20) -> Table:
        """A row a kernel: L2 norm, mean, least and greatest weight."""
        table = Table("kernel", "norm", "mean", "least", "greatest", title=self.title())
        for number, weight in enumerate(self.weights[:rows].double()):
            facts = weight.norm(), weight.mean(), weight.min(), weight.max()
            table.add_row(str(number), *(f"{float(fact):.4g}" for fact in facts))
        return table

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        return {**self._facts(), "weights": self.weights.tolist()}

    def save(self, path: str | Path) -> None:
        """Write the weights into a safetensors file; StorageError where it cannot be written."""
        save_tensors(Path(path), {"weights": self.weights}, self._facts())

    def title(self) -> str:
        """How many, and how large: "96 kernels of 11×11×3"."""
        k, c, *sides = self.weights.shape
        return f"{k} kernel{'s' * (k != 1)} of {'×'.join(map(str, (*sides, c)))}"

    def _facts(self) -> dict[str, Any]:
        return {"method": "filters", "layer": self.layer}

    def _repr_html_(self) -> str:
        return as_image(self.plot(), self.title())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title()}, {self.layer or 'the network itself'})"


def filters(model: nn.Module, layer: str | None = None) -> Filters:
    """The kernels of a convolution of `model`, by default of the first one.

    Only the first layer sees pixels, so only its kernels are pictures; those of later ones read the channels of the
    layer before, and are drawn as slices. First means first in `model.modules()`, the order in which the layers were
    registered; no data is run. A transposed convolution has to be named; its weights are turned to (out, in, *space).

    Raises InputError where there is no convolution, at that path either, or a lazy one that has no weights yet.
    Source: Krizhevsky, Sutskever & Hinton 2012, fig. 3 (96 kernels of 11×11×3).

    >>> filters(nn.Sequential(nn.Flatten(0, 1), nn.Conv1d(2, 8, 3)))
    Filters(8 kernels of 3×2, 1)
    """
    path, module = _find(model, layer)
    if is_lazy(module.weight):
        fix = "Run the model once on a batch."
        raise InputError("the convolution has no weights yet", where=path or type(module).__name__, fix=fix)
    weights = module.weight.detach().to("cpu", copy=True)
    if getattr(module, "transposed", False):  # in, out / groups, *space
        weights = weights.unflatten(0, (module.groups, -1)).transpose(1, 2).flatten(0, 1)
    return Filters(path, weights)


def _find(model: nn.Module, layer: str | None) -> tuple[str, Any]:
    if layer is not None:
        found = find_layer(model, layer)
        if not _has_kernels(found):
            known = [path for path, module in model.named_modules() if _has_kernels(module)]
            fix = f"Convolutions: {', '.join(known[:8]) or 'none'}{', …' * (len(known) > 8)}."
            raise InputError("this layer has no kernels", where=layer, got=type(found).__name__, fix=fix)
        return layer, found
    for path, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            return path, module
    raise InputError(
        "no first filters to show",
        where=type(model).__name__,
        expected="a Conv1d, Conv2d or Conv3d",
        got="a model without a convolution",
    )


def _has_kernels(module: nn.Module) -> bool:
    """Whether a layer has weights (out, in, *space); lazy ones have no axes yet."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, nn.Parameter) and (is_lazy(weight) or 3 <= weight.ndim <= 5)
