from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.errors import DivergedError, InputError, StorageError, StriateError, did_you_mean


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(InputError, ValueError), (DivergedError, ArithmeticError), (StorageError, OSError)],
)
def test_each_error_is_ours_and_a_builtin(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, StriateError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({}, "cannot do it"),
        ({"where": "here"}, "cannot do it: here"),
        ({"expected": 1}, "cannot do it: expected 1"),
        ({"got": 0}, "cannot do it: got 0"),
        ({"got": ""}, "cannot do it: got "),
        ({"fix": "Try again."}, "cannot do it. Try again."),
        (
            {"where": "here", "expected": 1, "got": 2, "fix": "Pass 1."},
            "cannot do it: here: expected 1, got 2. Pass 1.",
        ),
    ],
)
def test_an_input_error_is_one_line_of_the_given_parts(parts: dict[str, object], line: str) -> None:
    assert str(InputError("cannot do it", **parts)) == line


def test_a_near_name_is_proposed_and_else_all_are_listed() -> None:
    known = ["lenet5", "keras_mnist", "keras_fcn"]
    assert did_you_mean("lenet", known) == "Did you mean lenet5?"
    assert did_you_mean("keras_mn", known) == "Did you mean keras_mnist or keras_fcn?"
    assert did_you_mean("zzz", known) == "Known: keras_fcn, keras_mnist, lenet5."
    assert did_you_mean("zzz", []) == "Known: none."


@given(st.text(), st.lists(st.text(min_size=1), unique=True))
def test_a_known_name_is_always_proposed_first(name: str, others: list[str]) -> None:
    known = [*(o for o in others if o != name), name]
    assert did_you_mean(name, iter(known)).startswith((f"Did you mean {name}", "Known: " * (not name)))
