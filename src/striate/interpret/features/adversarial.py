"""Adversarial inputs: the smallest step along the gradient's sign that changes what the network says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.interpret.features.canvas import Limits, Range, continuous, limits_of, plain
from striate.interpret.scoring import examined, feeding
from striate.interpret.sweep import Progress, reporting
from striate.shapes import Float, Int64, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS, HALVINGS = 20, 10  # sizes that are tried in turn; then the last interval is halved so often
Attack = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Adversarial:
    """What `adversarial` found, on the CPU, item by item.

    `found` (n, c, *space): the inputs that change the answer, of the least `epsilon` (n,) that does; where none up to
    the greatest does, `epsilon` is NaN and `found` that of the greatest. `before`, `after` (n, k): probabilities of x
    and of `found` (k is 2 where the network says one number). `truth` (n,): the class that was to be left.
    """

    x: Float[Tensor, "n c *space"]
    found: Float[Tensor, "n c *space"]
    epsilon: Float[Tensor, " n"]
    before: Float[Tensor, "n k"]
    after: Float[Tensor, "n k"]
    truth: Int64[Tensor, " n"]
    parameters: dict[str, Any]

    def plot(self, names: Sequence[str] = ()) -> Figure:
        """A row for each item: the input, the change (enlarged, signed), the result; with what is said of them."""
        from striate.interpret.features.panels import draw_adversarial

        return draw_adversarial(self, names)

    @property
    def unit(self) -> str:
        """What epsilon counts."""
        return "a share of the valid range" if self.parameters["limits"] else "in the input's own units"

    def table(self, names: Sequence[str] = ()) -> Table:
        """A row for each item."""
        table = Table("item", "class", "before", "after", "epsilon", title=f"{self.title()}, epsilon: {self.unit}")
        for item, truth in enumerate(self.truth.tolist()):
            told = [self.told(item, chances, names) for chances in (self.before, self.after)]
            size = float(self.epsilon[item])
            at_most = f"none up to {self.parameters['most']:g}"
            table.add_row(str(item), _named(truth, names), *told, at_most if math.isnan(size) else f"{size:.4g}")
        return table

    def json(self) -> dict[str, Any]:
        """Everything but the inputs as plain types; an epsilon that is not there is None."""
        epsilon = [None if math.isnan(size) else size for size in self.epsilon.tolist()]
        numbers = {name: getattr(self, name).tolist() for name in ("before", "after", "truth")}
        return {"method": self.title(), "parameters": self.parameters, "epsilon": epsilon, **numbers}

    def save(self, path: str | Path) -> None:
        """Write all tensors into a safetensors file, the rest into its header."""
        names = ("x", "found", "epsilon", "before", "after", "truth")
        facts = {"method": self.title(), "parameters": self.parameters}
        save_tensors(Path(path), {name: getattr(self, name) for name in names}, facts)

    def told(self, item: int, chances: Float[Tensor, "n k"], names: Sequence[str] = ()) -> str:
        """What is said of an item, and how likely: "7 (93%)"."""
        best = int(chances[item].argmax())
        return f"{_named(best, names)} ({float(chances[item, best]):.0%})"

    def title(self) -> str:
        """The method: "gradient sign (FGSM)"."""
        steps = self.parameters["steps"]
        return "gradient sign (FGSM)" if steps == 1 else f"projected gradient, {steps} steps (PGD)"


def adversarial(
    model: nn.Module,
    x: Float[Tensor, "n c *space"],
    target: int | Sequence[int] | Int64[Tensor, "..."] | None = None,
    *,
    towards: int | None = None,
    limits: Limits = None,
    most: float = 0.5,
    steps: int = 1,
    progress: Progress = False,
) -> Adversarial:
    """Inputs near `x` of another answer: no value is changed by more than the least epsilon that does it.

        one step (FGSM):  x + epsilon · r · sign(grad of the cross-entropy of `target`)
        several (PGD):    such steps of 2.5 epsilon / steps each, cut to epsilon · r around x after each

    `target`: the class to leave, one or one for each item; by default what the network says of x. `towards`: a class to
    reach instead of any other. `limits`: the range of valid inputs, (low, high) or a card's `preprocess`: results stay
    within, and epsilon is a share of it (r = high - low, channel by channel: 1/255 is one level of 8 bits). Without,
    nothing is cut, epsilon is in x's own units (r = 1), and the result need be no picture that a file could hold.
    `most`: the greatest epsilon; 20 sizes up to it are tried in turn, and the interval is halved 10 times before the
    first that succeeds: a smaller one between two of them may be missed. An item whose answer is not `target` (or is
    `towards`) at first has epsilon 0.

    The outputs are logits (n, k) of classes, or (n,) or (n, 1) of a yes or no. Raises InputError for other outputs, a
    class that is not there, an x outside the limits, and numbers out of range.
    Source: Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples", section 4; Madry et
    al. 2018, "Towards deep learning models resistant to adversarial attacks", section 2.1 (here from x, without noise).

    >>> said = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
    >>> _ = said[1].weight.data.copy_(torch.tensor([[3.0, -1.0]]))
    >>> found = adversarial(said, torch.tensor([[[1.0, 1.0]]]))  # w·x / |w|_1 = 2 / 4
    >>> round(float(found.epsilon), 3), found.before.argmax(1).item(), found.after.argmax(1).item()
    (0.5, 1, 0)
    """
    if steps < 1 or not 0 < most < math.inf:
        got = f"steps={steps}, most={most}"
        raise InputError("cannot search", expected="steps of at least 1, a positive greatest epsilon", got=got)
    x = continuous(model, x)
    bounds = limits_of(limits, x)
    _check_inside(x, bounds)
    with examined(model) as model, torch.no_grad():
        before = _logits(model, x)
        truth = _classes("target", target, before) if target is not None else before.argmax(1)
        aim = None if towards is None else _classes("towards", towards, before)

        def attack(epsilon: Tensor) -> Tensor:
            return _stepped(model, x, truth, aim, epsilon, steps, bounds)

        def fooled(inputs: Tensor) -> Tensor:
            said = _logits(model, inputs).argmax(1)
            return said != truth if aim is None else said == aim

        with reporting(progress, LEVELS + HALVINGS, "adversarial") as report:
            epsilon = _least(attack, fooled, x, most, report)
        found = attack(epsilon.nan_to_num(most))
        after = _logits(model, found)
    parameters = {"towards": towards, "most": most, "steps": steps, "limits": plain(bounds)}
    first, last = (logits.softmax(1).cpu() for logits in (before, after))
    return Adversarial(x.cpu(), found.cpu(), epsilon.cpu(), first, last, truth.cpu(), parameters)


def _least(
    attack: Attack, fooled: Attack, x: Tensor, most: float, report: Callable[[int], None]
) -> Float[Tensor, " n"]:
    """The least epsilon of each item: the first of the levels that fools, then halved towards the one before it."""
    n = len(x)
    high = torch.full((n,), math.nan, dtype=torch.float64, device=x.device)
    low = torch.zeros_like(high)
    high[fooled(x)] = 0.0
    for level in range(1, LEVELS + 1):
        size = most * level / LEVELS
        if bool(high.isnan().any()):
            new = fooled(attack(torch.full_like(high, size))) & high.isnan()
            high[new] = size
            low[new] = most * (level - 1) / LEVELS
        report(1)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        fools = fooled(attack(middle.nan_to_num(most)))
        high = torch.where(fools & (high > 0), middle, high)
        low = torch.where(fools, low, middle)
        report(1)
    return high


def _stepped(
    model: nn.Module, x: Tensor, truth: Tensor, aim: Tensor | None, epsilon: Tensor, steps: int, bounds: Range | None
) -> Tensor:
    """Steps along the sign of the gradient, each cut to the ball of the greatest norm, and to the range."""
    reach = epsilon.to(x).reshape(-1, *[1] * (x.dim() - 1))
    if bounds is not None:
        reach = reach * (bounds[1] - bounds[0])
    made = x
    for _ in range(steps):
        with torch.enable_grad():
            leaf = made.detach().requires_grad_()
            logits = _logits(model, leaf)
            loss = F.cross_entropy(logits, truth if aim is None else aim, reduction="sum")
            (slope,) = torch.autograd.grad(loss, leaf)
        step = reach if steps == 1 else 2.5 * reach / steps
        made = made + step * slope.sign() * (1 if aim is None else -1)
        made = torch.minimum(torch.maximum(made, x - reach), x + reach)
        made = made if bounds is None else made.clamp(*bounds)
    return made


def _logits(model: nn.Module, x: Tensor) -> Float[Tensor, "n k"]:
    """The outputs as logits of classes; one number z is that of a yes: (0, z)."""
    with feeding(model, x):
        output = model(x.clone())  # it may begin in place
    output = output[0] if isinstance(output, tuple | list) else output
    if isinstance(output, Tensor) and output.is_floating_point() and len(output) == len(x):
        if output.dim() == 1 or (output.dim() == 2 and output.shape[1] == 1):
            return F.pad(output.reshape(-1, 1), (1, 0))
        if output.dim() == 2:
            return output
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError("no classes to mix up", expected="outputs (n, k), one logit a class", got=got)


def _classes(name: str, given: Any, logits: Tensor) -> Int64[Tensor, " n"]:
    """One class for each item; InputError for what the outputs do not have."""
    n, k = logits.shape
    expected = f"a class of 0 to {k - 1}, or {n} of them"
    try:
        classes = torch.as_tensor(given, device=logits.device)
        whole = not (classes.is_floating_point() or classes.dtype == torch.bool)
        classes = classes.long().expand(n)
    except (TypeError, ValueError, RuntimeError):
        raise InputError("no such class", where=name, expected=expected, got=repr(given)) from None
    if not whole or int(classes.min()) < 0 or int(classes.max()) >= k:
        raise InputError("no such class", where=name, expected=expected, got=classes.tolist())
    return classes


def _check_inside(x: Tensor, bounds: Range | None) -> None:
    if bounds is not None:
        slack = 1e-4 * (bounds[1] - bounds[0])
        if not bool(((x >= bounds[0] - slack) & (x <= bounds[1] + slack)).all()):
            got = f"{float(x.min()):.4g} to {float(x.max()):.4g}"
            fix = "Pass the range of the network's inputs, a card's preprocess say."
            raise InputError("the input lies outside its limits", got=got, fix=fix)


def _named(number: int, names: Sequence[str]) -> str:
    return names[number] if names else str(number)
