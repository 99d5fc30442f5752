"""The laws of convolution, index for index, and both forms of cross-correlation by their sums."""

from __future__ import annotations

import re
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.problems import some

from striate.errors import InputError
from striate.ops import Samples, convolve_samples, correlate_samples, difference


@st.composite
def samples(draw: st.DrawFn, number: int = 1) -> tuple[Samples, ...]:
    """Whole numbers, so that sums are exact, in one to three dimensions."""
    rank = draw(st.integers(1, 3))  # at most 4, 3x3 or 2x2x2 values
    found = []
    for _ in range(number):
        size = draw(st.lists(st.integers(1, 5 - rank), min_size=rank, max_size=rank))
        first = draw(st.lists(st.integers(-4, 4), min_size=rank, max_size=rank))
        random = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        found.append(Samples(torch.randint(-9, 10, size, generator=random).double(), tuple(first)))
    return tuple(found)


def indices(*functions: Samples) -> list[tuple[int, ...]]:
    """All around where one of them is not zero."""
    axes = range(functions[0].values.ndim)
    ends = [[(f.first[a], f.first[a] + f.values.shape[a]) for f in functions] for a in axes]
    return list(product(*(range(min(e)[0] - 1, max(end for _, end in e) + 1) for e in ends)))


def table(f: Samples) -> dict[tuple[int, ...], float]:
    """Its values by index, where it may be other than zero."""
    return {
        tuple(a + b for a, b in zip(f.first, place, strict=True)): f.values[place].item()
        for place in product(*map(range, f.values.shape))
    }


def shifted(i: tuple[int, ...], x: tuple[int, ...], sign: int = 1) -> tuple[int, ...]:
    return tuple(a + sign * b for a, b in zip(i, x, strict=True))


def same(f: Samples, g: Samples) -> bool:
    left, right = table(f), table(g)
    return all(left.get(i, 0) == right.get(i, 0) for i in {*left, *right})


def plus(f: Samples, g: Samples) -> Samples:
    places = indices(f, g)
    first, last = places[0], places[-1]
    values = [f[i] + g[i] for i in places]
    size = [b - a + 1 for a, b in zip(first, last, strict=True)]
    return Samples(torch.tensor(values, dtype=torch.float64).view(size), first)


@some
@given(samples(2))
def test_convolution_is_its_sum(pair: tuple[Samples, ...]) -> None:
    f, g = map(table, pair)
    h = convolve_samples(*pair)
    for i in indices(h):
        assert h[i] == sum(f[x] * g.get(shifted(i, x, -1), 0) for x in f)


@some
@given(samples(2))
def test_both_forms_of_cross_correlation_are_their_sums(pair: tuple[Samples, ...]) -> None:
    f, g = map(table, pair)
    image, kernel = correlate_samples(*pair), correlate_samples(*pair, shift="kernel")
    for i in indices(image):
        assert image[i] == sum(f.get(shifted(i, a), 0) * g[a] for a in g)
    for i in indices(kernel):
        assert kernel[i] == sum(f[x] * g.get(shifted(i, x), 0) for x in f)


@some
@given(samples(2))
def test_the_two_forms_are_each_others_mirror_and_convolutions_of_mirrors(pair: tuple[Samples, ...]) -> None:
    f, g = pair
    image, kernel = correlate_samples(f, g), correlate_samples(f, g, shift="kernel")
    assert same(image, kernel.mirror())
    assert same(kernel, convolve_samples(f.mirror(), g))
    assert same(image, convolve_samples(f, g.mirror()))
    assert same(image, correlate_samples(g, f, shift="kernel"))


@some
@given(samples(3), st.integers(-3, 3))
def test_commutative_associative_distributive_and_scalars(triple: tuple[Samples, ...], factor: int) -> None:
    f, g, h = triple
    product_ = convolve_samples(f, g)
    assert same(product_, convolve_samples(g, f))
    assert same(convolve_samples(product_, h), convolve_samples(f, convolve_samples(g, h)))
    assert same(convolve_samples(f, plus(g, h)), plus(product_, convolve_samples(f, h)))
    scaled = Samples(factor * f.values, f.first)
    assert same(convolve_samples(scaled, g), Samples(factor * product_.values, product_.first))


def test_cross_correlation_is_neither_commutative_nor_associative() -> None:
    f, g, h = (Samples(torch.tensor(v)) for v in ([1.0, 2.0], [1.0, 0.0, 3.0], [1.0, 4.0]))
    for shift in ("image", "kernel"):
        assert not same(correlate_samples(f, g, shift=shift), correlate_samples(g, f, shift=shift))
        left = correlate_samples(correlate_samples(f, g, shift=shift), h, shift=shift)
        assert not same(left, correlate_samples(f, correlate_samples(g, h, shift=shift), shift=shift))


@some
@given(samples(2))
def test_the_derivative_of_a_convolution_is_that_of_either_part_convolved(pair: tuple[Samples, ...]) -> None:
    f, g = pair
    for axis in range(f.values.ndim):
        derived = difference(convolve_samples(f, g), axis)
        assert same(derived, convolve_samples(difference(f, axis), g))
        assert same(derived, convolve_samples(f, difference(g, axis)))
        step = tuple(int(a == axis) for a in range(f.values.ndim))
        change = difference(f, axis)
        assert all(change[i] == f[i] - f[shifted(i, step, -1)] for i in indices(change))


def test_a_centered_kernel_leaves_the_output_where_the_input_is() -> None:
    x = Samples(torch.arange(20.0).view(4, 5))
    one = torch.zeros(3, 5)
    one[1, 2] = 1
    assert same(convolve_samples(x, Samples.centered(one)), x)
    assert not same(convolve_samples(x, Samples(one)), x)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: Samples(torch.zeros(2, 0)),
            "cannot sample a function: values: expected 1 to 3 axes and a value or more",
        ),
        (lambda: Samples(torch.zeros(2), (1, 2)), "cannot sample a function: first: expected 1 indices, got (1, 2)"),
        (lambda: Samples(torch.zeros(2))[0, 1], "cannot look up a value: expected 1 indices, got (0, 1)"),
        (lambda: Samples.centered(torch.zeros(3, 4)), "cannot center: expected odd sizes, got (3, 4). Pass `first`:"),
        (
            lambda: correlate_samples(Samples(torch.ones(1)), Samples(torch.ones(1)), shift="both"),
            "unknown shift: got 'both'. Known: image, kernel.",
        ),
        (
            lambda: convolve_samples(Samples(torch.ones(2)), Samples(torch.ones(2, 2))),
            "cannot convolve: expected as many axes, got 1 and 2",
        ),
    ],
)
def test_bad_input(call: object, text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        call()


def test_an_axis_that_is_not_there() -> None:
    with pytest.raises(InputError, match="cannot differ: axis: expected one of 1, from 0, got 1"):
        difference(Samples(torch.ones(3)), axis=1)
