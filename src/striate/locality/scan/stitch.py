"""The map at every position, from a network that has one at each s-th."""

from __future__ import annotations

import contextlib
import itertools

from torch import Tensor, nn

from striate.errors import InputError
from striate.geometry.fields import fields
from striate.geometry.trace import trace
from striate.locality.scan.crops import Sizes, by, cut
from striate.locality.scan.scanner import Scan, quiet
from striate.shapes import Float


def shift_and_stitch(network: nn.Module, image: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *positions"]:
    """The map at every position, from a network that has one at each s-th: it runs on the image shifted by
    0 … s-1 along each axis, and the maps are interleaved (Long, Shelhamer, Darrell 2015, section 3.2).

    `network` maps images to unpadded maps of scores: a classifier made convolutional, or `scan(model, stride=s)`. On an
    image it gives what `scan(model)` does, at s times the cost an axis where layers before the last stride are shared.
    It runs in eval mode without gradients and is left as it was.

    Raises InputError for a network whose output is no map, or that pads; and for a scan with borders="image".
    """
    strides, sizes = _coarse(network, image)
    counts = [side - size + 1 for side, size in zip(image.shape[2:], sizes, strict=True)]
    stitched: Tensor | None = None
    for shift in itertools.product(*map(range, strides)):
        if any(r >= count for r, count in zip(shift, counts, strict=True)):
            continue
        with contextlib.nullcontext() if isinstance(network, Scan) else quiet(network):
            scores = network(cut(image, [slice(r, None) for r in shift]))
        if stitched is None:
            stitched = scores.new_empty(*scores.shape[: -len(counts)], *counts)
        cut(stitched, [slice(r, None, s) for r, s in zip(shift, strides, strict=True)]).copy_(scores)
    assert stitched is not None  # shift 0 is always there
    return stitched


def _coarse(network: nn.Module, image: Tensor) -> tuple[Sizes, Sizes]:
    """Stride and window of a network that maps images to maps."""
    if isinstance(network, Scan):
        if network.borders == "image":
            what, fix = "an image that is shifted has its border elsewhere", 'Pass scan(…, borders="crops").'
            raise InputError(what, got='borders="image"', fix=fix)
        return network.stride, network.patch
    graph = trace(network, tuple(image.shape[1:]))
    field = fields(graph, next(iter(graph.inputs.values())))[graph.outputs[0]]
    shape = graph.values[graph.outputs[0]].shape
    fix = "Pass scan(model, stride=…), or the network made convolutional (striate.zoo.to_convolutional)."
    if field is None or len(shape) != image.dim():
        raise InputError(
            "the output of the network is no map", got=f"{by(image.shape[1:])} to {by(shape[1:])}", fix=fix
        )
    terms = [axis[0] for axis in field.axes if len(axis) == 1 and isinstance(axis[0].window.stride, int)]
    strides, sizes = tuple(int(t.window.stride) for t in terms), tuple(t.window.size for t in terms)
    inside = len(terms) == len(field.axes) and all(term.window.lo == 0 for term in terms)
    # Padding may be at the end alone.
    axes = zip(image.shape[2:], sizes, strides, shape[2:], strict=False)
    if not inside or any((side - size) // stride + 1 != count for side, size, stride, count in axes):
        raise InputError("only a network whose windows lie within the image can be stitched", got="padding", fix=fix)
    return strides, sizes


__all__ = ["shift_and_stitch"]
