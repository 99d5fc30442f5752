"""Receptive and projective fields against brute force, on random networks."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from torch import Tensor, nn

from striate import geometry
from striate.geometry.fields import extents, fields
from striate.geometry.reading import Region

spec = importlib.util.spec_from_file_location("networks", Path(__file__).with_name("networks.py"))
networks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)


def mask(region: Region, shape: tuple[int, ...]) -> np.ndarray:
    """The positions of a region as a flat array of booleans."""
    found = np.zeros(shape, bool)
    for box in region:
        found[np.ix_(*[list(indices) for indices in box])] = True
    return found.ravel()


def example(rank: int, sizes: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, networks.CHANNELS, *sizes[:rank], generator=generator, dtype=torch.float64) + 1


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks.networks)
def test_fields_are_what_changes_when_an_input_value_changes(network: Any) -> None:
    rank, sizes, plan = network
    net, x = networks.Random(rank, plan), example(rank, sizes)
    graph = geometry.trace(net, x)
    value, shape = graph.find(""), tuple(x.shape)
    reached = networks.perturbed(net, x).numpy()
    assert reached.shape == (math.prod(shape), math.prod(value.shape))
    rng = np.random.default_rng(0)
    for flat in {0, value_numel(value.shape) - 1, *rng.integers(0, value_numel(value.shape), 4).tolist()}:
        unit = tuple(int(i) for i in np.unravel_index(flat, value.shape))
        np.testing.assert_array_equal(mask(graph.receptive_field("", unit), shape), reached[:, flat])
    for flat in {0, x.numel() - 1, *rng.integers(0, x.numel(), 4).tolist()}:
        position = tuple(int(i) for i in np.unravel_index(flat, shape))
        np.testing.assert_array_equal(mask(graph.projective_field(position), value.shape), reached[flat])


def value_numel(shape: tuple[int, ...]) -> int:
    return math.prod(shape)
