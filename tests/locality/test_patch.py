"""The patch engine against brute force: every change put into the input, the whole network run on each."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.locality import PatchEngine

spec = importlib.util.spec_from_file_location("networks", Path(__file__).parents[1] / "geometry" / "networks.py")
assert spec
assert spec.loader
networks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

EXACT = 1e-10  # of the greatest output


@torch.no_grad()
def brute(model: nn.Module, x: Tensor, starts: Tensor, values: Tensor) -> Tensor:
    """One run of the network for each change."""
    outputs = []
    for i, start in enumerate(starts.tolist()):
        changed = x.clone()
        where = tuple(slice(a, a + size) for a, size in zip(start, values.shape[2:], strict=True))
        changed[(0, slice(None), *where)] = values[i if len(values) > 1 else 0]
        outputs.append(model(changed))
    return torch.cat(outputs)


def worst(found: Tensor, right: Tensor) -> float:
    """Greatest difference over the greatest magnitude."""
    assert found.shape == right.shape
    return float((found - right).abs().max() / right.abs().max().clamp(min=1e-300))


def some(x: Tensor, count: int, window: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Changes at random places, the two corners among them."""
    generator = torch.Generator().manual_seed(seed)
    room = [side - size + 1 for side, size in zip(x.shape[2:], window, strict=True)]
    starts = torch.stack([torch.randint(0, r, (count,), generator=generator) for r in room], 1)
    starts[0], starts[-1] = 0, torch.tensor(room) - 1
    values = torch.randn(count, x.shape[1], *window, generator=generator, dtype=torch.float64)
    return starts, values.to(x.dtype)


# Larger than those of geometry: room for windows.
sizes = st.one_of(
    st.tuples(st.just(1), st.tuples(st.integers(8, 60))),
    st.tuples(st.just(2), st.tuples(st.integers(6, 20), st.integers(6, 20))),
    st.tuples(st.just(3), st.tuples(*[st.integers(4, 8)] * 3)),
)


@settings(max_examples=300, deadline=None)
@given(
    sizes,
    st.lists(networks.steps, min_size=1, max_size=7),
    st.integers(1, 20),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.integers(0, 9),
)
def test_random_networks_equal_brute_force(
    sizes: tuple[int, tuple[int, ...]], plan: list[Any], count: int, window: tuple[int, ...], seed: int
) -> None:
    rank, space = sizes
    net = networks.Random(rank, plan).eval()
    x = torch.randn(1, 2, *space, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    window = tuple(min(size, side) for size, side in zip(window, space, strict=False))
    starts, values = some(x, count, window, seed)
    engine = PatchEngine(net, x)
    assert worst(engine(starts, values), brute(net, x, starts, values)) < EXACT
    assert engine.whole == ""
