"""A trained colorizer beside one mean color and grey, with pictures of grey, ours and the truth.

    striate train recipes/colorize.yaml --data cifar10:PATH
    python recipes/colorize.py runs/RUN --out docs/restoration [--photos FOLDER] [--recipe recipes/colorize_alike.yaml]

Writes FOLDER/NAME.json and NAME.png with the name of the recipe: the run's own test pictures and, with --photos,
photographs at the same size; and the claim into the recipe's head.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import torch
from matplotlib.figure import Figure

import striate
from claim import claim_of_runs
from striate.data import Items, Meaning, open_items
from striate.ops import lab_to_srgb
from striate.runs.record import load_recipe_data
from striate.train import evaluate, evaluating

CPU = torch.device("cpu")
OWN = "test pictures of the run"


def colored(model: Any, task: Any, fitted: Any, items: Items) -> list[torch.Tensor]:
    """Grey, colored by the network, true: each n 3 h w."""
    truth = fitted.units(items.inputs)
    inputs, lab = task.example(truth, items.targets, None)
    with evaluating(model):
        ours = torch.stack([found.picture for found in task.answer(model, inputs)])
    grey = lab_to_srgb(torch.cat((lab[:, :1], torch.zeros_like(lab[:, 1:])), 1)).clamp(0, 1)
    return [grey, ours, truth]


def draw(groups: Sequence[tuple[str, list[torch.Tensor]]]) -> Figure:
    """Columns of pictures under each other: grey, ours, truth."""
    columns = max(len(made[0]) for _, made in groups)
    figure = Figure((1.05 * columns, 3.4 * len(groups)), dpi=130, layout="constrained")
    for part, (title, rows) in zip(figure.subfigures(len(groups), 1, squeeze=False).flat, groups, strict=True):
        part.suptitle(title, fontsize=9)
        for line, (name, made) in zip(part.subplots(3, columns), zip(("grey", "ours", "truth"), rows, strict=True),
                                      strict=True):  # fmt: skip
            for axes, picture in zip(line, made, strict=False):
                axes.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
            for axes in line:
                axes.set_xticks([])
                axes.set_yticks([])
                axes.spines[:].set_visible(False)
            line[0].set_ylabel(name, fontsize=9)
    return figure


def words(found: dict[str, Any], seed: int) -> list[str]:
    """The claim, of the run's own test pictures."""
    kinds = [found[key] for key in ("network", "mean_color", "grey")]
    plain = [f"{kind['name']} {kind['auc']:.1%}" for kind in kinds]
    balanced = [f"{kind['name']} {kind['balanced_auc']:.1%}" for kind in kinds]
    return [
        f"# Claim: balanced AuC: {', '.join(balanced)}; AuC: {', '.join(plain)}; on {found['n']:,} test pictures, "
        f"seed {seed}",
        "# (python recipes/colorize.py RUN).",
    ]


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of recipes/colorize.yaml")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("colorize.yaml"))
    parser.add_argument("--out", type=Path, default=Path("colorize"))
    parser.add_argument("--photos", type=Path, help="a folder of photographs")
    parser.add_argument("--shown", type=int, default=12, help="pictures to draw of each set")
    options = parser.parse_args()
    model, card = striate.load(options.run)
    task, data = card.build_task(), load_recipe_data(striate.Recipe.read(options.run / "recipe.yaml"))
    sets = [(OWN, data.tested, card.preprocess)]
    if options.photos:
        items, _ = open_items(f"photos:{options.photos}", card.preprocess, Meaning("none"))
        sets.append(("photographs", items, card.preprocess))
    results, groups = {}, []
    for title, items, fitted in sets:
        scores = task.score(*evaluate(model, task, items, fitted, CPU))
        results[title] = {key: value for key, value in scores.json().items() if not key.startswith("picture_")}
        groups.append((title, colored(model, task, fitted, items.subset(range(min(options.shown, len(items)))))))
        print(title, scores.summary(), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.recipe.stem}.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(groups).savefig(options.out / f"{options.recipe.stem}.png")
    seed = striate.Recipe.read(options.run / "recipe.yaml").seed
    claim_of_runs([options.run], options.recipe, words(results[OWN], seed))


if __name__ == "__main__":
    main()
