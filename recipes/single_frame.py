"""What a single frame tells of a motion: nothing. A 2-D network on one frame, on three as channels, beside C3D on all.

    python recipes/single_frame.py moving:PATH --out FOLDER [--seeds 3] [--clips 4000]

The same rendered clips of a moving digit (see `striate.data.sources.clips`), of which the 2-D network sees frame 8, or
frames 7, 8 and 9 as the channels of one picture; C3D's own score is that of recipes/moving.json where it is there.
Writes FOLDER/single_frame.json. With eight directions, guessing is right in 12.5 % of 1,000 test clips, with a standard
deviation of 1 %.
"""

from __future__ import annotations

import argparse
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

import striate
from striate import zoo
from striate.data import Data, Items, Pictures, Reading, load_data
from striate.tasks import Classify, intervals
from striate.train import evaluate, seeded

VIEWS = {"one frame": [8], "three frames as channels": [7, 8, 9]}


def seen(data: Data, frames: list[int]) -> Data:
    """The clips as pictures of some frames."""

    def part(items: Items) -> Items:
        return replace(items, inputs=items.inputs[:, 0, frames].contiguous())

    train, test = part(data.train), part(data.test)
    reading = Reading("frames", lambda _: torch.arange(len(train)).numpy())
    _, pictures, _ = Pictures.fit(train.inputs, reading)
    return Data(train, None, test, pictures)


def run(data: Data, frames: list[int], seed: int) -> dict[str, Any]:
    """Accuracy on training and test clips of one training."""
    pictures = seen(data, frames)
    task = Classify(data.class_names)
    recipe = striate.Recipe(
        model="mnist_fast:width=32", data="moving", epochs=4, batch_size=128, optimizer="adamw", learning_rate=0.01,
        weight_decay=0.05, validation=0.0, augment=(), seed=seed, device="cpu",
    )  # fmt: skip
    with seeded(seed):
        model = zoo.build(recipe.model, num_classes=8, in_channels=len(frames), input_size=(32, 32))
    began = time.perf_counter()
    for _ in striate.fit(model, task, pictures, recipe):
        pass
    seconds = time.perf_counter() - began
    train, test = (
        evaluate(model, task, items, pictures.preprocess, torch.device("cpu"))
        for items in (pictures.train, pictures.test)
    )
    scores, interval = task.score(*test), intervals(task, *test, resamples=10)["accuracy"]
    fitted = task.score(*train).accuracy
    return {"seed": seed, "accuracy": scores.accuracy, "interval": interval, "training_accuracy": fitted,
            "seconds": round(seconds, 1)}  # fmt: skip


def main() -> None:
    """Train on both views, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="moving:PATH")
    parser.add_argument("--out", type=Path, default=Path("single_frame"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=4000, help="training clips")
    options = parser.parse_args()
    data = load_data(options.data, validation=0.0)
    data = replace(data, train=data.train.subset(range(options.clips)))
    found = {}
    for view, frames in VIEWS.items():
        found[view] = [run(data, frames, seed) for seed in range(options.seeds)]
        accuracies = [result["accuracy"] for result in found[view]]
        print(f"{view}: {statistics.mean(accuracies):.1%} of the test clips ({', '.join(map(str, accuracies))})")
    known = Path(__file__).with_name("moving.json")
    if known.is_file():
        runs = json.loads(known.read_text())["runs"]
        whole = [measures["accuracy"] for result in runs for measures in result["parts"].values()]
        print(f"C3D on 16 frames: {statistics.mean(whole):.1%}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "single_frame.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
