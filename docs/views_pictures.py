"""Draws the pictures of docs/views.md into docs/views, from a network that is trained on scikit-learn's digits.

python docs/views_pictures.py [NETWORKS]

NETWORKS is the folder of docs/shift_consistency.py: with it, its picture is drawn, too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

import striate
from striate.data import Batches, Data
from striate.interpret import adversarial, embed, equivariance, invert, maximize, probes, separation

OUT = Path(__file__).parent / "views"
LAYERS = ("conv1", "pool", "dense1")


def trained() -> tuple[nn.Module, Data]:
    """A small network of the digits, 28x28, and their parts."""
    recipe = striate.Recipe(model="keras_mnist:width=0.5", data="digits", image_size=28, epochs=6, seed=0)
    session = striate.open_session(recipe)
    for _ in striate.fit(session.model, session.task, session.data, recipe):
        pass
    return session.model.eval(), session.data


def batches(data: Data, part: str) -> Batches:
    """All items of a part, in order."""
    return Batches(getattr(data, part), data.preprocess, batch_size=200)


def draw(model: nn.Module, data: Data) -> dict[str, Figure]:
    """Every picture but that of blur pooling, by name."""
    limits, names = data.preprocess, data.class_names
    test = next(batches(data, "test").epoch(0))
    few = test.inputs[:4]
    every = [*batches(data, "train").epoch(0), *batches(data, "test").epoch(0)]
    held = list(batches(data, "test").epoch(0))
    shape = data.preprocess.shape
    class_3 = maximize(model, shape, target=3, limits=limits, starts=5, data=held)
    print(class_3.table())
    inside = invert(model, few[:3], limits=limits)
    attack = adversarial(model, few, limits=limits)
    points = embed(model, every, names=names)
    moved = equivariance(model, test.inputs[:100])
    read = probes(model, list(batches(data, "train").epoch(0)), held)
    apart = separation(model, held)
    return {
        "maximize": class_3.plot(),
        "invert": inside.plot(),
        "adversarial": attack.plot(names),
        "tsne": points.plot(),
        "pca": points.plot("pca", grid=False),
        "neighbors": points.plot_neighbors([0, 1, 2], 8),
        "probes": read.plot(),
        "separation": apart.plot(),
        "equivariance": moved.plot(),
    }


def consistency_picture(facts: dict[str, object]) -> Figure:
    """Accuracy and consistency of each run of docs/shift_consistency.py."""
    raise NotImplementedError(facts)


def main() -> None:
    OUT.mkdir(exist_ok=True)
    model, data = trained()
    for name, figure in draw(model, data).items():
        figure.savefig(OUT / f"{name}.png", dpi=100)
    found = OUT / "consistency.json"
    if len(sys.argv) > 1:
        consistency_picture(json.loads(found.read_text())).savefig(OUT / "consistency.png", dpi=100)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
