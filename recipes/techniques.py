"""What each training technique is worth: one change at a time of one base setting, on real pictures.

    python recipes/techniques.py cifar10:PATH [--seeds 3] [--only norm activation] [--share 1] [--out FOLDER]

5,000 training images and one small network (of CIFAR-10 with its last 5,000 training images before the test images).
A row is the base recipe with one change, written as in a recipe; some techniques need a base of their own, which then
stands first. Writes FOLDER/techniques.json and .png; a training that is in the file is not repeated, so that an
interrupted run goes on. `--share 0.1` trains a tenth of the epochs. `python benchmarks/tables.py` makes the table of
docs/techniques.md of it.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
warnings.simplefilter("ignore")

import torch
from matplotlib.figure import Figure
from PIL import Image

import striate
from striate.data import Items
from striate.runs import conclude, make_folder
from striate.runs.record import Session
from striate.train import averaged, ensemble, evaluate

BASE: dict[str, Any] = {
    "model": "cifar10_schematic:width=0.5", "data": "all", "image_size": 32, "validation": 0.0, "epochs": 12.0,
    "batch_size": 50, "optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.9, "weight_decay": 1e-4,
    "label_smoothing": 0.0, "augment": [], "device": "cpu",
}  # fmt: skip
# What stands before a change that is no field of a recipe: an option of the network, networks of an ensemble.
OPTION, NETWORKS = "option", "networks"
HEAVY = ["flip", "crop:4", "rotate:10", "color:brightness=0.2,contrast=0.2,saturation=0.2,hue=0.02"]
OTHERS = ["shift:0.1", "scale:0.2", "elastic:deviation=1", "grey", "pca_color", "cutout:8"]
CONVOLUTIONS = ["conv1", "conv2", "conv3"]
TECHNIQUES: dict[str, list[dict[str, Any]]] = {
    "base": [{}],
    "ensembling": [{NETWORKS: 3}],
    "views averaged in the test": [{"tta": ["flip"]}, {"tta": ["flip", "shift"]}],
    "augmentation": [*({"augment": [one]} for one in (*HEAVY, *OTHERS)), {"augment": HEAVY}],
    "dropout": [{"dropout": 0.25}, {"dropout": 0.5}],
    "weight decay": [{"weight_decay": 0.0}, {"weight_decay": 0.01}],
    "norm": [{OPTION: f"norm={kind}"} for kind in ("batch", "layer", "group", "instance")],
    "learning rate with a norm": [{"learning_rate": 0.1}, {OPTION: "norm=batch", "learning_rate": 0.1}],
    "activation": [
        *({OPTION: f"activation={kind}"} for kind in ("tanh", "sigmoid")),
        {OPTION: "norm=batch,activation=sigmoid"},
    ],
    "learning rate over time": [
        {"schedule": "constant"},
        {"schedule": "step", "step_epochs": 4},
        {"schedule": "cosine"},
    ],
    "momentum": [{"momentum": 0.0}, {"final_momentum": 0.99}],
    "k-fold": [{"folds": 5}],
    "shortcuts": [{}, {"model": "resnet32:width=0.25"}],
    "several sizes": [
        {},
        {"tta": ["scale:0.8"]},
        {"tta": ["scale:0.8", "scale:1.25"]},
        {"train_sizes": [24, 28, 32]},
        {"train_sizes": [24, 28, 32, 36, 40], "size_order": "random"},
        {"train_sizes": [24, 28, 32, 36, 40], "size_order": "random", "tta": ["scale:0.8", "scale:1.25"]},
    ],
    "pre-training": [{}, {"weights": "many"}, {"weights": "many", "freeze": CONVOLUTIONS}],
}
# Techniques that cannot be had of the base, and why: depth; a network of any size; few images, of other classes.
OWN_BASE: dict[str, dict[str, Any]] = {
    "shortcuts": {"model": "plain32:width=0.25", "epochs": 6.0},
    "several sizes": {"model": "keras_fcn:width=0.5"},
    "pre-training": {"data": "few", "epochs": 40.0, "batch_size": 25, "learning_rate": 0.01},
}
TRAINED, HELD_OUT, FEW = 5_000, 5_000, 50
LONGEST = 44  # letters of a label
APART = 100  # between the seeds of the networks of an ensemble
PRETRAINED = range(2, 8)  # classes of the pre-training (of CIFAR-10: the animals); the others are fine-tuned on


def lay_out(spec: str, folder: Path) -> dict[str, int]:
    """The images as folders of classes: `all`, `many` of some classes, `few` of the others. How many of each.

    Where there is many times as much for training, the last HELD_OUT training images are test images.
    """
    data = striate.load_data(spec, validation=0.0)
    assert data.test is not None
    held = HELD_OUT if len(data.train) > 5 * HELD_OUT else 0
    own = torch.arange(len(data.train) - held)
    tests = [(data.test, torch.arange(len(data.test)))]
    if held:
        tests.append((data.train, torch.arange(len(own), len(data.train))))
    other = torch.tensor([k for k in range(len(data.class_names)) if k not in PRETRAINED])
    labels = data.train.targets[own]
    some = torch.cat([own[labels == k][:FEW] for k in other])
    rows = {"all": own, "many": own[~torch.isin(labels, other)], "few": some}
    kept = {"all": None, "many": torch.tensor(PRETRAINED), "few": other}
    counts = {}
    for name, train in rows.items():
        counts[name] = save(data.train, train[:TRAINED], folder / name / "train")
        test = [save(items, among(items, where, kept[name]), folder / name / "test") for items, where in tests]
        counts[f"{name}, test"] = sum(test)
    return counts


def among(items: Items, where: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
    """Those positions whose class is one of `classes`."""
    return where if classes is None else where[torch.isin(items.targets[where], classes)]


def save(items: Items, where: torch.Tensor, folder: Path) -> int:
    """Write images as PNG files into a folder for each class; how many."""
    for row in where.tolist():
        pixels = items.inputs[row].permute(1, 2, 0).squeeze(2).numpy()
        path = folder / str(items.targets[row].item()) / f"{row}-{len(items)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return len(where)


@dataclass(frozen=True)
class Place:
    """Where the images lie, and the share of the epochs that is trained."""

    images: Path
    share: float

    def recipe(self, technique: str, change: dict[str, Any], seed: int) -> striate.Recipe:
        """The recipe of a row."""
        fields = BASE | OWN_BASE.get(technique, {}) | {k: v for k, v in change.items() if k not in (OPTION, NETWORKS)}
        if OPTION in change:
            fields["model"] += "," + change[OPTION]
        if "weights" in change:
            fields["weights"] = str(pretrained(self, seed))
        if "folds" in change:
            fields["fold"], seed = seed, 0
        fields["data"] = f"folder:{self.images / fields['data']}"
        return striate.Recipe.from_mapping(fields | {"epochs": self.share * fields["epochs"], "seed": seed})


@dataclass(frozen=True)
class Trained:
    """A trained network, the mean loss of its last epoch, and the seconds of the processor for each thread."""

    session: Session
    loss: float
    seconds: float


@functools.lru_cache(maxsize=4)
def trained(recipe: striate.Recipe) -> Trained:
    """Train; a recipe that was trained just now is not trained again."""
    session = striate.open_session(recipe)
    began, loss = time.process_time(), 0.0
    for step in striate.fit(session.model, session.task, session.data, session.recipe):
        loss = loss if step.train_loss is None else step.train_loss
    return Trained(session, loss, (time.process_time() - began) / torch.get_num_threads())


@functools.cache
def pretrained(place: Place, seed: int) -> Path:
    """The run folder of the base recipe on the classes of the pre-training."""
    recipe = place.recipe("base", {"data": "many"}, seed)
    folder = make_folder(recipe, place.images / "runs")
    conclude(trained(recipe).session, folder)
    return folder


def run(place: Place, technique: str, change: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train and test a row once; the other networks of an ensemble have seeds of their own."""
    recipe = place.recipe(technique, change, seed)
    several = [replace(recipe, tta=(), seed=recipe.seed + APART * k) for k in range(change.get(NETWORKS, 1))]
    nets = [trained(one) for one in several]
    session = nets[0].session
    model = averaged(ensemble([net.session.model for net in nets]), recipe.tta)
    outputs = evaluate(model, session.task, session.data.tested, session.data.preprocess, torch.device("cpu"))
    scores = session.task.score(*outputs).summary()
    return {
        "seed": seed,
        "accuracy": round(scores["accuracy"], 4),
        "loss": round(scores["loss"], 4),
        "training_loss": round(sum(net.loss for net in nets) / len(nets), 4),
        "seconds": round(sum(net.seconds for net in nets), 1),
    }


def spelled(change: dict[str, Any]) -> str:
    """A change as in a recipe."""

    def text(value: Any) -> str:
        return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)

    said = {"weights": "those of the other classes", "freeze": "the convolutions"}
    lines = [v if k == OPTION else f"{k}: {said.get(k, text(v))}" for k, v in change.items()]
    return "; ".join(lines) if lines else "nothing"


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Accuracy by row: each seed a dot, the mean a line; behind them the mean of the base of the row."""
    figure = Figure((8.4, 0.23 * len(rows) + 0.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    mean = [100 * statistics.mean(found["accuracy"] for found in row["runs"]) for row in rows]
    bases = {row["technique"]: value for row, value in zip(rows, mean, strict=True) if not row["change"]}
    for y, row in enumerate(rows):
        if base := bases.get(row["base"]):
            axes.plot([base] * 2, [y - 0.5, y + 0.5], color="#b8c0c8", linewidth=1)
        values = [100 * found["accuracy"] for found in row["runs"]]
        axes.plot(values, [y] * len(values), ".", color="#0072b2", markersize=5)
        axes.plot([mean[y]] * 2, [y - 0.3, y + 0.3], color="#d55e00", linewidth=1.8)
        if y and row["technique"] != rows[y - 1]["technique"]:
            axes.axhline(y - 0.5, color="#e4e8ec", linewidth=0.8)
    firsts = {row["technique"]: y for y, row in reversed(list(enumerate(rows)))}
    for technique, y in firsts.items():
        axes.text(1.01, y, technique, transform=axes.get_yaxis_transform(), fontsize=8, va="center", color="#55606c")
    labels = [row["spelled"] if len(row["spelled"]) <= LONGEST else row["spelled"][:LONGEST] + " …" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("test accuracy, % (dots: seeds; line: mean; grey: the base)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Train what is missing, seed by seed, and write after each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar10:PATH, fashion:PATH, digits ...")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=TECHNIQUES, default=list(TECHNIQUES))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    path = options.out / "techniques.json"
    stored = json.loads(path.read_text()) if path.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STRIATE_CACHE"] = f"{folder}/cache"
        counts = lay_out(options.data, Path(folder))
        setting = {
            "data": options.data.partition(":")[0], "images": counts, "share": options.share, "base": BASE,
            "own_base": OWN_BASE, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "striate": striate.__version__,
        }  # fmt: skip
        if stored.get("setting", setting) != setting:
            raise SystemExit(f"{path} holds another setting, {stored['setting']}: choose another --out")
        asked = [(technique, change) for technique in options.only for change in TECHNIQUES[technique]]
        done = {(row["technique"], spelled(row["change"])): row["runs"] for row in stored.get("rows", [])}
        for number in range(max([options.seeds, *(change.get("folds", 0) for _, change in asked)])):
            for technique, change in asked:
                runs = done.setdefault((technique, spelled(change)), [])
                if number in [found["seed"] for found in runs] or number >= change.get("folds", options.seeds):
                    continue
                runs.append(run(Place(Path(folder), options.share), technique, change, number))
                print(f"{technique}, {spelled(change)}: {runs[-1]}", flush=True)
                write(path, setting, done)
    draw(json.loads(path.read_text())["rows"]).savefig(path.with_suffix(".png"))


def write(path: Path, setting: dict[str, Any], done: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    """The JSON file, rows in the order of TECHNIQUES."""
    rows = [
        {
            "technique": technique,
            "change": change,
            "spelled": spelled(change) if change else f"base: {spelled(OWN_BASE.get(technique, BASE))}",
            "base": technique if technique in OWN_BASE else "base",
            "runs": runs,
        }
        for technique, changes in TECHNIQUES.items()
        for change in changes
        if (runs := done.get((technique, spelled(change))))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
