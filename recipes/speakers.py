"""Spoken digits of speakers that were not heard in training: one training for each of the six.

    python recipes/speakers.py recipes/fsdd.yaml [--data fsdd:PATH] [--folds 0 1 2 3 4 5]

Writes accuracies beside the recipe (NAME_speakers.json); a fold that is in that file is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import striate
from claim import trained


def main() -> None:
    """Train what is missing, fold by fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", help="the data, where they lie elsewhere than the recipe says")
    parser.add_argument("--folds", nargs="+", type=int, default=range(6))
    parser.add_argument("--epochs", type=float, help="instead of the recipe's")
    options = parser.parse_args()
    path = options.recipe.with_name(f"{options.recipe.stem}_speakers.json")
    results = json.loads(path.read_text()) if path.is_file() else {}
    for fold in options.folds:
        recipe = replace(striate.Recipe.read(options.recipe), folds=6, fold=fold, device="cpu")
        recipe = replace(recipe, epochs=options.epochs or recipe.epochs)
        recipe = replace(recipe, data=options.data or recipe.data)
        session = striate.open_session(recipe)
        (speaker,) = {name.split("_")[1] for name in session.data.tested.names}
        if speaker in results:
            continue
        scores, seconds = trained(session)
        results[speaker] = {
            "fold": fold, "epochs": recipe.epochs, "n": scores.n,
            "accuracy": round(scores.accuracy, 4), "loss": round(scores.loss, 4), **seconds,
        }  # fmt: skip
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{speaker}: {scores.accuracy:.2%} of {scores.n} in {seconds['seconds']:.0f} s", flush=True)
    mean = sum(result["accuracy"] for result in results.values()) / len(results)
    print(f"mean of {len(results)} speakers: {mean:.2%}")


if __name__ == "__main__":
    main()
