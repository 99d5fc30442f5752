"""A model's outputs on a whole set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from striate.data import Batch, Batches, Input, Items
from striate.shapes import Tensor
from striate.tasks import Task


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


def evaluate(
    model: nn.Module, task: Task, items: Items, preprocess: Input, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What the task keeps of the outputs of a whole set (`Task.keep`), in order, and the targets, on `device`.

    The model must be there. Batches hold about a million input values, at most 1,000 items, so that large items need
    no more memory than small ones.
    """

    def batches(of: Items, size: int) -> Iterator[Batch]:
        return Batches(of, preprocess, batch_size=size, device=device, example=task.example).epoch(0)

    values = next(batches(items.subset([0]), 1)).inputs.numel()
    kept, targets = [], []
    with evaluating(model):
        for batch in batches(items, min(1000, max(1, 1_000_000 // values))):
            kept.append(task.keep(model(batch.inputs), batch.targets))
            targets.append(batch.targets)
    return torch.cat(kept), torch.cat(targets)
