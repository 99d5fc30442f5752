"""Measures shift consistency with and without blur pooling: writes docs/views/consistency.json and the networks.

python docs/shift_consistency.py fashion:PATH FOLDER [--seeds 3] [--epochs 4] [--items 10000]

The same small network twice, trained alike, without augmentation: max pooling, and max pooling with a blur before the
sampling (Zhang 2019). Consistency is measured on the first 2,000 test images, shifted by up to 4 pixels on either axis.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

import striate
from striate.data import Batches, Data
from striate.interpret import consistency
from striate.layers import MaxBlurPool
from striate.tasks import Task
from striate.train import read_tensors, save_tensors

HERE = Path(__file__).parent
MOST, PAIRS, TESTED = 4, 3, 2000
KINDS = ("max", "max + blur")


def network(kind: str) -> nn.Sequential:
    """Three convolutions, sampled twice by 2, and a linear layer."""

    def down() -> nn.Module:
        return nn.MaxPool2d(2) if kind == "max" else MaxBlurPool(2)

    def block(c: int, k: int) -> list[nn.Module]:
        return [nn.Conv2d(c, k, 3, padding=1, bias=False), nn.BatchNorm2d(k), nn.ReLU()]

    maps = [*block(1, 8), down(), *block(8, 16), down(), *block(16, 32)]
    return nn.Sequential(*maps, nn.AvgPool2d(7), nn.Flatten(), nn.Linear(32, 10))


def trained(kind: str, task: Task, data: Data, recipe: striate.Recipe, file: Path) -> nn.Sequential:
    """The network of this seed, from the file where that is there."""
    torch.manual_seed(recipe.seed)
    model = network(kind)
    if file.is_file():
        model.load_state_dict(read_tensors(file)[0])
        return model.eval()
    began = time.perf_counter()
    for _ in striate.fit(model, task, data, recipe):
        pass
    print(f"{kind}, seed {recipe.seed}: {time.perf_counter() - began:.0f} s")
    save_tensors(file, model.state_dict(), {"kind": kind})
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--items", type=int, default=10_000)
    args = parser.parse_args()
    found = []
    for seed in range(args.seeds):
        recipe = striate.Recipe(
            model="lenet5", data=args.data, epochs=args.epochs, batch_size=50, learning_rate=0.1, seed=seed, augment=()
        )
        session = striate.open_session(recipe)
        data = replace(session.data, train=session.data.train.subset(range(args.items)))
        test = Batches(data.test.subset(range(TESTED)), data.preprocess, batch_size=500)
        for kind in KINDS:
            name = f"{kind.replace(' + ', '_')}-{seed}.safetensors"
            model = trained(kind, session.task, data, recipe, args.folder / name)
            still = consistency(model, test.epoch(0), most=0, pairs=1)
            moved = consistency(model, test.epoch(0), most=MOST, pairs=PAIRS)
            found.append({"pooling": kind, "seed": seed, "unmoved": still.accuracy, **moved.json()})
            print(f"{kind}, seed {seed}: accuracy {still.accuracy:.2%}, consistency {moved.share:.2%}", flush=True)
    facts = {
        "data": args.data.partition(":")[0],
        "epochs": args.epochs,
        "items": args.items,
        "torch": torch.__version__,
        "runs": found,
    }
    (HERE / "views").mkdir(exist_ok=True)
    (HERE / "views" / "consistency.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
