"""Small networks on which tools that count disagree, each with its right value and an executable proof of it.

A multiply-add (MAC) is one product of a sum of products. `Case.prove` makes every product of the network by the
definition, as one number each, counts them, and asserts that their sums are what the network puts out. No case has a
bias, a norm or an activation of its own, which some tools count and others do not. `Field.prove` takes the receptive
field from the support of the gradient.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tally:
    """Makes every product and counts it."""

    def __init__(self) -> None:
        self.macs = 0

    def dot(self, a: Tensor, b: Tensor, axis: int) -> Tensor:
        """Sum of products along an axis."""
        products = a * b
        self.macs += products.numel()
        return products.sum(axis)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        return self.dot(a[..., :, :, None], b[..., None, :, :], -2)

    def convolution(self, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        """2-D; a product with a zero of the padding is one, as everywhere."""
        x, size = F.pad(x, [padding] * 4), weight.shape[2]
        high, wide = x.shape[2] - size + 1, x.shape[3] - size + 1
        return sum(
            self.dot(x[:, None, :, i : i + high, j : j + wide], weight[None, :, :, i, j, None, None], 2)
            for i, j in itertools.product(range(size), repeat=2)
        )

    def transposed(self, x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
        """Any rank: each input value times each weight of its channel, added where it lands."""
        rank, size, outs = x.ndim - 2, weight.shape[2], weight.shape[1]
        sizes = [(n - 1) * stride + size for n in x.shape[2:]]
        y = x.new_zeros(x.shape[0], groups, outs, *sizes)
        x = x.unflatten(1, (groups, -1))
        weight = weight.unflatten(0, (groups, -1))
        for tap in itertools.product(range(size), repeat=rank):
            lands = tuple(slice(t, t + (n - 1) * stride + 1, stride) for t, n in zip(tap, x.shape[3:], strict=True))
            y[:, :, :, *lands] += self.dot(x[:, :, :, None], weight[..., *tap][(..., *(None,) * rank)], 2)
        return y.flatten(1, 2)


@dataclass(frozen=True)
class Case:
    """`shape` is that of one item, without the batch; `definition` does what the network does, product by product."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    macs: int
    formula: str
    definition: Callable[[Tally, nn.Module, Tensor], Tensor]

    def prove(self) -> None:
        """Raises AssertionError if the definition counts, or gives, something else."""
        torch.manual_seed(0)
        model, x, tally = self.build().double().eval(), torch.randn(1, *self.shape, dtype=torch.double), Tally()
        with torch.no_grad():
            torch.testing.assert_close(self.definition(tally, model, x), model(x))
        assert tally.macs == self.macs, (self.name, tally.macs)


class Of(nn.Module):
    """Parameters, or modules, and a function of them."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], **parts: Tensor | nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


def unfused(q: Tensor, k: Tensor, v: Tensor, matmul: Callable[[Tensor, Tensor], Tensor] = product) -> Tensor:
    return matmul((matmul(q, k.mT) * q.shape[-1] ** -0.5).softmax(-1), v)


class Attention(nn.Module):
    """Self-attention of four heads."""

    def __init__(self, inner: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.qkv, self.out = nn.Linear(64, 192, bias=False), nn.Linear(64, 64, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
        return self.out(self.inner(q, k, v).transpose(1, 2).flatten(2))


def attention_by_definition(tally: Tally, model: nn.Module, x: Tensor) -> Tensor:
    q, k, v = tally.matmul(x, model.qkv.weight.T).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
    return tally.matmul(unfused(q, k, v, tally.matmul).transpose(1, 2).flatten(2), model.out.weight.T)


def two_parents() -> nn.Module:
    convolution = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    return nn.Sequential(nn.Sequential(convolution), nn.Sequential(convolution))


def convolved(tally: Tally, model: nn.Module, x: Tensor) -> Tensor:
    return tally.convolution(x, model.weight, 1)


def spread_out(stride: int = 2, groups: int = 1) -> Callable[[Tally, nn.Module, Tensor], Tensor]:
    return lambda tally, model, x: tally.transposed(x, model.weight, stride, groups)


IMAGE, TOKENS = (3, 32, 32), (196, 64)
CONVOLUTION = 9 * 3 * 8 * 32 * 32
CASES = (
    Case(
        "Conv2d (control)",
        lambda: nn.Conv2d(3, 8, 3, padding=1, bias=False),
        IMAGE,
        CONVOLUTION,
        "k² Cin Cout H W",
        convolved,
    ),
    Case(
        "Conv2d(padding='same')",
        lambda: nn.Conv2d(3, 8, 3, padding="same", bias=False),
        IMAGE,
        CONVOLUTION,
        "k² Cin Cout H W",
        convolved,
    ),
    Case(
        "weight_norm(Conv2d)",
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3, padding=1, bias=False)),
        IMAGE,
        CONVOLUTION,
        "k² Cin Cout H W",
        convolved,
    ),
    Case(
        "F.conv2d(x, parameter)",
        lambda: Of(lambda m, x: F.conv2d(x, m.weight, padding=1), weight=torch.randn(8, 3, 3, 3)),
        IMAGE,
        CONVOLUTION,
        "k² Cin Cout H W",
        convolved,
    ),
    Case(
        "one Conv2d in two Sequentials",
        two_parents,
        (8, 16, 16),
        2 * 9 * 8 * 8 * 16 * 16,
        "2 k² C² H W",
        lambda t, m, x: t.convolution(t.convolution(x, m[0][0].weight, 1), m[1][0].weight, 1),
    ),
    Case(
        "ConvTranspose2d(8, 4, 2, stride=2)",
        lambda: nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False),
        (8, 16, 16),
        4 * 8 * 4 * 16 * 16,
        "k² Cin Cout Hin Win",
        spread_out(),
    ),
    Case(
        "ConvTranspose3d(8, 4, 2, stride=2)",
        lambda: nn.ConvTranspose3d(8, 4, 2, stride=2, bias=False),
        (8, 8, 8, 8),
        8 * 8 * 4 * 8 * 8 * 8,
        "k³ Cin Cout Din Hin Win",
        spread_out(),
    ),
    Case(
        "ConvTranspose2d(8, 4, 3, stride=2, groups=2)",
        lambda: nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2, bias=False),
        (8, 16, 16),
        9 * 8 * 2 * 16 * 16,
        "k² Cin (Cout/groups) Hin Win",
        spread_out(groups=2),
    ),
    Case(
        "Linear on T tokens",
        lambda: nn.Linear(64, 128, bias=False),
        TOKENS,
        196 * 64 * 128,
        "T Din Dout",
        lambda t, m, x: t.matmul(x, m.weight.T),
    ),
    Case(
        "F.linear(x, parameter)",
        lambda: Of(lambda m, x: F.linear(x, m.weight), weight=torch.randn(128, 64)),
        TOKENS,
        196 * 64 * 128,
        "T Din Dout",
        lambda t, m, x: t.matmul(x, m.weight.T),
    ),
    Case(
        "x @ parameter",
        lambda: Of(lambda m, x: x @ m.weight, weight=torch.randn(64, 128)),
        TOKENS,
        196 * 64 * 128,
        "T Din Dout",
        lambda t, m, x: t.matmul(x, m.weight),
    ),
    Case(
        "parameter @ x, broadcast over 4 channels",
        lambda: Of(lambda m, x: m.weight @ x, weight=torch.randn(32, 196)),
        (4, *TOKENS),
        4 * 32 * 196 * 64,
        "C M T D",
        lambda t, m, x: t.matmul(m.weight, x),
    ),
    Case(
        "matrix @ vector",
        lambda: Of(lambda m, x: x @ m.weight, weight=torch.randn(64)),
        TOKENS,
        196 * 64,
        "T D",
        lambda t, m, x: t.dot(x, m.weight, -1),
    ),
    Case(
        "torch.bmm",
        lambda: Of(lambda _, x: torch.bmm(x.flatten(0, 1), x.flatten(0, 1).mT)),
        (4, 196, 16),
        4 * 196 * 196 * 16,
        "heads T² d",
        lambda t, _, x: t.matmul(x[0], x[0].mT),
    ),
    Case(
        "einsum('nchw,ck->nkhw', x, parameter)",
        lambda: Of(lambda m, x: torch.einsum("nchw,ck->nkhw", x, m.weight), weight=torch.randn(8, 16)),
        (8, 16, 16),
        8 * 16 * 16 * 16,
        "C K H W",
        lambda t, m, x: t.dot(x[:, :, None], m.weight[:, :, None, None], 1),
    ),
    Case(
        "einsum('nhid,nhjd->nhij', x, x)",
        lambda: Of(lambda _, x: torch.einsum("nhid,nhjd->nhij", x, x)),
        (4, 196, 16),
        4 * 196 * 196 * 16,
        "heads T² d",
        lambda t, _, x: t.matmul(x, x.mT),
    ),
    Case(
        "self-attention by @",
        lambda: Attention(unfused),
        TOKENS,
        4 * 196 * 64 * 64 + 2 * 196 * 196 * 64,
        "4 T D² + 2 T² D",
        attention_by_definition,
    ),
    Case(
        "self-attention by F.scaled_dot_product_attention",
        lambda: Attention(F.scaled_dot_product_attention),
        TOKENS,
        4 * 196 * 64 * 64 + 2 * 196 * 196 * 64,
        "4 T D² + 2 T² D",
        attention_by_definition,
    ),
)
