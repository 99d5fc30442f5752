"""What every explanation begins with: checked inputs, one number an item, layers of a network that is left as found."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from striate.errors import InputError, StriateError, did_you_mean
from striate.geometry.state import preserved, unwrapped
from striate.interpret.sweep import Target, chosen, native
from striate.shapes import Float, Tensor


def checked(model: nn.Module, x: Any) -> Tensor:
    """`x` on the device of the model: floats (n, c, *space) in the type of its weights, tokens (n, t) as they are.

    Raises InputError for what is no batch, and for NaN and infinity, which it names the place of.
    """
    expected = "a tensor (n, c, *space) of floats, or tokens (n, t)"
    if not isinstance(x, Tensor):
        fix = "Make it a tensor: torch.as_tensor(x)."
        raise InputError("cannot explain this input", expected=expected, got=type(x).__name__, fix=fix)
    if not x.numel() or x.dim() < (3 if x.is_floating_point() else 2) or x.is_complex():
        raise InputError("cannot explain this input", expected=expected, got=f"{x.dtype} {tuple(x.shape)}")
    like = native(model, x)
    found: Tensor = x.detach().to(like) if x.is_floating_point() else x.detach().to(like.device)
    if found.is_floating_point() and not bool((finite := found.isfinite()).all()):
        at = tuple(int(i) for i in (~finite).nonzero()[0])
        raise InputError("the input has a value that is no number", where=f"x{list(at)}", got=float(found[at]))
    return found


def scored(output: Tensor, target: Target | Sequence[int] = None) -> Float[Tensor, " n"]:
    """The number of each item that is explained.

    `target`: None, the greatest output of each item; an index along axis 1 (the class); one index for each item; or
    a function of outputs (n, ...) that keeps the first axis. Of dense outputs (n, k, *space) the class's map counts
    as its sum, as what a function leaves.

    Raises InputError for an index that axis 1 does not have, and a function that does not keep axis 0.

    >>> output = torch.tensor([[1.0, 2.0], [4.0, 3.0]])
    >>> scored(output), scored(output, 0), scored(output, [0, 1])
    (tensor([2., 4.]), tensor([1., 4.]), tensor([1., 3.]))
    """
    if callable(target) and not isinstance(target, Tensor):
        return _total(chosen(output, target), 1)
    if output.dim() < 2:
        return output if target is None else chosen(output, target)
    classes = _total(output, 2)
    if target is None:
        return classes.amax(1)
    each = one_each(target, len(output))
    return chosen(classes, target) if each is None else chosen(classes, each).diagonal()


def one_each(target: Target | Sequence[int], items: int) -> list[int] | None:
    """The indices where each item has its own; None where one target is meant for all.

    Raises InputError where they are not as many as the items, and for what is no target.

    >>> one_each([2, 0], 2), one_each(2, 2)
    ([2, 0], None)
    """
    if target is None or (callable(target) and not isinstance(target, Tensor)):
        return None
    try:
        index = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise _no_target(target) from None
    if index.dim() == 1 and len(index) != items:
        expected = f"one index, or {items} (one for each item)"
        raise InputError("the targets are not one for each item", expected=expected, got=index.tolist())
    if index.dim() > 1 or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise _no_target(target)
    return [int(number) for number in index] if index.dim() else None


def _no_target(target: Any) -> InputError:
    expected = "an index along axis 1 of the output, one for each item, a function of the output, or None"
    return InputError("no such target", expected=expected, got=repr(target))


def no_number(scores: Tensor, what: str = "the output that is explained") -> InputError:
    """What to raise where `scores`, one an item, are not all finite."""
    item = int((~scores.isfinite()).flatten().nonzero()[0])
    fix = "Explain a layer before what divides by zero or overflows (layer=...)."
    return InputError(f"{what} is no number", where=f"item {item}", got=float(scores.flatten()[item]), fix=fix)


def classes_of(output: Tensor, target: Target | Sequence[int] = None) -> list[int] | None:
    """The index of each item that `scored` takes, where it is one."""
    if callable(target) and not isinstance(target, Tensor):
        return None
    if target is None:
        return _total(output, 2).argmax(1).tolist() if output.dim() > 1 else None
    each = one_each(target, len(output))
    return [int(target)] * len(output) if each is None else each  # type: ignore[arg-type]


def _total(output: Tensor, axes: int) -> Tensor:
    return output.flatten(axes).sum(axes) if output.dim() > axes else output


@contextlib.contextmanager
def examined(model: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode, its parameters without gradients; modes, states, random numbers as found afterwards."""
    model = unwrapped(model)
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    with preserved(model):
        try:
            model.eval()
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            yield model
        finally:
            for parameter, flag in wanted:
                parameter.requires_grad_(flag)


def find_layer(model: nn.Module, path: str) -> nn.Module:
    """The module at a path, the network itself at "".

    Raises InputError that proposes paths like it.
    """
    paths = dict(unwrapped(model).named_modules(remove_duplicate=False))
    if path not in paths:
        fix = did_you_mean(path, (known for known in paths if known))
        raise InputError("the network has no such layer", got=repr(path), fix=fix)
    found: nn.Module = paths[path]
    return found


@contextlib.contextmanager
def feeding(model: nn.Module, x: Tensor) -> Iterator[None]:
    """Whatever a network raises on an input (of too few channels, say) as an error of one line."""
    try:
        yield
    except (StriateError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".partition("\n")[0].split())
        raise InputError(
            "the network fails on this input",
            where=type(model).__name__,
            got=f"items {tuple(x.shape[1:])} of {str(x.dtype).removeprefix('torch.')} ({said})",
            fix="Is x as the network takes it (channels, sizes, type)?",
        ) from error


def output_of(model: nn.Module, x: Tensor, layer: str = "") -> Tensor:
    """The first tensor that a layer returns at its last call, "" for the network itself; whatever graph it has.

    x is never written into, also by a network that begins in place.

    Raises InputError where the layer is not called, or returns no tensor.
    """
    if not layer:
        with feeding(model, x):
            return first_tensor(answered(model, x), type(model).__name__)
    seen: list[Any] = []
    # A view would be written into by an in-place activation that follows.
    hook = find_layer(model, layer).register_forward_hook(
        lambda _module, _args, out: seen.append(first_tensor(out, layer).clone())
    )
    with hook, feeding(model, x):
        answered(model, x)
    if not seen:
        raise never_called(layer)
    last: Tensor = seen[-1]
    return last


def output_after(
    model: nn.Module, x: Tensor, layer: str, values: Tensor | None = None
) -> tuple[Tensor, Float[Tensor, "n ..."]]:
    """The network's output, and the output of a layer that it was computed from, a leaf of the graph.

    `values`: what the layer's output is replaced by. Nothing before the layer is in the graph. Of a layer that is
    called several times it is the last call.

    Raises InputError where the layer is not called, or returns no tensor of floats.
    """
    leaves: list[Tensor] = []

    def cut(_module: nn.Module, _args: Any, out: Any) -> Any:
        found = first_tensor(out, layer)
        if not found.is_floating_point():
            raise InputError("the layer returns no floats", where=layer, got=found.dtype)
        torch.set_grad_enabled(True)
        leaves.append((found if values is None else values).detach().requires_grad_())
        return with_first(out, leaves[-1].clone())  # an in-place activation may follow, which no leaf allows

    with find_layer(model, layer).register_forward_hook(cut), torch.no_grad(), feeding(model, x):
        output = first_tensor(answered(model, x), type(model).__name__)
    if not leaves:
        raise never_called(layer)
    return output, leaves[-1]


def answered(run: Callable[[Tensor], Any], x: Tensor) -> Any:
    """What a network makes of a copy of x, in another layout where it takes a view that channels innermost forbid."""
    graph = torch.is_grad_enabled()
    try:
        return run(x.clone())
    except RuntimeError as error:
        if "view size is not compatible" not in str(error) or x.is_contiguous():
            raise
    torch.set_grad_enabled(graph)
    return run(x.clone(memory_format=torch.contiguous_format))


def never_called(layer: str) -> InputError:
    """What to raise for a layer that the forward does not reach."""
    fix = "Name a layer that the network runs for such an input."
    return InputError("the layer was not called", where=layer, got="no output", fix=fix)


def first_tensor(found: Any, where: str) -> Tensor:
    """A tensor itself, or the first in a tuple, list or dictionary.

    Raises InputError where there is none.
    """
    if isinstance(found, Tensor):
        return found
    parts = found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
    for part in parts:
        with contextlib.suppress(InputError):
            return first_tensor(part, where)
    raise InputError("the layer returns no tensor", where=where, got=type(found).__name__)


def with_first(found: Any, new: Tensor) -> Any:
    """What a layer returned with `new` in place of its `first_tensor`, as it was otherwise: tuple, dictionary ...

    >>> with_first((None, {"h": torch.zeros(1)}, 3), torch.ones(1))
    (None, {'h': tensor([1.])}, 3)
    """
    if isinstance(found, Tensor):
        return new
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    key, part = next((key, part) for key, part in pairs if _holds_tensor(part))
    if isinstance(found, dict | list):
        made = copy.copy(found)
        made[key] = with_first(part, new)
        return made
    several = [*found[:key], with_first(part, new), *found[key + 1 :]]
    return type(found)(*several) if hasattr(found, "_fields") else type(found)(several)


def _holds_tensor(found: Any) -> bool:
    with contextlib.suppress(InputError):
        return first_tensor(found, "") is not None
    return False
