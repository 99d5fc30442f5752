"""The degradation of deep plain networks: more layers, a higher *training* error; with shortcuts, not so.

    python recipes/degradation.py cifar10:PATH --out FOLDER [--epochs 1] [--networks plain20 ...]

Trains plain and residual networks of 20 and 56 layers on CIFAR-10 with one recipe and measures the error on the same
5,000 training images, without augmentation. Writes FOLDER/degradation.json and .png; a network that is already in the
file is not trained again, so that an interrupted run goes on. The schedule is far shorter than the paper's 64,000
updates (K. He et al., "Deep residual learning for image recognition", 2015, section 4.2 and figure 6).
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import torch
from matplotlib.figure import Figure

import striate
from striate.train import evaluate

NETWORKS = ("plain20", "plain56", "resnet20", "resnet56")
MEASURED = 5_000  # training images on which the error is measured
POINTS = 8  # measurements an epoch


def train(network: str, data: str, epochs: float, seed: int) -> dict[str, Any]:
    """Training errors of one network along its training, and the test error at its end."""
    recipe = striate.Recipe(
        model=network, data=data, epochs=epochs, batch_size=128, validation=0.0, seed=seed, device="cpu",
        optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, label_smoothing=0.0, augment=("crop:4", "flip"),
    )  # fmt: skip
    session = striate.open_session(recipe)
    began, points = time.perf_counter(), []
    part = session.data.train.subset(range(min(MEASURED, len(session.data.train))))
    for step in striate.fit(session.model, session.task, session.data, recipe):
        if step.number % max(1, round(step.of / epochs / POINTS)) == 0 or step.last:
            error = measure(session, part)
            points.append({"update": step.number, "images": step.items, "training_error": error})
            print(f"{network}: update {step.number} of {step.of}, training error {error:.1%}", flush=True)
    return {
        "parameters": sum(p.numel() for p in session.model.parameters()),
        "points": points,
        "test_error": measure(session, session.data.test),
        "test_images": len(session.data.test),
        "seconds": round(time.perf_counter() - began, 1),
    }


def measure(session: Any, items: Any) -> float:
    """Share of images that are classified wrongly."""
    outputs, targets = evaluate(session.model, session.task, items, session.data.preprocess, torch.device("cpu"))
    return 1 - session.task.score(outputs, targets).accuracy


def draw(results: dict[str, Any]) -> Figure:
    """Training error against updates: plain networks on the left, residual ones on the right."""
    figure = Figure((8.4, 3.8), dpi=120, layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ("plain", "resnet"), strict=True):
        for name, color in ((f"{kind}20", "#0072b2"), (f"{kind}56", "#d55e00")):
            if points := results.get(name, {}).get("points"):
                x, y = [p["update"] for p in points], [100 * p["training_error"] for p in points]
                axes.plot(x, y, color=color, linewidth=1.8, marker="o", markersize=3, label=f"{name}: {y[-1]:.1f} %")
        axes.set_title("without shortcuts" if kind == "plain" else "with shortcuts", fontsize=10)
        axes.set_xlabel("updates", fontsize=9)
        axes.set_ylim(bottom=0)
        axes.grid(color="#eef1f4")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    figure.axes[0].set_ylabel("training error, %", fontsize=9)
    return figure


def main() -> None:
    """Train what is missing, then draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10:PATH")
    parser.add_argument("--out", type=Path, default=Path("degradation"))
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "degradation.json"
    stored = json.loads(path.read_text()) if path.is_file() else {}
    setting = {"epochs": options.epochs, "seed": options.seed, "torch": torch.__version__}
    if stored.get("setting", setting) != setting:
        raise SystemExit(f"{path} holds another setting, {stored['setting']}: choose another --out")
    results = stored.get("networks", {})
    for network in options.networks:
        if network not in results:
            results[network] = train(network, options.data, options.epochs, options.seed)
            path.write_text(json.dumps({"setting": setting, "networks": results}, indent=1) + "\n")
        draw(results).savefig(options.out / "degradation.png")
    for name, result in results.items():
        print(f"{name}: training error {result['points'][-1]['training_error']:.2%}, test {result['test_error']:.2%}")


if __name__ == "__main__":
    main()
