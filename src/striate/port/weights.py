"""State dicts of torchvision, timm and others, loaded into the zoo's network of the same name.

The zoo names its modules as torchvision does, so most names are the same; `SPELLINGS` says how others spell them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from safetensors.torch import load_file
from torch import nn

from striate.errors import InputError, did_you_mean
from striate.shapes import Tensor

Spelling = Callable[[str], str]


@dataclass(frozen=True)
class Move:
    """A tensor that was loaded: its name in the state dict, in the network, and its shape there."""

    source: str
    target: str
    shape: tuple[int, ...]
    reshaped: bool


@dataclass(frozen=True)
class Loaded:
    """What went where. `spelling` is how the names were read; `reset` are counters that the state dict lacks, now 0."""

    spelling: str
    moves: tuple[Move, ...]
    reset: tuple[str, ...]

    def table(self) -> Table:
        """One row a tensor."""
        table = Table("from", "to", "shape", title=f"{len(self.moves)} tensors, names {self.spelling}")
        for move in self.moves:
            shape = "x".join(map(str, move.shape)) or "1"
            table.add_row(move.source, move.target, shape + " (reshaped)" * move.reshaped)
        return table

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        moves = [{"from": m.source, "to": m.target, "shape": list(m.shape), "reshaped": m.reshaped} for m in self.moves]
        return {"spelling": self.spelling, "moves": moves, "reset": list(self.reset)}


def load(model: nn.Module, state: Mapping[str, Tensor] | str | Path) -> Loaded:
    """Load a state dict, or a safetensors file, into a network of the zoo; returns the report of what went where.

    Strict: every tensor of the state dict must have its place in the network, with its shape and dtype, and every
    place its tensor; else nothing is loaded. A common prefix `module.` (of data parallel training) is taken off. The
    weight of a convolution fits a fully connected layer with as many numbers for each output. Counters of batches may
    be missing (torch before 0.4.1 had none) and are set to 0.

    Raises InputError for names that fit no known spelling of this network (with the first that are missing and left
    over), or several spellings in different ways; for another shape or dtype; for what is no state dict.
    """
    if isinstance(state, str | Path):
        if not Path(state).is_file():
            raise InputError("there is no such file of weights", got=str(state))
        try:
            state = load_file(state)
        except Exception as error:
            fix = "Read other files yourself: torch.load(path, weights_only=True)."
            raise InputError("this is no safetensors file", got=str(state), fix=fix) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(k, str) and isinstance(t, Tensor) for k, t in state.items()
    ):
        raise InputError("a state dict maps names to tensors", got=_what(state), fix="Pass its entry with the tensors.")
    own = model.state_dict()
    if empty := next((name for name, tensor in (*own.items(), *state.items()) if tensor.is_meta), None):
        raise InputError(
            "a tensor has no memory (device meta)", got=empty, fix="Build the network outside of torch.device."
        )
    spelling, names = _spelled(type(model).__name__, own, state)
    moves, tensors = [], {}
    for source, target in names.items():
        tensor, place = state[source], own[target]
        where = f"{source}, for {target}"
        if tensor.dtype != place.dtype:
            fix = f"Convert it: state[{source!r}].to({place.dtype})."
            raise InputError("a tensor has another dtype", where=where, expected=place.dtype, got=tensor.dtype, fix=fix)
        reshaped = tensor.shape != place.shape
        if reshaped and not (place.dim() == 2 and tensor.dim() > 2 and tensor.flatten(1).shape == place.shape):
            raise InputError(
                "a tensor has another shape",
                where=where,
                expected=tuple(place.shape),
                got=tuple(tensor.shape),
                fix="Build the network with the same num_classes, in_channels and input_size.",
            )
        tensors[target] = tensor.reshape(place.shape)
        moves.append(Move(source, target, tuple(place.shape), reshaped))
    reset = tuple(name for name in own if name not in tensors)
    model.load_state_dict(tensors | {name: torch.zeros_like(own[name]) for name in reset})
    return Loaded(spelling, tuple(moves), reset)


def _spelled(network: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[str, dict[str, str]]:
    """The spelling under which the names are the network's, and for each name of the state dict its place."""
    wrapped = all(name.startswith("module.") for name in state) and not all(n.startswith("module.") for n in own)
    prefix = "module." if wrapped else ""
    fits: dict[str, dict[str, str]] = {}
    best: tuple[int, list[str], list[str]] | None = None
    for spelling, spell in SPELLINGS.items():
        names = {name: spell(name.removeprefix(prefix)) for name in state}
        extra = [name for name, place in names.items() if place not in own]
        reached = set(names.values())
        missing = [name for name in own if name not in reached and not name.endswith("num_batches_tracked")]
        if not extra and not missing and len(reached) == len(names):
            if names not in fits.values():
                fits[spelling] = names
        elif best is None or len(extra) + len(missing) < best[0]:
            best = (len(extra) + len(missing), missing, extra)
    if len(fits) == 1:
        return next(iter(fits.items()))
    if fits:
        raise InputError("the names fit the network in several ways", where=network, got=" and ".join(fits))
    assert best is not None
    _, missing, extra = best
    parts = [f"{_some(missing)} missing"] * bool(missing) + [f"{_some(extra)} left over"] * bool(extra)
    hint = did_you_mean(extra[0], own) if extra else "Is it of the same network, with the same options?"
    raise InputError(
        "the state dict is not of this network",
        where=network,
        got="; ".join(parts) or "several tensors for one place",
        fix="Auxiliary heads: build with aux=True." if any("aux" in name.lower() for name in extra) else hint,
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _what(state: Any) -> str:
    if isinstance(state, Mapping):
        odd = next(k for k, tensor in state.items() if not isinstance(k, str) or not isinstance(tensor, Tensor))
        return f"{odd!r}: {type(state[odd]).__name__}"
    return type(state).__name__


def _densenet_of_2017(name: str) -> str:
    """`norm.1` for `norm1`: a dot may not stand in a module's name since torch 0.4."""
    return re.sub(r"(norm|relu|conv)\.(\d)\.", r"\1\2.", name)


def _timm_vgg(name: str) -> str:
    for theirs, ours in (
        ("pre_logits.fc1", "classifier.0"),
        ("pre_logits.fc2", "classifier.3"),
        ("head.fc", "classifier.6"),
    ):
        name = name.replace(theirs, ours)
    return name


def _timm_mobilenet(depths: tuple[int, ...], inner: Mapping[str, str], last: int, classifier: str) -> Spelling:
    """timm counts blocks within stages, torchvision through; `inner` names the parts of a block."""

    def spell(name: str) -> str:
        if found := re.match(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(\w+)$", name):
            stage, block, part, what = found.groups()
            number = 1 + sum(depths[: int(stage)]) + int(block)
            return f"features.{number}.{inner.get(f'{stage}:{part}', inner.get(part, part))}.{what}"
        for theirs, ours in {
            "conv_stem": "features.0.0",
            "bn1": "features.0.1",
            "conv_head": f"features.{last}.0",
            "bn2": f"features.{last}.1",
            "classifier": classifier,
        }.items():
            if name.startswith(f"{theirs}."):
                return ours + name.removeprefix(theirs)
        return name

    return spell


INVERTED = {"conv_pw": "conv.0.0", "bn1": "conv.0.1", "conv_dw": "conv.1.0", "bn2": "conv.1.1", "conv_pwl": "conv.2"}
INVERTED |= {"bn3": "conv.3"}
# The first block of MobileNet v2 does not expand.
INVERTED |= {"0:conv_dw": "conv.0.0", "0:bn1": "conv.0.1", "0:conv_pw": "conv.1", "0:bn2": "conv.2"}
SEPARABLE = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1.0", "bn2": "1.1"}

SPELLINGS: dict[str, Spelling] = {
    "as they are": lambda name: name,
    "of torchvision's first DenseNets": _densenet_of_2017,
    "of timm's VGG": _timm_vgg,
    "of timm's MobileNet v1": _timm_mobilenet((1, 2, 2, 6, 2), SEPARABLE, 14, "classifier"),
    "of timm's MobileNet v2": _timm_mobilenet((1, 2, 3, 4, 3, 3, 1), INVERTED, 18, "classifier.1"),
    "with linear for fc": lambda name: re.sub(r"^linear\.", "fc.", name),
}

__all__ = ["SPELLINGS", "Loaded", "Move", "load"]
