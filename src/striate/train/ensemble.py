"""Several networks that answer as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from striate.errors import InputError
from striate.shapes import Tensor


def ensemble(models: Sequence[nn.Module]) -> nn.Module:
    """The network that says the mean of what several networks say of the same input.

        f(x) = (f_1(x) + ... + f_k(x)) / k

    Of several tensors (the heads of a localizer) each is averaged. Of classifiers, logits are averaged (the geometric
    mean of the probabilities). They may be of different kinds, as long as their outputs have one shape. Source:
    Krizhevsky, Sutskever, Hinton 2012, section 6 (there the mean of the probabilities).
    Raises InputError for no networks, and at a call for outputs of different shapes.

    >>> triple, same = nn.Linear(1, 1, bias=False), nn.Identity()
    >>> _ = triple.weight.data.fill_(3)
    >>> ensemble([triple, same])(torch.tensor([[5.0]])).item()
    10.0
    """
    if not models:
        raise InputError("an ensemble of no networks", expected="at least one", got=0)
    return Ensemble(models)


class Ensemble(nn.Module):
    """See `ensemble`."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Any:
        """The mean of the outputs."""
        outputs = [model(x) for model in self.models]
        return pytree.tree_map(lambda *parts: _mean(parts), *outputs)


def _mean(outputs: Sequence[Any]) -> Tensor:
    if not all(isinstance(output, Tensor) for output in outputs):
        got = type(outputs[0]).__name__
        raise InputError("an ensemble averages tensors", expected="tensors, or tuples, lists, dicts of them", got=got)
    shapes = list(dict.fromkeys(tuple(output.shape) for output in outputs))
    if len(shapes) > 1:
        raise InputError("the networks of an ensemble answer differently", expected=shapes[0], got=shapes[1])
    return torch.stack(list(outputs)).mean(0)
