"""Correlation through the Fourier transform, tile by tile (overlap-save)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product

import torch

from striate.ops.algorithms.kept import kept
from striate.ops.algorithms.setting import Problem, Setting, pad, part, problem_of, spans, spread
from striate.shapes import Float, Tensor

CACHE = 4 << 20  # bytes of tiles that are worked on at a time


def fft(
    x: Float[Tensor, "n c *space"], kernel: Float[Tensor, "k d *window"], setting: Setting
) -> Float[Tensor, "n k *output"]:
    """Correlation as a product of spectra: y = F⁻¹(F x · conj(F w)), over tiles that overlap by the window less one.

    Of each tile of N places the first N - span + 1 results are those of the definition; the rest, where the tile
    wraps around, is dropped. Real transforms; channels are summed by one complex matrix product per frequency
    (number by number where few channels meet); a dilated kernel is spread out, a stride keeps every s-th
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
    weights = kept(
        kernel,
        ("fft", size, setting.dilation, setting.groups),
        lambda: _weights(kernel, size, setting, pointwise(problem)),
    )
    y = x.new_empty([problem.items, problem.fields, *problem.output])
    for own, made, of_groups in _parts(problem, math.prod(count) * math.prod(size)):
        spectrum = _tile_spectra(x[:, own], setting.padding, size, step, count, size, pointwise(problem))
        if pointwise(problem):
            spectrum = spectrum.view(problem.items, -1, 1, problem.depth, *spectrum.shape[2:]) * weights[of_groups]
            spectrum = (spectrum.sum(3) if problem.depth > 1 else spectrum.squeeze(3)).flatten(1, 2)
        else:
            spectrum = _by_tile(_by_frequency(spectrum, setting.groups) @ weights, problem.items, count, size)
        places = torch.fft.irfftn(spectrum, size, dim=tuple(range(-len(size), 0)))
        y[:, made] = _joined(places, step, wide, setting.stride)
    return y


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
    half = (*size[:-1], size[-1] // 2 + 1)
    gradients = []
    for own, made, _ in _parts(problem, math.prod(count) * math.prod(size)):
        seen = _tile_spectra(x[:, own], setting.padding, size, step, count, size, pointwise(problem))
        changed = _tile_spectra(y[:, made], [(0, 0)] * len(size), step, step, count, size, pointwise(problem)).conj()
        if pointwise(problem):
            seen = seen.view(problem.items, -1, 1, problem.depth, *seen.shape[2:])
            changed = changed.view(problem.items, seen.shape[1], -1, 1, *changed.shape[2:])
            spectrum = (seen * changed).sum((0, *range(4, 4 + len(size)))).flatten(0, 1)
        else:
            # (frequencies, groups, k / groups, d), summed over items and tiles
            total = _by_frequency(changed, groups).mT @ _by_frequency(seen, groups)
            spectrum = total.flatten(1, 2).permute(1, 2, 0).view(problem.fields, problem.depth, *half)
        gradients.append(torch.fft.irfftn(spectrum, size, dim=tuple(range(-len(size), 0))))
    taps = [slice(0, r, d) for r, d in zip(reach, setting.dilation, strict=True)]
    return part(torch.cat(gradients), taps).contiguous()


def pointwise(problem: Problem) -> bool:
    """Whether so few channels meet that spectra are multiplied number by number, not as matrices."""
    return problem.depth == 1 or problem.depth * (problem.fields // problem.setting.groups) <= 8


def _parts(problem: Problem, places: int) -> Iterator[tuple[slice, slice, slice]]:
    """Input channels, output channels and groups that are done at a time: where each group goes its own way, as many
    as keep the spectra in the processor's cache."""
    groups, each = problem.setting.groups, problem.fields // problem.setting.groups
    share = groups
    if pointwise(problem):
        share = min(groups, max(1, CACHE // (4 * places * problem.items * max(problem.depth, each))))
    for first in range(0, groups, share):
        last = min(groups, first + share)
        yield slice(first * problem.depth, last * problem.depth), slice(first * each, last * each), slice(first, last)


@lru_cache(maxsize=4096)
def tile_size(problem: Problem) -> tuple[int, ...]:
    """Places of a tile along each axis: the least work, over lengths 2^a and 3 · 2^a up to one tile for all."""
    choices, most = [], 9 - 2 * len(problem.space)
    for span, out, stride in zip(
        spans(problem.window, problem.setting), problem.output, problem.setting.stride, strict=True
    ):
        whole = (out - 1) * stride + span
        lengths = [n for a in range(1, 31) for n in (2**a, 3 * 2 ** (a - 1)) if n >= span + stride - 1]
        below = [n for n in lengths if n < whole]
        choices.append([*below, next(n for n in lengths if n >= whole)][-most:])

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
    return float(transforms), float(tiles * pairs), float(pairs)


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
    by_number: bool,
) -> Tensor:
    """Spectra of tiles of `length` places every `step`, with zeros up to `size`.

    (n, c, *tiles, *frequencies) to be multiplied number by number, else (n, *tiles, c, *frequencies).
    """
    ends = [
        (before, (t - 1) * v + n - have - before)
        for (before, _), t, v, n, have in zip(padding, count, step, length, x.shape[2:], strict=True)
    ]
    x = pad(x, ends)
    for axis, (n, v) in enumerate(zip(length, step, strict=True)):
        x = x.unfold(2 + axis, n, v)
    if not by_number:  # channels beside frequencies in memory, so that they change places as one matrix
        x = x.movedim(1, 1 + len(length))
    spectra: Tensor = torch.fft.rfftn(x, size, dim=tuple(range(-len(length), 0)))
    return spectra


def _weights(kernel: Tensor, size: tuple[int, ...], setting: Setting, by_number: bool) -> Tensor:
    """Conjugate spectrum of the kernel: (groups, k / groups, d, *1, *frequencies) to be multiplied number by
    number, else (frequencies, groups, d, k / groups)."""
    axes = tuple(range(-len(size), 0))
    spectrum: Tensor = torch.fft.rfftn(spread(kernel, setting.dilation), size, dim=axes).conj()
    groups = setting.groups
    if by_number:
        return spectrum.reshape(groups, -1, kernel.shape[1], *[1] * len(size), *spectrum.shape[2:]).resolve_conj()
    each = spectrum.flatten(2).view(groups, -1, kernel.shape[1], math.prod(spectrum.shape[2:]))
    return each.permute(3, 0, 2, 1).resolve_conj().contiguous()


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
    right = part(places, [slice(0, v, s) for v, s in zip(step, stride, strict=True)])
    side = right.permute(0, 1, *[axis for a in range(rank) for axis in (2 + a, 2 + rank + a)])
    whole = side.reshape(*side.shape[:2], *[side.shape[2 + 2 * a] * side.shape[3 + 2 * a] for a in range(rank)])
    kept_places = [slice(0, (w - 1) // s + 1) for w, s in zip(wide, stride, strict=True)]
    return part(whole, kept_places)
