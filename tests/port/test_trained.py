"""Weights that somebody else trained, in our network: their published accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate import build
from striate.port import load


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "right"), [("resnet20", "resnet20-12fca82f.th", 915), ("resnet32", "resnet32-d509ac18.th", 928)]
)
def test_cifar_networks_of_the_most_used_port(name: str, file: str, right: int, shared_data: Path) -> None:
    mosaic = np.array(Image.open(shared_data / "cifar10" / "images_50.webp").convert("RGB"))
    pixels = mosaic.reshape(25, 32, 40, 32, 3).transpose(0, 2, 4, 1, 3).reshape(1000, 3, 32, 32)
    labels = np.fromfile(shared_data / "cifar10" / "labels.bin", np.uint8)[50_000:51_000]
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
    images = (torch.from_numpy(pixels).float() / 255 - mean) / std
    net = build(name).eval()
    stored = torch.load(shared_data / "models-pytorch" / file, map_location="cpu", weights_only=True)
    load(net, stored["state_dict"])
    with torch.no_grad():
        output = torch.cat([net(part) for part in images.split(250)])
    assert int((output.argmax(1) == torch.from_numpy(labels)).sum()) == right
