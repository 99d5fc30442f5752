"""Use a trained model again: on a whole set, or on single images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from striate.data import ImageSet, open_items
from striate.errors import InputError
from striate.recipe import Recipe
from striate.runs.card import Card, load
from striate.runs.record import RECIPE, Progress, load_recipe_data
from striate.tasks import ClassificationScores, Prediction
from striate.train import evaluate, evaluating, find_device


def evaluate_run(
    folder: Path,
    data: str | None = None,
    *,
    device: str = "auto",
    skip_corrupt: bool = False,
    progress: Progress | None = None,
) -> tuple[ClassificationScores, tuple[str, ...]]:
    """Scores of a run's model on its own test images, or on the test images (else all) of the source `data`.

    Also the names of the files that could not be read, which `skip_corrupt` leaves out. Raises InputError for a folder
    without a model, for data whose classes the model does not know, and where the run's own data has changed since.
    """
    model, card = load(folder)
    if data is None:
        items, skipped = _own_test_images(folder, card, progress)
    else:
        items, skipped = open_items(
            data, card.preprocess, card.class_names, skip_corrupt=skip_corrupt, progress=progress
        )
    place = find_device(device)
    return card.build_task().score(*evaluate(model.to(place), items, card.preprocess, place)), skipped


def _own_test_images(folder: Path, card: Card, progress: Progress | None) -> tuple[ImageSet, tuple[str, ...]]:
    recipe = Recipe.read(folder / RECIPE)
    data = load_recipe_data(recipe, progress)
    if data.fingerprint() != card.data:
        raise InputError(
            "the data is not what it was when the model was trained",
            where=recipe.data,
            expected="the same images, classes and splits, so that no training image is tested",
            fix="Put the files back as they were, or name other data: --data NAME:PATH.",
        )
    return data.test or data.validation or data.train, data.skipped


def predict(model: nn.Module, card: Card, images: Sequence[Any], top_k: int = 5) -> tuple[Prediction, ...]:
    """Classes and probabilities, best first, of image files, PIL images, arrays or tensors."""
    task = card.build_task(top_k=top_k)
    device = next(model.parameters()).device
    predictions: list[Prediction] = []
    with evaluating(model):
        for image in images:
            predictions += task.decode(model(card.preprocess(image)[None].to(device)))
    return tuple(predictions)
