"""Draws the pictures of docs/views.md into docs/views: of networks of digits and of DNA, trained in seconds.

python docs/views_pictures.py [NAME ...]
"""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

import striate
from striate.data import Batch, Batches, Data
from striate.interpret import (
    Consistency,
    adversarial,
    embed,
    equivariance,
    invert,
    maximize,
    probes,
    separation,
)

OUT = Path(__file__).parent / "views"
MOTIF = "TGACTCA"  # of AP-1


def network() -> nn.Sequential:
    """Three convolutions and two linear layers, each operation a module with a name."""
    torch.manual_seed(0)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (c, k) in enumerate(((1, 16), (16, 32), (32, 32)), 1):
        parts |= {f"conv{number}": nn.Conv2d(c, k, 3, padding=1), f"relu{number}": nn.ReLU()}
        if number < 3:
            parts[f"pool{number}"] = nn.MaxPool2d(2)
    parts |= {"flatten": nn.Flatten(), "hidden": nn.Linear(32 * 7 * 7, 64), "relu4": nn.ReLU()}
    return nn.Sequential(parts | {"output": nn.Linear(64, 10)})


def trained() -> tuple[nn.Module, Data]:
    """The network, trained on the digits at 28x28, and their parts."""
    recipe = striate.Recipe(model="lenet5", data="digits", image_size=28, epochs=6, seed=0)
    session = striate.open_session(recipe)
    model = network()
    for _ in striate.fit(model, session.task, session.data, recipe):
        pass
    return model.eval(), session.data


def items(data: Data, *parts: str) -> list[Batch]:
    """All items of the parts, in order."""
    return [b for part in parts for b in Batches(getattr(data, part), data.preprocess, batch_size=200).epoch(0)]


def sequences(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random DNA (n, 4, 40), and whether the motif is planted in it."""
    letters = torch.randint(0, 4, (n, 40), generator=generator)
    planted = torch.arange(n) % 2
    for item in planted.nonzero().flatten().tolist():
        start = int(torch.randint(0, 40 - len(MOTIF), (), generator=generator))
        letters[item, start : start + len(MOTIF)] = torch.tensor(["ACGT".index(letter) for letter in MOTIF])
    return F.one_hot(letters, 4).mT.float(), planted.float()


def motif_network() -> nn.Module:
    """A network of one layer of filters that tells the planted motif, trained by hand."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(4, 8, 9, padding=4), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(600):
        x, y = sequences(64, generator)
        loss = F.binary_cross_entropy_with_logits(model(x)[:, 0], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = sequences(1000, generator)
    print(f"motif network: {((model(x)[:, 0] > 0) == y).float().mean():.1%} right")
    return model


def consistencies() -> Figure:
    """The runs of docs/shift_consistency.py."""
    runs = json.loads((OUT / "consistency.json").read_text())["runs"]
    names = list(Consistency.__dataclass_fields__)
    found = {f"{run['pooling']}, seed {run['seed']}": Consistency(**{k: run[k] for k in names}) for run in runs}
    (name, first), *others = sorted(found.items())
    return first.plot(dict(others), name)


def pictures() -> dict[str, Callable[[], Figure]]:
    """What draws each picture, by name."""
    model, data = trained()
    limits, names, shape = data.preprocess, data.class_names, data.preprocess.shape
    held = items(data, "test")
    few = held[0].inputs[:4]
    points = embed(model, items(data, "train", "test"), names=names)
    layers = ("relu1", "pool1", "relu2", "pool2", "relu3", "hidden", "")
    return {
        "maximize": lambda: maximize(model, shape, target=3, limits=limits, starts=5, data=held).plot(),
        "channel": lambda: maximize(
            model, shape, target=5, layer="conv2", unit=(7, 7), limits=limits, starts=5, data=held
        ).plot(),
        "letters": lambda: maximize(motif_network(), (4, 40), target=0, paint="letters", starts=3, rate=0.1).plot(),
        "invert": lambda: invert(model, few[:3], layers, limits=limits).plot(),
        "adversarial": lambda: adversarial(model, few, limits=limits).plot(names),
        "tsne": points.plot,
        "pca": lambda: points.plot("pca", grid=False),
        "neighbors": lambda: points.plot_neighbors([0, 1, 2], 8),
        "separation": lambda: separation(model, held).plot(),
        "probes": lambda: probes(model, items(data, "train"), held).plot(),
        "equivariance": lambda: equivariance(model, held[0].inputs[:100]).plot(),
        "consistency": consistencies,
    }


def main(wanted: list[str]) -> None:
    OUT.mkdir(exist_ok=True)
    for name, draw in pictures().items():
        if not wanted or name in wanted:
            draw().savefig(OUT / f"{name}.png", dpi=100)
            print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
