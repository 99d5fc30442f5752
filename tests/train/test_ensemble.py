from __future__ import annotations

import pytest
import torch
from torch import nn

from striate.errors import InputError
from striate.train import ensemble


def test_an_ensemble_of_linear_networks_is_the_mean_network() -> None:
    torch.manual_seed(0)
    nets = [nn.Linear(4, 3) for _ in range(5)]
    mean = nn.Linear(4, 3)
    with torch.no_grad():
        for name, parameter in mean.named_parameters():
            parameter.copy_(torch.stack([net.get_parameter(name) for net in nets]).mean(0))
    x = torch.randn(7, 4)
    torch.testing.assert_close(ensemble(nets)(x), mean(x))


def test_the_probabilities_of_an_ensemble_are_geometric_means() -> None:
    one, other = (nn.Linear(4, 3) for _ in range(2))
    x = torch.randn(7, 4)
    product = (one(x).softmax(1) * other(x).softmax(1)).sqrt()
    torch.testing.assert_close(ensemble([one, other])(x).softmax(1), product / product.sum(1, keepdim=True))


def test_what_is_no_ensemble() -> None:
    with pytest.raises(InputError, match="an ensemble of no networks: expected at least one, got 0"):
        ensemble([])
    with pytest.raises(InputError, match=r"of an ensemble answer differently: expected \(2, 3\), got \(2, 5\)"):
        ensemble([nn.Linear(4, 3), nn.Linear(4, 5)])(torch.zeros(2, 4))
    with pytest.raises(InputError, match="an ensemble averages tensors: expected tensors, or .*, got str"):
        ensemble([Named("a"), Named("b")])(torch.zeros(2, 4))


class Named(nn.Module):
    """A network that returns a dictionary."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        return {"scores": x, "more": [self.value]}


def test_networks_that_return_dictionaries() -> None:
    found = ensemble([Named(torch.zeros(3)), Named(torch.ones(3))])(torch.ones(2, 4))
    assert torch.equal(found["more"][0], torch.full((3,), 0.5))
