"""What the lectures say of the network with two heads: it cannot find two objects. One label has room for one.

    python recipes/two_objects.py RUN --mnist PATH

RUN is a run of recipes/clutter.yaml, which has seen one digit or none. Here it is shown scenes of two digits (test
digits, made as its own scenes are) beside scenes of one. Written: recipes/two_objects.json with the settings and
the scores of the run, docs/places/two_objects.png and a table in docs/places.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import torch
from matplotlib import pyplot as plt

from places import FOLDER, into_page, table
from striate.data.formats import IMAGES_MAGIC, LABELS_MAGIC, read_idx
from striate.data.scenes import Placed, compose
from striate.ops.boxes import overlap
from striate.recipe import Recipe
from striate.runs import load, predict
from striate.runs.record import completed
from striate.tasks import Located

ROOT = Path(__file__).parents[1]
COUNT = 500
TRUE, SAID = "#40dc60", "#ff4020"


def scenes(path: Path, objects: int) -> list[tuple[np.ndarray, tuple[Placed, ...]]]:
    """Scenes of so many whole test digits."""
    (images,) = (read_idx(file, IMAGES_MAGIC) for file in sorted(path.glob("t10k-images*"))[:1])
    (labels,) = (read_idx(file, LABELS_MAGIC) for file in sorted(path.glob("t10k-labels*"))[:1])
    draw = np.random.default_rng(objects)
    return [
        compose(images, labels, draw.choice(len(images), objects, replace=False), seed=7, first=i) for i in range(COUNT)
    ]


def measure(said: Located, placed: tuple[Placed, ...]) -> dict[str, float]:
    """The digits of one scene that were found: boxes with an IoU of 0.5, and such with their class."""
    sides = torch.tensor([[digit.left, digit.top, digit.right, digit.bottom] for digit in placed]).float()
    iou = overlap(torch.tensor([said.box]).expand(len(placed), -1), sides)
    found = (iou >= 0.5) & torch.tensor([said.there])
    named = found & torch.tensor([said.name == str(digit.label) for digit in placed])
    center = torch.tensor([(said.box[0] + said.box[2]) / 2, (said.box[1] + said.box[3]) / 2])
    inside = ((center >= sides[:, :2]) & (center <= sides[:, 2:])).all(1)
    return {
        "digits": len(placed),
        "found": float(found.sum()),
        "named": float(named.sum()),
        "between": float(not inside.any()),
        "best_iou": iou.max().item(),
        "probability": said.probability,
    }


def summarize(rows: list[dict[str, float]]) -> dict[str, float]:
    """Shares of all digits, and means over scenes."""
    total = {key: sum(row[key] for row in rows) for key in rows[0]}
    return {
        "scenes": len(rows),
        "digits_found": total["found"] / total["digits"],
        "digits_found_and_named": total["named"] / total["digits"],
        "center_in_no_digit": total["between"] / len(rows),
        "mean_best_iou": total["best_iou"] / len(rows),
        "mean_probability_of_the_class": total["probability"] / len(rows),
    }


def settings(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says beyond the defaults, wherever its data lie and whatever it runs on."""
    told = {key: value for key, value in vars(completed(recipe)).items() if value != getattr(Recipe(), key)}
    return {key: value for key, value in told.items() if key not in ("data", "device", "workers")}


def main() -> None:
    """Show, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--mnist", type=Path, required=True)
    given = parser.parse_args()
    model, card = load(given.run)
    results: dict[str, Any] = {}
    for objects in (1, 2):
        made = scenes(given.mnist, objects)
        answers: Any = predict(model, card, [picture for picture, _ in made], batch_size=100)
        results[f"scenes with {objects} digits"] = summarize(
            [measure(said, placed) for said, (_, placed) in zip(answers, made, strict=True)]
        )
    figure, axes = plt.subplots(3, 6, figsize=(9, 5), layout="constrained")
    for axis, said, (picture, placed) in zip(axes.flat, answers, made, strict=False):
        axis.imshow(picture, cmap="gray", extent=(0, 64, 64, 0))
        for sides, color in [
            *(((digit.left, digit.top, digit.right, digit.bottom), TRUE) for digit in placed),
            *([(said.box, SAID)] if said.there else []),
        ]:
            left, top, right, bottom = sides
            axis.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color))
        truth = " and ".join(str(digit.label) for digit in placed)
        axis.set_title(f"{said.name if said.there else 'nothing'} (are {truth})", fontsize=7)
        axis.axis("off")
    figure.savefig(FOLDER / "two_objects.png", dpi=110)
    of_run = {"recipe": settings(Recipe.read(given.run / "recipe.yaml")), "scores of the run": card.scores}
    stored = json.dumps({**of_run, **results}, indent=1)
    (ROOT / "recipes" / "two_objects.json").write_text(stored + "\n")
    into_page("two_objects", table(results))
    print(stored)


if __name__ == "__main__":
    main()
