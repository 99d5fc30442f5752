"""The recipe of a training run: one flat dataclass that is also the command line and the YAML file.

Nothing here imports torch, so that `striate train --help` answers at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from striate.errors import InputError, did_you_mean

Optimizer = Literal["sgd", "adamw", "muon", "adadelta"]
Schedule = Literal["constant", "step", "cosine", "one_cycle", "plateau"]
SizeOrder = Literal["in_turn", "random"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
HOW = "Write lines of key: value, as in the recipe.yaml of a run (striate train writes one)."


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training run computes.

    The same recipe on the same machine and version gives the same weights, bit for bit, also when the run was
    interrupted and resumed. Raises InputError for values of a wrong type or out of range and for combinations that
    make no sense.
    """

    model: str = "lenet5"
    """Network, with options as name:key=value,... (all: striate zoo)."""
    data: str = "digits"
    """Data: digits, mnist:PATH, cifar10:PATH, folder:PATH (one sub-folder per class) ... (all: striate sources)."""
    task: str | None = None
    """What the network learns to answer, as name:key=value,...: classify, segment ...; by default what the data are
    for."""
    inputs: str | None = None
    """How items become network input, as name:key=value,...: pictures, words ...; by default the data's own."""
    image_size: int | str | None = None
    """Pixels that images are resized and cropped to, as SIDE or HEIGHTxWIDTH (64, 180x240); by default the size of the
    data or of the network."""
    channels: int | None = None
    """1 (grey) or 3 (RGB); by default the data's own."""
    validation: float = 0.1
    """Share of the training items held out to watch the training."""
    test: float = 0.2
    """Share of the items held out for the final test, where the data has no test set of its own."""
    folds: int | None = None
    """Cross-validation: parts into which everything is divided; one of them is the test set."""
    fold: int = 0
    """Cross-validation: which part is the test set, from 0."""
    skip_corrupt: bool = False
    """Leave out files that cannot be read, and count them, instead of stopping."""

    epochs: float = 40
    """Passes over the training items; the last one may be a part."""
    batch_size: int = 32
    """Items per update (with accumulate: per forward pass)."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one update."""
    patience: int | None = None
    """Stop after so many epochs without a better validation loss (training loss without a validation part), and keep
    the best weights."""

    optimizer: Optimizer = "sgd"
    """sgd (Nesterov momentum), adamw, or muon (orthogonalized momentum; AdamW for vectors and the last layer), or
    adadelta (learning rate 1)."""
    learning_rate: float = 0.01
    """The highest learning rate of the schedule."""
    momentum: float = 0.9
    """Momentum at the highest learning rate (AdamW: beta1)."""
    beta2: float = 0.999
    """Memory of AdamW's squared gradients, 0.9 for trainings of a few hundred updates; of Adadelta's, 0.95."""
    weight_decay: float = 0.0001
    """Decay of weights; biases and normalization parameters are spared."""
    schedule: Schedule = "one_cycle"
    """How the learning rate moves between its highest and its lowest value."""
    warmup: float | None = None
    """Share of the updates over which the learning rate rises; by default 0.2 for one_cycle, else 0."""
    final_learning_rate: float = 0.0
    """Lowest learning rate, as a share of the highest."""
    final_momentum: float | None = None
    """Momentum at the lowest learning rate; by default it stays the same."""
    step_epochs: int = 10
    """step: epochs between drops. plateau: epochs without a better loss, as for patience, before a drop."""
    step_factor: float = 0.1
    """step and plateau: the learning rate is multiplied by this at each drop."""
    gradient_clip: float | None = None
    """Largest norm of the gradient; longer ones are scaled down."""

    augment: tuple[str, ...] | None = None
    """Augmentations in order, as name or name:value or name:key=value,... (crop:4 flip rotate:10 ...); by default the
    data's own."""
    train_sizes: tuple[int, ...] = ()
    """Shorter sides to which training images are resized (classes only); none: they keep their size."""
    size_order: SizeOrder = "in_turn"
    """in_turn: each of train_sizes for an equal share of the updates. random: one drawn for each update."""
    tta: tuple[str, ...] = ()
    """Views of an image whose outputs are averaged in tests and predictions: flip, shift, scale:0.9 ..."""
    weights: str | None = None
    """Run whose weights training starts from; a last layer of another size starts anew."""
    freeze: tuple[str, ...] = ()
    """Layers that are not trained, by names or their beginnings (conv1, layers.0 ...; striate describe lists them)."""
    dropout: float | None = None
    """Dropout of the network; by default the network's own."""
    label_smoothing: float = 0.1
    """Classification: share of the target spread over all classes."""
    class_weights: Literal["balanced"] | tuple[float, ...] | None = None
    """Weight of each class in the loss, or balanced: by the inverse of its frequency."""
    ema: float | None = None
    """Decay per update of an exponential moving average of the weights, which then is what is kept."""

    seed: int = 0
    """Seed of weights, splits, order, augmentation and dropout."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    precision: Precision = "32-true"
    """Arithmetic. bf16-mixed and 16-mixed are for GPUs: on CPUs torch 2.13 has wrong bf16 convolutions."""
    workers: int = 2
    """Processes that read items when the data does not fit in memory."""

    def __post_init__(self) -> None:
        for key, hint in get_type_hints(Recipe).items():
            object.__setattr__(self, key, read_as(hint, getattr(self, key), f"recipe: {key}"))
        check = _Check(self)
        check.at_least(1, "batch_size", "accumulate", "step_epochs", "patience")
        check.at_least(2, "folds")
        check.at_least(0, "seed", "workers", "weight_decay", "fold")
        check.above_zero("epochs", "learning_rate", "gradient_clip")
        check.below_one(
            "validation", "test", "momentum", "beta2", "final_momentum", "dropout", "label_smoothing", "ema", "warmup"
        )
        check.between_zero_and_one("final_learning_rate", "step_factor")
        if self.image_size is not None:
            read_sides(self.image_size, "recipe: image_size")
        if self.channels not in (None, 1, 3):
            raise InputError("recipe: channels is out of range", expected="1 or 3", got=self.channels)
        if any(size < 1 for size in self.train_sizes):
            raise InputError(
                "recipe: train_sizes is out of range", expected="sides of at least 1", got=list(self.train_sizes)
            )
        if self.fold and self.fold >= (self.folds or 1):
            raise InputError(
                "recipe: fold is out of range",
                expected=f"0 to {self.folds - 1}" if self.folds else "folds beside it",
                got=self.fold,
            )
        if self.optimizer == "muon" and self.precision == "16-mixed":
            raise InputError(
                "recipe: muon cannot scale 16-bit gradients", expected="precision bf16-mixed", got="16-mixed"
            )

    def yaml(self) -> str:
        """The recipe as a YAML file that `striate train FILE` replays."""
        values = {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)

    @classmethod
    def read(cls, path: str | Path) -> Recipe:
        """Read a recipe file; what it leaves out has the default value.

        Raises InputError for a missing file, for text that is no YAML mapping, and for unknown keys and wrong
        types, which it names.
        """
        path = Path(path)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                "cannot read the recipe", where=path, got=getattr(error, "strerror", None) or "no text"
            ) from None
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
            raise InputError("the recipe is no YAML", where=path, got=" ".join(str(error).split()), fix=HOW) from None
        if not isinstance(values, dict):
            raise InputError("the recipe is no mapping", where=path, expected="lines of key: value", fix=HOW)
        return cls.from_mapping(values, where=str(path))

    @classmethod
    def from_mapping(cls, values: dict[Any, Any], where: str = "recipe") -> Recipe:
        """Build from plain values as YAML gives them, checking keys and types."""
        hints = get_type_hints(cls)
        for key in values:
            if key not in hints:
                raise InputError("unknown key", where=where, got=repr(key), fix=did_you_mean(str(key), hints))
        return cls(**{key: read_as(hints[key], value, f"{where}: {key}") for key, value in values.items()})


@dataclass(frozen=True)
class _Check:
    """Range checks on the fields of a recipe; None is always in range."""

    recipe: Recipe

    def _fail_unless(self, key: str, expected: str, holds: bool) -> None:
        if not holds:
            got = getattr(self.recipe, key)
            raise InputError(f"recipe: {key} is out of range", expected=expected, got=got)

    def at_least(self, least: int, *keys: str) -> None:
        for key in keys:
            value = getattr(self.recipe, key)
            self._fail_unless(key, f"at least {least}", value is None or value >= least)

    def above_zero(self, *keys: str) -> None:
        for key in keys:
            value = getattr(self.recipe, key)
            self._fail_unless(key, "above 0", value is None or value > 0)

    def below_one(self, *keys: str) -> None:
        for key in keys:
            value = getattr(self.recipe, key)
            self._fail_unless(key, "at least 0, below 1", value is None or 0 <= value < 1)

    def between_zero_and_one(self, *keys: str) -> None:
        for key in keys:
            self._fail_unless(key, "from 0 to 1", 0 <= getattr(self.recipe, key) <= 1)


def read_sides(size: int | str | Sequence[int], what: str = "image size") -> tuple[int, int]:
    """Height and width in pixels, of a side, of HEIGHTxWIDTH or of both; InputError for anything else.

    >>> read_sides(64), read_sides("180x240")
    ((64, 64), (180, 240))
    """
    sides: Sequence[Any] = size if isinstance(size, list | tuple) else (size, size)
    if isinstance(size, str) and re.fullmatch("[0-9]+(x[0-9]+)?", size):
        sides = ([int(side) for side in size.split("x")] * 2)[:2]
    if len(sides) != 2 or not all(type(side) is int and side >= 1 for side in sides):
        expected = "a side of at least 1, or height and width, as 180x240"
        raise InputError(f"{what} is out of range", expected=expected, got=size)
    height, width = sides
    return height, width


def read_as(hint: Any, value: Any, where: str) -> Any:
    """`value` (from YAML, say) as the annotated type, or InputError."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for option in arguments:
            try:
                return read_as(option, value, where)
            except InputError:
                continue
    elif origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(read_as(arguments[0], item, where) for item in value)
    elif hint is float:
        if isinstance(value, int | float | str) and not isinstance(value, bool):  # YAML 1.1 takes 1e-3 for text
            with contextlib.suppress(ValueError, OverflowError):
                if math.isfinite(number := float(value)):
                    return number
    elif hint is types.NoneType:
        if value is None:
            return value
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise InputError("wrong type", where=where, expected=_spell(hint), got=repr(value))


def _spell(hint: Any) -> str:
    """A type as a person would write it."""
    words = {
        int: "a whole number",
        float: "a finite number",
        str: "text",
        bool: "true or false",
        types.NoneType: "null",
    }
    if hint in words:
        return words[hint]
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"a list of {_spell(get_args(hint)[0]).removeprefix('a ')}s"
    return " or ".join(_spell(option) for option in get_args(hint))
