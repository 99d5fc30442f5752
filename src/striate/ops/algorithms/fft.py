"""Correlation through the Fourier transform, tile by tile (overlap-save)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import torch

from striate.ops.algorithms.kept import kept
from striate.ops.algorithms.setting import Problem, Setting, output_space, pad, problem_of, spans, spread
from striate.shapes import Float, Tensor


def fft(
    x: Float[Tensor, "n c *space"], kernel: Float[Tensor, "k d *window"], setting: Setting
) -> Float[Tensor, "n k *output"]:
    """Correlation as a product of spectra: y = F⁻¹(F x · conj(F w)), over tiles that overlap by the window less one.

    Of each tile of N places the first N - span + 1 results are those of the definition; the rest, where the tile
    wraps around, is dropped. Real transforms; channels are summed by one complex matrix product per frequency
    (a pointwise one where groups hold one channel); a dilated kernel is spread out, a stride keeps every s-th
    result. The kernel's spectrum is kept between calls. The error is that of the transforms: about
    1e-7 · log2 N relative to |x| |w| in float32, spread evenly over the tile.

    Sources: Mathieu, Henaff and LeCun, Fast training of convolutional networks through FFTs (2014); overlap-save:
    Stockham, High-speed convolution and correlation (1966). Three real products in place of the complex one were
    measured, too: 15 to 60 % slower, because of the sums between them.
    """
    problem = problem_of(x, kernel, setting)
    reach = spans(problem.window, setting)
    size = tile_size(problem)
    step = _steps(size, reach, setting.stride)
    wide = tuple((o - 1) * s + 1 for o, s in zip(problem.output, setting.stride, strict=True))
    count = [-(-w // v) for w, v in zip(wide, step, strict=True)]
    depthwise = problem.depth == 1
    spectrum = _tile_spectra(x, setting.padding, size, step, count, size, depthwise)
    weights = kept(kernel, ("fft", size, setting.dilation, setting.groups), lambda: _weights(kernel, size, setting))
    if depthwise:
        spectrum = (spectrum.unflatten(1, (setting.groups, 1)) * weights).flatten(1, 2)
    else:
        pieces = _by_frequency(spectrum, setting.groups) @ weights
        spectrum = _by_tile(pieces, problem.items, count, size)
    places = torch.fft.irfftn(spectrum, size, dim=tuple(range(-len(size), 0)))
    return _joined(places, step, wide, setting.stride)


def fft_kernel_gradient(
    x: Float[Tensor, "n c *space"], y: Float[Tensor, "n k *output"], window: Sequence[int], setting: Setting
) -> Float[Tensor, "k d *window"]:
    """Gradient with respect to the kernel: correlation of x with y, summed over items and over tiles of y.

    Tiles of y of V places, with zeros to N, meet the tiles of x of N places that `fft` takes; the sum over tiles
    happens in the frequencies, so that one inverse transform serves all.
    """
    groups = setting.groups
    problem = Problem(len(x), tuple(x.shape[2:]), y.shape[1], x.shape[1] // groups, tuple(window), setting)
    reach = spans(window, setting)
    size = tile_size(problem)
    step = tuple(n - r + 1 for n, r in zip(size, reach, strict=True))
    y = spread(y, setting.stride)
    count = [-(-w // v) for w, v in zip(y.shape[2:], step, strict=True)]
    depthwise = problem.depth == 1
    seen = _tile_spectra(x, setting.padding, size, step, count, size, depthwise)
    changed = _tile_spectra(y, [(0, 0)] * len(size), step, step, count, size, depthwise).conj()
    if depthwise:
        products = seen.unflatten(1, (groups, 1)) * changed.unflatten(1, (groups, -1))
        spectrum = products.sum((0, *range(3, 3 + len(size)))).flatten(0, 1).unsqueeze(1)
    else:
        seen, changed = (_by_frequency(part, groups) for part in (seen, changed))
        total = changed.mT @ seen  # (frequencies, groups, k / groups, d)
        half = (*size[:-1], size[-1] // 2 + 1)
        spectrum = total.flatten(1, 2).permute(1, 2, 0).unflatten(2, half)
    gradient = torch.fft.irfftn(spectrum, size, dim=tuple(range(-len(size), 0)))
    taps = [slice(0, r, d) for r, d in zip(reach, setting.dilation, strict=True)]
    return gradient[(..., *taps)].contiguous()


@lru_cache(maxsize=4096)
def tile_size(problem: Problem) -> tuple[int, ...]:
    """Places of a tile along each axis: the least work, over lengths 2^a and 3 · 2^a up to one tile for all."""
    choices = []
    for span, out, stride in zip(
        spans(problem.window, problem.setting), problem.output, problem.setting.stride, strict=True
    ):
        whole = (out - 1) * stride + span
        lengths = [n for a in range(1, 31) for n in (2**a, 3 * 2 ** (a - 1)) if n >= span + stride - 1]
        below = [n for n in lengths if n < whole]
        choices.append([*below, next(n for n in lengths if n >= whole)][-7:])

    def cost(size: Sequence[int]) -> float:  # weights as measured: nanoseconds on two cores, about
        transforms, products, pairs = work(problem, size)
        return 0.1 * transforms + 0.02 * products + 0.5 * pairs

    return min(product(*choices), key=cost)


def work(problem: Problem, size: Sequence[int]) -> tuple[float, float, float]:
    """Work of the transforms, of the products over frequencies, and of reading the kernel's spectrum."""
    setting = problem.setting
    step = _steps(size, spans(problem.window, setting), setting.stride)
    tiles = problem.items * math.prod(
        -(-((out - 1) * s + 1) // v) for out, s, v in zip(problem.output, setting.stride, step, strict=True)
    )
    places = math.prod(size)
    transforms = tiles * (problem.channels + problem.fields) * places * (12 + math.log2(places))
    pairs = problem.fields * problem.depth * places
    return float(transforms), float(tiles * pairs if problem.depth > 1 else 0), float(pairs)


def _steps(size: Sequence[int], reach: Sequence[int], stride: Sequence[int]) -> tuple[int, ...]:
    """Right results of a tile, a multiple of the stride."""
    return tuple((n - r + 1) // s * s for n, r, s in zip(size, reach, stride, strict=True))


def _tile_spectra(
    x: Tensor,
    padding: Sequence[tuple[int, int]],
    length: Sequence[int],
    step: Sequence[int],
    count: Sequence[int],
    size: Sequence[int],
    depthwise: bool,
) -> Tensor:
    """Spectra (n, c, *tiles, *frequencies) if depthwise, else (n, *tiles, c, *frequencies), of tiles of `length` places every `step`, with zeros up to `size`."""
    ends = [
        (before, (t - 1) * v + n - have - before)
        for (before, _), t, v, n, have in zip(padding, count, step, length, x.shape[2:], strict=True)
    ]
    x = pad(x, ends)
    for axis, (n, v) in enumerate(zip(length, step, strict=True)):
        x = x.unfold(2 + axis, n, v)
    if not depthwise:  # channels beside frequencies in memory, so that they change places as one matrix
        x = x.movedim(1, 1 + len(length))
    return torch.fft.rfftn(x, size, dim=tuple(range(-len(length), 0)))


def _weights(kernel: Tensor, size: tuple[int, ...], setting: Setting) -> Tensor:
    """Conjugate spectrum of the kernel: (groups, k / groups, *1, *frequencies) or (frequencies, groups, d, k / groups)."""
    axes = tuple(range(-len(size), 0))
    spectrum = torch.fft.rfftn(spread(kernel, setting.dilation), size, dim=axes).conj()
    groups = setting.groups
    if kernel.shape[1] == 1:
        return spectrum.reshape(groups, -1, *[1] * len(size), *spectrum.shape[2:]).resolve_conj()
    return spectrum.flatten(2).unflatten(0, (groups, -1)).permute(3, 0, 2, 1).resolve_conj().contiguous()


def _by_frequency(spectrum: Tensor, groups: int) -> Tensor:
    """(n, *tiles, c, *frequencies) -> (frequencies, groups, n * tiles, c / groups)."""
    rank = (spectrum.ndim - 2) // 2
    flat = spectrum.flatten(2 + rank).flatten(0, rank)  # (n * tiles, c, frequencies)
    turned = flat.flatten(0, 1).T.contiguous()  # a plain transposition: torch does it block by block
    return turned.view(turned.shape[0], len(flat), groups, -1).transpose(1, 2)


def _by_tile(pieces: Tensor, items: int, count: Sequence[int], size: Sequence[int]) -> Tensor:
    """(frequencies, groups, n * tiles, k / groups) -> (n, k, *tiles, *frequencies)."""
    turned = pieces.transpose(1, 2).reshape(len(pieces), -1).T.contiguous()
    return turned.view(items, *count, -1, *size[:-1], size[-1] // 2 + 1).movedim(1 + len(size), 1)


def _joined(places: Tensor, step: Sequence[int], wide: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Right results of each tile side by side, every stride-th of them: (n, k, *tiles, *places) -> (n, k, *output)."""
    rank = len(step)
    right = places[(..., *[slice(0, v, s) for v, s in zip(step, stride, strict=True)])]
    side = right.permute(0, 1, *[axis for a in range(rank) for axis in (2 + a, 2 + rank + a)])
    whole = side.reshape(*side.shape[:2], *[side.shape[2 + 2 * a] * side.shape[3 + 2 * a] for a in range(rank)])
    kept_places = [slice(0, (w - 1) // s + 1) for w, s in zip(wide, stride, strict=True)]
    return whole[(..., *kept_places)].contiguous()
