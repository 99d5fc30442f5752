"""Many changes of one input run through the engine, and the wanted numbers of each output kept."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, SupportsIndex

import torch
from torch import nn

from striate.errors import InputError
from striate.locality.patch.engine import PatchEngine
from striate.shapes import Float, Int64, Tensor

# Index or indices along axis 1 of the output; a function of outputs (p, ...) that keeps the first axis; None for all.
Target = SupportsIndex | Sequence[SupportsIndex] | Callable[[Tensor], Tensor] | None
# Told (done, total, what); True draws a bar.
Progress = Callable[[int, int, str], None] | bool
Report = Callable[[int], None]  # told how many more are done
# Where the scores go, where the changes begin, what stands there then: (p,), (p, r) and (p or 1, c, *window).
Change = tuple[Int64[Tensor, "p"], Int64[Tensor, "p r"], Float[Tensor, "_ c *window"]]
MOST_BYTES = 1 << 32  # of scores
BLOCK_BYTES = 1 << 26  # of changed values handed over at a time


def sweep(
    engine: PatchEngine,
    changes: Iterable[Change],
    sides: Sequence[int],
    target: Target,
    report: Report,
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The target's values for the input itself (base), and for the changes: the axes of base, then `sides`.

    A change's first part says which of the prod(sides) scores it is; those that no change makes are the base.
    `report` is told how many more are done, in all prod(sides). Outputs that are no floats (a decision) become floats.
    Raises InputError for a target that the output does not have, outputs of which none is finite, and scores that no
    memory would hold.
    """
    base = _kept(engine.base, target)[0]
    if not bool(base.isfinite().any()):
        fix = "Explain a layer before what divides by zero or overflows (layer=...)."
        raise InputError("the output that is explained is no number", got=float(base.flatten()[0]), fix=fix)
    total = math.prod(sides)
    if base.numel() * total * base.element_size() > MOST_BYTES:
        raise InputError(
            "all outputs of all changes are too many to keep",
            expected=f"at most {MOST_BYTES:,} bytes",
            got=f"{' × '.join(map(str, (*base.shape, *sides)))} scores",
            fix="Choose some outputs (target=3), or pass a function: target=lambda output: output[:, 3].mean((1, 2)).",
        )
    scores = base.expand(total, *base.shape).clone()
    left = total
    for index, starts, values in changes:
        for which, output in engine.evaluate(starts, values):
            scores[index[which]] = _kept(output, target)
            left -= len(which)
            report(len(which))
    if left:
        report(left)
    return base, scores.movedim(0, -1).reshape(*base.shape, *sides)


def _kept(output: Tensor, target: Target) -> Tensor:
    """The target's part as floats on the CPU."""
    part = chosen(output, target).cpu()
    return part if part.is_floating_point() or part.is_complex() else part.float()


def chosen(output: Tensor, target: Target) -> Tensor:
    """The target's part of outputs (p, ...): (p,) for an index or (p, ...).

    Raises InputError for an index that axis 1 does not have and a function that does not keep axis 0.

    >>> output = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> chosen(output, 2), chosen(output, [0, 2]), chosen(output, lambda output: output.sum(1))
    (tensor([3., 6.]), tensor([[1., 3.],
            [4., 6.]]), tensor([ 6., 15.]))
    """
    if target is None:
        return output
    if callable(target) and not isinstance(target, Tensor):
        made = target(output)
        if not isinstance(made, Tensor) or not made.dim() or len(made) != len(output):
            got = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
            expected = f"a tensor with {len(output)} on its first axis, as its argument {tuple(output.shape)}"
            raise InputError("the target function does not keep the first axis", expected=expected, got=got)
        return made
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        index = torch.as_tensor(target)
        whole = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
        if whole and index.dim() <= 1 and index.numel() and output.dim() > 1:
            classes = output.shape[1]
            if int(index.min()) >= -classes and int(index.max()) < classes:
                return output[:, index.to(output.device)]
    has = f"0 to {output.shape[1] - 1}" if output.dim() > 1 else "None or a function: the output is one number"
    raise InputError("no such target", expected=f"{has} (output {tuple(output.shape)})", got=target)


def native(model: nn.Module, x: Any) -> Tensor:
    """A tensor of the type and on the device that the model takes: a weight of it, or x if that is one of floats."""
    own = x if isinstance(x, Tensor) and x.is_floating_point() else torch.zeros(())
    return next((p.detach() for p in model.parameters() if p.is_floating_point()), own)


def described(target: Target) -> Any:
    """A target as plain types, for a record of it."""
    if callable(target) and not isinstance(target, Tensor):
        return getattr(target, "__qualname__", type(target).__name__)
    return target if target is None else torch.as_tensor(target).tolist()


@contextlib.contextmanager
def reporting(progress: Progress, total: int, what: str) -> Iterator[Report]:
    """Adds up what is done of `total`, for the caller's function, or a bar on the terminal or in the notebook."""
    if not progress:
        yield lambda _more: None
        return
    if not isinstance(progress, bool):
        tell, done = progress, 0

        def add(more: int) -> None:
            nonlocal done
            done += more
            tell(done, total, what)

        yield add
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total or None)  # 0: nobody knows
        yield lambda more: bars.update(task, advance=more)
