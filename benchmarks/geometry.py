"""`striate.describe` beside the tools that count: seconds, memory, and whether the numbers are right.

    python benchmarks/geometry.py

(a) A 3-D U-Net on 1x128x128x128. torchinfo and fvcore as they are commonly used, with a forward pass on the CPU; and
torchinfo and torch's FlopCounterMode on meta tensors, which they can do as well. In one process, warmed, in turn with
`describe`, which also finds receptive fields, and with `describe(...).memory`, which takes a second trace, in training
mode. (b) The first call in a new process, and the most memory that it held; the same of large networks and images.
(c) Small networks on which a tool is wrong (`cases.py`, `fields.py`), each tool in a process of its own.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

import measure
import peers
from cases import CASES
from fields import FIELDS
from striate import describe
from unet3d import UNet3d, true_macs

SIDE, ROUNDS, GIANT = 128, 5, 100_000
CUBE = (1, SIDE, SIDE, SIDE)
VGG16 = ((3, 64), (64, 64), None, (64, 128), (128, 128), None, (128, 256), (256, 256), (256, 256), None)
VGG16 += ((256, 512), (512, 512), (512, 512), None, *[(512, 512)] * 3, None)

Count = Callable[[nn.Module], int]


def vgg16_convolutions() -> nn.Module:
    layers: list[nn.Module] = []
    for step in VGG16:
        layers += [nn.Conv2d(*step, 3, padding=1), nn.ReLU(inplace=True)] if step else [nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def vgg16_macs(side: int) -> int:
    """9 Cin Cout for every place of every map."""
    total = 0
    for step in VGG16:
        total, side = (total + 9 * step[0] * step[1] * side**2, side) if step else (total, side // 2)
    return total


def resnet152() -> nn.Module:
    from torchvision.models import resnet152

    return resnet152(weights=None)


# Network, item, and the right number of multiply-adds by hand; None: as FlopCounterMode has it.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int | None]] = {
    "3-D U-Net": (UNet3d, CUBE, true_macs(SIDE)[0]),
    "ResNet-152": (resnet152, (3, 224, 224), None),
    "VGG-16 convolutions, 100000x100000": (vgg16_convolutions, (3, GIANT, GIANT), vgg16_macs(GIANT)),
}


def by_striate(model: nn.Module, shape: tuple[int, ...], memory: bool = False) -> int:
    """The report; `memory` asks for that of training, too."""
    report = describe(model, shape)
    if memory:
        assert report.memory.training
    return report.macs


def by_peer(count: Callable[[nn.Module, torch.Tensor], int], model: nn.Module, shape: tuple[int, ...]) -> int:
    """The input is made anew, as the peers do by themselves."""
    return count(model, torch.zeros(1, *shape, device=next(model.parameters()).device))


def fvcore_total(model: nn.Module, x: torch.Tensor) -> int:
    """As its users see it, norms included."""
    return sum(peers.fvcore_by_operator(model, x).values())


TOOLS: dict[str, Callable[[nn.Module, tuple[int, ...]], int]] = {
    "striate": by_striate,
    "striate, with memory": functools.partial(by_striate, memory=True),
    "torchinfo": functools.partial(by_peer, peers.torchinfo_),
    "fvcore": functools.partial(by_peer, fvcore_total),
    "FlopCounterMode": functools.partial(by_peer, peers.flop_counter_mode),
}
KNOWN = ("resnet50", "convnext_tiny", "swin_t", "vit_b_16")
SIDES = (("torchinfo", "cpu"), ("fvcore", "cpu"), ("torchinfo", "meta"), ("FlopCounterMode", "meta"))


# (a) in one process


def timed(tool: str, model: nn.Module) -> tuple[float, int]:
    """Seconds, and the multiply-adds found."""
    began = time.perf_counter()
    macs = TOOLS[tool](model, CUBE)
    return time.perf_counter() - began, macs


def against(peer: str, device: str) -> dict[str, Any]:
    """`describe` without and with the trace in training, and a peer, in turn."""
    right, transposed = true_macs(SIDE)
    with torch.device(device):
        model = UNet3d().eval()
    seconds: dict[str, list[float]] = {"striate": [], "striate, with memory": [], peer: []}
    for k in range(ROUNDS + 1):
        for tool in seconds:
            found, macs = timed(tool, model)
            assert macs == right or tool == peer, (tool, macs)
            if k:
                seconds[tool].append(found)
    result = {
        "seconds": {tool: measure.spread(values) for tool, values in seconds.items()},
        "times_faster": measure.ratios(seconds[peer], seconds["striate"]),
        "times_faster_with_memory": measure.ratios(seconds[peer], seconds["striate, with memory"]),
        "macs": macs,
        "error_percent": round(100 * (macs / right - 1), 4),
    }
    if peer == "torchinfo":  # It takes the output's size for a transposed convolution's: 2^3 times as many.
        result["error_percent_by_transposed_convolutions"] = round(100 * 7 * transposed / right, 4)
    if peer == "fvcore":
        macs = peers.fvcore_(model, torch.zeros(1, *CUBE))
        result["error_percent_without_norms"] = round(100 * (macs / right - 1), 4)
    print(f"{peer} on {device}: {result['times_faster']['median']:.1f} times, {result['error_percent']} %", flush=True)
    return result


def fvcore_on_meta() -> str:
    """What becomes of it."""
    with torch.device("meta"):
        model = UNet3d().eval()
    try:
        return f"{TOOLS['fvcore'](model, CUBE):,}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# (b) in new processes


def peak_bytes() -> int:
    """Most memory of this process since it began. Not getrusage's, which starts from the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def fresh(tool: str, network: str) -> dict[str, Any]:
    """Seconds of the first call, and of ours after it, and memory, of a new process."""
    done = subprocess.run([sys.executable, __file__, tool, network], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{network}, {tool}: {found['first_seconds']:.2f} s", flush=True)
    return found


def in_fresh(tool: str, network: str) -> None:
    """Inside that process: the peer is imported, and the network built, before the clock starts."""
    peers.declare_torchvision_operators()
    importlib.import_module({"fvcore": "fvcore.nn"}.get(tool, tool))
    build, shape, right = NETWORKS[network]
    model = build().eval()
    before, seconds = peak_bytes(), []
    for _ in range(6 if tool == "striate" else 1):
        began = time.perf_counter()
        macs = TOOLS[tool](model, shape)
        seconds.append(time.perf_counter() - began)
    if right is None:
        right = peers.flop_counter_mode_on_meta(model, torch.zeros(1, *shape))
    assert macs == right or tool != "striate", (macs, right)
    found: dict[str, Any] = {"macs": macs, "right": right, "first_seconds": seconds[0]}
    if seconds[1:]:
        found["later_seconds"] = measure.spread(seconds[1:])
    print(json.dumps({**found, "bytes_before": before, "bytes_most": peak_bytes()}))


# (c) right and wrong


def wrong() -> list[dict[str, Any]]:
    """Every case, proven, with what `describe` says (the right value, asserted) and what the peers say."""
    tools = [tool for tool, (package, _) in peers.ALL.items() if peers.installed(package)]
    with ThreadPoolExecutor(measure.THREADS) as pool:
        answers = dict(zip(tools, pool.map(peers.ask, tools), strict=True))
    rows = []
    for case in CASES:
        case.prove()
        ours = describe(case.build().eval(), case.shape).macs
        rows.append(row("MACs", case.name, case.shape, case.macs, case.formula, ours, answers))
    for field in FIELDS:
        field.prove()
        shape = (field.channels, 64, field.width)
        ours = describe(field.build().eval(), shape).layers[-1].receptive_field[1]
        rows.append(row("receptive field", field.name, shape, field.size, field.formula, ours, answers))
    return rows + [known(name) for name in KNOWN]


def known(name: str) -> dict[str, Any]:
    """A network of torchvision. FlopCounterMode says what is right, with attention in its parts. torchinfo adds biases
    and norms by its definition: less than a hundredth is allowed for."""
    from torchvision.models import get_model

    shape = (3, 224, 224)
    model, x = get_model(name).eval().requires_grad_(False), torch.zeros(1, *shape)
    answers = {tool: {name: peers.COUNTERS[tool][1](model, x)} for tool in ("torchinfo", "fvcore")}
    torch.backends.mha.set_fastpath_enabled(False)
    right = peers.flop_counter_mode_on_meta(model, x)
    torch.backends.mha.set_fastpath_enabled(True)
    return row("MACs", name, shape, right, "", describe(get_model(name), shape).macs, answers, 0.01)


def row(
    quantity: str,
    network: str,
    shape: tuple[int, ...],
    right: int,
    formula: str,
    ours: int,
    answers: dict[str, dict[str, int | str]],
    allowed: float = 0.0,
) -> dict[str, Any]:
    """What was asked, what is right, and who says otherwise, by more than the allowed fraction."""
    assert ours == right, (network, ours)
    said = {tool: found[network] for tool, found in answers.items() if network in found}
    return {
        "quantity": quantity,
        "network": network,
        "input": "x".join(map(str, shape)),
        "right": right,
        "formula": formula,
        "striate": ours,
        "peers": said,
        "wrong": [
            tool for tool, value in said.items() if isinstance(value, str) or abs(value - right) > allowed * right
        ],
    }


def main() -> None:
    """Measure and write results/geometry.json."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(measure.THREADS)
    if len(sys.argv) > 1:
        in_fresh(*sys.argv[1:])
        return
    peers.declare_torchvision_operators()
    first = {tool: fresh(tool, "3-D U-Net") for tool in ("striate", "torchinfo", "fvcore")}
    large = {network: fresh("striate", network) for network in NETWORKS if network != "3-D U-Net"}
    versus = {f"{peer}, {device}": against(peer, device) for peer, device in SIDES}
    rows = wrong()
    packages = {package for package, _ in peers.ALL.values()} | {"torchvision"}
    measure.write(
        "geometry",
        {
            "unet3d": {
                "input": "x".join(map(str, CUBE)),
                "macs": true_macs(SIDE)[0],
                "against": versus,
                "fvcore_on_meta": fvcore_on_meta(),
                "first_call_in_a_process": first,
            },
            "large": large,
            "peers_wrong": rows,
            "not_installed": sorted(package for package in packages if not peers.installed(package)),
        },
        versions=sorted(package for package in packages - {"torch"} if peers.installed(package)),
    )


if __name__ == "__main__":
    main()
