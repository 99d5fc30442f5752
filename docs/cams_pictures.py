"""Draw the pictures and tables of docs/cams.md: a planted spot, and a network of digits among clutter explained.

    python docs/cams_pictures.py MNIST

Two networks are trained, on the true labels and on shuffled ones. The numbers are stored in docs/cams/comparison.json.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from striate import zoo
from striate.data.scenes import scenes
from striate.data.sources.pictures import mnist
from striate.geometry import trace
from striate.interpret import (
    Comparison,
    Placement,
    box_regions,
    cam,
    compare_methods,
    grad_cam,
    grad_cam_pp,
    gradient,
    guided_backpropagation,
    input_edges,
    integrated_gradients,
    layer_cam,
    model_randomization,
    occlusion,
    score_cam,
    sheet,
)
from striate.interpret.attribution.cam import last_layer
from striate.interpret.attribution.cam_pictures import overlaid
from striate.interpret.pictures import photo_of
from striate.interpret.trust.pictures import draw_randomization
from striate.ops import binomial
from striate.ops.boxes import edges

PAGE = Path(__file__).with_name("cams.md")
FOLDER = PAGE.with_suffix("")
EPOCHS, BATCH, RATE = 8, 64, 6e-3
ITEMS = 40
FEW, FEW_EPOCHS = 320, 80  # scenes with shuffled labels, which have to be learned by heart
NETWORKS = (
    "resnet18",
    "resnet50",
    "vgg16",
    "alexnet",
    "squeezenet1_0",
    "nin",
    "inception_v3",
    "densenet121",
    "unet_valid",
)
METHODS: dict[str, Callable[..., Any]] = {
    "CAM": cam,
    "Grad-CAM": grad_cam,
    "Grad-CAM++": grad_cam_pp,
    "Layer-CAM": layer_cam,
    "Score-CAM": score_cam,
    "occlusion": functools.partial(occlusion, patch=8, stride=4, fill="mean"),
    "gradient": gradient,
    "integrated gradients": functools.partial(integrated_gradients, steps=20),
    "guided backpropagation": guided_backpropagation,
}


def composed(folder: Path, part: str, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scenes with a digit, its class, and the edges of its box."""
    digits = mnist(folder)
    assert isinstance(digits.inputs, Tensor)
    where = torch.from_numpy(digits.splits[part])
    pictures, labels = scenes(digits.inputs[where, 0].numpy(), digits.targets[where].numpy(), count, seed=seed)
    there = labels[:, 4] > 0
    return pictures[there].float() / 255, labels[there, 5:].argmax(1), edges(labels[there, :4])


def trained(x: Tensor, classes: Tensor, epochs: int = EPOCHS) -> nn.Sequential:
    """Four convolutions, a global average, a dense layer: the boxes are never shown to it."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64), (64, 96)):
        pool = [nn.MaxPool2d(2)] if before > 1 else []
        layers += [*pool, nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))
    updates = len(x) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * updates)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for update in range(updates):
            some = order[update * BATCH : (update + 1) * BATCH]
            loss = F.cross_entropy(model(x[some]), classes[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def accuracy(model: nn.Module, x: Tensor, classes: Tensor) -> float:
    """The share of right answers."""
    with torch.no_grad():
        return float((model(x).argmax(1) == classes).float().mean())


def planted() -> Figure:
    """A spot of 9x9, and where the map of an unpadded network says it is: by the windows, and stretched."""
    layers: list[nn.Module] = [nn.Conv2d(1, 1, 11, 4, bias=False), nn.Conv2d(1, 1, 5, 2, bias=False)]
    for layer in layers:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        weight.data = binomial(weight.shape[-1], 2).float()[None, None]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1))
    x = torch.zeros(1, 1, 100, 100)
    x[..., 17:26, 73:82] = 1
    found = cam(model, x, target=0)
    image, size = photo_of(x[0]), 2.4
    heats = {"the input": None, "by the units' windows": found.heatmap(), "stretched": found.naive()}
    peaks = [divmod(int(heat.nan_to_num(-1).argmax()), 100) for heat in heats.values() if heat is not None]
    off = [max(abs(row - 21), abs(column - 77)) for row, column in peaks]
    note = "Unpadded convolutions, 11x11 by 4 and 5x5 by 2. From the spot's middle the greatest value lies "
    note += f"{off[0]} pixels by the windows, {off[1]} pixels when stretched."
    figure, axes = sheet.blank(3 * size + 0.8, size + 1.2, "CAM of a spot", note)
    for place, (name, heat) in enumerate(heats.items()):
        left, top = 0.2 + place * (size + 0.2), 0.85
        pixels = image / 255 if heat is None else overlaid(image, heat.nan_to_num(0).clamp_min(0))[0]
        sheet.tile(axes, pixels, (left, top, size, size))
        corner, side = (left + 0.73 * size, top + 0.17 * size), 0.09 * size
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="#ff4020"))
        sheet.write(axes, left, top + size + 0.12, name, 8, sheet.MUTED)
    return figure


def displacements() -> list[str]:
    """For networks of the zoo, how far stretching puts the default layer's units off."""
    lines = ["| network | layer | units | off, pixels |", "|---|---|---|---|"]
    for name in NETWORKS:
        shape = zoo.ARCHITECTURES[name].input
        with torch.device("meta"):
            model = zoo.build(name)
        graph = trace(model, shape)
        layer = last_layer(model, graph, len(shape) - 1)
        place = Placement.of(graph, graph.find(layer), shape[1:])
        units = "x".join(map(str, place.grid))
        lines.append(f"| `{name}`, {shape[1]}x{shape[2]} | `{layer}` | {units} | {max(place.displacement):.1f} |")
    return lines


def compared(found: Comparison) -> list[str]:
    """The comparison as a Markdown table."""
    better = found.json()["better"]
    arrows = [f"{metric} {'↑' if better[metric] == 'high' else '↓'}" for metric in found.scores]
    lines = [f"| method | {' | '.join(arrows)} |", "|---|" + "---:|" * len(arrows)]
    for row, name in enumerate(found.methods):
        means = [f"{float(found.mean(metric)[0][row]):.2f}" for metric in found.scores]
        lines.append(f"| {name}{' (no network)' * (name in found.baselines)} | {' | '.join(means)} |")
    return lines


def into_page(name: str, lines: list[str]) -> None:
    """Put the lines after the page's mark, for what stood there up to the next empty line."""
    head, mark, rest = PAGE.read_text().partition(f"<!-- {name} -->\n")
    _, _, tail = rest.partition("\n\n") if not rest.startswith("\n") else ("", "", rest[1:])
    PAGE.write_text(head + mark + "\n".join(lines) + "\n\n" + tail)


PICTURES = [
    "![Every check for every method](cams/comparison.png)",
    "![Scenes and maps](cams/gallery.png)",
    "![Similarity of the maps while the layers become random](cams/randomization.png)",
]


def main() -> None:
    """Train, check, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    given = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    planted().savefig(FOLDER / "spot.png")
    into_page("displacement", displacements())
    x, classes, _ = composed(given.mnist, "train", 6_000, 0)
    model = trained(x, classes)
    few, wrong = x[:FEW], classes[torch.randperm(FEW, generator=torch.Generator().manual_seed(0))]
    shuffled = trained(few, wrong, FEW_EPOCHS)
    learned = accuracy(shuffled, few, wrong)
    held, truth, boxes = composed(given.mnist, "test", 600, 1)
    right = accuracy(model, held, truth)
    x, classes, regions = held[:ITEMS], truth[:ITEMS], box_regions(boxes[:ITEMS], (64, 64))
    print(f"accuracy {right:.3f}; on shuffled labels {learned:.3f}", flush=True)
    found = compare_methods(model, x, METHODS, target=classes, regions=regions, shuffled=shuffled)
    found.plot().savefig(FOLDER / "comparison.png")
    found.gallery(8).savefig(FOLDER / "gallery.png")
    with Image.open(FOLDER / "gallery.png") as picture:
        small = picture.convert("RGB").quantize(256)  # a third of the bytes
    small.save(FOLDER / "gallery.png", optimize=True)
    into_page("comparison", compared(found))
    means = {metric: dict(zip(found.methods, found.mean(metric)[0].tolist(), strict=True)) for metric in found.scores}
    facts = {
        "items": ITEMS,
        "test accuracy": right,
        "learned of shuffled labels": learned,
        "means": means,
        "parameters": dict(found.parameters),
    }
    (FOLDER / "comparison.json").write_text(json.dumps(facts, indent=1, default=str) + "\n")
    some = {name: METHODS[name] for name in ("Grad-CAM", "Layer-CAM", "gradient", "guided backpropagation")}
    checks = [
        model_randomization(model, x[:16], method, target=classes[:16], name=name)
        for name, method in {**some, "edges": input_edges}.items()
    ]
    draw_randomization(checks).savefig(FOLDER / "randomization.png")
    into_page("pictures", PICTURES)


if __name__ == "__main__":
    main()
