"""How well classes lie apart in a layer: silhouette, variances, neighbors; and what a linear probe reads off it."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.interpret.features.representations import INPUT, Representations, Set, collect, count_of
from striate.interpret.sweep import Progress, reporting
from striate.shapes import Float, Int64, Tensor
from striate.tasks.intervals import Interval, wilson
from striate.train.checkpoint import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEATURES = 1024  # numbers of a layer that a probe is given, at most
SAMPLE = 2000  # items of which a silhouette is taken: it compares all pairs


@dataclass(frozen=True)
class Separation:
    """How well the classes of one layer's vectors lie apart.

    `silhouette`: mean over items of (b - a) / max(a, b), a the mean distance to the own class, b to the nearest other;
    -1 to 1. `ratio`: variance between the classes' means over that within the classes (traces of the scatter
    matrices). `accuracy`: share of items whose `neighbors` nearest others (Euclidean) are mostly of their class, with
    Wilson's 95 % interval. `dimensions`: numbers an item.
    """

    layer: str
    dimensions: int
    silhouette: float
    ratio: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Separations:
    """`Separation` of each layer, in the order of execution, of `items` items; `found` layers there are in all."""

    layers: tuple[Separation, ...]
    items: int
    neighbors: int
    found: int

    def plot(self) -> Figure:
        """The three measures by depth."""
        from striate.interpret.features.curves import draw_separations

        return draw_separations(self)

    def table(self) -> Table:
        """A row for each layer."""
        columns = ("layer", "dimensions", "silhouette", "between / within", f"{self.neighbors} neighbors", "95 %")
        table = Table(*columns, title=f"separation of {self.items:,} items")
        for one in self.layers:
            low, high = one.interval
            numbers = (f"{one.silhouette:.3f}", f"{one.ratio:.3f}", f"{one.accuracy:.1%}", f"{low:.1%} to {high:.1%}")
            table.add_row(one.layer or "output", str(one.dimensions), *numbers)
        return table

    def json(self) -> dict[str, Any]:
        """As plain types; what is not defined is None."""
        layers = [_plain(asdict(one)) for one in self.layers]
        return {"items": self.items, "neighbors": self.neighbors, "found": self.found, "layers": layers}

    def save(self, path: str | Path) -> None:
        """Write `json` into a file."""
        write_atomically(Path(path), (json.dumps(self.json(), indent=2) + "\n").encode())


@dataclass(frozen=True)
class Probe:
    """A linear classifier of one layer's vectors: its accuracy on the test items, with Wilson's 95 % interval.

    `training`: its accuracy on the items that it was fitted to. `converged`: False where the fit stopped at its limit.
    """

    layer: str
    dimensions: int
    accuracy: float
    interval: Interval
    training: float
    converged: bool


@dataclass(frozen=True)
class Probes:
    """`Probe` of each layer, from the input on; `chance` is the share of the commonest class among the test items."""

    layers: tuple[Probe, ...]
    items: tuple[int, int]
    chance: float
    found: int

    def plot(self) -> Figure:
        """Accuracy by depth, with intervals."""
        from striate.interpret.features.curves import draw_probes

        return draw_probes(self)

    def table(self) -> Table:
        """A row for each layer."""
        title = f"linear probes: {self.items[0]:,} items to fit, {self.items[1]:,} to test; chance {self.chance:.1%}"
        table = Table("layer", "dimensions", "accuracy", "95 %", "training", title=title)
        for one in self.layers:
            low, high = one.interval
            stopped = "" if one.converged else " (not converged)"
            numbers = (f"{one.accuracy:.1%}", f"{low:.1%} to {high:.1%}", f"{one.training:.1%}{stopped}")
            table.add_row(one.layer or "output", str(one.dimensions), *numbers)
        return table

    def json(self) -> dict[str, Any]:
        """As plain types."""
        layers = [_plain(asdict(one)) for one in self.layers]
        return {"items": list(self.items), "chance": self.chance, "found": self.found, "layers": layers}

    def save(self, path: str | Path) -> None:
        """Write `json` into a file."""
        write_atomically(Path(path), (json.dumps(self.json(), indent=2) + "\n").encode())


def separation(
    model: nn.Module,
    batches: Set,
    layers: Sequence[str] | None = None,
    *,
    neighbors: int = 5,
    features: int = FEATURES,
    progress: Progress = False,
) -> Separations:
    """How well the classes lie apart at each layer, averaged into at most `features` numbers, from the input on.

    `batches`: items with classes as targets (see `collect`). `layers`: module paths, by default those of `find_layers`.
    Raises InputError for targets that are no classes, fewer than two of them, and too few items.
    """
    every = _collected(model, batches, layers, features, progress)
    found = tuple(
        measured(vectors, every.targets, path, neighbors)  # type: ignore[arg-type]
        for path, vectors in every.vectors.items()
    )
    return Separations(found, len(every.targets), neighbors, every.found)  # type: ignore[arg-type]


def measured(
    vectors: Float[Tensor, "n d"], targets: Int64[Tensor, " n"], layer: str = "", neighbors: int = 5
) -> Separation:
    """`Separation` of vectors; the silhouette of at most 2,000 of them, drawn with seed 0.

    Raises InputError for one class, a class for each item, and as many neighbors as items.

    >>> apart = measured(torch.tensor([[0.0], [1.0], [9.0], [10.0]]), torch.tensor([0, 0, 1, 1]), neighbors=1)
    >>> round(apart.silhouette, 2), apart.ratio, apart.accuracy
    (0.89, 81.0, 1.0)
    """
    from sklearn.metrics import silhouette_score

    points, classes = vectors.double().numpy(), targets.numpy()
    n, k = len(points), len(np.unique(classes))
    if not 1 < k < n or not 0 < neighbors < n:
        expected = "2 classes or more, fewer than items, and fewer neighbors than items"
        raise InputError("classes cannot be compared", expected=expected, got=f"{k} classes, {n} items")
    sample = np.random.default_rng(0).permutation(n)[:SAMPLE]
    silhouette = math.nan
    if 1 < len(np.unique(classes[sample])) < len(sample):
        silhouette = float(silhouette_score(points[sample], classes[sample]))
    means = np.stack([points[classes == c].mean(0) for c in np.unique(classes)])
    own = means[np.searchsorted(np.unique(classes), classes)]
    within = float(((points - own) ** 2).sum())
    between = float(((own - points.mean(0)) ** 2).sum())
    near = torch.from_numpy(nearest(points, neighbors)[0])
    votes = torch.zeros(n, int(targets.max()) + 1).scatter_add_(1, targets[near], torch.ones(n, neighbors))
    # A tie goes to the nearest neighbor among the classes that are tied.
    votes += 1e-3 * torch.nn.functional.one_hot(targets[near[:, 0]], votes.shape[1])
    right = float((votes.argmax(1) == targets).double().mean())
    ratio = between / within if within > 0 else math.inf if between > 0 else math.nan
    return Separation(layer, points.shape[1], silhouette, ratio, right, wilson(right, n))


def nearest(points: Any, count: int, metric: str = "euclidean") -> tuple[Any, Any]:
    """The `count` nearest other items of each item, nearest first, and their distances: (n, count) each."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=count, metric=metric).fit(points)
    distances, found = search.kneighbors()  # without points of its own, an item is no neighbor of itself
    return found.astype(np.int64), distances


def probes(
    model: nn.Module,
    train: Set,
    test: Set,
    layers: Sequence[str] | None = None,
    *,
    features: int = FEATURES,
    strength: float = 1.0,
    steps: int = 500,
    progress: Progress = False,
) -> Probes:
    """How well a linear classifier reads the classes off each layer, from the input on: by depth, what becomes linear.

        p(class) = softmax(W z + b),  z the layer's output, averaged into at most `features` numbers, standardized

    W by logistic regression (scikit-learn, L2 penalty of inverse strength `strength`, at most `steps` iterations) on
    the items of `train`; the accuracy is that on `test`. The network itself is not trained.
    Raises InputError for targets that are no classes, and for one class.
    Source: Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes", section 3.
    """
    every, held = (_collected(model, part, layers, features, progress) for part in (train, test))
    fit, told = every.targets.numpy(), held.targets.numpy()  # type: ignore[union-attr]
    if len(np.unique(fit)) < 2:
        raise InputError("nothing to tell apart", where="train", expected="2 classes or more", got="1")
    found = []
    with reporting(progress, len(every.vectors), "probes") as report:
        for path, vectors in every.vectors.items():
            found.append(_probe(path, (vectors, fit), (held.vectors[path], told), strength, steps))
            report(1)
    chance = float(np.bincount(told).max() / len(told))
    return Probes(tuple(found), (len(fit), len(told)), chance, every.found)


def _probe(path: str, train: tuple[Tensor, Any], test: tuple[Tensor, Any], strength: float, steps: int) -> Probe:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs, classes = train
    reader = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=steps))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        reader.fit(inputs.numpy(), classes)
    right = float(reader.score(test[0].numpy(), test[1]))
    stopped = any(issubclass(one.category, ConvergenceWarning) for one in told)
    training = float(reader.score(inputs.numpy(), classes))
    return Probe(path, inputs.shape[1], right, wilson(right, len(test[1])), training, not stopped)


def _collected(
    model: nn.Module, batches: Set, layers: Sequence[str] | None, features: int | None, progress: Progress
) -> Representations:
    """The vectors of the input and of the layers; InputError where the targets are no classes."""
    with reporting(progress, count_of(batches), "batches") as report:
        every = collect(model, batches, layers, features=features, report=report, first=(INPUT,))
    if every.targets is None:
        expected = "a class for each item, a whole number"
        raise InputError("the items have no classes", expected=expected, fix="Pass pairs (inputs, targets).")
    return every


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """NaN and infinity are no JSON."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in facts.items()}
