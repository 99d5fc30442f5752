"""Pruning of single weights: the smallest become zero, and stay so while the others are trained on.

    prune_weights(model, 0.9)
    for step in fit(model, task, data, recipe): ...
    make_permanent(model)

The masks are parametrizations of torch: the layer computes with weight * mask whatever the optimizer does to the
weight, and masks are part of checkpoints, of a moving average of the weights, and of resumed trainings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from striate.errors import InputError
from striate.shapes import Bool, Float, Tensor

LAYERS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    nn.Linear,
)


class Mask(nn.Module):
    """Keeps the weights where `kept` is true and puts zeros elsewhere."""

    kept: Tensor

    def __init__(self, kept: Bool[Tensor, "..."]) -> None:
        super().__init__()
        self.register_buffer("kept", kept)

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """weight * kept."""
        return weight * self.kept


def prune_weights(model: nn.Module, share: float, scope: Literal["global", "layer"] = "global") -> None:
    """Mask this share of the weights of all convolutions and dense layers: those of least magnitude.

    "global" compares all weights of the network with each other, "layer" prunes every layer by the same share. Of a
    network with masks the ones so far count as zeros: shares grow from call to call (iterative pruning). Biases and
    norms are spared. Source: Han, Pool, Tran, Dally 2015, Learning both weights and connections, section 3.

    Raises InputError for a share outside 0..1, another scope, and a network without such layers.
    """
    if not 0 <= share < 1:
        raise InputError("share of weights to prune", expected="at least 0, below 1", got=share)
    if scope not in ("global", "layer"):
        raise InputError("scope of pruning", expected="global or layer", got=repr(scope))
    weights = {path: _weight(layer) for path, layer in _layers(model)}
    groups = [list(weights)] if scope == "global" else [[path] for path in weights]
    with torch.no_grad():
        for paths in groups:
            sizes = torch.cat([weights[path].abs().flatten() for path in paths])
            kept = torch.ones_like(sizes, dtype=torch.bool)
            kept[sizes.argsort(stable=True)[: round(share * len(sizes))]] = False
            first = 0
            for path in paths:
                part = kept[first : first + weights[path].numel()]
                _set_mask(model.get_submodule(path), part.view(weights[path].shape))
                first += len(part)


def make_permanent(model: nn.Module) -> None:
    """Write the zeros into the weights and take the masks off; InputError where there are none."""
    masked = [layer for _, layer in _layers(model) if _mask(layer) is not None]
    if not masked:
        raise InputError("the network has no masks", fix="Prune it first: prune_weights(model, share).")
    for layer in masked:
        parametrize.remove_parametrizations(layer, "weight")


def zeros(model: nn.Module) -> Mapping[str, float]:
    """The share of weights that are zero, of each layer, and of all of them under "".

    >>> layer = nn.Linear(4, 1)
    >>> prune_weights(layer, 0.5)
    >>> zeros(nn.Sequential(layer))
    {'': 0.5, '0': 0.5}
    """
    weights = {path: _weight(layer) for path, layer in _layers(model)}
    counts = {path: (int((weight == 0).sum()), weight.numel()) for path, weight in weights.items()}
    total = sum(zero for zero, _ in counts.values()) / sum(size for _, size in counts.values())
    return {"": total} | {path: zero / size for path, (zero, size) in counts.items()}


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers whose weights are pruned, by path; a layer with several names comes once."""

    layers: list[tuple[str, nn.Module]] = [
        (path, module) for path, module in model.named_modules() if isinstance(module, LAYERS)
    ]
    if not layers:
        raise InputError("nothing to prune", where=type(model).__name__, expected="convolutions or dense layers")
    return layers


def _weight(layer: nn.Module) -> Tensor:
    """As the layer computes with it: masked."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight.detach()


def _mask(layer: nn.Module) -> Mask | None:
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    parts = cast(nn.ModuleDict, layer.parametrizations)["weight"]
    return next((part for part in cast(nn.ModuleList, parts) if isinstance(part, Mask)), None)


def _set_mask(layer: nn.Module, kept: Tensor) -> None:
    mask = _mask(layer)
    if mask is None:
        # What a mask makes of a weight has no inverse, nor does it need one: the weight is there already.
        parametrize.register_parametrization(layer, "weight", Mask(kept))
    else:
        mask.kept.copy_(kept)
