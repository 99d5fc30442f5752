"""Draws the pictures of docs/clips.md from trained runs: clips with their direction, lines read, slices of a volume.

python docs/clips_pictures.py MOVING_RUN READING_RUN VOLUME_RUN --mnist PATH --isbi PATH [--out docs/clips]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

import striate
from striate.data import VOID, Data, load_data
from striate.runs import predict
from striate.train import evaluating

GREY = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest"}


def clips(run: Path, data: Data, rows: int = 5) -> Figure:
    """Every second frame of some test clips, the direction, and what the network says."""
    model, card = striate.load(run)
    figure = Figure((9, 1.05 * rows), dpi=110, layout="constrained")
    for row, axes in enumerate(figure.subplots(rows, 8)):
        clip = data.test.inputs[row]
        told = predict(model, card, [clip])[0]
        for time, axis in zip(range(0, 16, 2), axes, strict=True):
            axis.imshow(clip[0, time].numpy(), **GREY)
            axis.set_axis_off()
        truth = data.class_names[int(data.test.targets[row])]
        axes[0].set_title(f"{truth}; told: {told.classes[0]} {told.probabilities[0]:.0%}", fontsize=8, loc="left")
    return figure


def lines(run: Path, data: Data, rows: int = 8) -> Figure:
    """Test lines: the first right ones and the first wrong ones, with the text read."""
    model, card = striate.load(run)
    texts = ["".join(data.class_names[i] for i in row if i >= 0) for row in data.test.targets.tolist()]
    told = predict(model, card, list(data.test.inputs[:200]), batch_size=50)
    right = [i for i, answer in enumerate(told) if answer.text == texts[i]][: rows // 2]
    wrong = [i for i, answer in enumerate(told) if answer.text != texts[i]][: rows // 2]
    figure = Figure((8, 0.62 * rows), dpi=110, layout="constrained")
    for axes, i in zip(figure.subplots(rows // 2, 2).T.ravel(), [*right, *wrong], strict=True):
        axes.imshow(data.test.inputs[i, 0].numpy(), **GREY)
        axes.set_axis_off()
        note = "" if told[i].text == texts[i] else f" instead of {texts[i]}"
        axes.set_title(f"read {told[i].text}{note} ({told[i].probability:.0%})", fontsize=8)
    return figure


def stitched(blocks: torch.Tensor, side: int) -> NDArray[np.uint8]:
    """Blocks n d h w, row by row, as one volume."""
    count, depth, height, width = blocks.shape
    grid = blocks.view(side // height, side // width, depth, height, width)
    assert count == len(grid) * len(grid[0])
    return grid.permute(2, 0, 3, 1, 4).reshape(depth, side, side).numpy()


def slices(run: Path, data: Data) -> Figure:
    """Two test slices: the micrograph, the true membranes, and those of the network."""
    model, card = striate.load(run)
    with evaluating(model):
        blocks = data.test.inputs.split(4)
        found = [model(card.preprocess.normalize(block)).argmax(1).to(torch.uint8) for block in blocks]
    pictures = stitched(data.test.inputs[:, 0], 512)
    truth, taken = stitched(data.test.targets, 512), stitched(torch.cat(found), 512)
    figure = Figure((9, 6.2), dpi=110, layout="constrained")
    for axes, depth in zip(figure.subplots(2, 3), (8, 12), strict=True):
        known = truth[depth] != VOID
        both = 2 * ((truth[depth] == 0) & (taken[depth] == 0)).sum()
        dice = both / ((truth[depth] == 0).sum() + ((taken[depth] == 0) & known).sum())
        shown = (pictures[depth], 255 * (truth[depth] == 1), 255 * (taken[depth] == 1))
        for axis, picture, title in zip(
            axes, shown, (f"slice {14 + depth + 1} of 30", "truth", f"V-Net: Dice of membranes {dice:.2f}"), strict=True
        ):
            axis.imshow(picture, **GREY)
            axis.set_axis_off()
            axis.set_title(title, fontsize=9)
    return figure


def main() -> None:
    """Draw all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs=3, metavar="RUN")
    parser.add_argument("--mnist", required=True)
    parser.add_argument("--isbi", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("clips"))
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    moving, reading, volume = options.runs
    for name, draw, run, spec in (
        ("moving", clips, moving, f"moving:{options.mnist}"),
        ("reading", lines, reading, f"strings:{options.mnist}"),
        ("volume", slices, volume, f"isbi_volume:{options.isbi}"),
    ):
        draw(run, load_data(spec, validation=0.0)).savefig(options.out / f"{name}.png")
        print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
