"""Euclidean radial basis function units."""

from __future__ import annotations

from torch import nn

from striate.shapes import Float, Tensor


class RBF(nn.Module):
    """Output k is minus the squared distance of the input to code k: -sum_j (x_j - codes_kj)^2.

    The codes are fixed (a buffer, saved with the weights). With the sign turned, the outputs are logits:
    their cross-entropy is the discriminative criterion of LeNet-5 (eq. 9) without its constant "garbage" term.
    Source: LeCun, Bottou, Bengio, Haffner 1998, eq. 7 and 9.

    >>> import torch
    >>> RBF(torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))(torch.tensor([[1.0, 0.0]]))
    tensor([[-1., -5.]])
    """

    def __init__(self, codes: Float[Tensor, "k c"]) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.codes: Tensor

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *space"]:
        """Logits of each item, or of each position of its map."""
        codes = self.codes.reshape(*self.codes.shape, *[1] * (x.dim() - 2))
        return -(x[:, None] - codes).square().sum(2)
