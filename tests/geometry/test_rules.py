"""Rules of single operations against brute force, and how a rule is added."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from striate import geometry

spec = importlib.util.spec_from_file_location("networks", Path(__file__).with_name("networks.py"))
assert spec is not None
assert spec.loader is not None
networks: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(networks)

Function = Callable[[Tensor], Tensor]


def example(*shape: int) -> Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1


def reached(net: nn.Module, x: Tensor) -> np.ndarray:
    """Bool[inputs, outputs]: what changes as one input changes, up, down, far or near."""
    return np.any([networks.perturbed(net, x, 1, by).numpy() for by in (1000, -1000, 0.37, -0.21)], axis=0)


def check(function: Function | nn.Module, x: Tensor, exact: bool = True) -> None:
    """Both fields of every unit are what brute force finds; with `exact` False, that and more."""
    net = function if isinstance(function, nn.Module) else networks.Apply(function)
    graph, changed = geometry.trace(net, x), reached(net, x)
    value = graph.values[graph.outputs[0]]
    assert changed.shape == (x.numel(), np.prod(value.shape))
    units = itertools.product(*map(range, value.shape))
    seen = np.array([networks.mask(graph.receptive_field("", unit), tuple(x.shape)) for unit in units]).T
    positions = itertools.product(*map(range, x.shape))
    reaches = np.array([networks.mask(graph.projective_field(position), value.shape) for position in positions])
    assert not (changed & ~seen).any()
    assert not (changed & ~reaches).any()
    if exact:
        np.testing.assert_array_equal(seen, changed)
        np.testing.assert_array_equal(reaches, changed)


def last(function: Function | nn.Module, *shape: int) -> geometry.Layer:
    """The last layer of a network's description."""
    net = function if isinstance(function, nn.Module) else networks.Apply(function)
    return geometry.describe(net, shape).layers[-1]


def stft(x: Tensor) -> Tensor:
    return torch.stft(x.squeeze(1), 4, hop_length=2, window=x.new_ones(4), center=False, return_complex=True).abs()


def written_after_a_turn(x: Tensor) -> Tensor:
    out = x.clone()
    row = out[:, 0]
    out.transpose_(1, 2)
    row.mul_(2)  # a view made before
    out[:, 1:].add_(out[:, :1])  # and one made after
    return out * row.sum()


def turned_view(x: Tensor) -> Tensor:
    out = x.clone()
    out[:, 0].unsqueeze_(2).mul_(out[:, 1:2].transpose(1, 2))
    return out


# In-place forms that change the shape of a tensor, not its numbers.
TURNS: dict[str, tuple[Function, tuple[int, ...]]] = {
    "transpose_": (lambda x: x.clone().transpose_(1, 2) * 1, (2, 3)),
    "transpose_ of the last": (lambda x: x.clone().transpose_(2, 3) * 1, (2, 3, 2)),
    "t_": (lambda x: x[0].clone().t_()[None] * 1, (2, 3)),
    "swapaxes_": (lambda x: x.clone().swapaxes_(1, 2) * 1, (2, 3)),
    "squeeze_": (lambda x: x.clone().squeeze_(1) * 1, (1, 3)),
    "unsqueeze_": (lambda x: x.clone().unsqueeze_(1) * 1, (2, 3)),
    "views of it": (written_after_a_turn, (2, 3)),
    "of a view": (turned_view, (2, 3)),
    "movedim": (lambda x: x.movedim(1, -1) * 1, (2, 3, 2)),
    "numpy_T": (lambda x: x[0].T[None] * 1, (2, 3)),
    "stft": (stft, (1, 10)),
}


@pytest.mark.parametrize("name", TURNS)
def test_axes_turned_in_place(name: str) -> None:
    function, shape = TURNS[name]
    check(function, example(*shape))


def complex_of(x: Tensor) -> Tensor:
    return torch.complex(x, x.flip(2))


def written_as_real(x: Tensor) -> Tensor:
    out = torch.zeros_like(complex_of(x))
    torch.view_as_real(out)[..., 1] = x
    return out.imag * 1


def rotated(x: Tensor) -> Tensor:
    """Rotary position embedding."""
    pairs = torch.view_as_complex(x.unflatten(2, (-1, 2)))
    turns = torch.polar(x.new_ones(2), torch.arange(2, device=x.device, dtype=x.dtype) + 1)
    return torch.view_as_real(pairs * turns).flatten(2)


COMPLEX: dict[str, tuple[Function, tuple[int, ...]]] = {
    "real": (lambda x: complex_of(x).real * 1, (2, 4)),
    "imag": (lambda x: complex_of(x).imag * 1, (2, 4)),
    "conj": (lambda x: torch.view_as_real(complex_of(x).conj() * 1), (1, 3)),
    "polar": (lambda x: torch.polar(x, x.roll(1, 2)).real * 1, (1, 3)),
    "rotary": (rotated, (2, 4)),
    "written through view_as_real": (written_as_real, (2, 3)),
    "fft of one axis": (lambda x: torch.fft.rfft(x, dim=-1).abs(), (2, 2, 4)),
    "correlation by fft": (lambda x: (torch.fft.fft(x) * torch.fft.fft(x.flip(2)).conj()).abs(), (2, 3)),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers(name: str) -> None:
    function, shape = COMPLEX[name]
    # The two parts of a number are not told apart.
    check(function, example(*shape), exact=name not in ("real", "imag", "conj", "correlation by fft"))


PRODUCTS: dict[str, Function] = {
    "mv": lambda x: (x[0, 0] @ x[0, 0, 0])[None],
    "mv by a constant": lambda x: (x[0, 0] @ x.new_ones(3))[None],
    "addmv": lambda x: torch.addmv(x[0, 0, 1], x[0, 0], x[0, 0, 2])[None],
    "addmv of a constant": lambda x: torch.addmv(x.new_ones(3), x[0, 0], x.new_ones(3))[None],
    "dot": lambda x: torch.dot(x[0, 0, 0], x[0, 0, 1])[None, None],
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_a_vector(name: str) -> None:
    check(PRODUCTS[name], example(1, 3, 3))
