"""A captured network with rewrites applied, each held against the network itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from striate.acceleration.capture import capture
from striate.acceleration.graph import aten, clean, copied
from striate.acceleration.report import Step
from striate.acceleration.rewrites import REWRITES
from striate.errors import InputError
from striate.geometry.failure import MAY_BE_THE_SIZE, place
from striate.geometry.running import watched

NOTHING = "nothing to do"


@dataclass(frozen=True)
class Call:
    """Arguments of one call, flat, and how they nest."""

    leaves: list[Any]
    nesting: pytree.TreeSpec

    @property
    def tensors(self) -> list[Tensor]:
        """The arguments that are tensors."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]

    def of(self, model: Callable[..., Any]) -> Any:
        """What a network returns."""
        args, kwargs = pytree.tree_unflatten(self.leaves, self.nesting)
        return model(*args, **kwargs)


@dataclass(frozen=True)
class Plan:
    """A network for inputs of one shape: a graph over flat tensors, and how its results nest."""

    graph: GraphModule
    nesting: pytree.TreeSpec
    leaves: tuple[Any, ...]  # results, flat: ... for each tensor, and what is none
    steps: tuple[Step, ...] = ()
    touched: tuple[tuple[str, str], ...] = ()  # layer, rewrite
    difference: float = 0.0

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        found = iter(self.graph.forward(*tensors))
        return pytree.tree_unflatten([next(found) if leaf is ... else leaf for leaf in self.leaves], self.nesting)


def captured(model: nn.Module, call: Call) -> tuple[Plan, list[Tensor]]:
    """The network without rewrites, and its results as they are.

    Raises InputError where it fails (naming the layer), cannot be captured, or where two runs differ (it draws random
    numbers).
    """
    flat, nesting = pytree.tree_flatten(answered(model, call))
    wanted = [leaf for leaf in flat if isinstance(leaf, Tensor)]
    graph = capture(model, call.leaves, call.nesting)
    apart = difference(graph.forward(*call.tensors), wanted)
    if apart > 1e-6:
        raise InputError(
            "this network does not return the same twice",
            where=type(model).__name__,
            got=f"a difference of {apart:.0e}",
            fix="Accelerate the part that draws no random numbers; dropout rests in eval mode.",
        )
    return Plan(graph, nesting, tuple(... if isinstance(leaf, Tensor) else leaf for leaf in flat)), wanted


def answered(model: nn.Module, call: Call) -> Any:
    """What the network returns. Raises InputError that names the layer at which it fails."""
    failed: list[str] = []

    def left(path: str, module: nn.Module, _output: Any, fails: bool) -> None:
        if fails:
            failed.append(place(path, module))

    try:
        with watched(model, left):
            return call.of(model)
    except MAY_BE_THE_SIZE as error:
        shapes = " and ".join("x".join(map(str, tensor.shape)) for tensor in call.tensors)
        raise InputError(
            "the network cannot take this input",
            where=f"at {failed[0] if failed else place('', model)}",
            got=f"{shapes}: {str(error).splitlines()[0]}",
            fix="Pass an input as the network takes it, with its batch axis.",
        ) from error


def rewritten(plain: Plan, names: Sequence[str], call: Call, wanted: Sequence[Tensor], tolerance: float) -> Plan:
    """The plan with rewrites applied one after the other; one whose results differ, or that fails, is left out."""
    graph, steps, touched, apart = plain.graph, [], [], 0.0
    for name in names:
        trial = copied(graph)
        try:
            layers = REWRITES[name](trial)
            found = settled(clean(trial), call, wanted) if layers else []
        except Exception as error:  # whatever it is, the network runs without it; the report says so
            steps.append(Step(name, 0, False, f"failed: {type(error).__name__}: {str(error).splitlines()[0][:80]}"))
            continue
        differs = difference(found, wanted) if layers else 0.0
        kept = bool(layers) and differs <= tolerance
        reason = "" if kept else f"outputs differ by {differs:.0e}" if layers else NOTHING
        steps.append(Step(name, len(set(layers)), kept, reason))
        if kept:
            graph, apart = trial, differs
            touched += [(layer, name) for layer in dict.fromkeys(layers)]
    return Plan(graph, plain.nesting, plain.leaves, tuple(steps), tuple(touched), apart)


def settled(graph: GraphModule, call: Call, wanted: Sequence[Tensor]) -> Sequence[Tensor]:
    """Its results, now as contiguous as the network's own: what follows may take views of them."""
    found = run(graph, call)
    output = next(node for node in graph.graph.nodes if node.op == "output")
    loose = [w.is_contiguous() and not f.is_contiguous() for f, w in zip(found, wanted, strict=True)]
    if not any(loose):
        return found
    results = list(output.args[0])
    with graph.graph.inserting_before(output):
        for place in [place for place, one in enumerate(loose) if one]:
            results[place] = graph.graph.call_function(aten.contiguous.default, (results[place],))
    output.args = (results,)
    graph.recompile()
    return run(graph, call)


def run(graph: GraphModule, call: Call) -> Sequence[Tensor]:
    """The graph's results for a call."""
    found: Sequence[Tensor] = graph.forward(*call.tensors)
    return found


def difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Largest difference of an output's numbers by its largest number; infinite where shapes or types differ."""
    worst = 0.0
    for one, two in zip(found, wanted, strict=True):
        if one.shape != two.shape or one.dtype != two.dtype or not torch.equal(one.isfinite(), two.isfinite()):
            return float("inf")
        if torch.equal(one, two) or not two.numel():
            continue
        if not (two.is_floating_point() or two.is_complex()):
            return float("inf")
        finite = two.isfinite()
        if not torch.equal(one[~finite].nan_to_num(), two[~finite].nan_to_num()):
            return float("inf")
        apart = float((one[finite] - two[finite]).abs().max()) if finite.any() else 0.0
        worst = max(worst, apart / max(float(two[finite].abs().max()), 1e-30) if apart else 0.0)
    return worst
