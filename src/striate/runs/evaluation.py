"""Use a trained model again: on a whole set, or on single images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from striate.data import Batches, ImageSet, open_items
from striate.recipe import Recipe
from striate.runs.card import Card, load
from striate.runs.record import RECIPE, load_recipe_data
from striate.tasks import ClassificationScores, Classify, Prediction
from striate.train import evaluate, evaluating, find_device


def evaluate_run(
    folder: Path,
    data: str | None = None,
    *,
    device: str = "auto",
    skip_corrupt: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> ClassificationScores:
    """Scores of a run's model: on its own test images, or on the test images (else all) of the source `data`.

    Raises InputError for a folder without a model and for data whose classes the model does not know.
    """
    model, card = load(folder)
    items = _test_items(folder, card, data, skip_corrupt, progress)
    place = find_device(device)
    batches = Batches(items, card.preprocess, batch_size=1000, device=place)
    return Classify(card.class_names).score(*evaluate(model.to(place), batches.epoch(0)))


def _test_items(
    folder: Path,
    card: Card,
    data: str | None,
    skip_corrupt: bool,
    progress: Callable[[int, int, str], None] | None,
) -> ImageSet:
    if data is not None:
        return open_items(data, card.preprocess, card.class_names, skip_corrupt=skip_corrupt, progress=progress)
    own = load_recipe_data(Recipe.read(folder / RECIPE), progress)
    return own.test or own.validation or own.train


def predict(model: nn.Module, card: Card, images: Sequence[Any], top_k: int = 5) -> tuple[Prediction, ...]:
    """Classes and probabilities, best first, of image files, PIL images, arrays or tensors."""
    task = Classify(card.class_names, top_k=top_k)
    device = next(model.parameters()).device
    predictions: list[Prediction] = []
    with evaluating(model):
        for image in images:
            predictions += task.decode(model(card.preprocess(image)[None].to(device)))
    return tuple(predictions)
