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


def test_published_variants_with_word_vectors_do_not_train_without(tmp_path: Path) -> None:
    for name, text in (("good", "so fine\n"), ("bad", "so dull\n")):
        (tmp_path / f"{name}.txt").write_text(text * 10)
    (tmp_path / "v").write_text("fine 1 2\ndull 3 4\n")
    network = "text_cnn:width=0.1,vector=2"
    recipe = Recipe(model=f"{network},mode=static", data=f"lines:{tmp_path}", inputs="words:length=12", device="cpu")
    for mode in ("static", "non-static", "multichannel"):
        said = rf"none are given: {network},mode={mode}. Add --inputs words:length=12,vectors=FILE, or take mode=rand."
        with pytest.raises(InputError, match=said):
            open_session(replace(recipe, model=f"{network},mode={mode}"))
    with pytest.raises(InputError, match="Add --inputs words:vectors=FILE, or"):
        open_session(replace(recipe, inputs=None))
    open_session(replace(recipe, inputs=f"words:length=12,vectors={tmp_path / 'v'}"))
    open_session(recipe, resuming=True)
    open_session(replace(recipe, model=network))
