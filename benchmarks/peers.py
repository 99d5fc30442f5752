"""The tools that count, each called as its own manual does.

    python benchmarks/peers.py fvcore       # prints what this one says of every case, as JSON

Some of them replace functions of torch while they count, and leave them so where they fail: each runs in a process of
its own, and each case in a fork of that.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import math
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cases import CASES
from fields import FIELDS, linear

SECONDS = 180  # for one case
PRODUCTS = ("conv", "linear", "addmm", "bmm", "matmul", "mm", "einsum")
_libraries: list[torch.library.Library] = []  # a Library that is gone takes its declarations along


def declare_torchvision_operators() -> None:
    """Lets torchvision from PyPI, which is built for CUDA, be imported beside a torch for CPUs: its compiled part does
    not load, and its Python asks for the schemas that it would have declared."""
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            _libraries.append(torch.library.Library("torchvision", "FRAGMENT"))
            _libraries[-1].define(schema)


def flop_counter_mode(model: nn.Module, x: Tensor) -> int:
    """torch's own, which counts two for a multiply-add."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops() // 2


def flop_counter_mode_on_meta(model: nn.Module, x: Tensor) -> int:
    return flop_counter_mode(model.to("meta"), x.to("meta"))


def torchinfo_(model: nn.Module, x: Tensor) -> int:
    import torchinfo

    return torchinfo.summary(model, input_data=x, verbose=0, device=x.device).total_mult_adds


def fvcore_by_operator(model: nn.Module, x: Tensor) -> dict[str, int]:
    from fvcore.nn import FlopCountAnalysis

    with torch.no_grad():
        return dict(FlopCountAnalysis(model, x).unsupported_ops_warnings(False).by_operator())


def fvcore_(model: nn.Module, x: Tensor) -> int:
    """Its convolutions and matrix products; it counts norms and pooling, too, which are no multiply-adds."""
    return sum(count for name, count in fvcore_by_operator(model, x).items() if name in PRODUCTS)


def ptflops_(model: nn.Module, x: Tensor, backend: str = "pytorch") -> int:
    from ptflops import get_model_complexity_info

    options = {"as_strings": False, "print_per_layer_stat": False, "verbose": False, "backend": backend}
    return get_model_complexity_info(model, tuple(x.shape[1:]), input_constructor=lambda _: x, **options)[0]


def ptflops_aten(model: nn.Module, x: Tensor) -> int:
    return ptflops_(model, x, "aten")


def thop_(model: nn.Module, x: Tensor) -> int:
    import thop

    return thop.profile(model, inputs=(x,), verbose=False)[0]


def calflops_(model: nn.Module, x: Tensor) -> int:
    import calflops

    return calflops.calculate_flops(model, args=[x], print_results=False, output_as_string=False)[1]


def torchscan_(model: nn.Module, x: Tensor) -> int:
    import torchscan

    return torchscan.crawl_module(model, args=(x,))["totals"]["macs"]["known_value"]


def rfa_toolbox(model: nn.Module, channels: int, width: int) -> int:
    import collections.abc

    collections.Sequence = collections.abc.Sequence  # type: ignore[attr-defined]  # it is for Python before 3.11
    from rfa_toolbox import create_graph_from_pytorch_model

    graph = create_graph_from_pytorch_model(model.eval(), input_res=(1, channels, width, width))
    found = list({id(node): node for node in graph.all_layers}.values())[-1].receptive_field_max
    return int(found[0] if isinstance(found, tuple) else found)


def rf_calc(model: nn.Module, _channels: int, width: int) -> int:
    """By its file, as another distribution brings a package of the same name."""
    path = next(file.locate() for file in distribution("rf-calc").files or () if file.name == "rf_calc.py")
    spec = importlib.util.spec_from_file_location("rf_calc_file", path)
    assert spec, path
    assert spec.loader, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return int(module.receptive_field(model, width)["Receptive_field"].iloc[-1].split("*")[0])


def receptivefield_(model: nn.Module, channels: int, width: int) -> int:
    """It asks for means in place of maxima and for no thresholds: `linear` gives it these."""
    from receptivefield.pytorch import PytorchReceptiveField

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = linear(model)

        def forward(self, x: Tensor) -> Tensor:
            self.feature_maps = [self.model(x)]
            return self.feature_maps[0]

    torch.set_grad_enabled(True)
    size = PytorchReceptiveField(Last).compute(input_shape=[width, width, channels])[0].rf.size
    return int(max(size.w, size.h))


COUNTERS: dict[str, tuple[str, Callable[[nn.Module, Tensor], int]]] = {
    "FlopCounterMode, meta": ("torch", flop_counter_mode_on_meta),
    "FlopCounterMode, CPU": ("torch", flop_counter_mode),
    "torchinfo": ("torchinfo", torchinfo_),
    "fvcore": ("fvcore", fvcore_),
    "ptflops": ("ptflops", ptflops_),
    "ptflops, aten": ("ptflops", ptflops_aten),
    "thop": ("thop", thop_),
    "calflops": ("calflops", calflops_),
    "torchscan": ("torchscan", torchscan_),
}
FIELD_TOOLS: dict[str, tuple[str, Callable[[nn.Module, int, int], int]]] = {
    "rfa-toolbox": ("rfa-toolbox", rfa_toolbox),
    "rf-calc": ("rf-calc", rf_calc),
    "receptivefield": ("receptivefield", receptivefield_),
}


ALL: dict[str, tuple[str, Callable[..., int]]] = {**COUNTERS, **FIELD_TOOLS}
# Once, before the forks: these are what takes time.
IMPORTS = {
    "FlopCounterMode, meta": ("torch._dynamo", "torch._decomp", "torch._refs"),
    "FlopCounterMode, CPU": ("torch._dynamo", "torch._decomp", "torch._refs"),
    "ptflops": ("ptflops", "torchvision"),
    "ptflops, aten": ("ptflops", "torchvision"),
    "torchscan": ("torchscan", "torch._dynamo", "torch._decomp", "torch._refs", "torch.utils.flop_counter"),
    "thop": ("thop",),
    "calflops": ("calflops",),
    "rfa-toolbox": ("torchvision",),
    "rf-calc": ("pandas", "torchvision"),
    "receptivefield": ("matplotlib.pyplot", "torchvision"),
}


def installed(package: str) -> bool:
    try:
        return bool(distribution(package))
    except PackageNotFoundError:
        return False


def answer(tool: str, name: str) -> int | str:
    """What a tool says of one case; the name of its error where it fails."""
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            if tool in COUNTERS:
                case = next(case for case in CASES if case.name == name)
                return round(float(COUNTERS[tool][1](case.build().eval(), torch.randn(1, *case.shape))))
            field = next(field for field in FIELDS if field.name == name)
            found = FIELD_TOOLS[tool][1](field.build().eval(), field.channels, field.width)
            return found if math.isfinite(found) else "not finite"
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}".strip().splitlines()[0][:90].rstrip(": ")


def ask(tool: str) -> dict[str, int | str]:
    """What a tool says of all cases, from a process of its own; one thread, so that it may be forked."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, tool], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """In the process of one tool: print the answers as the last line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    declare_torchvision_operators()
    tool = sys.argv[1]
    names = [case.name for case in (CASES if tool in COUNTERS else FIELDS)]
    for module in IMPORTS.get(tool, ()):
        importlib.import_module(module)
    answers: dict[str, Any] = {}
    for name in names:
        with multiprocessing.get_context("fork").Pool(1, silence) as pool:
            answers[name] = pool.apply_async(answer, (tool, name)).get(SECONDS)
    print(json.dumps(answers))


def silence() -> None:
    """Some print what they find."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


if __name__ == "__main__":
    main()
