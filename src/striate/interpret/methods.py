"""Every way to explain, by name: what the command line and the gallery know."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from types import NoneType
from typing import Any

import torch
from torch import nn

from striate.errors import InputError, did_you_mean
from striate.interpret.attribution.cam import grad_cam, grad_cam_pp, layer_cam, score_cam
from striate.interpret.attribution.dense import cam
from striate.interpret.attribution.gradients import (
    deconvnet,
    deep_lift,
    gradient,
    gradient_times_input,
    guided_backpropagation,
    integrated_gradients,
    smooth_grad,
)
from striate.interpret.features.ablation import ablate
from striate.interpret.features.adversarial import adversarial
from striate.interpret.features.embedding import embed
from striate.interpret.features.equivariance import equivariance
from striate.interpret.features.filters import filters
from striate.interpret.features.invert import invert
from striate.interpret.features.maps import feature_maps
from striate.interpret.features.maximize import maximize
from striate.interpret.features.patches import top_patches
from striate.interpret.features.separation import probes, separation
from striate.interpret.mutagenesis import mutagenesis
from striate.interpret.occlusion import occlusion
from striate.interpret.sweep import Progress, Target
from striate.recipe import read_as
from striate.registry import Registry, parse_spec
from striate.shapes import Num, Tensor

# What a caller may know and a method may ask for: what is explained, of which layer's output ("layer"), or a layer that
# is looked at ("at"; the argument is `layer`, too), the range of valid inputs (numbers or an
# `Input`), batches (inputs, targets) of a set, and the names of its classes.
GIVEN = ("target", "layer", "at", "progress", "limits", "batches", "names")
# Annotations of options: of plain types, of several numbers, of what no text can say.
PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "None": NoneType}
SEVERAL, OBJECTS = ("Sequence[", "Iterable[", "Shifts"), ("Set", "Score", "Float[")


@dataclass(frozen=True)
class Method:
    """A registered method: `call(model, x, **what it takes of GIVEN, **options)`, by default `function` itself.

    `reading`: how to read its picture, a sentence for those who see one for the first time; {above} and {below} stand
    for how it shows values above and below zero, see `caption`. `takes`: the names of
    GIVEN that it asks for; of a set (`batches`) or a network alone x is only an example. `strongest`: whether it is of
    one unit, so that of a channel's map, where a target is a channel, the greatest value is meant instead of the sum.
    """

    name: str
    function: Callable[..., Any]
    reading: str
    takes: tuple[str, ...] = ("target", "layer", "progress")
    call: Callable[..., Any] | None = None
    strongest: bool = False

    @property
    def summary(self) -> str:
        """What it shows, in one line."""
        return " ".join((inspect.getdoc(self.function) or "").partition("\n\n")[0].split())

    @property
    def options(self) -> dict[str, Any]:
        """Its own options and their values by default."""
        known = inspect.signature(self.function).parameters
        fixed = {*GIVEN, "model", "x", "layers", "targets", "train", "test"}
        return {key: option.default for key, option in known.items() if key not in fixed}

    def caption(self, above: str = "red", below: str = "blue") -> str:
        """How to read its picture, of colors or of a logo."""
        return self.reading.format(above=above, below=below)

    def bind(self, given: dict[str, Any]) -> dict[str, Any]:
        """Options by their names, checked; what is under "" is the first one (see `parse_spec`).

        Raises InputError for an unknown option, one given twice, and a value that the annotation does not allow.
        """
        own, known = self.options, inspect.signature(self.function).parameters
        what = f"method {self.name}"
        if "" in given:
            if not own:
                raise InputError(f"{what} has no options", got=repr(given[""]), fix=f"Write just {self.name}.")
            first = next(iter(own))
            if first in given:
                raise InputError("an option is given twice", where=what, got=first, fix="Keep one.")
            given = {first if key == "" else key: value for key, value in given.items()}
        for key in given:
            if key not in own:
                raise InputError(f"{what} has no option", got=repr(key), fix=did_you_mean(key, own))
        return {key: _valued(value, str(known[key].annotation), f"{what}: {key}") for key, value in given.items()}

    def json(self) -> dict[str, Any]:
        """Everything as plain types."""
        return {"name": self.name, "summary": self.summary, "reading": self.caption(), "options": self.options}


METHODS: Registry[Method] = Registry("method")


def explain(
    model: nn.Module,
    x: Num[Tensor, "n ..."],
    method: str = "occlusion",
    *,
    target: Target = None,
    layer: str = "",
    limits: Any = None,
    batches: Sequence[tuple[Tensor, Tensor]] | None = None,
    names: Sequence[str] = (),
    progress: Progress = False,
    **options: Any,
) -> Any:
    """One method of `METHODS` by its name, or as name:option=value,…, on a batch.

    `limits`: the range of valid inputs, for methods that change them. `batches`, `names`: (inputs, targets) of a set
    and its classes, for methods that look at one; the others leave them alone.

    Raises InputError for an unknown method or option, a value of another type, a layer given to a method that has
    none, a method of sets without one, and what the method raises.

    >>> import torch
    >>> mean = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
    >>> explain(mean, torch.ones(1, 1, 4), "gradient", target=0).scores
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    entry, given = read_method(method, **options)
    name = entry.name
    if layer and not {"layer", "at"} & {*entry.takes}:
        fix = f"Leave it out, or see: {', '.join(e.name for e in METHODS.values() if {'layer', 'at'} & {*e.takes})}."
        raise InputError(f"method {name} has no layer", got=layer, fix=fix)
    if batches is None and "batches" in entry.takes:
        fix = "Name one: striate explain … --data own."
        raise InputError(f"method {name} looks at a set of items", expected="batches", got="none", fix=fix)
    known = {"target": target, "layer": layer, "limits": limits, "batches": batches, "names": names}
    wanted = {"layer" if name == "at" else name for name in entry.takes}
    taken = {key: value for key, value in (known | {"progress": progress}).items() if key in wanted}
    return (entry.call or entry.function)(model, x, **taken, **given)


def read_method(spec: str, **options: Any) -> tuple[Method, dict[str, Any]]:
    """The method of name:option=value,… and its options, checked."""
    name, given = parse_spec(spec)
    entry = METHODS[name]
    return entry, entry.bind(given | options)


def _valued(value: Any, annotation: str, where: str) -> Any:
    """An option as annotated, where that is a plain type; of others text is refused, which the command line gives."""
    parts = annotation.split(" | ")
    if {*parts} <= {*PLAIN}:
        return read_as(reduce(or_, (PLAIN[part] for part in parts)), value, where)
    if parts[0].startswith(SEVERAL) and isinstance(value, int | float):
        return (value,)
    if isinstance(value, str) and parts[0].startswith((*SEVERAL, *OBJECTS)):
        expected = "numbers" if parts[0].startswith(SEVERAL) else "what only Python can give"
        raise InputError("wrong type", where=where, expected=expected, got=repr(value))
    return value


def _last(model: nn.Module, x: Tensor, layer: str) -> str:
    """A layer as given, or the last one with spatial axes."""
    return layer or grad_cam(model, x[:1]).parameters["layer"]


def _on_layer(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method whose layer is None where it chooses one."""
    return lambda model, x, layer, **given: method(model, x, layer=layer or None, **given)


def _filters(model: nn.Module, _x: Tensor, layer: str) -> Any:
    return filters(model, layer or None)


def _feature_maps(model: nn.Module, x: Tensor, layer: str) -> Any:
    found = feature_maps(model, x)
    if layer:
        found[layer]  # an unknown one is told
    return replace(found, shown=layer or None)


def _invert(model: nn.Module, x: Tensor, layer: str, **given: Any) -> Any:
    return invert(model, x, layer or None, **given)


def _maximize(model: nn.Module, x: Tensor, **given: Any) -> Any:
    return maximize(model, x.shape[1:], **given)


def _top_patches(model: nn.Module, x: Tensor, layer: str, batches: Any, **given: Any) -> Any:
    return top_patches(model, batches, _last(model, x, layer), **given)


def _ablate(model: nn.Module, x: Tensor, layer: str, batches: Any, **given: Any) -> Any:
    inputs, targets = (torch.cat([torch.as_tensor(batch) for batch in part]) for part in zip(*batches, strict=True))
    return ablate(model, inputs, _last(model, x, layer), targets, **given)


def _embed(model: nn.Module, _x: Tensor, layer: str, batches: Any, **given: Any) -> Any:
    return embed(model, batches, layer or None, **given)


def _separation(model: nn.Module, _x: Tensor, batches: Any, **given: Any) -> Any:
    return separation(model, batches, **given)


def _probes(model: nn.Module, _x: Tensor, batches: Any, **given: Any) -> Any:
    # Every other batch trains the probes, the rest tests them.
    return probes(model, batches[::2], batches[1::2], **given)


for _method in (
    Method(
        "occlusion",
        occlusion,
        "A patch covers the input, place by place. What is {above} lowers the output when it is covered: the network "
        "uses it. Covering what is {below} raises it. Too small a patch shows little of things that stand twice.",
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
        "The gradient times the input: what is {above} speaks for the output, what is {below} against it, exactly only"
        " for linear networks.",
    ),
    Method(
        "integrated_gradients",
        integrated_gradients,
        "Shares of the difference between this output and that of an empty input: what is {above} speaks for "
        "it, what is {below} against it, and all shares sum to the difference.",
    ),
    Method(
        "smooth_grad",
        smooth_grad,
        "The mean gradient of many noisy copies of the input: as the gradient, with less noise.",
    ),
    Method(
        "deep_lift",
        deep_lift,
        "Shares of the difference between this output and that of an empty input, by slopes between both: what is "
        "{above} speaks for it, what is {below} against it, and all shares sum to the difference.",
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
        strongest=True,
    ),
    Method(
        "cam",
        cam,
        "The dense layer's weights on the last layer's maps: what is {above} speaks for the class, what is {below} "
        "against it.",
        takes=("target", "progress"),
    ),
    Method(
        "grad_cam",
        grad_cam,
        "Where the layer's maps speak for the output, each as its mean gradient says; coarse, but it follows the "
        "network's weights.",
        takes=("target", "at", "progress"),
        call=_on_layer(grad_cam),
    ),
    Method(
        "grad_cam_pp",
        grad_cam_pp,
        "As Grad-CAM, from positive gradients weighed place by place: it covers several objects, and depends less on "
        "the network's weights.",
        takes=("target", "at", "progress"),
        call=_on_layer(grad_cam_pp),
    ),
    Method(
        "layer_cam",
        layer_cam,
        "As Grad-CAM, each unit by its own positive gradient: finer in early layers.",
        takes=("target", "at", "progress"),
        call=_on_layer(layer_cam),
    ),
    Method(
        "score_cam",
        score_cam,
        "Channels weighed by the output that is left where only what they cover is seen; without gradients.",
        takes=("target", "at", "progress"),
        call=_on_layer(score_cam),
    ),
    Method(
        "feature_maps",
        feature_maps,
        "What each layer makes of this input, each channel from its least to its greatest value.",
        takes=("at",),
        call=_feature_maps,
    ),
    Method(
        "filters",
        filters,
        "The kernels of a layer, the first without --layer: edges, blobs and colors are a trained layer, noise is "
        "one that learned little.",
        takes=("at",),
        call=_filters,
    ),
    Method(
        "invert",
        invert,
        "An input that a layer cannot tell from this one: what is lost is what the layer has forgotten.",
        takes=("at", "limits", "progress"),
        call=_invert,
    ),
    Method(
        "maximize",
        maximize,
        "Inputs, painted from nothing, for which the output is greatest: what the network takes for the pure form.",
        takes=("target", "layer", "limits", "progress"),
        call=_maximize,
    ),
    Method(
        "adversarial",
        adversarial,
        "The least change along the gradient's sign that changes the answer: input, change, result.",
        takes=("target", "limits", "progress"),
    ),
    Method(
        "equivariance",
        equivariance,
        "How each layer's output moves when the input is shifted, turned and scaled: at 0 it moves along.",
        takes=("progress",),
    ),
    Method(
        "top_patches",
        top_patches,
        "For each channel of a layer the places of the set that excite it most, and beside each what of it does.",
        takes=("at", "batches", "progress"),
        call=_top_patches,
    ),
    Method(
        "ablate",
        ablate,
        "What the score on the set loses without each channel of a layer.",
        takes=("at", "batches", "progress"),
        call=_ablate,
    ),
    Method(
        "embed",
        embed,
        "The set as the layer sees it: what lies together the network takes for alike.",
        takes=("at", "batches", "names", "progress"),
        call=_embed,
    ),
    Method(
        "separation",
        separation,
        "How well each layer tells the classes of the set apart.",
        takes=("batches", "progress"),
        call=_separation,
    ),
    Method(
        "probes",
        probes,
        "The accuracy of a linear classifier on each layer: what the layer makes easy to read.",
        takes=("batches", "progress"),
        call=_probes,
    ),
):
    METHODS.add(_method)
