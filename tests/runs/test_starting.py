"""Trainings that start from the weights of a run: what does not fit is named with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from striate.errors import InputError
from striate.recipe import Recipe
from striate.runs import open_session


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"model": "nielsen_mnist"},
            r"got .* there, .* here.* That run's network is keras_mnist, this one's nielsen_mnist: write --model keras",
        ),
        (
            {"channels": 3},
            r"conv1.weight 8x1x3x3 there, 8x3x3x3 here\. That run's network takes 1 channels, this one's 3: write --ch",
        ),
        (
            {"image_size": 16},
            r"dense\S* \S+ there, \S+ here\. That run's inputs are 1x12x12, these 1x16x16: take inputs of that size",
        ),
        (
            {"model": "keras_mnist:width=0.5"},
            r"conv1.weight 8x1x3x3 there, 16x1x3x3 here; .* more\. Choose the network and",
        ),
    ],
)
def test_weights_that_do_not_fit(run_folder: Path, changed: dict[str, object], message: str) -> None:
    recipe = Recipe(model="keras_mnist:width=0.25", image_size=12, weights=str(run_folder), device="cpu")
    open_session(recipe)
    with pytest.raises(InputError, match=message):
        open_session(replace(recipe, **changed))
