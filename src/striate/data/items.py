"""What every kind of data becomes: items with an input, a target and a name, and what the targets mean.

files -> Source.read -> Listing -> split, kind of input -> Items (train, validation, test) -> Batches
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import nn

from striate.data.sound import Packed
from striate.data.splits import Positions
from striate.errors import InputError
from striate.shapes import Int64, Tensor

if TYPE_CHECKING:
    from striate.data.masks import Pairs

Progress = Callable[[int, int, str], None]
Kind = Literal["class", "labels", "mask", "box", "points", "values", "text", "none"]
# Of each kind of target: its type, and its axes, which follow the items'.
FORMS: dict[str, tuple[tuple[torch.dtype, ...], str]] = {
    "class": ((torch.int64,), ""),
    "labels": ((torch.float32,), "k"),
    "mask": ((torch.uint8,), "*space"),
    "box": ((torch.float32,), "5+k"),
    "points": ((torch.float32,), "p 2"),
    "values": ((torch.float32,), "k"),
    "text": ((torch.int64,), "letters"),
    "none": ((torch.float32,), "0"),
}
VOID = 255  # a pixel of a mask that belongs to no class
# An object of which less than this share of its box is left in the picture counts as gone.
LEAST_VISIBLE = 0.25


@dataclass(frozen=True)
class Meaning:
    """What the targets of a set mean.

    kind    | targets                                                                        | names
    --------|--------------------------------------------------------------------------------|------------
    class   | Int64[n]: the item's class                                                     | classes
    labels  | Float[n k]: 1 where the label applies, else 0; NaN where that is not known       | labels
    mask    | UInt8[n *space]: each place's class, 255 where it has none                     | classes
    box     | Float[n 5+k]: x, y, height, width (pixels), presence, then the class, one-hot  | classes
    points  | Float[n p 2]: x and y in pixels, NaN for a missing point                       | points
    values  | Float[n k]: quantities                                                         | quantities
    text    | Int64[n letters]: numbers of letters, -1 after the end                         | letters
    none    | Float[n 0]                                                                     |

    `mirror[i]` is the point that point i becomes in a mirrored picture; `palette` has a color (red, green, blue in
    0..255) for each class of a mask. Raises InputError for an unknown kind, for repeated names, and for a mirror or a
    palette that do not fit the names.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    mirror: tuple[int, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in FORMS:
            raise InputError("unknown kind of target", expected=" or ".join(get_args(Kind)), got=repr(self.kind))
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise InputError("two names of a target are the same", got=repr(twice), fix="Rename one of them.")
        if self.mirror and sorted(self.mirror) != list(range(len(self.names))):
            raise InputError(
                "mirror of the points", expected=f"each of 0 to {len(self.names) - 1} once", got=list(self.mirror)
            )
        if self.palette and len(self.palette) != len(self.names):
            raise InputError("palette of a mask", expected=f"{len(self.names)} colors", got=len(self.palette))

    def check(self, targets: Tensor) -> None:
        """Raise InputError for targets of another type or shape, or outside the names."""
        types, axes = FORMS[self.kind]
        if targets.dtype not in types or not _has_axes(targets, axes, len(self.names)):
            names = f" for {len(self.names)} names" if self.names else ""
            raise InputError(
                f"targets of kind {self.kind}",
                expected=f"{str(types[0]).removeprefix('torch.')} with axes n {axes}".rstrip() + names,
                got=f"{str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}",
            )
        if self.kind in ("class", "mask", "text") and targets.numel():
            low, high = {"class": (0, 0), "mask": (0, VOID), "text": (-1, 0)}[self.kind]
            inside = (targets >= low) & (targets < len(self.names)) | (targets == high if high else False)
            if not inside.all():
                raise InputError(
                    "targets outside the classes" if self.kind != "text" else "targets outside the letters",
                    expected=f"0 to {len(self.names) - 1}" + f" or {VOID} (void)" * (self.kind == "mask"),
                    got=int(targets[~inside][0]),
                )

    def json(self) -> dict[str, Any]:
        """As plain types."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Meaning:
        """The inverse of `json`."""
        palette = tuple((int(r), int(g), int(b)) for r, g, b in stored["palette"])
        return Meaning(stored["kind"], tuple(stored["names"]), tuple(stored["mirror"]), palette)


def _has_axes(targets: Tensor, axes: str, names: int) -> bool:
    """Whether the axes after the items' are those of the kind."""
    shape = tuple(targets.shape[1:])
    match axes:
        case "":
            return shape == ()
        case "k":
            return len(shape) == 1 and (not names or shape[0] == names)
        case "5+k":
            return shape == (5 + names,)
        case "p 2":
            return shape == (names, 2)
        case "0":
            return shape == (0,)
        case "letters":
            return len(shape) == 1
        case _:
            return len(shape) >= 1


@dataclass(frozen=True, eq=False)
class Items:
    """Inputs of one shape as they are stored, their targets, and what each item is called.

    `inputs` (uint8 pixels, int16 samples, int32 words ...) is resident or a private view of a memory-mapped file;
    `names` are used in reports and errors (a path, or "mnist test 17"), `groups` are numbers of what items belong to
    (a speaker), where the source has any. Counts that differ, and targets that do not fit their meaning, raise
    InputError.

    >>> pixels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    >>> two = Items(pixels, torch.tensor([1, 0]), Meaning("class", ("cat", "dog")), names=("a", "b"))
    >>> len(two), two.subset([1]).names
    (2, ('b',))
    """

    inputs: Tensor
    targets: Tensor
    meaning: Meaning
    names: Sequence[str]
    groups: Int64[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) == 0:
            raise InputError("a set has no items", expected="at least one", got=0)
        counts = {"inputs": len(self.inputs), "targets": len(self.targets), "names": len(self.names)}
        if self.groups is not None:
            counts["groups"] = len(self.groups)
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{count} {what}" for what, count in counts.items())
            raise InputError("inputs and targets differ in number", expected="one target per input", got=found)
        self.meaning.check(self.targets)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes (points, quantities, letters)."""
        return self.meaning.names

    def subset(self, index: Sequence[int] | np.ndarray[Any, np.dtype[Any]] | Tensor) -> Items:
        """The items at `index`, in that order. A run of neighbors is a view, all else a resident copy."""
        where = torch.as_tensor(index, dtype=torch.int64).flatten()
        if len(where) == 0 or int(where.min()) < 0 or int(where.max()) >= len(self):
            found = f"{int(where.min())} to {int(where.max())}" if len(where) else "no positions"
            raise InputError("subset of a set", expected=f"positions 0 to {len(self) - 1}", got=found)
        return self.at(where, take(self.inputs, where))

    def at(self, where: Int64[Tensor, " m"], inputs: Tensor) -> Items:
        """The items at `where`, whose `inputs` the caller has gathered."""
        names = tuple(self.names[i] for i in where.tolist())
        groups = None if self.groups is None else self.groups[where]
        return Items(inputs, self.targets[where], self.meaning, names, groups)


def take(rows: Tensor, where: Int64[Tensor, " m"]) -> Tensor:
    """Rows at `where`: a view if they are neighbors in order (a mapped file stays mapped), else a copy."""
    first = int(where[0])
    if torch.equal(where, torch.arange(first, first + len(where))):
        return rows[first : first + len(where)]
    return rows.index_select(0, where)


@dataclass(frozen=True, eq=False)
class Listing:
    """What a source holds, before it is split, sized and turned into numbers.

    `inputs`: pixels (uint8 n c *space), paths, files in archives, texts, signals (each float c t), or pairs of files,
    whose targets are read with them (until then they are masks without pixels); `splits` has the
    positions of "train" and, where the source comes with them, "validation" and "test". `groups` are numbers of what
    must not be torn apart by cross-validation (a speaker's recordings, neighboring slices). `sizes` are height and
    width of pictures in files, in which the targets lie.
    """

    inputs: Tensor | tuple[Path | Packed, ...] | tuple[str, ...] | tuple[Tensor, ...] | Pairs
    targets: Tensor
    meaning: Meaning
    names: Sequence[str]
    splits: Mapping[str, Positions]
    groups: Int64[Tensor, " n"] | None = None
    sizes: Int64[Tensor, "n 2"] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes (points, quantities, letters)."""
        return self.meaning.names


@dataclass(frozen=True)
class Entry:
    """An item of a file that holds several, a text or a series: where it stands, for errors (file and line, or record).

    A window of a longer text says at which letter of that it starts, from 0.
    """

    value: Any
    where: str
    start: int = 0


@dataclass
class Reading:
    """How a source is read into items: which of them train, and what to do about broken ones.

    `train(corrupt)` gives the positions of the training items once those that cannot be read are known. `cache` is
    the folder for decoded files, `progress(done, total, what)` is told of slow work, `names` say what each item is
    called in errors.
    """

    where: str
    train: Callable[[Sequence[int]], Positions] = lambda _: np.arange(0)
    skip_corrupt: bool = False
    cache: Path | None = None
    progress: Progress | None = None
    names: Sequence[str] = ()


class Input(ABC):
    """How one item becomes the network's input, the same for training data and for later predictions.

    A kind of input (`striate.data.INPUTS`) is a frozen dataclass of plain types with these methods, and with the class
    methods `fit(raw, reading, **options) -> (stored, input, corrupt positions)`, which measures training items only,
    and `from_json`, the inverse of `json`. What is not abstract has the usual answer here.
    """

    family: ClassVar[str]
    """What its units are, for augmentations: pictures, volumes, signals, bases, words, characters."""
    extremes: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    """The least and the greatest unit; None where these do not bound what a network is given."""
    if TYPE_CHECKING:  # at run time a field of that name would take the property for its default

        @property
        def shape(self) -> tuple[int, ...]:
            """Of one network input: (c, *space), or (length,) for numbers of words."""

    @property
    def channels(self) -> int:
        """What the network needs as `in_channels`: channels, or the size of the vocabulary."""
        return self.shape[0]

    def expand(self, file: Path) -> Sequence[tuple[str, Any]]:
        """Names of the items in a file that a user gives, and what `read` takes for each: the file, or its entries."""
        return [(str(file), file)]

    def reads(self, file: Path) -> bool:
        """Whether a file that lies in a folder is one for it, by its ending; of a folder, whether it is one item."""
        return True

    @abstractmethod
    def read(self, item: Any) -> Tensor:
        """One item as it is stored; InputError for one that is missing or broken."""

    @abstractmethod
    def store(self, raw: Any, reading: Reading) -> tuple[Tensor, list[int]]:
        """All inputs of a listing as they are stored, and the positions of broken ones (to be left out)."""

    @abstractmethod
    def units(self, stored: Tensor) -> Tensor:
        """What augmentations change: pictures in 0..1, samples in -1..1, numbers of words."""

    def standardize(self, units: Tensor) -> Tensor:
        """Units to network input; the units are left as they are."""
        return units

    def normalize(self, stored: Tensor) -> Tensor:
        """Stored items to network input."""
        return self.standardize(self.units(stored))

    def __call__(self, item: Any) -> Tensor:
        """Network input, without an axis of items, from what `read` takes."""
        return self.normalize(self.read(item)[None])[0]

    def unscaled(self) -> Input:
        """The same without standardizing, for tasks whose network takes units as they are."""
        return self

    def rescaled(self, inputs: Tensor) -> Tensor:
        """What `unscaled()` makes of items, standardized."""
        return self.standardize(inputs)

    def start(self, model: nn.Module) -> None:  # noqa: B027
        """What a new network gets from the input before it is trained: nothing, or word vectors."""

    @property
    def axes(self) -> str:
        """What the axes of an input mean, in words for those who see a picture of it; "" where that is plain."""
        return ""

    def notes(self, raw: Sequence[Any]) -> tuple[str, ...]:
        """What is done to these items of a listing, or of a user, that people should be told (another rate, say)."""
        return ()

    @abstractmethod
    def json(self) -> dict[str, Any]:
        """As plain types, for a card, with its name as "kind"."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data source, split and ready to train on; `skipped` names the corrupt files that were left out.

    `augment` are the augmentations of a recipe that names none, `notes` say what was done to some items (resampled,
    say).
    """

    train: Items
    validation: Items | None
    test: Items | None
    preprocess: Input
    skipped: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def meaning(self) -> Meaning:
        """What the targets mean."""
        return self.train.meaning

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes (points, quantities, letters)."""
        return self.train.class_names

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one network input."""
        return self.preprocess.shape

    @property
    def tested(self) -> Items:
        """The items on which a run is scored: test, else validation, else training."""
        return self.test or self.validation or self.train

    def fingerprint(self) -> str:
        """A hash of classes, splits, names and targets: the same for as long as no item comes, goes or moves."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for part in (self.train, self.validation, self.test):
            digest.update(b"none" if part is None else part.targets.numpy().tobytes())
            digest.update("\0".join([] if part is None else part.names).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]
