"""Specialists for parts of a face beside the one network that they start from, cross-validated.

    python recipes/specialists.py recipes/faces.yaml [--data faces:PATH] [--folds 0 1 2 3 4] [--more 0.5]

The baseline learns all points. A copy for each group of points (jaw, brows, nose, eyes, mouth) then learns its points
alone; beside them a copy goes on with all points for as many epochs: specialists should not be better only because they
learned longer. Writes specialists.json beside the recipe and a table into docs/places.md; a fold that is in that file
is not trained again. Source: D. Nouri 2014, Using convolutional neural nets to detect facial keypoints (specialists).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import torch
from torch import nn

import striate
from places import into_page, table
from striate.tasks import FindKeypoints
from striate.train import evaluate
from striate.zoo.landmarks import Specialists, specialists

NAMES = {"baseline": "one network", "continued": "the same, trained on", "specialists": "specialists"}


def train(model: nn.Module, task: Any, data: Any, recipe: striate.Recipe) -> nn.Module:
    """The model after every step of a recipe."""
    for _ in striate.fit(model, task, data, recipe):
        pass
    return model


def run(recipe: striate.Recipe, more: float) -> dict[str, Any]:
    """Mean errors in pixels on the test part of a fold."""
    session = striate.open_session(recipe)
    task, data, began = session.task, session.data, time.perf_counter()
    assert isinstance(task, FindKeypoints)
    further = replace(recipe, epochs=more * recipe.epochs, learning_rate=recipe.learning_rate / 2)
    nets: dict[str, nn.Module] = {"baseline": train(session.model, task, data, recipe)}
    nets["continued"] = train(copy.deepcopy(nets["baseline"]), task, data, further)
    made = specialists(nets["baseline"], task.point_names)
    for group, net in made.items():
        train(net, FindKeypoints.of(data, group), data, further)
    nets["specialists"] = Specialists(made, task.point_names)
    found: dict[str, Any] = {"fold": recipe.fold, "n": len(data.tested)}
    for name, net in nets.items():
        scores = task.score(*evaluate(net, task, data.tested, data.preprocess, torch.device("cpu")))
        found[name] = {"error": round(scores.error, 4), "median": round(scores.median, 4)}
    return found | {"seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    """Train what is missing, fold by fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", help="the data, where they lie elsewhere than the recipe says")
    parser.add_argument("--folds", nargs="+", type=int)
    parser.add_argument("--more", type=float, default=0.5, help="epochs of the specialists, as a share of the recipe's")
    options = parser.parse_args()
    recipe = replace(striate.Recipe.read(options.recipe), device="cpu")
    recipe = replace(recipe, data=options.data or recipe.data)
    path = options.recipe.with_name("specialists.json")
    done = json.loads(path.read_text())["folds"] if path.is_file() else []
    for fold in options.folds or range(recipe.folds or 1):
        if fold not in [found["fold"] for found in done]:
            done.append(run(replace(recipe, fold=fold), options.more))
            path.write_text(json.dumps({"more": options.more, "folds": done}, indent=1) + "\n")
            print(done[-1], flush=True)
    pictures = sum(found["n"] for found in done)
    rows = {
        words: {
            "pictures": pictures,
            "error": sum(found["n"] * found[name]["error"] for found in done) / pictures,
            "least of a fold": min(found[name]["error"] for found in done),
            "greatest": max(found[name]["error"] for found in done),
            "against the same, trained on": statistics.mean(
                found[name]["error"] - found["continued"]["error"] for found in done
            ),
        }
        for name, words in NAMES.items()
    }
    into_page("specialists", table(rows))


if __name__ == "__main__":
    main()
