"""Embedding: the items of a set as points, where a layer puts them; thumbnails on a grid, neighbors, separation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from striate.errors import InputError
from striate.interpret.features.representations import HEAD, Set, collect, count_of
from striate.interpret.features.separation import Separation, measured, nearest
from striate.interpret.sweep import Progress, reporting
from striate.shapes import Float, Int64, Tensor, UInt8
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = ("tsne", "pca")
EXACT = 2500  # items up to which the grid is the best one; beyond, each takes the nearest free cell in turn


@dataclass(frozen=True, eq=False)
class Embedding:
    """What `embed` returns, on the CPU: a vector of each item (n, d), its class, and a small picture of it.

    `targets` is None where the set has no classes, `thumbnails` (n, c, h, w) where items are no images or volumes.
    """

    layer: str
    vectors: Float[Tensor, "n d"]
    targets: Int64[Tensor, " n"] | None
    thumbnails: UInt8[Tensor, "n c h w"] | None
    names: tuple[str, ...] = ()

    def pca(self, dimensions: int = 2) -> tuple[Float[Tensor, "n p"], Float[Tensor, " p"]]:
        """Coordinates along the directions of greatest variance, and the share of the variance that each explains."""
        from sklearn.decomposition import PCA

        most = min(self.vectors.shape)
        if not 1 <= dimensions <= most:
            raise InputError("no such principal components", expected=f"1 to {most}", got=dimensions)
        made = PCA(dimensions, svd_solver="full").fit(self.vectors.double().numpy())
        points = made.transform(self.vectors.double().numpy())
        return torch.from_numpy(points).float(), torch.from_numpy(made.explained_variance_ratio_).float()

    def tsne(self, perplexity: float | None = None, seed: int = 0) -> Float[Tensor, "n 2"]:
        """t-SNE in two dimensions, of the first 50 principal components (van der Maaten & Hinton 2008, section 4.2).

        `perplexity`: about how many neighbors each item has; by default 30, of few items a third of them. Nearness
        means something there, distance and size of clusters do not. Raises InputError where the perplexity is not below
        the number of items.
        """
        from sklearn.manifold import TSNE

        if perplexity is None:
            perplexity = min(30.0, max(1.0, len(self.vectors) / 3))
        if not 1 <= perplexity < len(self.vectors):
            raise InputError("perplexity of t-SNE", expected=f"1 to below {len(self.vectors)}", got=perplexity)
        points = self.pca(min(50, *self.vectors.shape))[0].numpy()
        made = TSNE(perplexity=perplexity, random_state=seed, init="pca", n_jobs=1).fit_transform(points)
        return torch.from_numpy(made).float()

    def place(self, way: str = "tsne", **options: Any) -> Float[Tensor, "n 2"]:
        """Two coordinates of each item, by `pca` or `tsne`; InputError for another way."""
        if way not in WAYS:
            raise InputError("no such way to place items", expected=" or ".join(WAYS), got=repr(way))
        if way == "tsne":
            return self.tsne(**options)
        if min(self.vectors.shape) < 2:
            return torch.nn.functional.pad(self.pca(1)[0], (0, 1))
        return self.pca(2)[0]

    def neighbors(
        self, count: int = 5, metric: str = "cosine"
    ) -> tuple[Int64[Tensor, "n count"], Float[Tensor, "n count"]]:
        """The nearest other items of each item, nearest first, and how far they are: metric cosine or euclidean."""
        if metric not in ("cosine", "euclidean"):
            raise InputError("no such distance", expected="cosine or euclidean", got=repr(metric))
        if not 1 <= count < len(self.vectors):
            raise InputError("so many neighbors", expected=f"1 to {len(self.vectors) - 1}", got=count)
        found, distances = nearest(self.vectors.numpy(), count, metric)
        return torch.from_numpy(found), torch.from_numpy(distances).float()

    def separation(self, neighbors: int = 5) -> Separation:
        """How well the classes lie apart; InputError where there are none."""
        if self.targets is None:
            raise InputError("the items have no classes", expected="batches of inputs and classes")
        return measured(self.vectors, self.targets, self.layer, neighbors)

    def plot(self, way: str = "tsne", *, grid: bool | None = None, room: float = 1.0, **options: Any) -> Figure:
        """The items where `place(way, **options)` puts them.

        Images are snapped to a grid without overlap, one in each cell (`grid`, on by default where there are
        thumbnails), of `room` times as many cells as items; else the items are points in the color of their class.
        """
        from striate.interpret.features.embedding_pictures import draw_embedding

        return draw_embedding(self, self.place(way, **options), way, grid, room)

    def plot_neighbors(self, items: Sequence[int], count: int = 8, metric: str = "cosine") -> Figure:
        """A row for each of `items` (their numbers): the item and its nearest others, framed by whether the class is
        the same."""
        from striate.interpret.features.embedding_pictures import draw_neighbors

        return draw_neighbors(self, items, *self.neighbors(count, metric), metric)

    def table(self) -> Table:
        """Size, variance, separation."""
        table = Table("measure", "value", title=f"embedding of {len(self.vectors):,} items at {self.layer or 'output'}")
        table.add_row("dimensions", str(self.vectors.shape[1]))
        shares = self.pca(min(10, *self.vectors.shape))[1].cumsum(0)
        table.add_row("variance of 2 components", f"{float(shares[:2][-1]):.1%}")
        table.add_row(f"variance of {len(shares)} components", f"{float(shares[-1]):.1%}")
        if self.targets is not None:
            apart = self.separation(min(5, len(self.vectors) - 1))
            low, high = apart.interval
            table.add_row("silhouette of the classes", f"{apart.silhouette:.3f}")
            table.add_row("between / within", f"{apart.ratio:.3f}")
            table.add_row("5 nearest neighbors right", f"{apart.accuracy:.1%} ({low:.1%} to {high:.1%})")
        return table

    def json(self) -> dict[str, Any]:
        """Vectors and classes as plain lists."""
        targets = None if self.targets is None else self.targets.tolist()
        facts = {"method": "embed", "layer": self.layer, "names": list(self.names)}
        return {**facts, "vectors": self.vectors.tolist(), "targets": targets}

    def save(self, path: str | Path) -> None:
        """Write vectors, classes and thumbnails into a safetensors file, the rest into its header."""
        tensors = {"vectors": self.vectors, "targets": self.targets, "thumbnails": self.thumbnails}
        facts = {"method": "embed", "layer": self.layer, "names": list(self.names)}
        save_tensors(Path(path), {name: part for name, part in tensors.items() if part is not None}, facts)


def embed(
    model: nn.Module,
    batches: Set,
    layer: str | None = None,
    *,
    names: Sequence[str] = (),
    progress: Progress = False,
) -> Embedding:
    """The items of a set as vectors: what a layer says of them, a map averaged over space.

    `layer`: a module path, "" for the output; by default the last hidden layer, what the last linear or convolutional
    module is given. `batches`: of `striate.data`, pairs (inputs, targets) or inputs. `names`: of the classes.
    Raises InputError for a layer that is not there, and for no items.
    Source: Krizhevsky et al. 2012, section 6.1 (neighbors in the last hidden layer); Karpathy 2014, "t-SNE
    visualization of CNN codes" (the grid).

    >>> halves = nn.Sequential(nn.AvgPool1d(2), nn.Flatten(), nn.Linear(2, 3))
    >>> embed(halves, [torch.tensor([[[1.0, 3.0, 5.0, 7.0]], [[0.0, 0.0, 2.0, 2.0]]])]).vectors
    tensor([[2., 6.],
            [0., 2.]])
    """
    wanted = HEAD if layer is None else layer
    with reporting(progress, count_of(batches), "batches") as report:
        every = collect(model, batches, [wanted], report=report)
    vectors = every.vectors[wanted].float()
    return Embedding(wanted, vectors, every.targets, every.thumbnails, tuple(names))


def snapped(points: Float[Tensor, "n 2"], rows: int, columns: int) -> Int64[Tensor, "n 2"]:
    """A cell (row, column) of a grid for each point (x, y), no two the same, near where the point lies.

    Points are stretched to fill the grid. Up to 2,500 of them, the sum of squared distances is the least there is
    (Jonker & Volgenant 1987, scipy's linear_sum_assignment); beyond, each point in turn, those in the middle first,
    takes the nearest free cell. Raises InputError for fewer cells than points.

    >>> snapped(torch.tensor([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]]), 2, 2).tolist()
    [[1, 0], [1, 1], [0, 1]]
    """
    if rows * columns < len(points):
        raise InputError("the grid is too small", expected=f"{len(points)} cells", got=f"{rows} x {columns}")
    xy = points.double().numpy()
    low, high = xy.min(0), xy.max(0)
    unit = (xy - low) / np.maximum(high - low, 1e-30)
    # y grows upwards, rows grow downwards.
    where = np.stack([(1 - unit[:, 1]) * (rows - 1), unit[:, 0] * (columns - 1)], 1)
    cells = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    if len(points) <= EXACT:
        from scipy.optimize import linear_sum_assignment

        chosen = linear_sum_assignment(((where[:, None] - cells[None]) ** 2).sum(-1))[1]
        return torch.from_numpy(cells[chosen])
    free = np.zeros(len(cells))
    middle = ((where - where.mean(0)) ** 2).sum(1)
    chosen = np.empty(len(points), np.int64)
    for point in middle.argsort():
        chosen[point] = (((cells - where[point]) ** 2).sum(1) + free).argmin()
        free[chosen[point]] = math.inf
    return torch.from_numpy(cells[chosen])
