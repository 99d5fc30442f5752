from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.errors import InputError
from striate.layers import TableConv2d

Table = list[list[int]]


def by_connection(layer: TableConv2d, table: Table, x: torch.Tensor) -> torch.Tensor:
    """One plain convolution for each line of the table, in its order."""
    kernels = iter(layer.weight)
    maps = [sum(F.conv2d(x[:, [i]], next(kernels)[None, None]) for i in row) for row in table]
    return torch.cat(maps, 1) + layer.bias[:, None, None]


def layer_and_input(channels: int, table: Table, kernel: int = 3) -> tuple[TableConv2d, torch.Tensor]:
    torch.manual_seed(0)
    layer = TableConv2d(channels, table, kernel).double()
    torch.nn.init.normal_(layer.bias)
    return layer, torch.randn(2, channels, 6, 7, dtype=torch.float64)


tables = st.integers(1, 5).flatmap(
    lambda c: st.tuples(
        st.just(c), st.lists(st.lists(st.integers(0, c - 1), min_size=1, unique=True), min_size=1, max_size=5)
    )
)


@settings(max_examples=25, deadline=None)
@given(tables, st.integers(1, 4))
def test_each_map_is_the_sum_over_its_connections(channels_and_table: tuple[int, Table], kernel: int) -> None:
    channels, table = channels_and_table
    layer, x = layer_and_input(channels, table, kernel)
    torch.testing.assert_close(layer(x), by_connection(layer, table, x))
    connections = sum(map(len, table))
    assert sum(p.numel() for p in layer.parameters()) == connections * kernel**2 + len(table)


def test_another_table_gives_another_output() -> None:
    layer, x = layer_and_input(3, [[0, 2], [1]])
    assert not torch.allclose(layer(x), by_connection(layer, [[0, 1], [2]], x))


def test_a_full_table_is_a_dense_convolution() -> None:
    layer, x = layer_and_input(3, [[0, 1, 2]] * 4)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight.view(4, 3, 3, 3), layer.bias))


def test_only_connections_have_weights_and_gradients() -> None:
    table = [[0], [2, 1]]
    layer, x = layer_and_input(3, table)
    exists = torch.tensor([[i in row for i in range(3)] for row in table])
    assert torch.equal(layer.dense_weight().ne(0).all(-1).all(-1), exists)
    x.requires_grad_()
    (seen,) = torch.autograd.grad(layer(x)[:, 0].sum(), x)
    assert seen.ne(0).any(-1).any(-1).tolist() == [[True, False, False]] * 2


def test_weights_start_within_the_bound_of_their_fan_in() -> None:
    torch.manual_seed(0)
    layer = TableConv2d(6, [[0], [0, 1, 2, 3]], 5)
    assert layer.fan_in == [25, 100, 100, 100, 100]
    for weight, limit in zip(layer.weight, (1 / 5, *[1 / 10] * 4), strict=True):
        assert -limit <= weight.min() < -0.6 * limit
        assert 0.6 * limit < weight.max() <= limit
    assert not layer.bias.any()


def test_the_table_moves_with_the_layer_but_is_not_saved() -> None:
    layer = TableConv2d(3, [[0], [1, 2]], 3)
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert layer.to("meta").pairs.is_meta
    assert repr(layer) == "TableConv2d(3, 2, connections=3, kernel_size=3)"


@pytest.mark.parametrize(
    ("table", "got"),
    [([[0], []], r"map 1.*got \[\]"), ([[1, 1]], r"map 0.*got \[1, 1\]"), ([[3]], r"got \[3\]"), ([[-1]], r"\[-1\]")],
)
def test_a_map_with_wrong_inputs_is_refused(table: Table, got: str) -> None:
    with pytest.raises(InputError, match=f"connection table: output {got}" if "map" in got else got) as error:
        TableConv2d(3, table, 5)
    assert "expected one or more different input maps from 0 to 2" in str(error.value)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(InputError, match="connection table: expected at least one output map, got none"):
        TableConv2d(3, [], 5)


def test_a_kernel_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="cannot use this kernel size: expected whole numbers of 1 or more, got 0"):
        TableConv2d(3, [[0]], 0)
