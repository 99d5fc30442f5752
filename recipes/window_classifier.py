"""The lectures' Idea #1: classify the pixel in the middle of a window, for every window; then all of them at once.

    python recipes/window_classifier.py ../shared/data/isbi-membrane/membrane.tar.gz [--steps 2000]

A small network without padding learns from windows of ISBI's slices, half of them around membrane pixels, whether the
middle pixel is membrane or cell. `striate.locality.scan` then gives the answer for every pixel of a whole slice
(mirrored at its border) in one pass; the same answers window by window are computed for a sample of rows, compared, and
timed.
Writes window_classifier.json beside this file and window_classifier.png into docs/segmentation.
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

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import striate
from striate.data.sources.segmentation import read_isbi
from striate.tasks import Segment

WINDOW, BATCH, TESTED = 65, 128, 6  # pixels; windows an update; slices that are not trained on, the last ones
ROWS = 4  # rows of a slice that are also classified window by window
MARGIN = WINDOW // 2


def network() -> nn.Module:
    """Four convolutions with pooling and two fully connected layers, as in Ciresan et al. (2012), smaller."""
    layers: list[nn.Module] = []
    before = 1
    for channels, kernel in ((24, 4), (24, 5), (32, 4), (32, 4)):  # 65 -> 31 -> 13 -> 5 -> 1
        layers += [nn.Conv2d(before, channels, kernel), nn.ReLU(), nn.MaxPool2d(2)]
        before = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before, 64), nn.ReLU(), nn.Linear(64, 2))


def windows(
    padded: torch.Tensor, masks: torch.Tensor, count: int, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows around random pixels, equally many of each class, turned and mirrored at random, and their classes."""
    slices, height, width = masks.shape
    labels = torch.arange(count) % 2
    places = torch.empty(count, 3, dtype=torch.int64)
    for label in range(2):
        drawn = torch.rand(20 * count, 3, generator=random) * torch.tensor([slices, height, width])
        drawn = drawn.long()
        right = masks[drawn[:, 0], drawn[:, 1], drawn[:, 2]] == label
        places[labels == label] = drawn[right][: int((labels == label).sum())]
    cut = padded.unfold(2, WINDOW, 1).unfold(3, WINDOW, 1)[places[:, 0], 0, places[:, 1], places[:, 2]][:, None]
    turns = torch.randint(4, (1,), generator=random).item()
    cut = torch.rot90(cut, int(turns), (2, 3))
    return (cut.flip(3) if torch.rand(1, generator=random) < 0.5 else cut), labels


def train(images: torch.Tensor, masks: torch.Tensor, steps: int) -> tuple[nn.Module, float]:
    """The trained network and the seconds that it took."""
    torch.manual_seed(0)
    net, random = network(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    padded = F.pad(images, (MARGIN,) * 4, mode="reflect")
    start = time.perf_counter()
    for step in range(steps):
        pixels, labels = windows(padded, masks, BATCH, random)
        loss = F.cross_entropy(net(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step} loss {loss.item():.3f}", flush=True)
    return net.eval(), time.perf_counter() - start


def one_by_one(net: nn.Module, padded: torch.Tensor, rows: list[int]) -> tuple[torch.Tensor, float]:
    """The answers for whole rows, each window run on its own (in batches), and the seconds."""
    start = time.perf_counter()
    answers = []
    with torch.inference_mode():
        for row in rows:
            strip = padded[:, :, row : row + WINDOW].unfold(3, WINDOW, 1)[0].permute(2, 0, 1, 3)
            answers.append(torch.cat([net(part) for part in strip.split(256)]).T)
    return torch.stack(answers, 1), time.perf_counter() - start


def main() -> None:
    """Train, scan, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--pictures", type=Path, default=Path(__file__).parents[1] / "docs" / "segmentation")
    options = parser.parse_args()
    images, masks = (torch.from_numpy(stack) for stack in read_isbi(options.data))
    units = images[:, None].float() / 255
    mean, std = units[:-TESTED].mean(), units[:-TESTED].std()
    inputs = (units - mean) / std
    net, seconds = train(inputs[:-TESTED], masks[:-TESTED], options.steps)
    padded = F.pad(inputs[-TESTED:], (MARGIN,) * 4, mode="reflect")
    scanner = striate.locality.scan(net, patch=(WINDOW, WINDOW))
    scanner(padded[:1])  # warm
    start = time.perf_counter()
    scores = scanner(padded)
    scan_seconds = (time.perf_counter() - start) / TESTED
    rows = torch.linspace(0, masks.shape[1] - 1, ROWS).long().tolist()
    some, row_seconds = one_by_one(net, padded[:1], rows)
    window_seconds = row_seconds * masks.shape[1] / ROWS
    difference = (some - scores[0][:, rows]).abs().max().item()
    assert difference < 1e-3 * scores.abs().max().item(), difference
    # Half of the windows were membrane, of the pixels much less are: the scores are corrected by the shares.
    share = torch.tensor([(masks[:-TESTED] == k).float().mean() for k in range(2)])
    task = Segment(("membrane", "cell"), regions="cell")
    target = masks[-TESTED:]
    measures = {}
    for name, output in (("balanced", scores), ("corrected", scores + (2 * share).log().view(1, 2, 1, 1))):
        measures[name] = task.score(task.keep(output, target), target).summary()
    write(options, measures, difference, (seconds, scan_seconds, window_seconds))
    draw(options.pictures, images[-1], target[-1], scores[-1] + (2 * share).log().view(2, 1, 1))


def write(options: Any, measures: Any, difference: float, seconds: tuple[float, float, float]) -> None:
    """The JSON file."""
    train_seconds, scan_seconds, window_seconds = seconds
    found = {
        "window": WINDOW,
        "steps": options.steps,
        "train_seconds": round(train_seconds, 1),
        "scan_seconds_a_slice": round(scan_seconds, 3),
        "window_by_window_seconds_a_slice": round(window_seconds, 1),
        "scaled_from_rows": ROWS,
        "ratio": round(window_seconds / scan_seconds, 1),
        "greatest_difference": difference,
        "threads": torch.get_num_threads(),
        "striate": striate.__version__,
        "torch": torch.__version__,
        "scores": measures,
    }
    (options.out / "window_classifier.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def draw(folder: Path, image: torch.Tensor, truth: torch.Tensor, scores: torch.Tensor) -> None:
    """A slice, its truth, the probability of cell, and the mistakes in red."""
    probability = (scores.softmax(0)[1] * 255).round().byte()
    grey = [x[..., None].expand(-1, -1, 3).numpy() for x in (image, truth * 255, probability)]
    errors = (grey[0] // 2 + 60).copy()
    errors[(scores.argmax(0) != truth).numpy()] = (220, 40, 40)
    sheet = Image.fromarray(np.concatenate([*grey, errors], 1).astype(np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    sheet.resize((960, round(960 * sheet.height / sheet.width)), Image.Resampling.BOX).save(
        folder / "window_classifier.png", optimize=True
    )


if __name__ == "__main__":
    main()
