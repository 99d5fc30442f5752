"""Draw docs/augment/: what each augmentation does to a photo, and the page that lists them.

    python docs/draw_augmentations.py

One PNG per entry of `AUGMENTATIONS`: the original and eight draws of its example spec. The photo is the flower
that comes with scikit-learn.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from striate.data import AUGMENTATIONS, Pictures, build_augmentation

FOLDER = Path(__file__).parent / "augment"
HEIGHT, WIDTH, GAP, DRAWS = 72, 108, 4, 8


def strip(spec: str, photo: torch.Tensor) -> Image.Image:
    """The photo and eight draws of `spec`, side by side in three rows of three."""
    augment = build_augmentation([spec], photo[None])
    if augment is None:
        raise ValueError("no augmentation to draw")
    photos = photo.expand(DRAWS, -1, -1, -1) / 255
    draws, _ = augment(photos, torch.zeros(DRAWS, 0), torch.Generator().manual_seed(0))
    sheet = Image.new("RGB", (3 * (WIDTH + GAP) - GAP, 3 * (HEIGHT + GAP) - GAP), "white")
    for i, picture in enumerate([photo, *(draws * 255).round().byte()]):
        tile = Image.fromarray(picture.permute(1, 2, 0).numpy())
        sheet.paste(tile, (i % 3 * (WIDTH + GAP), i // 3 * (HEIGHT + GAP)))
    return sheet


def main() -> None:
    to_input = Pictures((3, HEIGHT, WIDTH), mean=(0.0,) * 3, std=(1.0,) * 3)
    photo = to_input.read(load_sample_image("flower.jpg"))
    FOLDER.mkdir(exist_ok=True)
    page = [
        "# Augmentation",
        "",
        "Random changes of the training pictures, in the order in which they are given. Each sheet shows the",
        "original (top left) and eight draws. Written by `python docs/draw_augmentations.py`.",
    ]
    for name, entry in AUGMENTATIONS.items():
        if "pictures" not in entry.takes:
            continue
        strip(entry.example, photo).save(FOLDER / f"{name}.png", optimize=True)
        page += ["", f"## {name}", "", f"`{entry.example}`: {entry.summary}", "", f"![{name}]({name}.png)"]
    (FOLDER / "README.md").write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
