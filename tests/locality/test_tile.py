"""Tiles against the whole: random networks, the zoo, borders, budgets, kills, files, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import striate
from striate.errors import InputError, StorageError
from striate.locality import tile
from striate.locality import ledger as ledgers
from striate.locality import tile as tiles

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parents[1] / "geometry" / "networks.py")
assert spec is not None
assert spec.loader is not None
networks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

LOCAL = ("conv", "avg_pool", "max_pool", "lp_pool", "transposed", "twice", "relu", "replicate", "reflect", "pad")
SIZES = {1: (40, 90), 2: (24, 34), 3: (12, 15)}


class Free(networks.Random):
    """The steps on tensors of any size."""

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for number, (name, options, one, two) in enumerate(self.plan):
            a, b = made[-1 - one % len(made)], made[-1 - two % len(made)]
            if name == "twice":
                mode = ("nearest", {1: "linear", 2: "bilinear", 3: "trilinear"}[self.rank])[options[0] % 2]
                out = F.interpolate(a, scale_factor=2, mode=mode)
            else:
                out = self.apply_step(name, options, a, b, self.weights[number])
            if out is not None and min(out.shape) > 0:
                made.append(out)
        return made[-1]


chain = st.tuples(st.sampled_from(LOCAL), st.tuples(*[networks.numbers] * 5), st.just(0), st.just(0))


def whole(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net.eval()(x)


def least(net: nn.Module, x: Any, **options: Any) -> int:
    """The least budget that works, as the error has it."""
    try:
        tile(net, x, budget_bytes=1, **options)
    except InputError as error:
        found = re.search(r"the budget is too small .*budget_bytes=(\d+)", str(error))
        if found is None:
            raise
        return int(found[1])
    raise AssertionError("a budget of one byte was enough")


def assert_equal(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    assert got.shape == wanted.shape
    assert (got - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1e-30)


def drawn(data: st.DataObject, rank: int, plan: list[Any]) -> tuple[nn.Module, Tensor]:
    size = data.draw(st.tuples(*[st.integers(*SIZES[rank])] * rank))
    x = torch.rand(1, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = Free(rank, plan)
    shape = net.to("meta")(x.to("meta")).shape
    assume(shape.numel() < 200_000)
    return Free(rank, plan), x


# Equal to the whole


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.lists(chain, min_size=1, max_size=5), st.data())
def test_a_chain_of_local_operations_is_as_the_whole_in_the_least_tiles(
    rank: int, plan: list[Any], data: st.DataObject
) -> None:
    net, x = drawn(data, rank, plan)
    assert_equal(tile(net, x, budget_bytes=least(net, x)), whole(net, x), 1e-10)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.lists(networks.steps, min_size=1, max_size=6), st.data())
def test_any_network_is_as_the_whole_or_refused(rank: int, plan: list[Any], data: st.DataObject) -> None:
    net, x = drawn(data, rank, plan)
    try:
        budget = least(net, x)
    except InputError as error:
        assert re.search(r"cannot run in tiles|takes inputs of one size|no output of the network depends", str(error))
        return
    assert_equal(tile(net, x, budget_bytes=budget), whole(net, x), 1e-10)


def classified(features: nn.Module) -> nn.Module:
    return nn.Sequential(features, nn.Conv2d(8, 2, 1))


ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "unet": (lambda: striate.build("unet", width=0.0625, batch_norm=True), (1, 267, 240)),
    "unet, 1-D": (lambda: striate.build("unet", width=0.0625, rank=1), (1, 701)),
    "unet_valid": (lambda: striate.build("unet_valid", width=0.0625), (1, 268, 252)),
    "encoder_decoder": (lambda: striate.build("encoder_decoder", width=0.0625), (1, 256, 230)),
    "denoising_unet": (lambda: striate.build("denoising_unet", width=0.0625, residual=True), (1, 250, 256)),
    "dilated": (lambda: striate.build("dilated_vgg16", width=0.0625), (3, 330, 300)),
    "wavenet": (lambda: striate.build("wavenet", layers=6, residual=8, skip=8, in_channels=16, num_classes=4), (16, 700)),
}
