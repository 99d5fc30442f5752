"""Training that starts from a trained network: its weights, all of them trained on or some layers frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from striate.errors import InputError, did_you_mean
from striate.shapes import Tensor

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)  # outputs are the second axis of a weight


def start_from(
    model: nn.Module, tensors: Mapping[str, Tensor], where: object, *, anew: bool = False, why: str = ""
) -> tuple[str, ...]:
    """Copy the weights of another training into `model`; the names of those of its last layer that stay fresh.

    The last layer (the one with the last parameters) keeps its own weights where there are more or fewer outputs, and
    with `anew` in any case: the others were trained for other classes. Raises InputError where any other tensor is
    missing, of another shape or too many, naming those that differ and the reason `why`, if it is known; nothing is
    changed then.
    """
    own = model.state_dict()
    names = [name for name, _ in model.named_parameters()]
    last = names[-1].rpartition(".")[0] if names else ""
    outputs = 1 if names and isinstance(model.get_submodule(last), TRANSPOSED) else 0
    head = [name for name in own if name.rpartition(".")[0] == last]
    other = any(name in tensors and tensors[name].shape != own[name].shape for name in head)
    fresh = tuple(head) if anew or other else ()
    differing = [
        name
        for name in dict.fromkeys((*own, *tensors))
        if name not in own or name not in tensors or not _fits(tensors[name], own[name], outputs, name in fresh)
    ]
    if differing:
        shown = [f"{name} {_shape(tensors, name)} there, {_shape(own, name)} here" for name in differing[:3]]
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(
            "the weights to start from are of another network",
            where=where,
            expected=f"the same layers, but for the outputs of the last one, {last or 'the network itself'}",
            got="; ".join(shown) + more,
            fix=why or "Choose the network and the inputs of that run (its model.json).",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in fresh:
                tensor.copy_(tensors[name])
    return fresh


def _fits(theirs: Tensor, own: Tensor, outputs: int, fresh: bool) -> bool:
    """Whether the shapes are the same; of the last layer, trained anew, but for the axis of its outputs."""
    if not fresh or theirs.ndim != own.ndim:
        return theirs.shape == own.shape
    sides = enumerate(zip(theirs.shape, own.shape, strict=True))
    return all(a == b for axis, (a, b) in sides if axis != outputs % own.ndim)


def freeze(model: nn.Module, beginnings: Sequence[str]) -> None:
    """Keep layers as they are: parameters whose names begin so want no gradient, and their norms stay as in evaluation.

    `conv1` freezes conv1 and all in it, not conv10. Raises InputError for a beginning that no parameter has.
    """
    for beginning in beginnings:
        found = [
            parameter
            for name, parameter in model.named_parameters()
            if f"{name}.".startswith(beginning.rstrip(".") + ".")
        ]
        if not found:
            layers = dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters())
            raise InputError("there is no layer to freeze", got=repr(beginning), fix=did_you_mean(beginning, layers))
        for parameter in found:
            parameter.requires_grad = False
        for name, module in model.named_modules():
            if f"{name}.".startswith(beginning.rstrip(".") + "."):
                module.eval()


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return "x".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "absent"
