"""A classifier of small pictures on large ones: digits of many sizes, found at one scale and by a pyramid that votes.

    python recipes/many_scales.py mnist:../shared/data/mnist
    python recipes/many_scales.py digits --epochs 20 --canvases 5 --out FOLDER     # scikit-learn's, in seconds

A network of 28x28 pixels learns single digits, and as an eleventh class what else crops of large canvases show:
nothing, parts of digits, digits that are too small or too large. Converted (`zoo.to_convolutional`), it maps a canvas
of any size to scores; `interpret.many_scales` does so at each scale. On canvases with a test digit of each
magnification are counted the digits on which a sighting is centered (found), those of which the best such sighting has
the class (named), and those of which one with the class has the box, too (boxed: IoU 0.5); on canvases with one digit
alone, those that are the digit with the most votes (voted).
Writes many_scales.json beside this file and many_scales.png into docs/places, or both into FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from torch import nn

import striate
from striate import zoo
from striate.data import Data, Items, Meaning, Reading, load_data
from striate.data.images import Pictures
from striate.interpret import many_scales
from striate.interpret.scales import ScaleMap, Sighting
from striate.ops import resize
from striate.ops.boxes import overlap
from striate.tasks import Classify
from striate.train import seeded

ROOT = Path(__file__).parents[1]
SIDE, SPACE = 28, (224, 320)  # pixels of a crop, of a canvas
MAGNIFICATIONS = (0.7, 1.0, 1.4, 2.0, 3.0)
SCALES = [2 ** (k / 2) for k in range(1, -4, -1)]  # 1.41 to 0.35
WAYS = ("one scale", "pyramid")
NAMES = (*"0123456789", "no digit")
LEAST = 0.9  # probability of a sighting
Place = tuple[float, float, float, float]  # left, top, right, bottom


def as_crops(pictures: torch.Tensor) -> torch.Tensor:
    """Digits as MNIST has them: 28x28 pixels with a margin of four."""
    if pictures.shape[2:] == (SIDE, SIDE):
        return pictures
    return F.pad(resize(pictures.float(), (SIDE - 8, SIDE - 8)), (4,) * 4).round().byte()


def compose(
    digits: torch.Tensor, magnifications: tuple[float, ...], random: np.random.Generator
) -> tuple[torch.Tensor, list[Place]]:
    """A canvas with these digits (k 1 28 28) at random places where they do not meet, and their boxes."""
    sides, canvas = [round(SIDE * magnification) for magnification in magnifications], torch.zeros(1, 1, *SPACE)
    ends, places = np.array(sides)[:, None], list[Place]()
    while True:
        corners = random.integers(np.array(SPACE) - ends + 1)
        apart = (corners[:, None] >= corners + ends).any(2)  # row i begins where j has ended
        if (apart | apart.T | np.eye(len(sides), dtype=bool)).all():
            break
    for digit, side, (top, left) in zip(digits, sides, corners.tolist(), strict=True):
        canvas[0, :, top : top + side, left : left + side] = resize(digit[None].float(), (side, side))[0]
        places.append((left, top, left + side, top + side))
    return canvas.round().byte(), places


def backgrounds(digits: torch.Tensor, count: int, random: np.random.Generator) -> torch.Tensor:
    """Crops of canvases that no digit fills: those anywhere, and those near a digit."""
    found: list[torch.Tensor] = []
    while len(found) < count:
        few = digits[random.choice(len(digits), 5, replace=False)]
        canvas, places = compose(few, tuple(2 ** random.uniform(-2, 1.6, 5)), random)
        boxes = torch.tensor(places)
        for k in range(100):
            left, top, right, bottom = places[k % 5]
            near = ((top + bottom - SIDE) / 2 + random.normal(0, bottom - top) / 2,
                    (left + right - SIDE) / 2 + random.normal(0, right - left) / 2)  # fmt: skip
            y, x = (
                min(max(round(at if k % 2 else random.uniform(0, room - SIDE)), 0), room - SIDE)
                for at, room in zip(near, SPACE, strict=True)
            )
            crop = torch.tensor([[x, y, x + SIDE, y + SIDE]]).expand(5, -1)
            if overlap(boxes.float(), crop.float()).max() < 0.3:
                found.append(canvas[0, :, y : y + SIDE, x : x + SIDE])
    return torch.stack(found[:count])


def learned(train: Items, test: Items, epochs: float) -> tuple[nn.Module, Any]:
    """The trained network and its preprocessing."""
    random, parts = np.random.default_rng(0), []
    for items in (train, test):
        digits = as_crops(items.inputs)
        others = backgrounds(digits, len(digits) // 2, random)
        targets = torch.cat([items.targets, torch.full((len(others),), 10)])
        names = [str(i) for i in range(len(targets))]
        parts.append(Items(torch.cat([digits, others]), targets, Meaning("class", NAMES), names))
    _, pictures, _ = Pictures.fit(parts[0].inputs, Reading("crops", lambda _: np.arange(len(parts[0]))))
    recipe = striate.Recipe(
        model="mnist_fast:width=32", epochs=epochs, batch_size=128, optimizer="adamw", learning_rate=0.01,
        momentum=0.8, beta2=0.9, weight_decay=0.05, warmup=0.15, validation=0.0, augment=("shift:0.07", "scale:0.19"),
        device="cpu",
    )  # fmt: skip
    with seeded(0):
        model = zoo.build(recipe.model, num_classes=len(NAMES), in_channels=1, input_size=(SIDE, SIDE))
    for step in striate.fit(model, Classify(NAMES), Data(parts[0], None, parts[1], pictures), recipe):
        if step.ends_epoch:
            print(f"epoch {step.epoch} loss {step.train_loss:.4f}", flush=True)
    return model.eval(), pictures


def at(seen: Sighting) -> Place:
    """The box of a sighting."""
    (top, left), (height, width) = seen.place, seen.size
    return left, top, left + width, top + height


def centered(seen: Sighting, place: Place) -> bool:
    """Whether the middle of a sighting is in the middle half of a box."""
    a, b = np.array(at(seen)), np.array(place)
    return bool((np.abs(a[:2] + a[2:] - b[:2] - b[2:]) < (b[2:] - b[:2]) / 2).all())


def judged(found: tuple[Sighting, ...], label: int, place: Place) -> dict[str, float]:
    """Whether a digit was found, named and boxed; `found` has the best first."""
    here = [seen for seen in found if centered(seen, place)]
    boxed = [overlap(torch.tensor([at(seen)]), torch.tensor([place]).float()).item() >= 0.5
             for seen in here if seen.target == label]  # fmt: skip
    return {"found": bool(here), "named": bool(here) and here[0].target == label, "boxed": any(boxed)}


def voted(found: ScaleMap) -> int:
    """The digit with the most votes."""
    return int(found.vote()[:10].argmax())


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number."""
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}


def draw(canvas: torch.Tensor, labels: list[int], maps: dict[str, ScaleMap], path: Path) -> None:
    """A canvas with what the pyramid finds, the best score of a digit at each place and scale, and the votes."""
    found = maps["pyramid"]
    figure = plt.figure(figsize=(9, 6.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.1, 1))
    picture, votes = above.subplots(1, 2, width_ratios=(1.6, 1))
    picture.imshow(canvas[0, 0].numpy(), cmap="gray", extent=(0, SPACE[1], SPACE[0], 0))
    for seen in found.find(LEAST, ignore=[10]):
        left, top, right, bottom = at(seen)
        picture.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="#ff4020"))
        picture.text(left, top - 2, f"{NAMES[seen.target]}, scale {seen.scale:.2f}", color="#ff4020", fontsize=7)
    picture.set_title("found by the pyramid", fontsize=8)
    picture.axis("off")
    for k, (name, one) in enumerate(maps.items()):
        votes.bar(np.arange(10) + 0.4 * k - 0.2, one.vote()[:10].numpy(), 0.4, label=name)
    votes.set_xticks(range(10), [f"[{k}]" if k in labels else str(k) for k in range(10)], fontsize=7)
    votes.set_title("votes ([ ]: is there)", fontsize=8)
    votes.legend(fontsize=7)
    for axis, level in zip(below.subplots(1, len(found.levels)), found.levels, strict=True):
        axis.imshow(level.scores[:10].amax(0).numpy(), cmap="inferno", vmin=0, vmax=1)
        axis.set_title(f"scale {level.scale:.2f}: best score", fontsize=7)
        axis.axis("off")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Train, convert, look, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="mnist:PATH, or digits")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--canvases", type=int, default=60, help="of all magnifications, and of each one alone")
    parser.add_argument("--out", type=Path, help="a folder for both files")
    options = parser.parse_args()
    data, began = load_data(options.data, validation=0.0), time.process_time()
    model, pictures = learned(data.train, data.test, options.epochs)
    seconds = time.process_time() - began
    tested, labels = as_crops(data.test.inputs), data.test.targets
    random = np.random.default_rng(1)

    def look(canvas: torch.Tensor) -> dict[str, ScaleMap]:
        pyramid = many_scales(model, pictures.standardize(pictures.units(canvas)), scales=SCALES)
        alone = tuple(level for level in pyramid.levels if level.scale == 1)
        return {"one scale": replace(pyramid, levels=alone), "pyramid": pyramid}

    rows: dict[str, dict[float, list[Any]]] = {name: {m: [] for m in MAGNIFICATIONS} for name in WAYS}
    votes: dict[str, dict[float, list[Any]]] = {name: {m: [] for m in MAGNIFICATIONS} for name in WAYS}
    elsewhere: dict[str, list[int]] = {name: [] for name in WAYS}
    for _ in range(options.canvases):
        which = random.choice(len(tested), len(MAGNIFICATIONS), replace=False)
        canvas, places = compose(tested[which], MAGNIFICATIONS, random)
        for name, seen in look(canvas).items():
            found = seen.find(LEAST, ignore=[10])
            for magnification, k, place in zip(MAGNIFICATIONS, which, places, strict=True):
                rows[name][magnification].append(judged(found, int(labels[k]), place))
            elsewhere[name].append(sum(not any(centered(one, place) for place in places) for one in found))
        for magnification, k in zip(MAGNIFICATIONS, which, strict=True):
            alone, _ = compose(tested[[k]], (magnification,), random)
            for name, seen in look(alone).items():
                votes[name][magnification].append({"voted": voted(seen) == int(labels[k])})
    maps = look(canvas)
    converted = zoo.to_convolutional(model, (1, SIDE, SIDE))
    with torch.inference_mode():
        scores = converted(maps["one scale"].x)[0].softmax(0)
    results = {
        "data": options.data.partition(":")[0],
        "canvases": options.canvases,
        "digits trained on": len(data.train),
        "by magnification": {
            name: {f"{m:g}": mean(rows[name][m]) | mean(votes[name][m]) for m in MAGNIFICATIONS} for name in WAYS
        },
        "sightings elsewhere, a canvas": {name: round(float(np.mean(counts)), 3) for name, counts in elsewhere.items()},
        "greatest difference to the converted network": (scores - maps["one scale"].levels[0].scores)
        .abs()
        .max()
        .item(),
        "processor_seconds": round(seconds / torch.get_num_threads(), 1),
        "torch": torch.__version__,
    }
    folder, shown = options.out or ROOT / "recipes", options.out or ROOT / "docs" / "places"
    (folder / "many_scales.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(canvas, labels[which].tolist(), maps, shown / "many_scales.png")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
