"""Train segmentation recipes, and write their scores and a sheet of pictures: image, truth, prediction, errors.

    python recipes/segmentation.py recipes/roads_segnet.yaml [--seeds 1] [--data NAME:PATH] [--out docs/segmentation]
    python recipes/segmentation.py recipes/isbi.yaml         # a recipe with folds is cross-validated

Writes NAME.json beside the recipe, a claim into its head, and NAME.png into the folder `--out`. What the JSON file has
already, of the same recipe, is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import numpy as np
import torch
from PIL import Image

import striate
from claim import settings_of, trained, write_head
from striate.data.items import VOID
from striate.runs import open_session
from striate.runs.evaluation import predicting
from striate.tasks import spell

SHOWN = 3  # test items on the sheet
WRONG, UNKNOWN = (220, 40, 40), (255, 255, 255)


def run(recipe: striate.Recipe, sheet: Path) -> dict[str, Any]:
    """What one training gave: its scores, its seconds; the pictures go to `sheet`."""
    session = open_session(recipe)
    kept, targets, seconds = trained(session)
    draw(session, sheet)
    return {
        "seed": recipe.seed,
        "fold": recipe.fold,
        **seconds,
        "scores": session.task.score(kept, targets).json(),
    }


def draw(session: Any, sheet: Path) -> None:
    """The first test items: image, truth, prediction, and where they differ (white: void)."""
    items = session.data.tested
    few = np.linspace(0, len(items) - 1, SHOWN).round().astype(int).tolist()
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(session.task.palette)] = session.task.palette
    rows = []
    made = predicting(session.model, session.card, [items.inputs[i] for i in few], stored=True)
    for number, (stored, result, _) in zip(few, made, strict=True):
        picture = stored.expand(3, -1, -1).permute(1, 2, 0).numpy()
        truth = items.targets[number].numpy()
        mask = result.placed(truth.shape)
        errors = np.where((mask != truth)[..., None], np.uint8(WRONG), (picture // 2 + 60).astype(np.uint8))
        errors[(truth == VOID) | (mask == VOID)] = UNKNOWN
        rows.append(np.concatenate([picture, colors[truth], colors[mask], errors], 1))
    whole = Image.fromarray(np.concatenate(rows))
    factor = 960 / whole.width
    sheet.parent.mkdir(parents=True, exist_ok=True)
    size = (960, round(whole.height * factor))
    whole.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.NEAREST).save(sheet, optimize=True)


def train(path: Path, seeds: int, folds: list[int] | None, data: str | None, out: Path) -> None:
    """Train what is missing: every seed, every fold (or those asked for)."""
    recipe = replace(striate.Recipe.read(path), device="cpu")
    recipe = replace(recipe, data=data or recipe.data)
    body = settings_of(path)
    results = path.with_suffix(".json")
    stored = json.loads(results.read_text()) if results.is_file() else {}
    done = stored["runs"] if stored.get("recipe") == body else []
    for seed in range(seeds):
        for fold in folds or range(recipe.folds or 1):
            if (seed, fold) in [(found["seed"], found["fold"]) for found in done]:
                continue
            done.append(run(replace(recipe, seed=seed, fold=fold), out / f"{path.stem}.png"))
            facts = {"threads": torch.get_num_threads(), "striate": striate.__version__, "torch": torch.__version__}
            measures = {name: spread(done, name) for name in flat(done[0]["scores"])}
            results.write_text(json.dumps({"recipe": body, **facts, "measures": measures, "runs": done}) + "\n")
            write_head(path, claim(done, measures))
            print(path.stem, seed, fold, flat(done[-1]["scores"]), done[-1]["seconds"], "s", flush=True)


def claim(done: list[dict[str, Any]], measures: dict[str, dict[str, float]]) -> list[str]:
    """The comment lines in the head of the recipe."""
    named = ("mean_iou", "mean_accuracy", "accuracy", "pixel_error", "thinned_rand", "thinned_info")
    shown = []
    for name in (name for name in named if name in measures):
        one = measures[name]
        limits = f" ({one['least']:.4f} to {one['greatest']:.4f})" if len(done) > 1 else ""
        shown.append(f"{spell(name)} {one['mean']:.4f}{limits}")
    clock, processor = ([found[key] for found in done] for key in ("seconds", "processor_seconds"))
    return [
        f"# Claim: {', '.join(shown[:3])},",
        f"# {', '.join(shown[3:])};",
        f"# {len(done)} training{'s' * (len(done) > 1)} (seeds, folds), {done[0]['scores']['n']} test items each.",
        f"# Training: median {statistics.median(clock):.0f} s (processor {statistics.median(processor):.0f} s a "
        f"thread) on {torch.get_num_threads()} threads.",
    ]


def flat(scores: dict[str, Any]) -> dict[str, float]:
    """The single numbers of stored scores."""
    return {k: v for k, v in scores.items() if isinstance(v, float)} | scores["regions"]


def spread(done: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Mean, least and greatest value of a measure."""
    values = [flat(found["scores"])[name] for found in done]
    return {"mean": statistics.mean(values), "least": min(values), "greatest": max(values)}


def main() -> None:
    """Read, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, nargs="+", help="only these of a recipe that has folds")
    parser.add_argument("--data", help="the data, where they lie elsewhere than the recipe says")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "segmentation")
    options = parser.parse_args()
    for recipe in options.recipes:
        train(recipe, options.seeds, options.folds, options.data, options.out)


if __name__ == "__main__":
    main()
