"""Device and precision: the one place that knows Lightning Fabric."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from striate.errors import InputError
from striate.recipe import Precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Others (meta, say) compute nothing, or Fabric does not know them.
DEVICES = ("cpu", "cuda", "mps", "xpu")


def find_device(name: str) -> torch.device:
    """The device of a name: auto is the accelerator if there is one; InputError where it does not exist."""
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    fix = "Use --device cpu or auto."
    try:
        device = torch.device(name)
        if device.type not in DEVICES:
            raise InputError("no such device", where=name, expected=f"auto, {', '.join(DEVICES)}", fix=fix)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError("no such device", where=name, got=str(error).partition("\n")[0], fix=fix) from None
    return torch.device("cpu") if device.type == "cpu" else device


def prepare(device: str, precision: Precision) -> Fabric:
    """A Fabric on one device; InputError for a precision that the device does not compute rightly."""
    with warnings.catch_warnings():
        # Fabric still imports modules that Python has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from lightning_fabric import Fabric

    place = find_device(device)
    if place.type == "cpu" and precision == "16-mixed":
        raise InputError("precision 16-mixed needs a GPU", expected="32-true or bf16-mixed", got="cpu")
    if place.type == "cpu" and precision == "bf16-mixed":
        _check_bf16_convolution()
    devices = 1 if place.index is None else [place.index]
    return Fabric(accelerator=place.type, devices=devices, precision=precision)


def _check_bf16_convolution() -> None:
    """InputError where bfloat16 convolutions are wrong, as they are on some CPUs (pytorch issues 163347, 169688)."""
    generator = torch.Generator().manual_seed(0)
    for channels, kernel, stride in ((1, 2, 1), (2, 3, 3), (16, 3, 1)):
        x = torch.rand(2, channels, 12, 12, generator=generator).requires_grad_()
        weight = torch.rand(8, channels, kernel, kernel, generator=generator).requires_grad_()
        results = []
        for dtype in (torch.float32, torch.bfloat16):
            y = F.conv2d(x.to(dtype), weight.to(dtype), stride=stride).float()
            results.append((y, *torch.autograd.grad(y.sum(), (x, weight))))
        for exact, rounded in zip(*results, strict=True):
            error = ((exact - rounded).norm() / exact.norm()).item()
            if error > 0.02:
                raise InputError(
                    "this CPU computes bfloat16 convolutions wrongly",
                    where=f"kernel {kernel}, stride {stride}",
                    expected="an error of at most 2 %",
                    got=f"{error:.0%}",
                    fix="Use --precision 32-true.",
                )
