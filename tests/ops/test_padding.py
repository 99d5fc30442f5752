from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.problems import NUMPY_MODES, Problem, problems, some

from striate.errors import InputError
from striate.ops import extend, padding_pairs
from striate.ops.padding import per_axis


@some
@given(problems())
def test_extensions_are_numpys(problem: Problem) -> None:
    mode = problem.options["padding_mode"]
    expected = np.pad(problem.x.numpy(), ((0, 0), (0, 0), *problem.pairs), mode=NUMPY_MODES[mode])
    torch.testing.assert_close(extend(problem.x, problem.pairs, mode), torch.from_numpy(expected), atol=0, rtol=0)


@some
@given(problems())
def test_every_way_to_say_a_padding_means_its_pairs(problem: Problem) -> None:
    window = tuple(problem.kernel.shape[2:])
    assert padding_pairs(problem.options["padding"], window, problem.options["dilation"]) == problem.pairs


@given(st.integers(1, 9), st.integers(1, 4))
def test_words(kernel: int, dilation: int) -> None:
    extent = dilation * (kernel - 1) + 1
    totals = {word: sum(padding_pairs(word, (kernel,), dilation)[0]) for word in ("valid", "same", "full", "causal")}
    assert totals == {"valid": 0, "same": extent - 1, "full": 2 * extent - 2, "causal": extent - 1}
    ((before, after),) = padding_pairs("same", (kernel,), dilation)
    assert after - before == (extent - 1) % 2


def test_lists_will_do() -> None:
    assert padding_pairs.__wrapped__([1, [0, 2]], (3, 3)) == ((1, 1), (0, 2))  # type: ignore[attr-defined]
    assert per_axis.__wrapped__("stride", [1, 2], 2) == (1, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("padding", [(1, 2, 3), ((1, 2, 3), 1), (1, -1), ((0, -1), 0)])
def test_other_forms_are_refused(padding: Any) -> None:
    text = (
        "cannot use this padding: expected 0 or more for all, or a number or a pair (before, after) for each of 2 axes"
    )
    with pytest.raises(InputError, match=re.escape(f"{text}, got {padding}")):
        padding_pairs.__wrapped__(padding, (3, 3))  # type: ignore[attr-defined]


def test_numbers_that_are_not_whole_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot use this padding: .* got 1\.5"):
        padding_pairs.__wrapped__(1.5, (3,))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"cannot use this stride: expected whole numbers of 1 or more, got 1\.5"):
        per_axis.__wrapped__("stride", 1.5, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("mode", "pair", "text"),
    [
        (
            "reflect",
            (0, 4),
            "reflect padding needs more values: axis 0: expected at most 3, for an axis of 4, got (0, 4)",
        ),
        ("reflect", (0, 4), 'Pad less, or use padding_mode="zeros" or "replicate".'),
        ("circular", (5, 0), "circular padding needs more values: axis 0: expected at most 4, for an axis of 4"),
        ("wrap", (1, 1), "unknown padding mode: got 'wrap'. Known: circular, reflect, replicate, zeros."),
    ],
)
def test_what_cannot_be_extended_is_told(mode: str, pair: tuple[int, int], text: str) -> None:
    with pytest.raises(InputError, match=re.escape(text)):
        extend(torch.zeros(1, 1, 4), (pair,), mode)


def test_nothing_cannot_be_repeated() -> None:
    with pytest.raises(InputError, match="replicate padding needs a value: axis 0: expected 1 or more, got 0"):
        extend(torch.zeros(1, 1, 0), ((1, 0),), "replicate")
