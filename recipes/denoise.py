"""A trained denoiser beside the Gaussian filter, the median and non-local means, on the same noisy pictures.

    striate train recipes/denoise.yaml [--seed K]
    python recipes/denoise.py runs/RUN [runs/RUN ...] --out docs/restoration [--recipe recipes/denoise_cifar10.yaml]

The strength of each filter is the one with the best mean PSNR on noisy training pictures; all are then measured on the
test pictures of each run. Writes FOLDER/NAME.json and NAME.png (the first run's) with the name of the recipe, and the
claim into the recipe's head.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import numpy as np
import scipy.ndimage
import torch
from matplotlib.figure import Figure

import striate
from claim import claim_of_runs
from striate import ops
from striate.data import Items
from striate.runs.record import load_recipe_data
from striate.tasks import psnr, ssim
from striate.train import evaluate

TUNED = 2**17  # pixels of training pictures on which the strengths are chosen
FIRST = 20  # pictures whose PSNR is kept one by one
ALIKE = 0.95  # correlation of the grey levels of one picture in two forms
CPU = torch.device("cpu")
Filter = Callable[[torch.Tensor], torch.Tensor]


def gaussian(sigma: float) -> Filter:
    """Blur by `sigma` pixels."""
    return lambda noisy: torch.from_numpy(scipy.ndimage.gaussian_filter(noisy.numpy(), (0, 0, sigma, sigma)))


def median(side: int) -> Filter:
    """The median of squares."""
    return lambda noisy: torch.from_numpy(scipy.ndimage.median_filter(noisy.numpy(), (1, 1, side, side)))


def alike(strength: float, sigma: float) -> Filter:
    """Non-local means; `strength` in units of the noise's deviation."""
    return lambda noisy: ops.non_local_means(noisy, strength * sigma / 255, noise=sigma / 255)


def choices(sigma: float) -> dict[str, dict[str, Filter]]:
    """What each filter is tried with."""
    return {
        "Gaussian": {f"σ {s:g}": gaussian(s) for s in np.arange(0.6, 1.81, 0.2)},
        "median": {f"{side}x{side}": median(side) for side in (3, 5, 7)},
        "non-local means": {f"{s:g} of the noise": alike(s, sigma) for s in (0.3, 0.45, 0.6, 0.8, 1, 1.25)},
    }


def noisy_pairs(session: Any, items: Items) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and noisy pictures, as an evaluation draws them."""
    _, targets = evaluate(torch.nn.Identity(), session["task"], items, session["input"], CPU)
    clean, noisy = targets.unbind(1)
    return clean, noisy


def measure(estimate: torch.Tensor, clean: torch.Tensor, seconds: float, again: Sequence[int]) -> dict[str, Any]:
    """Means over the pictures, of the PSNR also over those that are not among `again`, and that of the first ones."""
    shown = estimate.clamp(0, 1)
    decibels = psnr(shown, clean)
    others = [k for k in range(len(clean)) if k not in set(again)]
    return {
        "psnr": round(decibels.mean().item(), 3),
        "psnr_unseen": round(decibels[others].mean().item(), 3),
        "ssim": round(ssim(shown, clean).mean().item(), 4),
        "seconds_a_picture": round(seconds / len(clean), 4),
        "picture_psnr": [round(value, 2) for value in decibels[:FIRST].tolist()],
    }


def timed(function: Filter, noisy: torch.Tensor) -> tuple[torch.Tensor, float]:
    """What the filter makes, and the processor's seconds."""
    began = time.process_time()
    with torch.no_grad():
        made = function(noisy)
    return made, time.process_time() - began


def compare(run: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Measures of every method, and their pictures."""
    model, card = striate.load(run)
    task, recipe = card.build_task(), striate.Recipe.read(run / "recipe.yaml")
    data = load_recipe_data(recipe)
    session = {"task": task, "input": card.preprocess}
    some = range(min(len(data.train), max(1, TUNED // data.train.inputs[0, 0].numel())))
    some_clean, some_noisy = noisy_pairs(session, data.train.subset(some))
    clean, noisy = noisy_pairs(session, data.tested)
    again, pictures = seen(data), {"noisy": noisy}
    methods = {"noisy": measure(noisy, clean, 0.0, again)}
    for name, tried in choices(task.sigma).items():
        best = max(tried, key=lambda key: psnr(tried[key](some_noisy).clamp(0, 1), some_clean).mean().item())
        pictures[name], seconds = timed(tried[best], noisy)
        methods[name] = {"strength": best, **measure(pictures[name], clean, seconds, again)}
    pictures["ours"], seconds = timed(lambda x: torch.cat([model(part) for part in x.split(4)]), noisy)
    methods["ours"] = measure(pictures["ours"], clean, seconds, again)
    pictures["clean"] = clean
    setting = {"noise": task.noise, "sigma": task.sigma, "pictures": len(clean), "shape": list(clean.shape[1:]),
               "trained_on": len(data.train), "parameters": sum(p.numel() for p in model.parameters()),
               "torch": torch.__version__}  # fmt: skip
    return {"seed": recipe.seed, "setting": setting, "seen_in_training": len(again), "methods": methods}, pictures


def seen(data: Any) -> list[int]:
    """Test pictures of which another form (grey, say) is among the training pictures: their greys are alike."""
    grey = [data.preprocess.units(items.inputs).mean(1).flatten(1) for items in (data.train, data.tested)]
    train, test = (torch.nn.functional.normalize(x - x.mean(1, keepdim=True)) for x in grey)
    found: list[int] = ((test @ train.T).amax(1) > ALIKE).nonzero().flatten().tolist()
    return found


def mean(runs: Sequence[dict[str, Any]], name: str, measure: str = "psnr") -> float:
    """Of a method, over the runs."""
    return statistics.mean(run["methods"][name][measure] for run in runs)


def words(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The claim."""
    setting, each = runs[0]["setting"], ", ".join(f"{run['methods']['ours']['psnr']:.2f}" for run in runs)
    others = ", ".join(f"{name} {mean(runs, name):.2f}" for name in runs[0]["methods"] if name != "ours")
    seeds = ", ".join(str(run["seed"]) for run in runs)
    seeds = f"seed {seeds}" if len(runs) == 1 else f"mean of seeds {seeds} ({each})"
    again = ", ".join(str(run["seen_in_training"]) for run in runs)
    return [
        f"# Claim: {mean(runs, 'ours'):.2f} dB (SSIM {mean(runs, 'ours', 'ssim'):.3f}) on {setting['pictures']:,} "
        f"test pictures of {'x'.join(map(str, setting['shape'][1:]))} with {setting['noise']} noise of "
        f"σ {setting['sigma']:g},",
        f"# {seeds}; {others} (python recipes/denoise.py RUN).",
        f"# {mean(runs, 'ours', 'psnr_unseen'):.2f} dB without the pictures of which another form is among the "
        f"training pictures ({again}).",
    ]


def draw(pictures: dict[str, torch.Tensor], run: dict[str, Any], rows: Sequence[int]) -> Figure:
    """A row a picture, a column a method; under each its PSNR."""
    side = 1.7
    figure = Figure((side * len(pictures), (side + 0.25) * len(rows)), dpi=110, layout="constrained")
    for axes_row, row in zip(figure.subplots(len(rows), len(pictures), squeeze=False), rows, strict=True):
        for axes, (name, made) in zip(axes_row, pictures.items(), strict=True):
            axes.imshow(made[row].clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            value = run["methods"].get(name)
            axes.set_xlabel("" if value is None else f"{value['picture_psnr'][row]:.1f} dB", fontsize=8)
            if row == rows[0]:
                axes.set_title(name, fontsize=9)
    return figure


def check(runs: Sequence[Path]) -> None:
    """The runs are of one recipe, each with a seed of its own."""
    recipes = [striate.Recipe.read(run / "recipe.yaml") for run in runs]
    if len({recipe.seed for recipe in recipes}) < len(runs) or len({replace(r, seed=0).yaml() for r in recipes}) > 1:
        raise SystemExit("The runs have to be of one recipe, each with another seed.")


def main() -> None:
    """Compare, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="runs of one recipe, of several seeds")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("denoise.yaml"))
    parser.add_argument("--out", type=Path, default=Path("denoise"))
    parser.add_argument("--rows", type=int, nargs="+", default=(0, 1), help="test pictures to show")
    options = parser.parse_args()
    check(options.runs)
    options.out.mkdir(parents=True, exist_ok=True)
    name, found = options.recipe.stem, []
    for run in options.runs:
        results, pictures = compare(run)
        if not found:
            rows = [row for row in options.rows if row < min(FIRST, len(pictures["clean"]))]
            draw(pictures, results, rows).savefig(options.out / f"{name}.png")
        found.append(results)
        for method, result in results["methods"].items():
            print(f"{method:16} PSNR {result['psnr']:.2f} dB  SSIM {result['ssim']:.4f}  {result.get('strength', '')}")
    (options.out / f"{name}.json").write_text(json.dumps({"runs": found}, indent=1, ensure_ascii=False) + "\n")
    claim_of_runs(options.runs, options.recipe, words(found))


if __name__ == "__main__":
    main()
