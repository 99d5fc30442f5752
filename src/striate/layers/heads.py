"""Several outputs of one network."""

from __future__ import annotations

from torch import nn

from striate.errors import InputError
from striate.shapes import Float, Tensor


class Heads(nn.Module):
    """Two or more heads on the same features: {name: head(x)}, a class and a bounding box, say.

    >>> import torch
    >>> heads = Heads(classes=nn.Linear(8, 3), box=nn.Linear(8, 4))
    >>> {name: tuple(y.shape) for name, y in heads(torch.rand(5, 8)).items()}
    {'classes': (5, 3), 'box': (5, 4)}
    """

    def __init__(self, **heads: nn.Module) -> None:
        super().__init__()
        if not heads:
            raise InputError("a network without a head says nothing", expected="one or more, by name", got="none")
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Float[Tensor, "n *shape"]) -> dict[str, Tensor]:
        """What each head says."""
        return {name: head(x) for name, head in self.heads.items()}
