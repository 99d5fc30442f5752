from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate import InputError, build
from striate.geometry.size import native
from striate.layers.by_rank import AVG_POOL, BATCH_NORM, CONV, MAX_POOL
from striate.locality import scan, shift_and_stitch
from striate.zoo import to_convolutional

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def one_by_one(model: nn.Module, image: Tensor, patch: tuple[int, ...], stride: int = 1) -> Tensor:
    """The definition: every crop cut out and run."""
    rank, crops = len(patch), image
    for axis, size in enumerate(patch):
        crops = crops.unfold(2 + axis, size, stride)
    positions = crops.shape[2 : 2 + rank]
    crops = crops.movedim(1, 1 + rank).flatten(0, rank)
    with torch.no_grad():
        output = copy.deepcopy(model).eval()(crops)
    return output.unflatten(0, (len(image), *positions)).flatten(1 + rank).movedim(-1, 1)


def difference(model: nn.Module, image: Tensor, stride: int = 1, **options: Any) -> float:
    """Greatest difference between a scan and the definition, in units of the output's scale."""
    scanner = scan(model, stride=stride, **options)
    found, right = scanner(image), one_by_one(model, image, scanner.patch, stride)
    found = found.flatten(1, -image.dim() + 1)
    assert found.shape == right.shape
    return float((found - right).abs().max() / right.abs().max().clamp(min=1e-30))


class Random(nn.Module):
    """Layers drawn at random, none padded; one that does not fit is left out. Ends in one of four heads."""

    def __init__(self, rank: int, plan: list[Any], head: int, patch: tuple[int, ...]) -> None:
        super().__init__()
        self.rank, self.plan, self.head = rank, plan, head
        self.layers = nn.ModuleList(self.made(name, o) for name, o in plan)
        self.linear = nn.LazyLinear(3) if head != 2 else nn.Identity()
        self.fit(torch.rand(2, 2, *patch))

    def fit(self, x: Tensor) -> None:
        """Keeps the steps that this crop can take."""
        values, fitting = [x], []
        for number, (name, o) in enumerate(self.plan):
            try:
                values.append(self.step(name, o, self.layers[number], values))
            except RuntimeError as error:
                assert "size" in str(error) or "small" in str(error)  # noqa: PT017
            else:
                fitting.append(number)
        self.plan = [self.plan[number] for number in fitting]
        self.layers = nn.ModuleList(self.layers[number] for number in fitting)
        self(x)

    def made(self, name: str, o: tuple[int, ...]) -> nn.Module:
        kernel = tuple(1 + (o[0] + axis) % 3 for axis in range(self.rank))
        stride = tuple(1 + (o[1] + axis) % 3 for axis in range(self.rank))
        if name == "conv":
            return CONV[self.rank](4 if o[4] == 3 else 2, 4, kernel, stride, dilation=1 + o[2] % 2, groups=1 + o[3] % 2)
        if name == "max":
            return MAX_POOL[self.rank](kernel, stride, dilation=1 + o[2] % 2)
        if name == "avg":
            return AVG_POOL[self.rank](kernel, stride)
        if name == "norm":
            norm = BATCH_NORM[self.rank](2)
            nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
            return norm
        return {"relu": nn.ReLU(inplace=True), "tanh": nn.Tanh(), "softmax": nn.Softmax(1)}.get(name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for (name, o), layer in zip(self.plan, self.layers, strict=True):
            made.append(self.step(name, o, layer, made))
        x = made[-1]
        if self.head == 0:
            return self.linear(x.flatten(1)).softmax(1)
        if self.head == 1:
            return self.linear(x.mean(tuple(range(2, x.dim()))))
        return x if self.head == 2 else self.linear(x.amax(tuple(range(2, x.dim())), keepdim=True).view(x.shape[0], -1))

    def step(self, name: str, o: tuple[int, ...], layer: nn.Module, made: list[Tensor]) -> Tensor:
        x, other = made[-1 - o[0] % len(made)], made[-1 - o[1] % len(made)]
        space = [slice((a - min(a, b)) // 2, (a - min(a, b)) // 2 + min(a, b)) for a, b in zip(x.shape[2:], other.shape[2:])]
        if name == "conv":
            x = torch.cat([x, x * 2], 1) if layer.in_channels == 4 else x
            x = layer(x)
            return x[:, :2] - x[:, 2:]
        if name == "add":
            return x[(..., *space)] + 0.5 * other[(..., *[slice(s.stop - s.start) for s in space])]
        if name == "cat":
            both = torch.cat([x[(..., *space)], other[(..., *[slice(s.stop - s.start) for s in space])]], 1)
            return both.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)[:, :2] + both.chunk(2, 1)[1]
        if name == "slice":
            return x[(..., *[slice(o[2] % 2, None, 1 + o[3] % 2)] * self.rank)]
        if name == "relu":
            return layer(x.clone()) if o[0] else layer(x * 1)
        return layer(x)


steps = st.tuples(
    st.sampled_from(["conv", "conv", "conv", "max", "max", "avg", "relu", "tanh", "softmax", "norm", "add", "cat", "slice"]),
    st.tuples(*[st.integers(0, 3)] * 5),
)
networks = st.tuples(st.integers(1, 3), st.lists(steps, min_size=1, max_size=6), st.integers(0, 3))


@settings(deadline=None, max_examples=60)
@given(networks, st.tuples(*[st.integers(3, 11)] * 3), st.tuples(*[st.integers(0, 6)] * 3), st.integers(1, 4))
def test_every_crop_gets_what_the_network_says_of_it(network, patch, more, stride) -> None:
    rank, plan, head = network
    patch = tuple(side - 2 * (rank == 3) if side > 4 else side for side in patch[:rank])
    model = Random(rank, plan, head, patch).eval()
    for dtype, tolerance in TOLERANCE.items():
        torch.manual_seed(0)
        image = torch.randn(2, 2, *(side + m for side, m in zip(patch, more, strict=False)), dtype=dtype)
        try:
            assert difference(model.to(dtype), image, stride, patch=patch) < tolerance
        except InputError as error:  # a sum of maps of two strides: neighbors in one are none in the other
            assert "no form that crops share" in str(error)
            assert {"add", "cat"} & {name for name, _ in model.plan}
            assert difference(model, image, stride, patch=patch, borders="crops") < tolerance


def test_a_wrong_scan_is_seen() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2)).double()
    image = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    scanner = scan(model)
    right = one_by_one(model, image, scanner.patch)
    assert (scanner(image) - right).abs().max() < 1e-10
    assert (scanner(image.roll(1, 2)) - right).abs().max() > 1e-3
