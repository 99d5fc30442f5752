"""The two oldest looks inside a network: its first filters, and what each layer makes of one image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from striate.errors import InputError
from striate.shapes import Float, Tensor

# In eval mode these hand on what they got; recording them would show every map twice.
_PASS_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def first_filters(model: nn.Module) -> Float[Tensor, "k c *space"]:
    """The weights of the first convolution of `model`, as a detached copy on the CPU.

    Only the first layer sees pixels, so only its filters are pictures; c is its input channels per group.
    First means first in `model.modules()`, the order in which the layers were registered; no data is run.
    Transposed convolutions do not count: their weights are laid out the other way round.

    Raises InputError where there is no convolution or a lazy one that has no weights yet.
    Source: Krizhevsky, Sutskever & Hinton 2012, fig. 3 (96 filters of 11×11×3).

    >>> first_filters(nn.Sequential(nn.Flatten(0, 1), nn.Conv1d(2, 8, 3))).shape
    torch.Size([8, 2, 3])
    """
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if is_lazy(module.weight):
                raise InputError(
                    "the first convolution has no weights yet",
                    where=path or type(module).__name__,
                    fix="Run the model once on a batch.",
                )
            return module.weight.detach().to("cpu", copy=True)
    raise InputError(
        "no first filters to show",
        where=type(model).__name__,
        expected="a Conv1d, Conv2d or Conv3d",
        got="a model without a convolution",
    )


def feature_maps(model: nn.Module, image: Float[Tensor, "c ..."]) -> dict[str, Float[Tensor, "_ ..."]]:
    """What every layer makes of one image: module path -> map (channels, *space), in the order of execution.

    Recorded is each leaf module (convolution, pooling, activation, normalization, …) whose output is
    (1, channels, *space) with as many spatial axes as the image and one of them longer than 1; not dropout
    and identity, which change nothing in eval mode. A module called again is `path#2`, `path#3`, ….
    What a `forward` computes with functions (`F.relu`) belongs to no module and is not seen.

    The model runs once, in eval mode without gradients; the image is moved to its device and type. Hooks,
    the mode of every module and the random state are as before afterwards, also if the model raises.
    The maps are copies on the CPU: a later in-place activation does not change them.

    Raises InputError for an image without spatial axes and where no module makes a map.
    Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", sec. 4.

    >>> list(feature_maps(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()), torch.zeros(1, 8, 8)))
    ['0', '1']
    """
    if image.ndim < 2:
        raise InputError(
            "cannot show feature maps",
            where="image",
            expected="axes (c, *space)",
            got=f"{tuple(image.shape)}",
        )
    maps: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def record(path: str, output: Any) -> None:
        calls[path] = calls.get(path, 0) + 1
        if _is_map(output, image.ndim + 1):
            key = path if calls[path] == 1 else f"{path}#{calls[path]}"
            maps[key] = output[0].detach().to("cpu", copy=True)

    with _as_found(model) as handles, torch.no_grad():
        for path, module in model.named_modules():
            if not any(module.children()) and not isinstance(module, _PASS_ON):
                name = path or type(module).__name__
                handles.append(module.register_forward_hook(lambda _m, _x, output, name=name: record(name, output)))
        model(image.unsqueeze(0).to(next(model.parameters(), image)))
    if not maps:
        raise InputError(
            "no feature maps to show",
            where=type(model).__name__,
            expected=f"a module with an output of {image.ndim + 1} axes, one of the last longer than 1",
            got="none",
            fix="Maps that a forward computes with functions need modules (nn.ReLU for F.relu).",
        )
    return maps


def _is_map(output: Any, ndim: int) -> bool:
    return (
        isinstance(output, Tensor)
        and output.ndim == ndim
        and output.shape[0] == 1
        and output.is_floating_point()
        and max(output.shape[2:]) > 1
    )


@contextmanager
def _as_found(model: nn.Module) -> Iterator[list[torch.utils.hooks.RemovableHandle]]:
    """Put `model` into eval mode; afterwards remove the hooks in the list, restore modes and random state."""
    handles: list[torch.utils.hooks.RemovableHandle] = []
    modes = [(module, module.training) for module in model.modules()]
    cuda = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(cuda)):
        try:
            model.eval()
            yield handles
        finally:
            for handle in handles:
                handle.remove()
            # Set one by one: train() would recurse, and a frozen module may override it.
            for module, mode in modes:
                module.training = mode
