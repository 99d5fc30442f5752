"""One network for each factor of DeepBind's ChIP-seq sets, with the settings of a recipe for one of them.

    python recipes/factors.py recipes/deepbind.yaml [--factors FOXA1 ...] [--folder FOLDER]

The sets are those beside the recipe's own (or in FOLDER). Writes NAME_factors.json beside the recipe; a factor that is
in that file, of the same recipe, is not trained again. `python benchmarks/tables.py` puts them into docs/sequences.md.
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

import striate
from claim import settings_of, trained


def train(recipe: striate.Recipe) -> dict[str, Any]:
    """What one training gave: its measures on the test part, its seconds."""
    session = striate.open_session(recipe)
    kept, targets, seconds = trained(session)
    scores = session.task.score(kept, targets)
    measures = {name: round(value, 4) for name, value in scores.summary().items()}
    return {"peaks": int((session.data.train.targets == 1).sum()), **measures, **seconds}


def main() -> None:
    """Train what is missing, factor by factor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--factors", nargs="+", help="only these")
    parser.add_argument("--folder", type=Path, help="the sets, where they lie elsewhere than the recipe says")
    options = parser.parse_args()
    recipe = replace(striate.Recipe.read(options.recipe), device="cpu")
    folder = options.folder or Path(recipe.data.partition(":")[2]).parent
    path = options.recipe.with_name(f"{options.recipe.stem}_factors.json")
    body = settings_of(options.recipe)
    stored = json.loads(path.read_text()) if path.is_file() else {}
    results = stored["factors"] if stored.get("recipe") == body else {}
    for file in sorted(folder.glob("*_AC.seq*"), key=lambda file: file.stat().st_size):
        factor = file.name.partition("_")[0]
        if factor in results or factor not in (options.factors or [factor]):
            continue
        results[factor] = train(replace(recipe, data=f"chip:{file}"))
        path.write_text(json.dumps({"recipe": body, "factors": results}, indent=1) + "\n")
        print(factor, results[factor], flush=True)


if __name__ == "__main__":
    main()
