"""Tensors and facts in one safetensors file, written so that the file before it is never lost."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from striate.errors import InputError, StorageError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: into a neighbor, to the disk, then renamed over `path`.

    Raises StorageError when it cannot be written (a full disk, no permission); what `path` held is untouched.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        kept = " What it held before is kept." if path.exists() else ""
        raise StorageError(f"cannot write {path}: {error.strerror}.{kept} Free some space and resume.") from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write named tensors, and `facts` (JSON) in the file's header."""
    packed = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, serialize(packed, metadata={"striate": json.dumps(facts)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts that `save_tensors` wrote; InputError for a missing, broken or foreign file."""
    if not path.is_file():
        raise InputError("no such file", where=path, expected="a file that striate saved")
    try:
        with safe_open(path, framework="pt") as file:
            names, facts = file.keys(), (file.metadata() or {}).get("striate")
            if facts is not None:
                return {name: file.get_tensor(name) for name in names}, json.loads(facts)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError("cannot read tensors", where=path, got=str(error).strip() or type(error).__name__) from None
    raise InputError(
        "tensors of another program",
        where=path,
        expected="a file that striate saved",
        got="no metadata of striate",
        fix="Take others' weights by striate.port.load(model, state_dict), and write them by striate.runs.save_model.",
    )


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: object) -> None:
    """Copy weights into `model`; InputError that names the first tensors that do not match, changing nothing."""
    own = model.state_dict()
    differences = [
        f"{name} {_shape(tensors.get(name))} in the file, {_shape(own.get(name))} in the network"
        for name in dict.fromkeys([*own, *tensors])
        if _shape(tensors.get(name)) != _shape(own.get(name))
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise InputError(
            "the weights are of another network",
            where=where,
            got="; ".join(differences[:3]) + more,
            fix="Build the network as it was saved (model.json or recipe.yaml beside the weights).",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(map(str, tensor.shape)) or "scalar"
