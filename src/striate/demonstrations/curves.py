"""The curves of nonlinearities."""

from __future__ import annotations

from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from torch.nn import functional as F

from striate.demonstrations import drawing
from striate.demonstrations.drawing import COLORS
from striate.demonstrations.registry import demonstration
from striate.demonstrations.scene import Scene
from striate.registry import Between
from striate.shapes import Tensor

STYLES = ("-", "-", "-", "--", "-.")


@demonstration(reach=Between(1, 20), slope=Between(0, 1))
def activations(reach: float = 5, slope: float = 0.1) -> Scene:
    """Sigmoid, tanh, ReLU, leaky ReLU and ELU with their derivatives: which of them fade away from zero."""
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "ReLU": F.relu,
        "leaky ReLU": lambda z: F.leaky_relu(z, slope),
        "ELU": F.elu,
    }
    z = torch.linspace(-reach, reach, 401, dtype=torch.float64, requires_grad=True)
    values = {name: function(z) for name, function in functions.items()}
    slopes = {name: torch.autograd.grad(value.sum(), z)[0] for name, value in values.items()}
    x = z.detach()

    def draw(axes: Axes, _: int) -> None:
        left = drawing.chart(axes, (0.55, 0.4, 4.1, 3.0), "activation", "z")
        right = drawing.chart(axes, (5.25, 0.4, 4.1, 3.0), "its derivative", "z")
        for (name, value), color, style in zip(values.items(), COLORS, STYLES, strict=False):
            left.plot(x, value.detach(), style, color=color, linewidth=1.6, label=name)
            right.plot(x, slopes[name], style, color=color, linewidth=1.6)
        left.legend(fontsize=8, frameon=False, loc="upper left")
        left.set(xlim=(-reach, reach), ylim=(-1.25, min(reach, 3.25)))
        right.set(xlim=(-reach, reach), ylim=(-0.08, 1.1))

    return Scene(
        title="Activations and their derivatives",
        note="Away from zero the derivatives of sigmoid and tanh vanish; "
        "that of the ReLU is 1 where it is active, 0 elsewhere.",
        data={"z": x}
        | {name: value.detach() for name, value in values.items()}
        | {f"{name} derivative": value for name, value in slopes.items()},
        numbers={
            f"derivative of {name}: greatest, at {reach:g}": [round(value.max().item(), 6), round(value[-1].item(), 6)]
            for name, value in slopes.items()
        },
        size=(9.6, 3.85),
        draw=draw,
    )
