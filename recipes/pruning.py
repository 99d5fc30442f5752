"""Pruning an over-parameterized network: accuracy against the share pruned, before and after fine-tuning.

    python recipes/pruning.py mnist:PATH --out FOLDER [--model keras_mnist] [--epochs 1]

A network is trained; then each share of its weights (magnitude, over all layers or layer by layer) or of its filters
(L1 norm; the network becomes smaller) is pruned, tested, trained on for as many epochs as it had, and tested again.
Writes FOLDER/pruning.json and .png. Sources: Han et al. 2015, Learning both weights and connections (figure 5); Li et
al. 2017, Pruning filters for efficient ConvNets (section 3).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import torch
from matplotlib.figure import Figure
from torch import nn

import striate
from striate.geometry import describe
from striate.train import evaluate
from striate.train.filter_pruning import prune_filters
from striate.train.pruning import make_permanent, prune_weights

SHARES = {
    "weights, global": (0.5, 0.8, 0.9, 0.95, 0.98, 0.99),
    "weights, by layer": (0.5, 0.8, 0.9, 0.95, 0.98, 0.99),
    "filters": (0.25, 0.5, 0.75, 0.9),
}
COLORS = {"weights, global": "#0072b2", "weights, by layer": "#009e73", "filters": "#d55e00"}


def accuracy(session: Any, model: nn.Module) -> float:
    """On the test items."""
    data = session.data
    kept, target = evaluate(model, session.task, data.tested, data.preprocess, torch.device("cpu"))
    return float(session.task.score(kept, target).accuracy)


def train(session: Any, model: nn.Module, recipe: striate.Recipe) -> None:
    """Every step of a recipe."""
    for _ in striate.fit(model, session.task, session.data, recipe):
        pass


def pruned(model: nn.Module, kind: str, share: float, shape: tuple[int, ...]) -> nn.Module:
    """A pruned copy, its masks in place."""
    if kind == "filters":
        return prune_filters(model, shape, share).model
    model = copy.deepcopy(model)
    prune_weights(model, share, "global" if kind.endswith("global") else "layer")
    return model


def point(session: Any, kind: str, share: float, finetune: striate.Recipe) -> dict[str, Any]:
    """Accuracy before and after fine-tuning, and what is left of the network."""
    model = pruned(session.model, kind, share, session.data.shape)
    before = accuracy(session, model)
    train(session, model, finetune)
    if kind != "filters":
        make_permanent(model)
    after = accuracy(session, model)
    left = sum(int((p != 0).sum()) for p in model.parameters())
    macs = describe(model, session.data.shape).macs
    return {"share": share, "before": before, "after": after, "parameters": left, "macs": macs}


def draw(results: dict[str, Any]) -> Figure:
    """Accuracy against the share pruned: dashed before fine-tuning, solid after it."""
    figure = Figure((8.4, 3.6), dpi=120, layout="constrained")
    for axes, low in zip(figure.subplots(1, 2), (0, None), strict=True):
        for kind, points in results["points"].items():
            x = [100 * p["share"] for p in points]
            axes.plot(x, [100 * p["before"] for p in points], color=COLORS[kind], linestyle="--", linewidth=1)
            axes.plot(x, [100 * p["after"] for p in points], color=COLORS[kind], marker="o", markersize=3, label=kind)
        axes.axhline(100 * results["accuracy"], color="#888888", linewidth=0.8, label="not pruned")
        axes.set_xlabel("pruned, %", fontsize=9)
        axes.grid(color="#eef1f4")
        axes.spines[["top", "right"]].set_visible(False)
        if low is None:  # a closer look at what fine-tuning brings back
            axes.set_ylim(100 * results["accuracy"] - 10, 100 * results["accuracy"] + 1)
        else:
            axes.set_ylim(0, 102)
            axes.legend(frameon=False, fontsize=8)
    figure.axes[0].set_ylabel("test accuracy, %", fontsize=9)
    figure.axes[0].set_title("dashed: before fine-tuning", fontsize=9)
    figure.axes[1].set_title("the same, closer", fontsize=9)
    return figure


def main() -> None:
    """Train, prune, fine-tune, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="mnist:PATH, digits ...")
    parser.add_argument("--model", default="keras_mnist")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--shares", type=float, nargs="+", help="of every kind, instead of the usual ones")
    parser.add_argument("--out", type=Path, default=Path("pruning"))
    options = parser.parse_args()
    recipe = striate.Recipe(
        model=options.model, data=options.data, epochs=options.epochs, image_size=options.image_size, batch_size=64,
        optimizer="adamw", learning_rate=0.002, weight_decay=0.01, label_smoothing=0.0, validation=0.0, augment=(),
        device="cpu",
    )  # fmt: skip
    began = time.perf_counter()
    session = striate.open_session(recipe)
    train(session, session.model, recipe)
    results: dict[str, Any] = {
        "model": options.model,
        "data": options.data.partition(":")[0],
        "epochs": options.epochs,
        "accuracy": accuracy(session, session.model),
        "parameters": sum(p.numel() for p in session.model.parameters()),
        "macs": describe(session.model, session.data.shape).macs,
        "points": {},
    }
    print(f"not pruned: {results['accuracy']:.2%}, {results['parameters']:,} parameters", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    for kind, shares in SHARES.items():
        results["points"][kind] = []
        for share in options.shares or shares:
            found = point(session, kind, share, replace(recipe, learning_rate=0.001))
            results["points"][kind].append(found)
            print(
                f"{kind} {share:.0%}: {found['before']:.2%} -> {found['after']:.2%}, "
                f"{found['parameters']:,} parameters, {found['macs']:,} MACs",
                flush=True,
            )
        results["seconds"] = round(time.perf_counter() - began, 1)
        (options.out / "pruning.json").write_text(json.dumps(results, indent=1) + "\n")
        draw(results).savefig(options.out / "pruning.png")


if __name__ == "__main__":
    main()
