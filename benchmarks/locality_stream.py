"""WaveNet by streams beside running the network again for each sample, and beside queues as people write them.

    python benchmarks/locality_stream.py [--quick]

The zoo's WaveNet (3 x 10 layers, receptive field 3,071), random weights, float32, 1, 8 and 64 streams. Sides: the
whole network on the last 3,071 samples for each new one (same padding, as it is trained); the same without the
padding, which computes only what the last output needs (valid); a queue for each layer in eager PyTorch; and
`striate.locality.stream`. In one process, in turn, each with one thread and with two (two wait for each other at every
small product, and on a busy machine for long); seconds a step, sampling left out; then `generate`, with sampling.
The logits of all sides are held against the network's own on a whole signal.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import measure
from striate import describe, zoo
from striate.locality import stream
from striate.zoo.wavenet import WaveNet, generate

QUICK = "--quick" in sys.argv
ROUNDS = 2 if QUICK else 4
STREAMS = (1, 8) if QUICK else (1, 8, 64)
LEVELS, CHECKED = 256, 16
# What bounds a step of one stream, measured by narrower networks and by other ways to run it.
BOUND = (
    "165 calls of 0.8 microseconds each (132 of about 205, measured at 16 channels throughout), the rest is 5 MB of "
    "weights from the caches. torch.compile of the same step (inductor, one C++ kernel, or products by calls from C++) "
    "took 201 to 240 microseconds and 3 to 28 seconds to compile: no gain. The network run again reaches most of the "
    "machine's peak, a matrix times a vector does not."
)
Step = Callable[[Tensor], Tensor]


class Again:
    """The network on all that it sees, for each sample."""

    def __init__(self, net: WaveNet, streams: int) -> None:
        self.net, self.window = net, torch.zeros(streams, LEVELS, net.receptive_field)

    def __call__(self, x: Tensor) -> Tensor:
        self.window = torch.cat([self.window[:, :, 1:], x[:, :, None]], 2)
        return self.net(self.window)[:, :, -1]


class AgainValid(Again):
    """The same without padding: each layer computes only the steps on which the last output depends."""

    def __call__(self, x: Tensor) -> Tensor:
        self.window = torch.cat([self.window[:, :, 1:], x[:, :, None]], 2)
        h, skips = self.net.first(self.window), []
        for layer in self.net.layers:
            filtered, gate = layer.conv(h).chunk(2, 1)
            z = filtered.tanh() * gate.sigmoid()
            skips.append(layer.skip(z[:, :, -1:]))
            if layer.residual is not None:
                h = h[:, :, layer.dilation :] + layer.residual(z)
        return self.net.post2(F.relu(self.net.post1(F.relu(sum(skips)))))[:, :, 0]


class Queues:
    """What each layer saw, in a queue as long as its dilation; its convolution on two samples."""

    def __init__(self, net: WaveNet, streams: int) -> None:
        self.net = net
        self.before = torch.zeros(streams, LEVELS, 1)
        channels = net.first.out_channels
        self.queues = [
            deque([torch.zeros(streams, channels, 1)] * layer.dilation, maxlen=layer.dilation) for layer in net.layers
        ]

    def __call__(self, x: Tensor) -> Tensor:
        x = x[:, :, None]
        h, self.before = self.net.first(torch.cat([self.before, x], 2)), x
        skips = []
        for layer, queue in zip(self.net.layers, self.queues, strict=True):
            both = torch.cat([queue[0], h], 2)
            queue.append(h)
            filtered, gate = F.conv1d(both, layer.conv.weight, layer.conv.bias).chunk(2, 1)
            z = filtered.tanh() * gate.sigmoid()
            skips.append(layer.skip(z))
            if layer.residual is not None:
                h = h + layer.residual(z)
        return self.net.post2(F.relu(self.net.post1(F.relu(sum(skips)))))[:, :, 0]


def sides(net: WaveNet, streams: int) -> dict[str, tuple[Step, int]]:
    """Each side anew, and how many steps are timed at a time."""
    made: dict[str, tuple[Step, int]] = {
        "again": (Again(net, streams), 2 if streams == 1 else 1),
        "again, valid": (AgainValid(net, streams), 3 if streams == 1 else 1),
        "queues": (Queues(net, streams), 30),
        "stream": (stream(net, LEVELS, streams=streams).step, 100),
    }
    return made if streams < 64 else {name: side for name, side in made.items() if not name.startswith("again")}


def one_hot(streams: int, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    levels = torch.randint(0, LEVELS, (streams, steps), generator=generator)
    return F.one_hot(levels, LEVELS).transpose(1, 2).float().contiguous()


def errors(net: WaveNet, streams: int) -> dict[str, float]:
    """Largest difference of each side's logits from the network's on the whole signal, by their scale.

    The valid side sees silence where the network sees padding at each layer, so it is compared behind its field.
    """
    far = net.receptive_field if streams == 1 else 0
    x = one_hot(streams, far + CHECKED)
    whole = net(x)
    scale, found = float(whole.abs().max()), {}
    for name, (step, _) in sides(net, streams).items():
        if name.startswith("again"):
            if not far:
                continue
            step.window = x[:, :, CHECKED // 2 : far + CHECKED // 2].clone()  # type: ignore[attr-defined]
            start = far + CHECKED // 2
        else:
            start = 0
        outputs = [step(x[:, :, t]) for t in range(start, x.shape[2])]
        behind = max(start, far)
        difference = torch.stack(outputs, 2)[:, :, behind - start :] - whole[:, :, behind:]
        found[name] = float(difference.abs().max()) / scale
        if name != "again, valid":
            difference = torch.stack(outputs, 2) - whole[:, :, start:]
            found[name] = float(difference.abs().max()) / scale
        assert found[name] < 1e-5, (name, found)
    return found


def timed(step: Step, xs: list[Tensor], count: int) -> tuple[float, float]:
    """Seconds a step, and seconds of the processor."""
    began, spent = time.perf_counter(), time.process_time()
    for t in range(count):
        step(xs[t % len(xs)])
    return (time.perf_counter() - began) / count, (time.process_time() - spent) / count


def against(net: WaveNet, streams: int) -> dict[str, Any]:
    """All sides in turn, each with one thread and with two. Factors are between the better of both; and, by the
    processor's time with one thread, what they are on a machine without other work."""
    torch.set_num_threads(1)
    found = errors(net, streams)
    running = sides(net, streams)
    xs = [x.contiguous() for x in one_hot(streams, 16).unbind(2)]
    seconds: dict[str, dict[int, list[float]]] = {name: {1: [], measure.THREADS: []} for name in running}
    processor: dict[str, list[float]] = {name: [] for name in running}
    for k in range((ROUNDS if streams == 1 else 2) + 1):
        for name, (step, count) in running.items():
            for threads, times in seconds[name].items():
                torch.set_num_threads(threads)
                wall, cpu = timed(step, xs, count)
                times += [wall] if k else []
                processor[name] += [cpu] if k and threads == 1 else []
    best = {name: min(times, key=lambda t: statistics.median(times[t])) for name, times in seconds.items()}
    ours = seconds["stream"][best["stream"]]
    spreads = {f"{name}, {t} threads": ts for name, by_threads in seconds.items() for t, ts in by_threads.items()}
    peers = [name for name in seconds if name != "stream"]
    result = {
        "errors": found,
        "best_threads": best,
        "microseconds_a_step": {name: measure.spread([1e6 * s for s in times]) for name, times in spreads.items()},
        "processor_microseconds_a_step": {n: measure.spread([1e6 * s for s in ts]) for n, ts in processor.items()},
        "times_faster": {name: measure.ratios(seconds[name][best[name]], ours) for name in peers},
        "times_faster_by_processor": {name: measure.ratios(processor[name], processor["stream"]) for name in peers},
    }
    for name in peers:
        ratios = [result[kind][name]["median"] for kind in ("times_faster", "times_faster_by_processor")]
        print(f"{streams} streams, {name}: {ratios[0]:.1f} times, by processor {ratios[1]:.1f}", flush=True)
    return result


def generation(net: WaveNet, streams: int) -> dict[str, Any]:
    """`generate`, with sampling, on one thread."""
    steps, rates = 300 if QUICK else 600, []
    torch.set_num_threads(1)
    for _ in range(3):
        began = time.perf_counter()
        generate(net, steps, streams=streams)
        rates.append(streams * steps / (time.perf_counter() - began))
    torch.set_num_threads(measure.THREADS)
    return {"steps": steps, "samples_per_second": measure.spread(rates)}


def ceilings(net: nn.Module) -> dict[str, float]:
    """Multiply-adds of a sample: the network again, what of it the last output needs, and one step."""
    window = describe(net, (LEVELS, net.receptive_field)).macs
    step = sum(p.numel() for name, p in net.named_parameters() if name.endswith("weight"))
    length, valid = net.receptive_field - 1, LEVELS * 64 * 2 * (net.receptive_field - 1)
    for layer in net.layers:
        length -= layer.dilation
        valid += length * (layer.conv.weight.numel() + (0 if layer.residual is None else layer.residual.weight.numel()))
        valid += layer.skip.weight.numel()
    valid += net.post1.weight.numel() + net.post2.weight.numel()
    return {"again": window / step, "again, valid": valid / step, "macs_of_a_step": step}


def main() -> None:
    """Measure and write results/locality_stream.json."""
    torch.set_num_threads(measure.THREADS)
    torch.manual_seed(0)
    net = zoo.build("wavenet").eval().requires_grad_(False)
    limits = ceilings(net)
    began = time.perf_counter()
    calls = len(stream(net, LEVELS).program.calls)
    built = time.perf_counter() - began
    with torch.inference_mode():
        rows = {str(streams): against(net, streams) for streams in STREAMS}
    made = {str(streams): generation(net, streams) for streams in STREAMS}
    for name in ("again", "again, valid"):
        share = rows["1"]["times_faster_by_processor"][name]["median"] / limits[name]
        rows["1"].setdefault("share_of_ceiling", {})[name] = share
        print(f"{name}: ceiling {limits[name]:.0f} times, reached {share:.0%}")
    result = {
        "network": "wavenet, 3 x 10 layers, receptive field 3071",
        "ceilings_by_macs": limits,
        "calls_a_step": calls,
        "bound": BOUND,
        "seconds_to_build": built,
        "load": os.getloadavg()[0],
        "streams": rows,
        "generate": made,
    }
    if QUICK:
        print(result["streams"]["1"]["microseconds_a_step"])
    else:
        measure.write("locality_stream", result)


if __name__ == "__main__":
    main()
