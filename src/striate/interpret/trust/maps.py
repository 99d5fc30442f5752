"""Heat maps of any method for the checks: of a function, of a finished map, or plain numbers; and maps of no method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.interpret.map import Map
from striate.interpret.scoring import checked, classes_of, examined, output_of, scored
from striate.interpret.sweep import Target
from striate.shapes import Float, Tensor

# (model, x (1, c, *space), target=class) -> a map, or its heat map; or these of all items, made before
Method = Callable[..., Map | Tensor] | Map | Tensor


def heat_maps(
    method: Method, model: nn.Module, x: Float[Tensor, "n c *space"], target: Any = None
) -> Float[Tensor, "n *space"]:
    """What a method says of each item, on the CPU: called for one item at a time with its class, or as it was made.

    `target`: one class for all, a class for each item, or a function, as of `scored`; not needed for a finished map.
    Raises InputError where the result is not of the positions of x, one number each.
    """
    if not callable(method):
        return _of_space(method, x, "the map")
    own = target if isinstance(target, list) else [target] * len(x)
    maps = [_of_space(method(model, x[i : i + 1], target=own[i]), x[i : i + 1], name_of(method)) for i in range(len(x))]
    return torch.cat(maps)


def _of_space(found: Any, x: Tensor, name: str) -> Tensor:
    heat = found.heatmap() if isinstance(found, Map) else found
    wanted = (len(x), *x.shape[2:])
    shape = tuple(heat.shape) if isinstance(heat, torch.Tensor) else type(found).__name__
    if shape not in (wanted, wanted[1:] if len(x) == 1 else wanted):
        fix = "Explain one output: target=…"
        raise InputError("this is no heat map of the input", where=name, expected=wanted, got=shape, fix=fix)
    return heat.detach().cpu().float().reshape(wanted)


def name_of(method: Any) -> str:
    """What a method is called where nobody named it."""
    return method.method if isinstance(method, Map) else str(getattr(method, "__name__", type(method).__name__))


def fixed(model: nn.Module, x: Tensor, target: Target = None) -> tuple[Tensor, Any, Tensor]:
    """The checked input, the target with "the greatest" replaced by each item's class, and the scores (n,)."""
    x = checked(model, x)
    if not x.is_floating_point():
        fix = "Pass one-hot channels (n, c, t)."
        raise InputError("checks of maps change the input", expected="floats", got=x.dtype, fix=fix)
    with examined(model), torch.no_grad():
        output = output_of(model, x)
        classes = classes_of(output, target)
        kept = target if classes is None else classes
        return x, kept, scored(output, kept).cpu()


def center_prior(_model: nn.Module, x: Float[Tensor, "n c *space"], **_target: Any) -> Float[Tensor, "n *space"]:
    """A Gaussian at the middle of the input, a quarter of each side wide (standard deviation): what a map says that
    knows only where objects mostly are."""
    heat = torch.ones(())
    for side in x.shape[2:]:
        places = (torch.arange(side) - (side - 1) / 2) / (side / 4)
        heat = heat[..., None] * torch.exp(-(places**2) / 2)
    return heat.expand(len(x), *heat.shape).clone()


def input_edges(_model: nn.Module, x: Float[Tensor, "n c *space"], **_target: Any) -> Float[Tensor, "n *space"]:
    """The magnitude of the input's own gradient, over all channels: it looks like an explanation and knows no network.

    Differences are central, and one-sided at the borders. Source: Adebayo et al. 2018, sec. 5.1.
    """
    axes = tuple(axis for axis in range(2, x.dim()) if x.shape[axis] > 1)
    if not axes:
        return torch.zeros(len(x), *x.shape[2:])
    slopes: Sequence[Tensor] = torch.gradient(x.detach().cpu().float(), dim=axes)
    return torch.stack([*slopes]).square().sum((0, 2)).sqrt()
