"""The type checks of tests/conftest.py are on: shapes and types of every annotated call are looked at."""

from __future__ import annotations

import jaxtyping
import pytest
import torch

from striate.layers import RBF
from striate.tasks import Classify


def test_a_wrong_rank_raises() -> None:
    layer = RBF(torch.ones(3, 4))
    assert layer(torch.ones(2, 4)).shape == (2, 3)
    with pytest.raises(jaxtyping.TypeCheckError, match="Expected type: .*Float.*n c"):
        layer(torch.ones(4))


def test_axes_of_one_name_must_be_equal() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="n=5"):
        Classify(("a", "b")).loss(torch.ones(5, 2), torch.zeros(4, dtype=torch.int64))


def test_a_wrong_type_raises() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="Expected type: .*float"):
        Classify(("a", "b"), label_smoothing="much")
    assert Classify(("a", "b"), label_smoothing=0).label_smoothing == 0  # an int is a number too
