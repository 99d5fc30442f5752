"""The window algebra against its definition: sets of pairs."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.errors import InputError
from striate.geometry import Window
from striate.geometry.indices import Indices
from striate.geometry.window import IDENTITY

sets = st.sets(st.integers(-6, 6), max_size=4)
phases = st.lists(sets, min_size=1, max_size=3)
windows = st.builds(lambda shift, taps: Window.of(shift, map(Indices.of, taps)), st.integers(-4, 4), phases)
SOME = range(-9, 10)


@given(sets, sets, st.integers(-3, 3), st.integers(0, 9))
def test_indices_are_sets(a: set[int], b: set[int], step: int, count: int) -> None:
    x, y = Indices.of(a), Indices.of(b)
    assert set(x) == a
    assert (set(x | y), set(x & y), len(x), bool(x)) == (a | b, a & b, len(a), bool(a))
    assert (x <= y) == (a <= b)
    assert all((i in x) == (i in a) for i in SOME)
    assert set(x.within(4)) == {i for i in a if 0 <= i < 4}
    assert x.repeat(step, count) == Indices.of(i + step * k for i in a for k in range(count))
    assert sum(n for _, n in x.runs()) == len(a)


@given(windows, windows, windows)
def test_windows_compose_as_relations(a: Window, b: Window, c: Window) -> None:
    composed = a.after(b)
    for output in SOME:
        assert set(composed.at(output)) == {i for middle in a.at(output) for i in b.at(middle)}
    assert composed.after(c) == a.after(b.after(c))
    assert IDENTITY.after(a) == a == a.after(IDENTITY)


@given(windows, sets)
def test_images_and_preimages(window: Window, chosen: set[int]) -> None:
    taken = Indices.of(chosen)
    assert set(window.image(taken)) == {i for o in chosen for i in window.at(o)}
    assert set(window.preimage(taken, 7)) == {o for o in range(7) if set(window.at(o)) & chosen}


@given(windows.filter(lambda window: bool(window.shift)))
def test_the_reverse_holds_the_same_pairs(window: Window) -> None:
    reverse = window.reverse
    assert reverse.reverse == window
    assert all((i in window.at(o)) == (o in reverse.at(i)) for i in SOME for o in SOME)


@given(windows, windows)
def test_branches_meet_in_the_union(a: Window, b: Window) -> None:
    if a.stride != b.stride:
        with pytest.raises(InputError, match="windows of two strides have no common window: got .* and"):
            a | b
    else:
        assert all((a | b).at(o) == a.at(o) | b.at(o) for o in SOME)


@given(*[st.fractions(-3, 3, max_denominator=3)] * 2, st.integers(0, 3))
def test_a_window_of_bounds_reads_the_whole_numbers_between(stride: Fraction, lo: Fraction, length: int) -> None:
    window = Window(stride, lo, lo + length)
    for output in SOME:
        first = stride * output + lo
        assert set(window.at(output)) == {i for i in range(-60, 60) if first <= i <= first + length}


@given(windows, st.integers(-5, 5), st.integers(-5, 5))
def test_parallel_windows_are_one_pattern_moved(window: Window, outputs: int, inputs: int) -> None:
    moved = Window.of(window.shift, [window.at(r + outputs) for r in range(window.period)])
    assert window.parallel(moved.after(Window(1, inputs)))
    assert not window.parallel(Window.of(window.shift, [taps | Indices.of([40]) for taps in window.taps]))


def test_the_rule_of_the_design() -> None:
    a, b = Window(2, -1, 1), Window(3, -2, 4)
    assert b.after(a) == Window(6, 2 * -2 - 1, 2 * 4 + 1)
    assert (a.stride, a.lo, a.hi, a.size, a.center) == (2, -1, 1, 3, 0)
    assert repr(Window(1, -2, 2, step=2)) == "Window(stride=1, lo=-2, hi=2, with holes)"


def test_what_cannot_be_a_window() -> None:
    with pytest.raises(InputError, match="a window with a step has whole strides and bounds: got stride 1/2, lo 0"):
        Window(Fraction(1, 2), 0, 4, step=2)
    for step in (0, -2):
        with pytest.raises(InputError, match=f"taps of a window lie a step apart: expected 1 or more, got {step}"):
            Window(1, 0, 4, step)
    with pytest.raises(InputError, match="needs the pattern of at least one phase"):
        Window.of(1, [])
    with pytest.raises(InputError, match="a window that does not move has no reverse"):
        Window(0, 0, 3).reverse  # noqa: B018
