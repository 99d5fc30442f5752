"""What docs/operations.md shows is what comes out."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import torch

from striate import ops

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def test_its_examples_run() -> None:
    found = doctest.testfile(
        str(PAGE), module_relative=False, encoding="utf-8", optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 25
    assert found.failed == 0


def test_it_names_every_operation_of_convolution() -> None:
    words = set(re.findall(r"\w+", PAGE.read_text()))
    others = {"algorithms", "pool", "resample"}
    ours = {name for name in ops.__all__ if getattr(ops, name).__module__.split(".")[2] not in others}
    with_another = {"ImageGradient", "Match", "Separable", "expand", "padding_pairs"}  # that gives, takes or calls them
    assert ours - words <= with_another


def test_its_row_of_each_padding_mode_is_right() -> None:
    for mode, row in re.findall(r'^\| `"(\w+)"` \| ([\d *]+) \|$', PAGE.read_text(), re.MULTILINE):
        values = [int(digit) for digit in re.findall(r"\d", row)]
        extended = ops.extend(torch.tensor([[[1, 2, 3, 4]]]), ((2, 2),), mode)
        assert extended.flatten().tolist() == values
