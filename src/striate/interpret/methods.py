"""Every way to explain, by name: what the command line and the gallery know."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from striate.errors import InputError
from striate.interpret.attribution.gradients import (
    deconvnet,
    deep_lift,
    gradient,
    gradient_times_input,
    guided_backpropagation,
    integrated_gradients,
    smooth_grad,
)
from striate.interpret.mutagenesis import mutagenesis
from striate.interpret.occlusion import occlusion
from striate.interpret.sweep import Progress, Target
from striate.registry import Registry, bind_options, parse_spec
from striate.shapes import Num, Tensor

COMMON = ("target", "layer", "progress")  # what many methods take, and `explain` hands on


@dataclass(frozen=True)
class Method:
    """A registered method: `function(model, x, *, target, layer, progress, **options)`, of these what it takes.

    `reading`: how to read its picture, a sentence for those who see one for the first time.
    """

    name: str
    function: Callable[..., Any]
    reading: str

    @property
    def summary(self) -> str:
        """What it shows, in one line."""
        return " ".join((inspect.getdoc(self.function) or "").partition("\n\n")[0].split())

    @property
    def options(self) -> dict[str, Any]:
        """Its own options and their values by default."""
        known = inspect.signature(self.function).parameters
        return {key: option.default for key, option in list(known.items())[2:] if key not in COMMON}

    def takes(self, name: str) -> bool:
        """Whether the function has an argument."""
        return name in inspect.signature(self.function).parameters

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        return {"name": self.name, "summary": self.summary, "reading": self.reading, "options": self.options}


METHODS: Registry[Method] = Registry("method")


def explain(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    method: str = "occlusion",
    *,
    target: Target = None,
    layer: str = "",
    progress: Progress = False,
    **options: Any,
) -> Any:
    """One method of `METHODS` by its name, or as name:option=value,…, on a batch.

    Raises InputError for an unknown method or option, for a target or a layer given to a method that has none, and
    what the method raises.

    >>> import torch
    >>> mean = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> explain(mean, torch.ones(1, 1, 4), "gradient:target=0").scores
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    name, given = parse_spec(method)
    entry = METHODS[name]
    given = bind_options("method", name, entry.function, {**given, **options}, skip=2)
    for key, value in (("target", target), ("layer", layer or None), ("progress", progress)):
        if value is None or key in given:
            continue
        if entry.takes(key):
            given[key] = value
        elif key == "layer":
            raise InputError(f"method {name} has no {key}", got=value, fix=f"Leave it out, or see: {_with(key)}.")
    return entry.function(model, x, **given)


def _with(option: str) -> str:
    return ", ".join(entry.name for entry in METHODS.values() if entry.takes(option))


for _method in (
    Method(
        "occlusion",
        occlusion,
        "A patch covers the input, place by place. Red is where covering lowers the output: the network uses what is "
        "there. Blue is where covering raises it. Too small a patch shows little of things that stand twice.",
    ),
    Method(
        "mutagenesis",
        mutagenesis,
        "Each position is changed to each other letter. Red changes raise the output, blue ones lower it; a column of "
        "blue is a letter that the network needs.",
    ),
    Method(
        "gradient",
        gradient,
        "How much the output changes with each value, for very small changes. It is noisy, and says where the network "
        "is sensitive, not what speaks for the answer.",
    ),
    Method(
        "gradient_times_input",
        gradient_times_input,
        "The gradient times the input: red speaks for the output, blue against it, exactly only for linear networks.",
    ),
    Method(
        "integrated_gradients",
        integrated_gradients,
        "Shares of the difference between this output and that of an empty input: red speaks for it, blue against "
        "it, and all shares sum to the difference.",
    ),
    Method(
        "smooth_grad",
        smooth_grad,
        "The mean gradient of many noisy copies of the input: as the gradient, with less noise.",
    ),
    Method(
        "deep_lift",
        deep_lift,
        "Shares of the difference between this output and that of an empty input, by slopes between both: red speaks "
        "for it, blue against it, and all shares sum to the difference.",
    ),
    Method(
        "guided_backpropagation",
        guided_backpropagation,
        "A sharp picture of what excites the unit. It changes little when the upper layers are made random: it shows "
        "what the network can see, not why it answers.",
    ),
    Method(
        "deconvnet",
        deconvnet,
        "The unit projected back by transposed filters and the pooling's switches: the pattern in this input that "
        "excites it. As with guided backpropagation, it says little about the answer.",
    ),
):
    METHODS.add(_method)
