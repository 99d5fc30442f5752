from __future__ import annotations

import pytest
import torch
from torch import nn

from striate.layers.recurrent import LSTM


@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_is_torchs_lstm(bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = LSTM(3, 5, bidirectional)
    theirs = nn.LSTM(3, 5, bidirectional=bidirectional, batch_first=True)
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(2, 7, 3)
    torch.testing.assert_close(layer(x), theirs(x)[0])
    assert layer.weight_hh_l0.abs().max() <= 5**-0.5


def test_the_equations_by_hand() -> None:
    torch.manual_seed(0)
    layer = LSTM(3, 5)
    x = torch.randn(1, 4, 3)
    h = c = torch.zeros(5)
    for step in x[0]:
        gates = layer.weight_ih_l0 @ step + layer.bias_ih_l0 + layer.weight_hh_l0 @ h + layer.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    torch.testing.assert_close(layer(x)[0, -1], h)
