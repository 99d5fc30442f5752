"""The same network on its fastest exact form on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from striate.acceleration.network import Accelerated, kind, without_autocast
from striate.acceleration.pages import keep_pages
from striate.acceleration.plan import Call, Plan, captured, rewritten
from striate.acceleration.report import Acceleration, Row, Step
from striate.acceleration.rewrites import REWRITES
from striate.acceleration.timing import in_turn, of_layers
from striate.errors import InputError, did_you_mean
from striate.geometry.inputs import brief
from striate.geometry.state import preserved, unwrapped

SLOWER = 1.03  # a rewrite without which the network is that much faster is left out
Example = Tensor | tuple[Any, ...] | Mapping[str, Any]


def accelerate(
    model: nn.Module,
    example: Example,
    *,
    tolerance: float = 1e-5,
    seconds: float = 0.5,
    rewrites: Sequence[str] | None = None,
    keep_memory: bool = True,
) -> Accelerated:
    """The same network on its fastest exact form on this machine: norms folded, layers fused, kernels packed.

    `example` is an input with its batch axis; several are a tuple (by position) or a dict (by name). The network is
    captured as it runs on it, in eval mode, and rewritten step by step; a rewrite stays if every output is equal to
    `tolerance`, relative to its largest number, and if the network, timed with and without it for about `seconds`
    each, is not slower for it. If all together are not faster, the network itself runs. `rewrites` names those to
    try (all of `striate.acceleration.REWRITES`). The model is left as it is, and can go on training; what is returned
    keeps the weights as they were, gives no gradients, and takes inputs of other shapes, too: see `Accelerated`.

    `keep_memory` changes the whole process, for good: the C library (glibc) keeps large blocks that anything in it has
    freed, instead of giving them back, so that no layer waits for fresh pages to be zeroed. The process stays as large
    as it once was (up to 2 GB that are free). It is worth little at batch 1 and most where results are large (ResNet-50
    with 16 images: 1.3 times); `keep_memory=False` leaves the process as it is.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()).eval()
    >>> fast = accelerate(net, torch.rand(2, 3, 16, 16), rewrites=["fold norms"], seconds=0)
    >>> fast(torch.rand(5, 3, 20, 20)).shape
    torch.Size([5, 8, 18, 18])
    >>> [(step.rewrite, step.layers) for step in fast.report.steps if step.rewrite == "fold norms"]
    [('fold norms', 1)]

    Raises InputError where the model is no nn.Module, or in training mode; where an option is out of range; where the
    network's course depends on the numbers in a tensor, it keeps something from call to call, or it draws random
    numbers.
    """
    model, names = checked(model, tolerance, seconds, rewrites)
    call = arguments(example)
    with torch.inference_mode(False), torch.no_grad(), without_autocast(), preserved(model):
        plain, wanted = captured(model, call)
        pages = keep_memory and keep_pages()
        plan = rewritten(plain, names, call, wanted, tolerance)
        plan = proved(plan, plain, call, wanted, tolerance, seconds)
        tensors = call.tensors
        before, after = in_turn([lambda: call.of(model), lambda: plan(tensors)], 2 * seconds)
        faster = after < before and bool(plan.touched)
        report = reported(plan, plain, call, (before, after), faster, pages)
    stay = tuple(step.rewrite for step in report.steps if step.kept and step.rewrite in REWRITES)
    fast = Accelerated(model, stay, tolerance, report)
    fast._plans[key_of(call)] = plan if faster else None
    return fast


def checked(
    model: nn.Module, tolerance: float, seconds: float, rewrites: Sequence[str] | None
) -> tuple[nn.Module, tuple[str, ...]]:
    """The network inside its wrappers, and the rewrites to try, in their order."""
    if not isinstance(model, nn.Module):
        fix = "Build it first: striate.build(name)." if isinstance(model, str) else "Pass a torch.nn.Module."
        raise InputError("this is no network", expected="a torch.nn.Module", got=brief(model), fix=fix)
    if isinstance(model, Accelerated):
        raise InputError("this network is accelerated already", fix="Pass the one that it was made of.")
    model = unwrapped(model)
    training = [path or type(model).__name__ for path, module in model.named_modules() if module.training]
    if training:
        fix = "Call model.eval() first: norms and dropout differ in training."
        raise InputError("a network in training mode cannot be accelerated", where=training[0], fix=fix)
    if not 0 <= tolerance < 1:
        raise InputError("a tolerance is relative", where="tolerance", expected="0 to 1", got=tolerance)
    if not 0 <= seconds < float("inf"):
        raise InputError("no time to measure in", where="seconds", expected="0 or more", got=seconds)
    unknown = [name for name in rewrites or () if name not in REWRITES]
    if unknown:
        raise InputError("unknown rewrite", got=repr(unknown[0]), fix=did_you_mean(unknown[0], REWRITES))
    return model, tuple(name for name in REWRITES if rewrites is None or name in rewrites)


def arguments(example: Example) -> Call:
    """The arguments of a call, from an example of one input or several."""
    if isinstance(example, Mapping):
        args, kwargs = (), dict(example)
    else:
        args, kwargs = example if isinstance(example, tuple) else (example,), {}
    call = Call(*pytree.tree_flatten((args, kwargs)))
    if not call.tensors:
        fix = "Pass a batch as the network takes it, such as torch.rand(1, 3, 224, 224)."
        raise InputError(
            "no example input", expected="a tensor, or a tuple or dict of them", got=brief(example), fix=fix
        )
    if any(tensor.is_meta for tensor in call.tensors):
        fix = "Outputs are compared on it, and it is timed."
        raise InputError("an example needs numbers", got="a tensor on meta", fix=fix)
    return call


def key_of(call: Call) -> Any:
    """Under which a plan is kept; see `Accelerated.forward`."""
    args, kwargs = pytree.tree_unflatten(call.leaves, call.nesting)
    if not kwargs and len(args) == 1 and isinstance(args[0], Tensor):
        return kind(args[0])
    return (call.nesting, *map(kind, call.leaves))


def proved(plan: Plan, plain: Plan, call: Call, wanted: Sequence[Tensor], tolerance: float, seconds: float) -> Plan:
    """The plan without the rewrites that do not pay: each is left out once, and both are timed in turn."""
    timed: dict[str, float] = {}
    first = plan.steps
    slower: set[str] = set()
    tensors = call.tensors
    for step in first:
        staying = [one.rewrite for one in plan.steps if one.kept]
        if not step.kept or len(staying) < 2:
            continue
        less = rewritten(plain, [name for name in staying if name != step.rewrite], call, wanted, tolerance)
        without, full = in_turn([partial(less, tensors), partial(plan, tensors)], seconds)
        timed[step.rewrite] = without
        if full > SLOWER * without:
            slower.add(step.rewrite)
            plan = less
    steps = []
    for step in first:
        if step.rewrite in slower:
            step = dataclasses.replace(step, kept=False, reason="slower with it")
        steps.append(dataclasses.replace(step, seconds_without=timed.get(step.rewrite)))
    return dataclasses.replace(plan, steps=tuple(steps))


def reported(
    plan: Plan, plain: Plan, call: Call, times: tuple[float, float], faster: bool, pages: bool
) -> Acceleration:
    """The report; where the plan is not faster, of the network as it is."""
    tensors = call.tensors
    old = of_layers(plain.graph, tensors)
    new = of_layers(plan.graph, tensors) if faster else old
    done: dict[str, list[str]] = {}
    for layer, rewrite in plan.touched if faster else ():
        done.setdefault(layer, []).append(rewrite)
    rows = tuple(Row(name, tuple(done.get(name, ())), old[name], new.get(name, 0.0)) for name in old)
    memory = Step("keep memory", 0, pages, "for the whole process" if pages else "not asked for, or no glibc")
    steps = plan.steps
    if not faster:
        steps = tuple(dataclasses.replace(s, kept=False, reason=s.reason or "not faster with all") for s in steps)
        times = (times[0], times[0])
    apart = plan.difference if faster else 0.0
    shapes = ", ".join("×".join(map(str, tensor.shape)) for tensor in tensors)
    return Acceleration(rows, (memory, *steps), *times, apart, shapes, torch.get_num_threads())
