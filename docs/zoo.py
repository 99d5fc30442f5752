"""Write docs/zoo/README.md and the pictures beside it: every network of the zoo, its facts, its profile.

python docs/zoo.py
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from striate import describe, zoo
from striate.geometry import Layer, Report

FOLDER = Path(__file__).parent / "zoo"
COLORS = {"convolution": "#0072b2", "linear": "#d55e00", "pooling": "#009e73", "other": "#9aa3ad"}
INK, MUTED = "#1b222b", "#69727d"

# Top-5 errors on ImageNet as the papers state them, of the networks or ensembles that they are stated for.
EVOLUTION = {
    "lenet1": "",
    "lenet5": "",
    "alexnet_grouped": "16.4 % (five networks), 15.3 % (seven)",
    "zfnet": "14.8 % (six networks)",
    "nin": "",
    "vgg16": "7.3 % (seven networks)",
    "googlenet": "6.67 % (seven networks)",
    "inception_v2": "4.82 % (six networks)",
    "inception_v3": "3.5 % (four networks, validation)",
    "resnet152": "3.57 % (six networks)",
    "inception_v4": "3.08 % (four networks)",
    "densenet201": "6.34 % (one network, one crop, validation)",
}


@dataclass
class Stage:
    """Operations in a row whose results are of one size."""

    kind: str
    size: tuple[int, ...]
    channels: int
    layers: int


def stages(report: Report) -> list[Stage]:
    """The course of the sizes from the input to the output; branches that run side by side share stages."""
    source = next(iter(report.inputs.values()))
    found = [Stage("other", tuple(source[2:]), source[1] if len(source) > 2 else 1, 0)]
    skipped = gates(report)
    reached: list[int] = []  # by operation: the last stage that its result comes from
    for index, layer in enumerate(report.layers):
        reached.append(max((reached[i] for i in layer.inputs if i >= 0), default=0))
        if not weighs(layer) or index in skipped:
            continue
        spatial = len(layer.shape) > 1 and layer.kind == "convolution"
        size, channels = (layer.shape[1:], layer.shape[0]) if spatial else ((), layer.shape[-1])
        later = range(max(1, reached[-1]), len(found))
        alike = (i for i in later if (found[i].kind, found[i].size) == (layer.kind, size))
        reached[-1] = next(alike, len(found))
        if reached[-1] == len(found):
            found.append(Stage(layer.kind, size, channels, 0))
        stage = found[reached[-1]]
        stage.layers += 1
        stage.channels = max(stage.channels, channels)
    return found


def gates(report: Report) -> set[int]:
    """Operations on one position whose result is joined with larger maps (squeeze and excitation)."""
    found: set[int] = set()
    for index, layer in reversed(list(enumerate(report.layers))):
        joins = index in found or (math.prod(layer.shape[1:]) > 1 < len(layer.inputs) and not weighs(layer))
        found |= {i for i in layer.inputs if joins and i >= 0 and math.prod(report.layers[i].shape[1:]) == 1}
    return found


def weighs(layer: Layer) -> bool:
    """Whether it is a convolution or fully connected layer with weights."""
    return bool(layer.weights) and layer.kind in ("convolution", "linear")


def profile(report: Report) -> Figure:
    """A block for each stage: as high as the maps (logarithmic), as wide as it has layers, with its channels."""
    course = stages(report)
    widths = [max(0.42 + 0.13 * math.log2(1 + s.layers), 0.065 * len(short(s.size))) for s in course]
    heights = [
        0.16 + 0.14 * math.log2(max(1.0, math.prod(stage.size) ** (1 / max(1, len(stage.size))))) for stage in course
    ]
    wide, tall = max(3.0, sum(widths) + 0.1 * len(course) + 0.2), max(heights) + 0.95
    figure = Figure((wide, tall), dpi=110, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, wide), ylim=(0, tall))
    axes.axis("off")
    x, middle = 0.12, tall / 2
    for stage, width, height in zip(course, widths, heights, strict=True):
        color = COLORS[stage.kind if stage.kind in COLORS else "other"]
        axes.add_patch(Rectangle((x, middle - height / 2), width, height, facecolor=color, alpha=0.22, edgecolor=color))
        text: dict[str, Any] = {"ha": "center", "fontsize": 6.5, "color": INK}
        axes.text(x + width / 2, middle - height / 2 - 0.05, f"{stage.channels}", va="top", **text)
        axes.text(x + width / 2, middle + height / 2 + 0.05, short(stage.size), va="bottom", **text)
        if stage.layers > 1:
            axes.text(x + width / 2, middle, f"×{stage.layers}", va="center", **text)
        x += width + 0.1
    return figure


def short(size: tuple[int, ...]) -> str:
    """56² for 56x56."""
    if not size:
        return ""
    if len(set(size)) == 1:
        return f"{size[0]}{('', '', '²', '³')[len(size)]}"
    return "×".join(map(str, size))


def reported(entry: zoo.Architecture) -> Report:
    """The network of the entry, sized up without memory."""
    with torch.device("meta"):
        model = zoo.build(entry.name)
    return describe(model, entry.example({}))


def row(entry: zoo.Architecture, report: Report) -> str:
    """The entry's line of the table."""
    moving = [layer for layer in report.layers if layer.kind == "convolution" and any(layer.stride)]
    sees = "×".join(map(str, moving[-1].receptive_field)) if moving else ""
    cells = [
        f"[`{entry.name}`](#{entry.name})",
        str(entry.year),
        "×".join(map(str, entry.input)) + " tokens" * entry.tokens,
        f"{entry.parameters:,}",
        entry.published,
        entry.lectures,
        f"{entry.macs:,}",
        sees,
    ]
    return f"| {' | '.join(cells)} |"


def section(entry: zoo.Architecture) -> str:
    """The entry's own section."""
    lines = [f"### {entry.name}", "", f"{entry.paper} ({entry.year}). {entry.summary}", ""]
    lines += [f"![profile of {entry.name}]({entry.name}.png)", ""]
    names = ", ".join(f"`{key}={value!r}`" for key, value in entry.options.items())
    steps = f" in multiples of {entry.multiple}" * (entry.multiple > 1)
    lines += [f"Options: {names}. Sides of at least {entry.least}{steps}."]
    return "\n".join([*lines, *(["", entry.note] if entry.note else [])])


def evolution(reports: dict[str, Report]) -> list[str]:
    """From LeNet to ResNet, one line each."""
    lines = [
        "| year | network | weight layers | parameters | MACs | ImageNet top-5 error (paper) |",
        "|---|---|---|---|---|---|",
    ]
    known = [name for name in EVOLUTION if name in reports]
    for name in sorted(known, key=lambda name: zoo.ARCHITECTURES[name].year):
        entry, report = zoo.ARCHITECTURES[name], reports[name]
        depth = longest(report)
        lines.append(
            f"| {entry.year} | `{name}` | {depth} | {entry.parameters:,} | {entry.macs:,} | {EVOLUTION[name]} |"
        )
    return lines


def longest(report: Report) -> int:
    """Convolutions and fully connected layers on the longest way from the input to the output."""
    depths: list[int] = []
    for layer in report.layers:
        before = max((depths[i] for i in layer.inputs if i >= 0), default=0)
        depths.append(before + weighs(layer))
    return max(depths)


def parity() -> list[str]:
    """What benchmarks/zoo_parity.py found."""
    stored = json.loads((FOLDER.parents[1] / "benchmarks" / "results" / "zoo_parity.json").read_text())
    pairs = stored["pairs"]
    unequal = [f"{pair['network']} ({pair['peer']})" for pair in pairs if not pair["equal"]]
    peers = ", ".join(
        f"{sum(pair['peer'] == peer for pair in pairs)} of {peer}" for peer in ("torchvision", "timm", "keras")
    )
    worst = max(pair["difference"] for pair in pairs)
    return [
        "## The same as others'",
        "",
        f"With the weights of the same network elsewhere ({peers}), outputs differ by at most {worst:.0e} of the "
        f"greatest output{': not equal are ' + ', '.join(unequal) if unequal else ''} "
        "(`python benchmarks/zoo_parity.py`). Keras pads MobileNet's strided convolutions on the other side, so it is "
        "compared on mirrored images, and leaves padding out of Inception's averages, so ours are set to do so, too.",
    ]


def page(reports: dict[str, Report]) -> str:
    """docs/zoo/README.md."""
    entries = [zoo.ARCHITECTURES[name] for name in reports]
    parts = [
        "# The zoo",
        "",
        f"{len(entries)} networks, one function each: `striate.build(NAME)`. Written by `python docs/zoo.py` from the "
        "registry and from `striate.describe`; a test counts every figure. Parameters as counted, as the paper states "
        "them, as the lectures do; where they differ, the network's section says why. MACs are multiply-adds of one "
        "input. The receptive field is that of the last convolution (whole rows and columns, padding included).",
        "",
        "In the profiles a block is as high as its maps (logarithmic; size above, channels of its widest layer below) "
        "and as wide as it has layers (×n): convolutions blue, fully connected layers orange, the input gray.",
        "",
        "## From 1989 to 2016",
        "",
        *evolution(reports),
        "",
        *parity(),
        "",
        "## All",
        "",
        "| network | year | input | parameters | paper | lectures | MACs | sees |",
        "|---|---|---|---|---|---|---|---|",
        *(row(entry, reports[entry.name]) for entry in entries),
        "",
        *(f"{section(entry)}\n" for entry in entries),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def main() -> None:
    """Write the page and the pictures."""
    FOLDER.mkdir(exist_ok=True)
    reports = {name: reported(zoo.ARCHITECTURES[name]) for name in zoo.names()}
    (FOLDER / "README.md").write_text(page(reports))
    for old in FOLDER.glob("*.png"):
        if old.stem not in reports:
            old.unlink()
    for name, report in reports.items():
        profile(report).savefig(FOLDER / f"{name}.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
