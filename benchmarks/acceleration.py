"""`striate.accelerate` beside eager, torch.compile, ONNX Runtime and OpenVINO: whole networks in float32.

    python benchmarks/acceleration.py [--only NAME[,NAME]] [--batch N] [--quick]

Each side runs in a process of its own (`striate.accelerate` sets how the C library keeps memory, torch.compile what
torch keeps), with two threads, and they take turns: A B C D E, A B C D E, …, each some calls at a time. Every side
reads the same input and is held against eager's output. torch.compile runs as
it is by default. ONNX files have a batch axis of any size. What was measured is merged into results/acceleration.json,
so that each network can be run alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import measure
import striate

# Name -> input of one item; a U-Net of 512x512 with 16 items takes half a minute a call.
NETWORKS: dict[str, tuple[int, ...]] = {
    "vgg16": (3, 224, 224),
    "resnet50": (3, 224, 224),
    "mobilenet_v2": (3, 224, 224),
    "densenet121": (3, 224, 224),
    "unet": (1, 256, 256),
    "wavenet": (256, 4000),
    "basset": (4, 600),
}
ROUNDS, SECONDS = 7, 0.3  # of each side and round
TOLERANCE = 1e-4  # of peers; ours asserts 1e-5 itself
Work = Callable[[], Any]


def network(name: str) -> nn.Module:
    """The zoo's network, its norms with statistics of their own."""
    torch.manual_seed(0)
    net = striate.build(name).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    return net


def example(name: str, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, *NETWORKS[name], generator=generator)


def ours(net: nn.Module, x: Tensor, _: Path) -> Work:
    fast = striate.accelerate(net, x)
    return lambda: fast(x)


def eager(net: nn.Module, x: Tensor, _: Path) -> Work:
    return lambda: net(x)


def compiled(net: nn.Module, x: Tensor, _: Path) -> Work:
    fast = torch.compile(net)
    return lambda: fast(x)


def onnxruntime(_: nn.Module, x: Tensor, path: Path) -> Work:
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = measure.THREADS
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, given)[0]


def openvino(_: nn.Module, x: Tensor, path: Path) -> Work:
    import openvino as runtime

    core = runtime.Core()
    model = core.read_model(str(path))
    model.reshape(list(x.shape))
    hints = {"INFERENCE_NUM_THREADS": measure.THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", hints).create_infer_request()
    given = x.numpy()
    return lambda: request.infer({0: given}, share_inputs=True, share_outputs=True)[0]


SIDES = {
    "striate": ours,
    "eager": eager,
    "compile": compiled,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}


def serve(side: str, name: str, batch: int, path: Path, pipe: Connection) -> None:
    """One side: its output, then seconds of calls whenever it is asked for them."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(measure.THREADS)
    try:
        with torch.inference_mode(side != "striate"):
            work = SIDES[side](network(name), example(name, batch), path)
            began = time.perf_counter()
            out = work()
            first = time.perf_counter() - began
            pipe.send((first, np.asarray(out)))
            while (budget := pipe.recv()) is not None:
                pipe.send(calls(work, budget))
    except Exception as error:  # a peer that cannot run it: said in the result
        pipe.send(f"{type(error).__name__}: {str(error)[:200]}")


def calls(work: Work, budget: float) -> list[float]:
    """Seconds of calls, two at least, the first not counted."""
    work()
    times: list[float] = []
    end = time.perf_counter() + budget
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def export(name: str, folder: Path) -> Path:
    """The network as an ONNX file, for batches of any size."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        logging.disable(logging.WARNING)
        axes = ({0: torch.export.Dim("n", min=1, max=64)},)
        options: dict[str, Any] = {"dynamo": True, "verbose": False, "external_data": False, "dynamic_shapes": axes}
        with contextlib.redirect_stdout(sys.stderr):
            torch.onnx.export(network(name), (example(name, 2),), str(path), **options)
    return path


@contextlib.contextmanager
def running(name: str, batch: int, path: Path) -> Iterator[dict[str, Connection]]:
    """A process for each side."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    processes = []
    for side in SIDES:
        mine, theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(side, name, batch, path, theirs), daemon=True))
        processes[-1].start()
        theirs.close()
        pipes[side] = mine
        mine.poll(None)  # one at a time: while one measures itself the others rest
    try:
        yield pipes
    finally:
        for pipe in pipes.values():
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in processes:
            process.join(10)


def against(name: str, batch: int, path: Path, rounds: int) -> dict[str, Any]:
    """All sides of one network and batch, in turn."""
    with running(name, batch, path) as pipes:
        first, outputs, failed = {}, {}, {}
        for side, pipe in pipes.items():
            said = pipe.recv()
            if isinstance(said, str):
                failed[side] = said
            else:
                first[side], outputs[side] = said
        wanted = outputs["eager"]
        errors = {side: float(abs(out - wanted).max() / abs(wanted).max()) for side, out in outputs.items()}
        assert errors["striate"] <= 1e-5, errors
        assert all(error <= TOLERANCE for error in errors.values()), errors
        times: dict[str, list[float]] = {side: [] for side in outputs}
        for _ in range(rounds):
            for side, seconds in times.items():
                pipes[side].send(SECONDS)
                seconds.append(statistics.median(pipes[side].recv()))
    mine = times["striate"]
    best = min((side for side in times if side != "striate"), key=lambda side: statistics.median(times[side]))
    result = {
        "milliseconds": {side: measure.spread([1e3 * s for s in seconds]) for side, seconds in times.items()},
        "times_faster_than": {side: measure.ratios(times[side], mine) for side in times if side != "striate"},
        "best_peer": best,
        "seconds_to_first_result": first,
        "errors": errors,
        "failed": failed,
        "load": os.getloadavg()[0],
    }
    line = ", ".join(f"{side} {spread['median']:.2f}" for side, spread in result["milliseconds"].items())
    ratios = [result["times_faster_than"][side]["median"] for side in ("eager", best)]
    print(f"{name} x{batch}: ms {line}; {ratios[0]:.2f} times eager, {ratios[1]:.2f} times {best} {failed}", flush=True)
    return result


def main() -> None:
    """Measure and merge into results/acceleration.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(NETWORKS))
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--onnx", type=Path, default=Path(tempfile.gettempdir()) / "striate_onnx")
    options = parser.parse_args()
    options.onnx.mkdir(exist_ok=True)
    torch.set_num_threads(measure.THREADS)
    path = measure.RESULTS / "acceleration.json"
    networks = json.loads(path.read_text())["networks"] if path.is_file() else {}
    for name in options.only.split(","):
        file = export(name, options.onnx)
        for batch in options.batch:
            networks[f"{name}, batch {batch}"] = against(name, batch, file, 2 if options.quick else ROUNDS)
    if not options.quick:
        measure.write("acceleration", {"inputs": NETWORKS, "networks": networks}, ("onnxruntime", "openvino"))


if __name__ == "__main__":
    main()
