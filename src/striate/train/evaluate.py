"""A model's outputs on a whole set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from striate.data import Batches, ImageSet, Preprocess
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


def evaluate(
    model: nn.Module, items: ImageSet, preprocess: Preprocess, device: torch.device
) -> tuple[Float[Tensor, "n ..."], Num[Tensor, " n *k"]]:
    """Outputs and targets of a whole set, in order, on `device`, where the model must be.

    Batches hold about a million pixels, at most 1,000 images, so that large images need no more memory than small.
    """
    _, height, width = preprocess.shape
    size = min(1000, max(1, 1_000_000 // (height * width)))
    outputs, targets = [], []
    with evaluating(model):
        for batch in Batches(items, preprocess, batch_size=size, device=device).epoch(0):
            outputs.append(model(batch.images).float())
            targets.append(batch.labels)
    return torch.cat(outputs), torch.cat(targets)
