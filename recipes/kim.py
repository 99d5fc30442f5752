"""Kim's four variants of the sentence classifier, with word vectors of another training, over the folds of a recipe.

    python recipes/kim.py recipes/rt_polarity.yaml --vectors glove.6B.50d.txt [--modes static ...] [--folds 0 1 2]

The settings are the recipe's but for the epochs; the length of the vectors is the file's, for `rand`, too. Writes
kim.json beside the recipe; what is in that file, of the same recipe, epochs and vectors, is not trained again. `python
benchmarks/tables.py` puts it into docs/sequences.md.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import torch

import striate
from claim import settings_of, trained
from striate.data.vectors import read_vectors

# Each the best of those that were tried with GloVe's 50 numbers on a tenth of the training part of fold 0: 4 and 8 for
# rand and non-static, 4, 6, 8 and 12 or 16 for the others.
EPOCHS = {"rand": 4, "static": 6, "non-static": 8, "multichannel": 8}


def train(recipe: striate.Recipe, vectors: Path) -> dict[str, Any]:
    """What one fold gave: its measures, the share of the vocabulary that has a vector, its seconds."""
    session = striate.open_session(recipe)
    kept, targets, seconds = trained(session)
    scores = session.task.score(kept, targets)
    vocabulary = set(session.data.preprocess.vocabulary)
    return {
        "n": scores.n,
        "accuracy": round(scores.accuracy, 4),
        "loss": round(scores.loss, 4),
        "words": len(vocabulary),
        "words_with_a_vector": len(read_vectors(vectors, vocabulary)),
        "threads": torch.get_num_threads(),
        **seconds,
    }


def main() -> None:
    """Train what is missing, fold by fold and mode by mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--vectors", type=Path, required=True, help="a file of word vectors (word2vec's, GloVe's)")
    parser.add_argument("--modes", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--folds", nargs="+", type=int, help="only these")
    options = parser.parse_args()
    recipe = replace(striate.Recipe.read(options.recipe), device="cpu")
    vocabulary = set(striate.open_session(recipe).data.preprocess.vocabulary)
    length = len(next(iter(read_vectors(options.vectors, vocabulary).values())))
    setting = {
        "recipe": settings_of(options.recipe),
        "epochs": EPOCHS,
        "vectors": options.vectors.name,
        "length": length,
    }
    path = options.recipe.with_name("kim.json")
    results = json.loads(path.read_text()) if path.is_file() else {}
    modes = results["modes"] if results.get("setting") == setting else {}
    for fold in options.folds or range(recipe.folds or 1):
        for mode in options.modes:
            done = modes.setdefault(mode, {})
            if str(fold) in done:
                continue
            given = "" if mode == "rand" else f",vectors={options.vectors}"
            model = f"{recipe.model}{',' if ':' in recipe.model else ':'}mode={mode},vector={length}"
            inputs = f"words:alphabet=ascii{given}"
            done[str(fold)] = train(
                replace(recipe, model=model, inputs=inputs, fold=fold, epochs=EPOCHS[mode]), options.vectors
            )
            path.write_text(json.dumps({"setting": setting, "modes": modes}) + "\n")
            print(f"fold {fold}, {mode}: {done[str(fold)]['accuracy']:.2%}", flush=True)


if __name__ == "__main__":
    main()
