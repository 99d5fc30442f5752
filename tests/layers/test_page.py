"""The table of docs/layers.md has every layer of the lectures, and its values are computed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from striate import layers, ops, zoo

PAGE = (Path(__file__).parents[2] / "docs" / "layers.md").read_text()
ROWS = re.findall(r"^\| (L\d\d) \| [^|]* \| [^|]* \| `(.*)` \| (.*) \|$", PAGE, re.MULTILINE)
M = torch.tensor([[[[1.0, 3, 6, 2], [3, 8, 1, 1], [2, 9, 2, 1], [5, 1, 3, 1]]]])


def count(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


def shape(layer: nn.Module, *item: int) -> tuple[int, ...]:
    return tuple(layer(torch.zeros(1, *item)).shape[1:])


def gradient(layer: nn.Module) -> torch.Tensor:
    x = M.clone().requires_grad_()
    return torch.autograd.grad(layer(x).sum(), x)[0][0, 0]


NAMES = {"torch": torch, "nn": nn, "layers": layers, "ops": ops, "zoo": zoo, "m": M}


@pytest.mark.parametrize(("row", "call", "value"), ROWS, ids=[row for row, *_ in ROWS])
def test_the_values_of_the_page(row: str, call: str, value: str) -> None:
    assert str(eval(call, {**NAMES, "count": count, "shape": shape, "gradient": gradient})) == value, row


def test_every_layer_of_the_lectures_has_a_row() -> None:
    assert [row for row, *_ in ROWS] == [f"L{number:02}" for number in range(1, 67)]


def test_every_public_layer_is_on_the_page_and_what_the_page_names_is_there() -> None:
    known = set(layers.__all__) - {"RBF", "Subsampling2d", "TableConv2d", "DenseLayer"}  # LeNet-5's, and a part
    assert {name for name in known if f"`{name}" not in PAGE and f"layers.{name}" not in PAGE} == set()
    assert all(hasattr(zoo, name) or name in zoo.names() for name in re.findall(r"`zoo\.(\w+)`", PAGE))
    assert all(hasattr(nn, name) for name in re.findall(r"(?<!torch\.)\bnn\.(\w+)", PAGE))
    assert all(hasattr(ops, name) for name in re.findall(r"\bops\.(\w+)", PAGE))
