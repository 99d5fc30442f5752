"""Train a recipe with several seeds and write what came out into the head of its file.

    python recipes/claim.py recipes/mnist.yaml [--seeds 5]

The first line of a recipe stays; the comment lines after it are the claim. Nothing in them is typed by hand.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import warnings
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import torch

import striate
from striate.train import evaluate


def run(recipe: striate.Recipe) -> tuple[float, float, int]:
    """Test accuracy, seconds of training, and the number of test images."""
    session = striate.open_session(recipe)
    began = time.perf_counter()
    for _ in striate.fit(session.model, session.task, session.data, recipe):
        pass
    seconds = time.perf_counter() - began
    items = session.data.test
    outputs, targets = evaluate(session.model, items, session.data.preprocess, torch.device("cpu"))
    return session.task.score(outputs, targets).accuracy, seconds, len(items)


def claim(path: Path, seeds: int) -> str:
    """The comment lines."""
    recipe = striate.Recipe.read(path)
    accuracies, times = [], []
    for seed in range(seeds):
        accuracy, seconds, images = run(replace(recipe, seed=seed, device="cpu"))
        print(f"seed {seed}: {accuracy:.2%} in {seconds:.1f} s", flush=True)
        accuracies.append(accuracy)
        times.append(seconds)
    split = "each with its own split" if recipe.data == "digits" else "the official test set"
    return "\n".join(
        [
            f"# Claim: {statistics.mean(accuracies):.2%} test accuracy, mean of seeds 0 to {seeds - 1} "
            f"({', '.join(f'{100 * a:.2f}' for a in accuracies)}) on {images:,} images, {split}.",
            f"# Training: median {statistics.median(times):.1f} s ({min(times):.1f} to {max(times):.1f}) on "
            f"{torch.get_num_threads()} threads; striate {striate.__version__}, torch {torch.__version__}, "
            f"Python {platform.python_version()}.",
        ]
    )


def main() -> None:
    """Read, train, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    lines = options.recipe.read_text().splitlines()
    body = [line for line in lines[1:] if not line.startswith("#")]
    options.recipe.write_text("\n".join([lines[0], claim(options.recipe, options.seeds), *body]) + "\n")
    print(options.recipe.read_text())


if __name__ == "__main__":
    main()
