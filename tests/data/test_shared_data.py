"""The real files beside the repository, against what is published about them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data import Pictures, load_data

Shared = Callable[[str], Path]


def test_mnist(shared: Shared) -> None:
    data = load_data(f"mnist:{shared('mnist')}", validation=0)
    assert data.test is not None
    assert (len(data.train), len(data.test), data.shape) == (60_000, 10_000, (1, 28, 28))
    # The constants of every MNIST tutorial, pytorch/examples mnist/main.py among them.
    assert data.preprocess.mean == pytest.approx((0.1307,), abs=5e-5)
    assert data.preprocess.std == pytest.approx((0.3081,), abs=5e-5)
    assert data.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.targets[:5].tolist() == [7, 2, 1, 0, 4]


def test_fashion_mnist(shared: Shared) -> None:
    data = load_data(f"fashion:{shared('fashion-mnist')}", validation=0.1)
    assert data.validation is not None
    assert data.test is not None
    counts = [items.targets.bincount().tolist() for items in (data.train, data.validation, data.test)]
    assert counts == [[5400] * 10, [600] * 10, [1000] * 10]
    assert data.class_names[0] == "T-shirt/top"
    assert data.class_names[int(data.test.targets[0])] == "Ankle boot"


def test_cifar10(shared: Shared, tmp_path: Path) -> None:
    folder = shared("cifar10")
    unpack = [sys.executable, str(folder / "unpack.py"), str(tmp_path)]
    subprocess.run(unpack, check=True, capture_output=True, timeout=120)
    data = load_data(f"cifar10:{tmp_path}", validation=0)
    assert data.test is not None
    assert (len(data.train), len(data.test), data.shape) == (50_000, 1_000, (3, 32, 32))
    assert data.train.targets.bincount().tolist() == [5000] * 10
    # The per-channel mean and deviation in use since Krizhevsky's cuda-convnet.
    assert data.preprocess.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=5e-5)
    assert data.preprocess.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=5e-5)
    mosaic = np.asarray(Image.open(folder / "images_10.webp").convert("RGB"))
    third = mosaic[0:32, 2 * 32 : 3 * 32].transpose(2, 0, 1)
    assert torch.equal(data.train.inputs[10_002], torch.tensor(third.copy()))


def test_photos_are_read(shared: Shared) -> None:
    to_input = Pictures((3, 64, 64), (0.5,) * 3, (0.25,) * 3)
    for path in sorted(shared("photos").rglob("*.[jJ][pP]*"))[:8]:
        assert to_input.read(path).float().std() > 20
