"""Specs to one function that changes pictures and what they mean together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from striate.data.augment.move import Move
from striate.data.augment.registry import AUGMENTATIONS, Augmentation, words
from striate.data.items import LEAST_VISIBLE, Input, Meaning
from striate.errors import InputError
from striate.ops.boxes import area, boxes, edges
from striate.registry import bind_options, parse_spec
from striate.shapes import Float, Int64, Tensor

Step = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]
Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
BY_AXES = {3: "signals", 4: "pictures", 5: "volumes"}


def build_augmentation(
    specs: Sequence[str], inputs: Tensor, meaning: Meaning | None = None, preprocess: Input | None = None
) -> Augment | None:
    """One function (inputs, targets, generator) -> (inputs, targets) that applies `specs` in order; None without specs.

    `inputs` is the training set as it is stored, `preprocess` its kind of input (without it: pictures n c h w, volumes
    n c d h w or signals n c t). What moves pixels draws one motion a picture and moves the targets that `meaning` says
    lie in it:

    mask     the class of the nearest pixel; the outside is filled as the picture's is (a reflected mask under a
             reflected picture), and void (255) where that is filled with zeros
    box      the hull of the moved box, clipped to the picture; where less than a quarter of the hull is left, the
             object is gone and its label is all zeros
    points   moved with the picture, (0, 0) the center of its first pixel; those that leave it become NaN (missing);
             in a mirror image (an odd number of flips) each point takes the place of its partner `meaning.mirror`

    Targets of other kinds, and all targets under changes of color, stay what they are.
    An unknown name or option, a value out of range or inputs that do not fit raise InputError here.

    >>> pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    >>> change = build_augmentation(["flip:1", "rotate:0"], pixels, Meaning("points", ("nose",), mirror=(0,)))
    >>> inputs, targets = change(pixels / 255, torch.tensor([[[2.0, 5.0]]]).repeat(2, 1, 1), torch.Generator())
    >>> targets.tolist()
    [[[5.0, 5.0]], [[5.0, 5.0]]]
    """
    if not specs:
        return None
    steps = [_step(spec, inputs, meaning, preprocess) for spec in specs]

    def apply(inputs: Tensor, targets: Any, generator: torch.Generator) -> tuple[Tensor, Any]:
        for step in steps:
            inputs, targets = step(inputs, targets, generator)
        return inputs, targets

    few = inputs[:1] / 255 if preprocess is None else preprocess.units(inputs[:1])
    apply(few, None, torch.Generator())  # what does not fit these inputs fails now
    return apply


def _step(spec: str, inputs: Tensor, meaning: Meaning | None, preprocess: Input | None) -> Step:
    name, given = parse_spec(spec)
    entry = AUGMENTATIONS[name]
    options = bind_options("augmentation", name, entry.function, given, skip=2 + (entry.fit is not None))
    for key, value in options.items():
        if value not in entry.allowed[key]:
            where = f"{name}:{key}"
            raise InputError("augmentation option", where=where, expected=words(entry.allowed[key]), got=value)
    _check_inputs(entry, inputs, BY_AXES.get(inputs.ndim, "") if preprocess is None else preprocess.family)
    if name == "flip" and meaning is not None and meaning.kind == "points" and not meaning.mirror:
        raise InputError(
            "points without mirror partners cannot be flipped",
            where=spec,
            expected="the partner of each point in a mirrored picture",
            fix="Leave flip out, or give the source's meaning a mirror.",
        )
    fitted = () if entry.fit is None else (entry.fit(inputs, preprocess),)

    def step(inputs: Tensor, targets: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        changed = entry.function(inputs, generator, *fitted, **options)
        if not isinstance(changed, Move):
            return changed, targets
        new = changed.pictures(inputs)
        if targets is not None and meaning is not None:
            old_size, new_size = ((x.shape[-2], x.shape[-1]) for x in (inputs, new))
            targets = moved(changed, targets, meaning, old_size, new_size)
        return new, targets

    return step


def _check_inputs(entry: Augmentation, inputs: Tensor, form: str) -> None:
    if form not in entry.takes:
        fitting = [other.name for other in AUGMENTATIONS.values() if form in other.takes]
        raise InputError(
            "an augmentation that does not fit the inputs",
            where=entry.name,
            expected=" or ".join(entry.takes),
            got=f"{form or 'inputs'} of shape {tuple(inputs.shape[1:])}",
            fix=f"For {form}: {', '.join(fitting)}." if fitting else "Leave it out.",
        )
    if entry.rgb_only and inputs.shape[1] != 3:
        fix = "Use grey, or load the images with 3 channels."
        found = f"{inputs.shape[1]} channel"
        raise InputError("augmentation of colors", where=entry.name, expected="RGB images", got=found, fix=fix)


def moved(move: Move, targets: Tensor, meaning: Meaning, size: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """The targets of pictures of this size (height, width) after the motion to pictures of a `new` one."""
    if meaning.kind == "mask":
        return move.masks(targets)
    if meaning.kind == "box":
        return move_boxes(move, targets, size, new)
    if meaning.kind == "points":
        mirror = torch.tensor(meaning.mirror or range(targets.shape[1]), device=targets.device)
        return move_points(move, targets, mirror, size, new)
    return targets


def move_boxes(
    move: Move, labels: Float[Tensor, "n v"], size: tuple[int, int], to: tuple[int, int]
) -> Float[Tensor, "n v"]:
    """Labels [x, y, height, width, presence, classes] after the motion; see `build_augmentation`."""
    whole, limit = (torch.tensor(side[::-1], dtype=labels.dtype, device=labels.device) for side in (size, to))
    half = whole / 2
    old = edges(labels[:, :4])
    corners = torch.stack([old[:, [0, 1]], old[:, [2, 1]], old[:, [0, 3]], old[:, [2, 3]]], 1)
    corners = move.places(corners - half) + limit / 2
    hull = torch.cat([corners.amin(1), corners.amax(1)], 1)
    seen = torch.minimum(hull.clamp(min=0), torch.cat([limit, limit]))
    new = torch.cat([boxes(seen), labels[:, 4:]], 1)
    there = (labels[:, 4] > 0) & (area(seen) >= LEAST_VISIBLE * area(hull))
    return torch.where(there[:, None], new, 0)


def move_points(
    move: Move, points: Float[Tensor, "n p 2"], mirror: Int64[Tensor, " p"], size: tuple[int, int], to: tuple[int, int]
) -> Float[Tensor, "n p 2"]:
    """Points after the motion, NaN where they left the picture; see `build_augmentation`."""
    old, limit = (torch.tensor(side[::-1], dtype=points.dtype, device=points.device) for side in (size, to))
    # In the points' own units, where the first pixel's center is 0.
    new = move.places(points - (old - 1) / 2) + (limit - 1) / 2
    inside = ((new >= -0.5) & (new <= limit - 0.5)).all(2, keepdim=True)
    new = torch.where(inside, new, torch.nan)
    return torch.where(move.mirrors[:, None, None], new[:, mirror], new)
