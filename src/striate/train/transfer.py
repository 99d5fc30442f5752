"""Training that starts from a trained network: its weights, all of them trained on or some layers frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from striate.errors import InputError, did_you_mean
from striate.shapes import Tensor


def start_from(
    model: nn.Module, tensors: Mapping[str, Tensor], where: object, *, anew: bool = False
) -> tuple[str, ...]:
    """Copy the weights of another training into `model`; the names of those of its last layer that stay fresh.

    The last layer (the one with the last parameters) keeps its own weights where the others have another shape, and
    with `anew` in any case: they were trained for other classes. Raises InputError where any other tensor is missing,
    of another shape or too many, changing nothing.
    """
    own = model.state_dict()
    names = [name for name, _ in model.named_parameters()]
    last = names[-1].rpartition(".")[0] if names else ""
    fresh = tuple(
        name
        for name in own
        if name not in tensors or tensors[name].shape != own[name].shape or (anew and name.rpartition(".")[0] == last)
    )
    strange = [name for name in (*fresh, *tensors) if name.rpartition(".")[0] != last]
    differing = [name for name in strange if name in fresh or name not in own]
    if differing:
        raise InputError(
            "the weights to start from are of another network",
            where=where,
            expected=f"the same layers, but for the last one, {last or 'the network itself'}",
            got=f"{differing[0]} {_shape(tensors, differing[0])}, here {_shape(own, differing[0])}",
            fix="Choose the network of that run (its model.json).",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in fresh:
                tensor.copy_(tensors[name])
    return fresh


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
