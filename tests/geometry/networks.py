"""Random networks: a list of steps, each applied to some of the tensors made so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.geometry.reading import Region

CHANNELS = 2
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}

numbers = st.integers(0, 5)
steps = st.tuples(
    st.sampled_from(
        [
            *("conv", "conv", "conv", "transposed", "avg_pool", "max_pool", "adaptive_avg", "adaptive_max", "nearest"),
            *(
                "nearest_exact",
                "linear",
                "aligned",
                "pad",
                "reflect",
                "replicate",
                "circular",
                "crop",
                "stride",
                "flip",
            ),
            *("lp_pool", "pixels", "unpixels", "turn", "squeeze", "complex", "zeros"),
            *("roll", "add", "add", "cat", "cat_space", "split", "gate", "shuffle", "fold", "write", "relu"),
        ]
    ),
    st.tuples(numbers, numbers, numbers, numbers, numbers),
    st.integers(0, 3),
    st.integers(0, 3),
)
sizes = st.tuples(st.integers(4, 9), st.integers(4, 7), st.integers(3, 5))
networks = st.tuples(st.integers(1, 3), sizes, st.lists(steps, min_size=1, max_size=7))


class Random(nn.Module):
    """Applies the steps; one that does not fit the sizes is left out. All weights are positive."""

    def __init__(self, rank: int, plan: list[Any]) -> None:
        super().__init__()
        self.rank, self.plan = rank, plan
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.ParameterList(
            torch.rand(CHANNELS, CHANNELS, *[3] * rank, generator=generator, dtype=torch.float64) + 0.5 for _ in plan
        )

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for number, (name, options, one, two) in enumerate(self.plan):
            a, b = made[-1 - one % len(made)], made[-1 - two % len(made)]
            out = self.apply_step(name, options, a, b, self.weights[number])
            if out is not None and min(out.shape) > 0 and math.prod(out.shape[1:]) < 1500:
                made.append(out)
        return made[-1]

    def apply_step(self, name: str, o: tuple[int, ...], a: Tensor, b: Tensor, weight: Tensor) -> Tensor | None:
        rank, least = self.rank, min(a.shape[2:])
        functions = {name: getattr(F, f"{name}{rank}d") for name in FUNCTIONS}
        kernel = 1 + o[0] % 3
        axis = 2 + o[1] % rank
        both = tuple(slice(0, min(p, q)) for p, q in zip(a.shape[2:], b.shape[2:], strict=True))
        if name == "conv":
            stride, padding, dilation = 1 + o[1] % 3, o[2] % 3, 1 + o[3] % 3
            weight = weight[(..., *[slice(0, kernel)] * rank)]
            groups = 2 if o[4] == 5 else 1
            weight = weight[:, :1] if groups == 2 else weight
            if least + 2 * padding < dilation * (kernel - 1) + 1:
                return None
            return functions["conv"](a, weight, None, stride, padding, dilation, groups)
        if name == "transposed":
            stride, dilation = 1 + o[1] % 3, 1 + o[3] % 2
            padding = o[2] % 2
            weight = weight[(..., *[slice(0, kernel)] * rank)]
            more = o[4] % max(stride, dilation)
            if (least - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + more < 1:
                return None
            return functions["conv_transpose"](a, weight, None, stride, padding, more, 1, dilation)
        if name in ("avg_pool", "max_pool"):
            if least < kernel:
                return None
            return functions[name](a, kernel, 1 + o[1] % 3, padding=o[2] % (kernel // 2 + 1), ceil_mode=bool(o[3] % 2))
        if name in ("adaptive_avg", "adaptive_max"):
            return functions[f"{name}_pool"](a, [1 + n for n in o[:rank]])
        if name in ("nearest", "nearest_exact", "linear", "aligned"):
            sizes = [1 + (n + size) % 8 for n, size in zip(o, a.shape[2:], strict=False)]
            mode = LINEAR[rank] if name in ("linear", "aligned") else name.replace("_", "-")
            corners = name == "aligned" if name in ("linear", "aligned") else None
            if o[4] % 2 and name != "aligned":
                factors = [(2.0, 0.5, 1.5)[n % 3] for n in o[:rank]]
                if any(size * factor < 1 for size, factor in zip(a.shape[2:], factors, strict=True)):
                    return None
                return F.interpolate(a, scale_factor=factors, mode=mode, align_corners=corners)
            return F.interpolate(a, sizes, mode=mode, align_corners=corners)
        if name == "pad":
            sides = [n % 4 - 1 for n in (o + o)[: 2 * rank]]
            return F.pad(a, sides) if least > 2 else None
        if name in ("reflect", "replicate", "circular"):
            sides = [n % min(3, least) for n in (o + o)[: 2 * rank]]
            return F.pad(a, sides, mode=name)
        if name == "crop":
            return a.narrow(axis, o[2] % a.shape[axis], 1 + o[3] % (a.shape[axis] - o[2] % a.shape[axis]))
        if name == "stride":
            return a[(slice(None),) * axis + (slice(o[2] % a.shape[axis], None, 1 + o[3]),)]
        if name == "flip":
            return a.flip(axis)
        if name == "roll":
            return a.roll((o[2], o[3]), (axis, 2)) if axis != 2 else a.roll(o[2] - 2, 2)
        if name == "add":
            return a[(..., *both)] + b[(..., *both)]
        if name == "cat":
            return torch.cat([a[(..., *both)], b[(..., *both)]], 1)[:, :: 2 if o[0] % 2 else 1][:, :CHANNELS]
        if name == "cat_space":
            same = tuple(slice(None) if 2 + i == axis else s for i, s in enumerate(both))
            return torch.cat([a[(..., *same)], b[(..., *same)]], axis)
        if name == "split":
            return a.chunk(2, axis)[-1] + a.chunk(2, axis)[-1].mean(axis, keepdim=True)
        if name == "gate":
            return a + a.mean(tuple(range(2, 2 + rank)), keepdim=True)[:, :1]
        if name == "shuffle":
            return a.transpose(1, 2).flatten(1, 2).unflatten(1, (a.shape[2], CHANNELS)).transpose(1, 2).contiguous()
        if name == "fold":
            return a.transpose(1, 2).flatten(1, 2).unflatten(1, (CHANNELS, a.shape[2]))
        if name == "lp_pool":
            return functions[name](a, 2, kernel, 1 + o[1] % 3, ceil_mode=bool(o[3] % 2)) if least >= kernel else None
        if name == "pixels":
            wide = torch.cat([a, a.flip(1)], 1)
            return F.pixel_shuffle(torch.cat([wide, wide * 2], 1), 2) if rank == 2 else None
        if name == "unpixels":
            even = a[..., : a.shape[-2] // 2 * 2, : a.shape[-1] // 2 * 2]
            return F.pixel_unshuffle(even, 2)[:, :: 3 + o[0] % 3][:, :CHANNELS] if rank == 2 and least > 1 else None
        if name == "turn":
            out = a.clone().transpose_(1, axis)
            out[:, 1:].add_(out[:, :1])
            return out.transpose_(axis, 1)
        if name == "squeeze":
            return a.narrow(axis, 0, 1).clone().squeeze_(axis).unsqueeze_(axis).expand(a.shape) + a
        if name == "complex":
            pairs = torch.view_as_complex(torch.stack([a, a.flip(axis)], -1)) * 2
            return torch.view_as_real(pairs).sum(-1)
        if name == "zeros":
            out = a.new_zeros((len(a), *(size + o[2] % 3 for size in a.shape[1:])))
            out[(slice(None), *[slice(o[2] % 3, None)] * (rank + 1))] = a
            return out[:, o[2] % 3 // 2 :][:, :CHANNELS]
        if name == "write":
            out = a * 2
            out[:, :1].add_(1)
            out[(slice(None),) * axis + (slice(o[2] % 2, 3, 1 + o[3] % 2),)] = out.sum((1, axis), keepdim=True)
            out.select(axis, -1).mul_(2)
            return out
        return F.relu(a)


FUNCTIONS = ("lp_pool", "avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool", "conv", "conv_transpose")


class Apply(nn.Module):
    """A function as a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def mask(region: Region, shape: tuple[int, ...]) -> np.ndarray:
    """The positions of a region as a flat array of booleans."""
    found = np.zeros(shape, bool)
    for box in region:
        found[np.ix_(*[list(indices) for indices in box])] = True
    return found.ravel()


@torch.no_grad()
def perturbed(net: nn.Module, x: Tensor, batch: int = 64, by: float = 1000) -> Tensor:
    """Bool[inputs, outputs]: which values of the output change, by more than rounding, when one of the input grows.

    `batch` of these are computed at a time; some networks take only one.
    """
    base = net(x).flatten(1)
    parts = torch.eye(x.numel(), dtype=x.dtype).split(batch)
    changed = (net(x + by * part.view(len(part), *x.shape[1:])).flatten(1) for part in parts)
    return ~torch.cat([torch.isclose(out, base, rtol=1e-12, atol=0) for out in changed])
