"""Draw docs/cifar10.png from recipes/cifar10.json and a run of that recipe: its training loss, and what it mixes up.

python docs/cifar10_picture.py RUN
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from striate.recipe import Recipe
from striate.runs import read_card

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"


def main(run: Path) -> None:
    found = json.loads((RECIPES / "cifar10.json").read_text())["runs"][0]
    scores = json.loads((run / "scores.json").read_text())
    recipe, names = Recipe.read(RECIPES / "cifar10.yaml"), read_card(run).class_names
    figure = Figure(figsize=(9, 3.9), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, losses = zip(*found["curve"], strict=True)
    left.plot(steps, losses, color="#0072b2", linewidth=1)
    for number, side in enumerate(recipe.train_sizes):
        first = number * steps[-1] / len(recipe.train_sizes)
        left.axvline(first, color="#9aa3ad", linewidth=0.6)
        left.text(
            first, 1.0, f" {side} px", transform=left.get_xaxis_transform(), va="top", color="#69727d", fontsize=8
        )
    minutes = found["seconds"] / 60
    left.set(title=f"Training loss, {minutes:.1f} minutes", xlabel="updates of 500 images", xlim=(0, steps[-1]))
    left.spines[["top", "right"]].set_visible(False)
    counts = np.array(scores["confusion"])
    right.imshow(counts - np.diag(counts.diagonal()), cmap="Blues")
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            right.text(j, i, str(count), ha="center", va="center", fontsize=6.5, color="#1b222b")
    right.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    right.set_yticks(range(len(names)), names, fontsize=8)
    right.set(title=f"Taken for, of {counts.sum():,} images ({scores['accuracy']:.1%} right)")
    figure.savefig(HERE / "cifar10.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
