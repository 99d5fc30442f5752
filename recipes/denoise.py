"""A trained denoiser beside the Gaussian filter, the median and non-local means, on the same noisy pictures.

    striate train recipes/denoise.yaml
    python recipes/denoise.py runs/RUN --out docs/restoration

The strength of each filter is the one with the best mean PSNR on noisy training pictures; all are then measured on the
test pictures of the run. Writes FOLDER/denoise.json and denoise.png, and the claim into the head of denoise.yaml.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import numpy as np
import scipy.ndimage
import torch
from matplotlib.figure import Figure

import striate
from claim import claim_of_run
from striate import ops
from striate.data import Items
from striate.runs.record import load_recipe_data
from striate.tasks import psnr, ssim
from striate.train import evaluate

HEAD = Path(__file__).with_name("denoise.yaml")
TUNED = 2  # training pictures on which the strengths are chosen
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
        "non-local means": {f"{s:g} of the noise": alike(s, sigma) for s in (0.3, 0.45, 0.6, 0.8)},
    }


def noisy_pairs(session: Any, items: Items) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and noisy pictures, as an evaluation draws them."""
    _, targets = evaluate(torch.nn.Identity(), session["task"], items, session["input"], CPU)
    clean, noisy = targets.unbind(1)
    return clean, noisy


def measure(estimate: torch.Tensor, clean: torch.Tensor, seconds: float) -> dict[str, Any]:
    """Means over pictures, and each picture's PSNR."""
    shown = estimate.clamp(0, 1)
    decibels = psnr(shown, clean)
    return {
        "psnr": round(decibels.mean().item(), 3),
        "ssim": round(ssim(shown, clean).mean().item(), 4),
        "seconds_a_picture": round(seconds / len(clean), 4),
        "picture_psnr": [round(value, 2) for value in decibels.tolist()],
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
    task = card.build_task()
    data = load_recipe_data(striate.Recipe.read(run / "recipe.yaml"))
    session = {"task": task, "input": card.preprocess}
    some_clean, some_noisy = noisy_pairs(session, data.train.subset(range(min(TUNED, len(data.train)))))
    clean, noisy = noisy_pairs(session, data.tested)
    pictures = {"noisy": noisy}
    results = {"noisy": measure(noisy, clean, 0.0)}
    for name, tried in choices(task.sigma).items():
        best = max(tried, key=lambda key: psnr(tried[key](some_noisy).clamp(0, 1), some_clean).mean().item())
        pictures[name], seconds = timed(tried[best], noisy)
        results[name] = {"strength": best, **measure(pictures[name], clean, seconds)}
        print(name, results[name], flush=True)
    pictures["ours"], seconds = timed(lambda x: torch.cat([model(part) for part in x.split(4)]), noisy)
    results["ours"] = measure(pictures["ours"], clean, seconds)
    pictures["clean"] = clean
    setting = {"noise": task.noise, "sigma": task.sigma, "pictures": len(clean), "shape": list(clean.shape[1:]),
               "seen_in_training": seen(data),
               "parameters": sum(p.numel() for p in model.parameters()), "torch": torch.__version__}  # fmt: skip
    return {"setting": setting, "methods": results}, pictures


def seen(data: Any) -> list[int]:
    """Test pictures of which another form (grey, say) is among the training pictures: their greys are alike."""
    grey = [data.preprocess.units(items.inputs).mean(1).flatten(1) for items in (data.train, data.tested)]
    train, test = (torch.nn.functional.normalize(x - x.mean(1, keepdim=True)) for x in grey)
    found: list[int] = ((test @ train.T).amax(1) > ALIKE).nonzero().flatten().tolist()
    return found


def words(results: dict[str, Any], seed: int) -> list[str]:
    """The claim."""
    setting, methods = results["setting"], results["methods"]
    others = ", ".join(f"{name} {one['psnr']:.2f}" for name, one in methods.items() if name != "ours")
    ours, count = methods["ours"], setting["pictures"]
    again = setting["seen_in_training"]
    rest = [value for k, value in enumerate(ours["picture_psnr"]) if k not in again]
    return [
        f"# Claim: {ours['psnr']:.2f} dB (SSIM {ours['ssim']:.3f}) on {count} photographs of "
        f"{'x'.join(map(str, setting['shape'][1:]))} with {setting['noise']} noise of σ {setting['sigma']:g},",
        f"# seed {seed}; {others} (python recipes/denoise.py RUN).",
        f"# {sum(rest) / len(rest):.2f} dB without the pictures of which another form is among the training pictures "
        f"({len(again)}).",
    ]


def draw(pictures: dict[str, torch.Tensor], results: dict[str, Any], rows: Sequence[int]) -> Figure:
    """A row a picture, a column a method; under each its PSNR."""
    side = 1.7
    figure = Figure((side * len(pictures), (side + 0.25) * len(rows)), dpi=110, layout="constrained")
    for axes_row, row in zip(figure.subplots(len(rows), len(pictures), squeeze=False), rows, strict=True):
        for axes, (name, made) in zip(axes_row, pictures.items(), strict=True):
            axes.imshow(made[row].clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            value = results["methods"].get(name)
            axes.set_xlabel("" if value is None else f"{value['picture_psnr'][row]:.1f} dB", fontsize=8)
            if row == rows[0]:
                axes.set_title(name, fontsize=9)
    return figure


def main() -> None:
    """Compare, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of recipes/denoise.yaml")
    parser.add_argument("--out", type=Path, default=Path("denoise"))
    parser.add_argument("--rows", type=int, nargs="+", default=(0, 1), help="test pictures to show")
    options = parser.parse_args()
    results, pictures = compare(options.run)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "denoise.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    rows = [row for row in options.rows if row < len(pictures["clean"])]
    draw(pictures, results, rows).savefig(options.out / "denoise.png")
    claim_of_run(options.run, HEAD, words(results, striate.Recipe.read(options.run / "recipe.yaml").seed))
    for name, result in results["methods"].items():
        print(f"{name:16} PSNR {result['psnr']:.2f} dB  SSIM {result['ssim']:.4f}  {result.get('strength', '')}")


if __name__ == "__main__":
    main()
