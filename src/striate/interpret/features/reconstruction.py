"""What of the input excites a unit: its activation projected back, on the crop that it sees, many units at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch

from striate.geometry.trace import trace
from striate.interpret.attribution.rules import Rectified
from striate.interpret.features.sight import Sight, Until
from striate.interpret.lean import parts
from striate.interpret.sweep import Progress, reporting
from striate.shapes import Float, Int64, Tensor

CHUNK_BYTES = 1 << 27  # of activations that are kept for the way back

RULES: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "deconvnet": lambda: Rectified(guided=False),
    "guided": lambda: Rectified(guided=True),
    "gradient": contextlib.nullcontext,
}


def reconstructions(
    until: Until,
    crops: Float[Tensor, "u c *crop"],
    channels: Int64[Tensor, " u"],
    places: Int64[Tensor, "u r"],
    sight: Sight,
    rule: str,
    progress: Progress = False,
) -> Float[Tensor, "u c *crop"]:
    """Each unit's activation, all others of its layer set to zero, taken back to the crop by a rule.

    By "deconvnet" maxima go back to their switches, gradients are rectified, and convolutions transposed. Units that
    are not above zero say nothing: zeros. The network is in eval mode, its parameters without gradients.
    """
    made = torch.zeros_like(crops)
    inside = sight.inside(places)
    device = next((p.device for p in until.parameters()), crops.device)
    step = _chunk(until, crops)
    with reporting(progress, len(crops), f"reconstructions by {rule}") as report:
        for part in parts(len(crops), step):
            x = crops[part].to(device).requires_grad_()
            with torch.enable_grad(), RULES[rule]():
                found = until(x)
                where = [torch.arange(len(x)), channels[part], *inside[part].unbind(1)]
                units = found[tuple(index.to(found.device) for index in where)]
            (back,) = torch.autograd.grad(units, x, units.detach().clamp(min=0), allow_unused=True)
            if back is not None:
                made[part] = back.cpu()
            report(len(x))
    return made


def _chunk(until: Until, crops: Tensor) -> int:
    """As many crops at a time as their activations have room."""
    graph = trace(until, crops[:1])
    size = sum(value.storage_bytes for value in graph.values)
    return max(1, min(256, CHUNK_BYTES // max(size, 1)))
