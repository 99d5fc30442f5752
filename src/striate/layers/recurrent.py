"""A recurrent layer that compiles: torch.compile refuses torch.nn's own."""

from __future__ import annotations

import math

import torch
from torch import nn

from striate.shapes import Float, Tensor


class LSTM(nn.Module):
    """One layer of torch.nn.LSTM (items first), in one or both directions, that compiles to one graph.

    Takes Float[n, t, in], returns Float[n, t, hidden] or, in both directions, Float[n, t, 2 hidden] (forward first).
    Parameters have torch's names, so torch.nn.LSTM's state dicts fit.
    """

    def __init__(self, in_features: int, hidden: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.hidden = hidden
        self.bidirectional = bidirectional
        shapes = {
            "weight_ih": (4 * hidden, in_features),
            "weight_hh": (4 * hidden, hidden),
            "bias_ih": (4 * hidden,),
            "bias_hh": (4 * hidden,),
        }
        limit = 1 / math.sqrt(hidden)
        for direction in ("", "_reverse")[: 1 + bidirectional]:
            for name, shape in shapes.items():
                values = nn.init.uniform_(torch.empty(shape), -limit, limit)
                self.register_parameter(f"{name}_l0{direction}", nn.Parameter(values))

    def forward(self, x: Float[Tensor, "n t c"]) -> Float[Tensor, "n t k"]:
        """The hidden state at each step."""
        zero = x.new_zeros(1 + self.bidirectional, len(x), self.hidden)
        weights: list[Tensor] = list(self.parameters(recurse=False))
        states: Tensor = torch.lstm(x, (zero, zero), weights, True, 1, 0.0, self.training, self.bidirectional, True)[0]
        return states
