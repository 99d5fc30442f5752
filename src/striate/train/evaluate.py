"""A model's outputs on a whole set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from striate.data import Batch
from striate.shapes import Float, Num, Tensor


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients in the body; each module's own mode is put back after."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> tuple[Float[Tensor, "n ..."], Num[Tensor, " n *k"]]:
    """Outputs and targets of all batches, in order, on the model's device."""
    outputs, targets = [], []
    with evaluating(model):
        for batch in batches:
            outputs.append(model(batch.images).float())
            targets.append(batch.labels)
    return torch.cat(outputs), torch.cat(targets)
