"""Learning rate and momentum as pure functions of the number of updates done.

Every schedule is a height between 0 and 1. The learning rate is `final + (peak - final) * height`, and the
momentum follows the same height from its final value to its value at the peak: one rule gives the cycled momentum
of one-cycle training and the momentum that rises while the learning rate falls.
"""

from __future__ import annotations

import math

import torch

from striate.recipe import Recipe


def height(recipe: Recipe, step: int, steps: int, steps_per_epoch: int, drops: int = 0) -> float:
    """Height of the schedule for update `step` (from 0) of `steps`.

    constant: 1. step: step_factor at every step_epochs epochs. plateau: step_factor for each of `drops`. cosine:
    half a cosine from 1 to 0 (Loshchilov & Hutter 2017, eq. 5, no restarts). one_cycle: a straight line up over
    the warm-up and a straight line down to 0 (Smith 2018). A warm-up multiplies any of them by a rising line.

    >>> [height(Recipe(warmup=0.5), k, 4, 4) for k in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    share = recipe.warmup if recipe.warmup is not None else 0.2 * (recipe.schedule == "one_cycle")
    warm = math.ceil(share * steps)
    if step < warm:
        return (step + 1) / warm
    left = (steps - step) / max(1, steps - warm)
    match recipe.schedule:
        case "constant":
            return 1.0
        case "step":
            return recipe.step_factor ** (step // steps_per_epoch // recipe.step_epochs)
        case "plateau":
            return recipe.step_factor**drops
        case "cosine":
            return (1 - math.cos(math.pi * left)) / 2
        case "one_cycle":
            return left


def learning_rate(recipe: Recipe, height: float) -> float:
    """Learning rate at a height of the schedule."""
    final = recipe.final_learning_rate
    return recipe.learning_rate * (final + (1 - final) * height)


def momentum(recipe: Recipe, height: float) -> float:
    """Momentum (AdamW: beta1) at a height of the schedule."""
    final = recipe.momentum if recipe.final_momentum is None else recipe.final_momentum
    return final + (recipe.momentum - final) * height


def train_size(recipe: Recipe, step: int, steps: int) -> int | None:
    """The side to which the images of update `step` (from 0) of `steps` are resized; None where they keep theirs.

    A random one is drawn from torch's generator.

    >>> [train_size(Recipe(train_sizes=(24, 32)), k, 4) for k in range(4)]
    [24, 24, 32, 32]
    """
    sizes = recipe.train_sizes
    if not sizes:
        return None
    if recipe.size_order == "random":
        return sizes[int(torch.randint(len(sizes), ()))]
    return sizes[step * len(sizes) // steps]
