"""`striate.interpret.mutagenesis` beside tangermeme, Yuzu and a tight loop: every other letter at every position.

    python benchmarks/locality_mutagenesis.py [--only ROW ...] [--quick]

tangermeme at its default and at its best batch; the tight loop of our own runs the whole network for each letter in
inference mode, batches made in place, the best batch. These run a sample of the letters, since each costs the same, and
are scaled to all; striate runs all, its tracing included. Yuzu runs all, too, after its precomputation, which is done
once for a network and timed apart; it gives the length of the change over all outputs, and so the error is that of the
length. All in turn, in one process. The outputs of the sample are compared.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import measure
import sweeps
from striate import zoo
from striate.interpret import mutagenesis

BATCHES = (8, 16, 32, 64, 128)
SAMPLE = 512  # letters that the slow ones run, a multiple of each batch


def factorized_basset(length: int, width: float) -> nn.Module:
    """fastISM's, after Nair et al. 2020: Basset with its kernels in several steps, and padding."""
    layers: list[nn.Module] = []
    channels = 4
    stages = (
        (((48, 3), (64, 3), (100, 3), (150, 7), (300, 7)), 3),
        (((200, 7), (200, 3), (200, 3)), 4),
        (((200, 7),), 4),
    )
    for convolutions, pool in stages:
        for base, kernel in convolutions:
            maps = max(1, round(base * width))
            layers += [nn.Conv1d(channels, maps, kernel, padding=kernel // 2), nn.BatchNorm1d(maps), nn.ReLU()]
            channels = maps
        layers.append(nn.MaxPool1d(pool))
        length //= pool
    layers.append(nn.Flatten())
    features, units = channels * length, round(1000 * width)
    for _ in range(2):
        layers += [nn.Linear(features, units), nn.ReLU(), nn.BatchNorm1d(units)]
        features = units
    return nn.Sequential(*layers, nn.Linear(features, 164))


class TrackScores(nn.Module):
    """One number a track of BPNet's first output: the profile's logits, logsumexp over the positions."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0].logsumexp(2)


def zoo_network(name: str, length: int, width: float) -> nn.Module:
    if name == "bpnet":
        return TrackScores(zoo.build(name, width=width))
    return zoo.build(name, input_size=(length,), width=width)


# Network, length, whether tangermeme is asked, ceiling by multiply-adds.
CASES: dict[str, tuple[Callable[[int, float], nn.Module], int, bool, float]] = {
    "basset_1000": (functools.partial(zoo_network, "basset"), 1000, True, 35),
    "basset_2000": (functools.partial(zoo_network, "basset"), 2000, True, 69),
    "deepsea_1000": (functools.partial(zoo_network, "deepsea"), 1000, False, 25),
    "factorized_basset_1000": (factorized_basset, 1000, False, 49),
    "factorized_basset_2000": (factorized_basset, 2000, False, 97),
    "bpnet_1000": (functools.partial(zoo_network, "bpnet"), 1000, False, 8.5),
    "bpnet_2000": (functools.partial(zoo_network, "bpnet"), 2000, False, 15),
}


def sequence(length: int) -> Tensor:
    """(1, 4, length), random."""
    torch.manual_seed(1)
    return torch.eye(4)[torch.randint(0, 4, (length,))].T[None].contiguous()


@torch.inference_mode()
def by_loop(model: nn.Module, x: Tensor, edits: Tensor, batch: int) -> tuple[float, Tensor]:
    """Seconds an edit, and the outputs (edits, outputs); edits are rows (letter, position)."""
    xs = x.repeat(batch, 1, 1)
    item = torch.arange(batch)
    outputs = []
    began = time.perf_counter()
    for letter, position in ((part[:, 0], part[:, 1]) for part in edits.split(batch)):
        own = item[: len(letter)]
        xs[own, :, position] = 0
        xs[own, letter, position] = 1
        outputs.append(model(xs[: len(letter)]))
        xs[own, :, position] = x[0, :, position].T
    return (time.perf_counter() - began) / len(edits), torch.cat(outputs)


def by_tangermeme(model: nn.Module, x: Tensor, positions: int, batch: int) -> tuple[float, Tensor]:
    """Seconds an edit of the first positions, and the outputs (letters, positions, outputs)."""
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    began = time.perf_counter()
    found = saturation_mutagenesis(model, x, end=positions, batch_size=batch, raw_outputs=True, device="cpu")
    return (time.perf_counter() - began) / (3 * positions + 1), found.y_hat[0]  # and the sequence itself


def row(name: str, quick: bool) -> dict[str, Any]:
    """One network and length."""
    build, length, with_tangermeme, ceiling = CASES[name]
    width, rounds, batches, sample = (0.1, 1, (16, 32), 32) if quick else (1.0, sweeps.ROUNDS, BATCHES, SAMPLE)
    length = 300 if quick else length
    model, x = sweeps.with_signal(build(length, width)), sequence(length)
    every = (x[0] != 1).nonzero()
    edits = every[torch.randperm(len(every))[:sample]]
    ours = functools.partial(mutagenesis, model, x)
    loop = functools.partial(by_loop, model, x, edits)
    found = ours()
    best = {"tight loop": sweeps.best_batch(batches, lambda batch: loop(batch)[0])}
    outputs = loop(best["tight loop"])[1]
    errors = {"tight loop": sweeps.error(found.scores[:, edits[:, 0], edits[:, 1]].T, outputs, found.base)}
    sides = {
        "striate": lambda: sweeps.timed(ours),
        "tight loop": lambda: len(every) * loop(best["tight loop"])[0],
    }
    if with_tangermeme:
        peer = functools.partial(by_tangermeme, model, x, sample // 3)
        best["tangermeme"] = sweeps.best_batch(batches, lambda batch: peer(batch)[0])
        outputs = peer(best["tangermeme"])[1].movedim(2, 0)
        errors["tangermeme"] = sweeps.error(found.scores[:, :, : sample // 3], outputs, found.base)
        sides["tangermeme, default"] = lambda: len(every) * peer(32)[0]
        sides["tangermeme, best batch"] = lambda: len(every) * peer(best["tangermeme"])[0]
    return {
        "letters": len(every),
        "sampled": sample,
        "best_batch": best,
        **sweeps.compared(sweeps.in_turn(sides, rounds), {"by MACs": ceiling}),
        "error": errors,
        "effect": float(found.change.abs().max() / found.base.abs().max()),
        "plan": sweeps.plan_of(model, x),
    }


def as_for_yuzu(model: nn.Sequential, length: int) -> nn.Module:
    """The same function as a network for Yuzu: its own Flatten, which turns channels and positions, and no dropout."""
    from yuzu.models import Flatten

    layers, x = [], torch.zeros(1, 4, length)
    for layer in model:
        if isinstance(layer, nn.Dropout):
            continue
        if isinstance(layer, nn.Flatten):
            channels, positions = x.shape[1:]
            layers.append(Flatten())
        elif isinstance(layer, nn.Linear) and isinstance(layers[-1], Flatten):
            turned = nn.Linear(layer.in_features, layer.out_features)
            weight = layer.weight.data.reshape(-1, channels, positions).transpose(1, 2).flatten(1)
            turned.load_state_dict({"weight": weight, "bias": layer.bias.data})
            layers.append(turned)
        else:
            layers.append(layer)
        with torch.no_grad():
            x = layer(x)
    return nn.Sequential(*layers).eval().requires_grad_(False)


def yuzu_basset(length: int, width: float) -> nn.Sequential:
    """Basset as Yuzu has it: with padding, and the norm after the ReLU."""
    layers: list[nn.Module] = []
    channels, units = 4, round(1000 * width)
    for base, kernel, pool in ((300, 19, 3), (200, 11, 4), (200, 7, 4)):
        maps = round(base * width)
        layers += [nn.Conv1d(channels, maps, kernel, padding=kernel // 2), nn.ReLU(), nn.BatchNorm1d(maps)]
        layers.append(nn.MaxPool1d(pool))
        channels, length = maps, length // pool
    layers += [nn.Flatten(), nn.Linear(channels * length, units), nn.ReLU(), nn.BatchNorm1d(units)]
    layers += [nn.Linear(units, units), nn.ReLU(), nn.BatchNorm1d(units), nn.Linear(units, 164)]
    return nn.Sequential(*layers)


def probed(model: nn.Module, ready: Any, length: int, alpha: float) -> Any:
    """Yuzu's precomputation with another number of probes."""
    from yuzu.precompute import precompute_alpha

    other = copy.copy(ready)
    other.alpha = alpha
    other.As, other.betas, other.n_probes = precompute_alpha(model, 3 * length, alpha, ready, "cpu", 0, False)
    return other


def yuzu_row(quick: bool) -> dict[str, Any]:
    """Basset as Yuzu has it: with the number of probes that it finds by itself, and with the first whose error is as
    small as ours has to be. The errors are those of the lengths of the changes."""
    from yuzu import precompute, yuzu_ism

    length, width, rounds, batch = (300, 0.1, 1, 32) if quick else (1000, 1.0, sweeps.ROUNDS, 128)
    model, x = sweeps.with_signal(yuzu_basset(length, width)), sequence(length)
    found = mutagenesis(model, x)
    every = (x[0] != 1).nonzero()
    outputs = by_loop(model, x, every, batch)[1]
    right, scale = np.zeros((4, length), dtype=np.float32), float(found.base.norm())
    right[tuple(every.T.numpy())] = (outputs - found.base).norm(dim=1).numpy()
    errors = {
        "tight loop": sweeps.error(found.scores[:, every[:, 0], every[:, 1]].T, outputs, found.base),
        "length, striate": float(np.abs(found.change.norm(dim=0).numpy() - right).max() / scale),
    }
    torch.set_num_threads(1)  # with two, its inversions of many matrices fail in some builds of MKL
    other = as_for_yuzu(model, length)
    began = time.perf_counter()
    ready = {"Yuzu, default": precompute(other, seq_len=length, random_state=0)}
    precomputed = time.perf_counter() - began
    alpha = errors["length, Yuzu, default"] = float("inf")
    for alpha in (float(ready["Yuzu, default"].alpha), 1.05, 1.1, 1.5, 2.0):
        ready["Yuzu, exact"] = probed(other, ready["Yuzu, default"], length, alpha)
        for name, made in ready.items():
            errors[f"length, {name}"] = float(np.abs(yuzu_ism(other, x.numpy(), made)[0] - right).max() / scale)
        if errors["length, Yuzu, exact"] <= sweeps.ERROR:
            break
    torch.set_num_threads(measure.THREADS)
    sides = {
        "striate": lambda: sweeps.timed(lambda: mutagenesis(model, x)),
        **{
            name: functools.partial(sweeps.timed, functools.partial(yuzu_ism, other, x.numpy(), made))
            for name, made in ready.items()
        },
        "tight loop": lambda: len(every) * by_loop(model, x, every[:SAMPLE], batch)[0],
    }
    return {
        "letters": len(every),
        **sweeps.compared(sweeps.in_turn(sides, rounds), {}),
        "error": errors,
        "greatest_length_of_a_change": float(right.max() / scale),
        "precomputation": {
            "seconds": precomputed,
            "alpha, default": float(ready["Yuzu, default"].alpha),
            "alpha, exact": alpha,
        },
    }


def main() -> None:
    """Measure and write results/locality_mutagenesis.json."""
    rows: dict[str, sweeps.Row] = {name: functools.partial(row, name) for name in CASES}
    sweeps.run("locality_mutagenesis", {**rows, "basset_yuzu": yuzu_row}, ["tangermeme", "yuzu-ism"])


if __name__ == "__main__":
    main()
