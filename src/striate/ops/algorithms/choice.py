"""Why an algorithm is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from rich.table import Table

from striate.errors import InputError, did_you_mean
from striate.ops.algorithms import cost, forms
from striate.ops.algorithms.setting import Problem, Setting
from striate.ops.padding import Axes, Padding, Whole, padding_pairs, per_axis
from striate.shapes import Tensor


@dataclass(frozen=True)
class Choice:
    """Which algorithm "auto" takes for one pass of a problem, and why."""

    passage: str
    chosen: str
    seconds: dict[str, float]
    undefined: dict[str, str]
    margin: float = cost.MARGIN
    calibration: str = field(default="shipped")

    def table(self) -> Table:
        """A row for each algorithm: predicted milliseconds, times torch's own, or why it is left out."""
        table = Table(title=f"{self.passage}: {self.chosen}")
        for name in ("algorithm", "predicted ms", "× direct", "why not"):
            table.add_column(name)
        for row in self._rows():
            table.add_row(*row)
        return table

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.passage}: {self.chosen} ({self.calibration} calibration)"]
        for name, milliseconds, factor, reason in self._rows():
            told = f"{milliseconds:>9} ms  {factor}× direct's speed" if milliseconds else reason
            lines.append(f"  {'→' if name == self.chosen else ' '} {name:<14}{told}")
            if milliseconds and reason:
                lines[-1] += f"; {reason}"
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = []
        for name, predicted in sorted(self.seconds.items(), key=lambda item: item[1]):
            factor = self.seconds["direct"] / predicted if predicted else float("inf")
            faster = factor > 1 and name != self.chosen and self.chosen == "direct"
            reason = f"faster than direct by less than the margin of {self.margin}×" if faster else ""
            told = f"{predicted * 1e3:.3g}" if predicted < 1 else f"{predicted * 1e3:,.0f}"
            rows.append((name, told, f"{factor:.2f}", reason))
        return rows + [(name, "", "", reason) for name, reason in self.undefined.items()]


def explain_choice(
    x: Tensor | Sequence[int],
    kernel: Tensor | Sequence[int],
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    dilation: Axes = 1,
    groups: Whole = 1,
    passage: str = "forward",
    dtype: torch.dtype | None = None,
    device: str | None = None,
) -> Choice:
    """Predicted seconds of every algorithm for a call of `correlate`, why others are not defined, and the chosen one.

    x and kernel: tensors or their shapes (float32 on the processor unless told). passage: "forward",
    "input_gradient" or "kernel_gradient". The prediction is coefficient · feature, summed: calls, multiply-adds and
    numbers moved (for "fft", work of the transforms and of the products), with coefficients of `calibrate` on this
    machine, or those shipped.

    Raises InputError for an unknown pass, and as `correlate` does for shapes that do not go together.

    >>> print(explain_choice((4, 64, 8192), (64, 64, 512)).chosen)
    fft
    """
    if passage not in forms.PASSES:
        raise InputError("unknown pass", got=repr(passage), fix=did_you_mean(passage, forms.PASSES))
    from striate.ops.convolve import check_shapes, output_size

    shapes = [tuple(given.shape if isinstance(given, Tensor) else given) for given in (x, kernel)]
    space, window = shapes[0][2:], shapes[1][2:]
    if isinstance(x, Tensor):
        dtype, device = dtype or x.dtype, device or x.device.type
    dtype, device = dtype or torch.float32, device or "cpu"
    one = torch.empty(1, dtype=dtype)
    parts = check_shapes(one.expand(shapes[0]), one.expand(shapes[1]), None, groups, what="cannot choose")
    spacing = per_axis("dilation", dilation, len(window))
    setting = Setting(per_axis("stride", stride, len(window)), padding_pairs(padding, window, spacing), spacing, parts)
    output_size(space, window, setting.stride, setting.padding, spacing)
    problem = Problem(shapes[0][0], space, shapes[1][0], shapes[1][1], window, setting)
    seconds = cost.predictions(passage, problem, dtype, device)
    reasons = {
        name: forms.undefined(name, passage, problem, dtype)
        or cost.unpromising(name, passage, problem)
        or ("" if name == "matrix" else cost.left_out(name, problem, dtype))
        or ("is there to look at and to check by" if name == "matrix" else "is not calibrated")
        for name in forms.FORWARD
        if name not in seconds
    }
    return Choice(
        passage,
        cost.fastest(passage, problem, dtype, device),
        seconds,
        reasons,
        calibration=str(path) if (path := cost.stored(device)).is_file() else "shipped",
    )
