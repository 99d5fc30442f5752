"""The parameters and buffers of a network on meta tensors, and the network left as it was."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from striate.errors import InputError
from striate.geometry.graph import Weight
from striate.geometry.shapes import like

# Integer tensors up to this size keep their numbers: they index others.
INDEX_NUMEL = 1 << 20


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside torch.compile and data-parallel wrappers.

    Raises InputError for compiled programs, whose forward is no Python any more.
    """
    while True:
        if isinstance(model, torch.jit.ScriptModule) or _is_exported(model):
            raise InputError(
                "a compiled program cannot be traced",
                got=type(model).__name__,
                fix="Pass the nn.Module that torch.jit or torch.export was given.",
            )
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        else:
            inner = model._modules.get("_orig_mod")
        if inner is None:
            return model
        model = inner


def _is_exported(model: nn.Module) -> bool:
    return any(cls.__module__.startswith("torch.export") for cls in type(model).__mro__)


@contextlib.contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Whatever a forward changes in its modules comes back: modes, weights, buffers, caches, counters; so do torch's
    random numbers. Only what is changed in place within an attribute (a list that grows) is not seen."""
    before = [
        (module, dict(vars(module)), dict(module._parameters), dict(module._buffers)) for module in model.modules()
    ]
    with torch.random.fork_rng(devices=[]), _not_compiling():
        try:
            yield
        finally:
            for module, own, parameters, buffers in before:
                _restore(vars(module), own)
                _restore(module._parameters, parameters)
                _restore(module._buffers, buffers)


def _restore(held: dict[str, Any], before: dict[str, Any]) -> None:
    held.clear()
    held.update(before)


def _not_compiling() -> contextlib.AbstractContextManager[None]:
    """Compiled parts of a network run as they are written; torch's compiler is not loaded for that."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


class State:
    """Parameters and buffers by name, on meta tensors; small ones of whole numbers, and single ones, keep them.

    `weights` describes the parameters, each under its first name; `made_of` says which parameters a tensor is.
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters: dict[str, torch.Tensor] = {}
        self.buffers: dict[str, torch.Tensor] = {}
        self.weights: dict[str, Weight] = {}
        self._read_parameters(model)
        for name, buffer in model.named_buffers(remove_duplicate=False):
            # Whole numbers index others, and a single one may decide something; copies: training writes into them.
            few = buffer.numel() <= (1 if buffer.is_floating_point() else INDEX_NUMEL)
            self.buffers[name] = buffer.detach().cpu().clone() if few and not buffer.is_meta else like(buffer)

    def _read_parameters(self, model: nn.Module) -> None:
        names: dict[int, list[str]] = {}
        tensors: dict[int, nn.Parameter] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if isinstance(parameter, nn.UninitializedParameter):
                raise InputError(
                    "a lazy layer has no weights yet",
                    where=name,
                    fix="Run the network once on an example, then describe it.",
                )
            names.setdefault(id(parameter), []).append(name)
            tensors[id(parameter)] = parameter
        for key, parameter in tensors.items():
            meta = like(parameter).requires_grad_(parameter.requires_grad)
            size = parameter.numel() * parameter.element_size()
            self.weights[names[key][0]] = Weight(
                tuple(names[key]), tuple(parameter.shape), size, parameter.requires_grad
            )
            self.parameters |= dict.fromkeys(names[key], meta)
