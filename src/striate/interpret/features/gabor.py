"""Kernels as Gabor functions: which orientation and spatial frequency each looks for, and how well that tells it.

    g(x, y) = exp(-x'² / 2σ² - y'² / 2τ²) · (p cos 2πf x' + q sin 2πf x') + offset

with x', y' the distances from the middle along and across the direction θ of the wave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from rich.table import Table

from striate.errors import InputError
from striate.interpret.map import as_image
from striate.shapes import Float, Tensor
from striate.train.checkpoint import save_tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

LEAST = {1: 9, 2: 5}  # positions along a side: a fit of fewer has about as many parameters as there are weights
# From which adjusted R² a kernel is a Gabor (of 120 kernels of noise, 5x5, one in a hundred has 0.55), and from which
# selectivity it is oriented.
GOOD, SELECTIVE = 0.6, 0.5
BINS = 12


@dataclass(frozen=True)
class Gabor:
    """The Gabor function that is most like a kernel.

    `orientation`: of its bars, in degrees from the horizontal, counterclockwise, 0 to 180 (0 in 1-D).
    `frequency`: cycles per pixel; `phase` in degrees: 0 is even (a bright bar in the middle), ±90 odd (an edge), ±180 a
    dark bar. `center` (row, column) in pixels from the kernel's middle, `sigma` of the envelope along the wave and
    across it, `amplitude` that of the wave.
    `r2`: the share of the kernel's variance that it tells, about the mean of each channel, over all channels;
    `adjusted` the same less what so many parameters tell of noise in a kernel of n positions,
    1 - (1 - r2)(n - 1) / (n - 9) (6 parameters in 1-D).
    `selectivity`: 1 for straight bars, 0 for a round blob, whose orientation says nothing: the difference of its
    gradient's energy along and across the wave, over their sum.
    """

    kernel: int
    orientation: float
    frequency: float
    phase: float
    center: tuple[float, ...]
    sigma: tuple[float, ...]
    amplitude: float
    r2: float
    adjusted: float
    selectivity: float

    @property
    def verdict(self) -> str:
        """What it is: "oriented", "blob" (a Gabor without a direction) or "no Gabor" (adjusted R² below 0.6)."""
        if not self.adjusted >= GOOD:
            return "no Gabor"
        return "oriented" if self.selectivity >= SELECTIVE else "blob"


@dataclass(frozen=True, eq=False, repr=False)
class Gabors:
    """A fit for each kernel; `fitted` are the functions, in the color that the kernel varies in most."""

    weights: Float[Tensor, "k c *space"]
    fitted: Float[Tensor, "k c *space"]
    rows: tuple[Gabor, ...]

    @property
    def oriented(self) -> tuple[Gabor, ...]:
        """The kernels that are Gabor functions with a direction."""
        return tuple(row for row in self.rows if row.verdict == "oriented")

    def histogram(self, bins: int = BINS) -> tuple[int, ...]:
        """How many oriented kernels have each orientation: bin i is centered at 180 i / bins degrees."""
        counts = [0] * bins
        for row in self.oriented:
            counts[round(row.orientation * bins / 180) % bins] += 1
        return tuple(counts)

    def plot(self) -> Figure:
        """Each kernel over its Gabor function, with the verdict, and the histogram of orientations and frequencies."""
        from striate.interpret.features.filter_pictures import draw_gabors

        return draw_gabors(self)

    def table(self, rows: int = 20) -> Table:
        """A row a kernel, the best told first."""
        table = Table("kernel", "verdict", "R²", "orientation", "cycles/pixel", "phase", "sigma", title=self.title())
        for row in sorted(self.rows, key=lambda row: -np.nan_to_num(row.r2))[:rows]:
            sigma = " × ".join(f"{s:.1f}" for s in row.sigma)
            numbers = (
                f"{row.r2:.3f}",
                f"{round(np.nan_to_num(row.orientation)) % 180}°",
                f"{row.frequency:.3f}",
                f"{row.phase:.0f}°",
            )
            table.add_row(str(row.kernel), row.verdict, *numbers, sigma)
        return table

    def json(self) -> dict[str, Any]:
        """Everything but the weights as plain types."""
        rows = [asdict(row) | {"verdict": row.verdict} for row in self.rows]
        return {"method": "Gabor functions", "kernels": rows, "histogram": list(self.histogram())}

    def save(self, path: str | Path) -> None:
        """Write kernels and functions into a safetensors file, the rest as JSON into its header."""
        save_tensors(Path(path), {"weights": self.weights, "fitted": self.fitted}, self.json())

    def title(self) -> str:
        """What was found: "40 of 96 kernels are oriented, 12 blobs, 44 no Gabor"."""
        found = [row.verdict for row in self.rows]
        counts = found.count("oriented"), found.count("blob"), found.count("no Gabor")
        blobs = f"{counts[1]} blob{'s' * (counts[1] != 1)}"
        return f"{counts[0]} of {len(found)} kernels are oriented, {blobs}, {counts[2]} no Gabor"

    def _repr_html_(self) -> str:
        return as_image(self.plot(), self.title())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title()})"


def fit_gabors(weights: Float[Tensor, "k c *space"]) -> Gabors:
    """The Gabor function that is most like each kernel (least squares), in 1-D and 2-D.

    Of several channels the combination is fitted in which the kernel varies most (its first principal color). The wave
    and the offset are linear and solved for; middle, direction, frequency and envelope are searched from several
    starts, the peaks of the kernel's spectrum. A kernel that is no Gabor function has a low `r2`, and is said so.

    Raises InputError for 3-D kernels, and for kernels of less than 5 positions along a side (9 in 1-D).
    Source: Daugman 1985, "Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
    two-dimensional visual cortical filters"; the fit to simple cells of Jones & Palmer 1987; Hubel & Wiesel 1962.
    """
    sides = tuple(weights.shape[2:])
    if len(sides) not in LEAST or min(sides) < LEAST[len(sides)] or not len(weights):
        raise InputError(
            "no Gabor function fits kernels of this size",
            expected="2 axes of at least 5 positions, or 1 of at least 9",
            got="×".join(map(str, sides)),
            fix="Their directions cannot be told; look at the kernels themselves (filters(model).plot()).",
        )
    found = [_fit(number, kernel) for number, kernel in enumerate(weights.double().numpy())]
    fitted = torch.from_numpy(np.stack([values for _, values in found])).to(weights)
    return Gabors(weights, fitted, tuple(row for row, _ in found))


def gabor(
    sides: Sequence[int],
    *,
    orientation: float = 0.0,
    frequency: float,
    phase: float = 0.0,
    sigma: Sequence[float],
    center: Sequence[float] = (0.0, 0.0),
) -> Float[Tensor, "*space"]:
    """A Gabor function of amplitude 1 on a grid of these sides, with the units of `Gabor`.

    >>> gabor((1, 5), orientation=90, frequency=0.25, sigma=(1e9, 1e9)).round(decimals=3) + 0
    tensor([[-1.,  0.,  1.,  0., -1.]])
    """
    theta = math.radians(orientation + 90) if len(sides) == 2 else 0.0
    place = np.array([*center[: len(sides)], *np.log(sigma[: len(sides)]), frequency, theta])
    envelope, along = _envelope(place, _grid(sides))
    wave = np.cos(2 * np.pi * frequency * along + math.radians(phase))
    return torch.from_numpy((envelope * wave).reshape(tuple(sides))).float()


def _grid(sides: Sequence[int]) -> Array:
    """Positions from the middle, (axes, values)."""
    lines = [np.arange(side) - (side - 1) / 2 for side in sides]
    return np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")])


def _envelope(place: Array, grid: Array) -> tuple[Array, Array]:
    """The envelope of parameters (center, log sigma, frequency, theta), and the distance along the wave."""
    rank = len(grid)
    away = grid - place[:rank, None]
    if rank == 1:
        along, across = away[0], np.zeros_like(away[0])
    else:  # theta counterclockwise from the columns; rows count downwards
        cos, sin = np.cos(place[-1]), np.sin(place[-1])
        along, across = away[1] * cos - away[0] * sin, away[1] * sin + away[0] * cos
    sigmas = np.exp(place[rank : 2 * rank])
    square = (along / sigmas[0]) ** 2 + ((across / sigmas[1]) ** 2 if rank == 2 else 0.0)
    return np.exp(-square / 2), along


def _solved(place: Array, grid: Array, values: Array) -> tuple[Array, Array]:
    """The best wave and offset at these parameters: (p, q, offset), and what they make."""
    envelope, along = _envelope(place, grid)
    angle = 2 * np.pi * place[2 * len(grid)] * along
    basis = np.stack([envelope * np.cos(angle), envelope * np.sin(angle), np.ones_like(envelope)], 1)
    # A little is added, since the sine of a frequency near zero is nothing.
    system = basis.T @ basis
    linear = np.linalg.solve(system + 1e-9 * np.trace(system) * np.eye(3), basis.T @ values)
    return linear, basis @ linear


def _fit(number: int, kernel: Array) -> tuple[Gabor, Array]:
    """The fit of one kernel (c, *space), and its values."""
    sides = kernel.shape[1:]
    flat = kernel.reshape(len(kernel), -1)
    mean = flat.mean(1, keepdims=True)
    total = float(((flat - mean) ** 2).sum())
    rank, nan = len(sides), float("nan")
    if not total > 1e-24 or not np.isfinite(total):
        row = Gabor(number, nan, nan, nan, (nan,) * rank, (nan,) * rank, 0.0, nan, nan, nan)
        return row, np.broadcast_to(mean, flat.shape).reshape(kernel.shape)
    color, strength, shapes = np.linalg.svd(flat - mean, full_matrices=False)
    values = strength[0] * shapes[0]
    place = _search(values / np.abs(values).max(), sides)
    (p, q, _), made = _solved(place, _grid(sides), values)
    r2 = (float((values**2).sum()) - float(((values - made) ** 2).sum())) / total
    if color[np.abs(color[:, 0]).argmax(), 0] < 0:  # a color and its opposite: the larger part is positive
        color, p, q, made = -color, -p, -q, -made
    row = _told(number, place, p, q, r2, sides)
    return row, (np.outer(color[:, 0], made) + mean).reshape(kernel.shape)


def _search(values: Array, sides: tuple[int, ...]) -> Array:
    """The parameters with the least squares, from several starts."""
    from scipy.optimize import least_squares

    rank, grid = len(sides), _grid(sides)
    power = values**2 / (values**2).sum()
    middle = grid @ power
    widest = max(sides)
    lower = [*(-side / 2 for side in sides), *[math.log(0.4)] * rank, 0.0, *[-np.inf] * (rank - 1)]
    upper = [*(side / 2 for side in sides), *[math.log(2.0 * widest)] * rank, 0.5, *[np.inf] * (rank - 1)]
    best = None
    for frequency, theta in _peaks(values, sides):
        start = np.array([*middle, *[math.log(widest / 4)] * rank, frequency, theta][: 3 * rank])
        start = np.clip(start, np.array(lower) + 1e-3, np.array(upper) - 1e-3)
        found = least_squares(lambda place: _solved(place, grid, values)[1] - values, start, bounds=(lower, upper))
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    return np.array(best.x)


def _peaks(values: Array, sides: tuple[int, ...]) -> list[tuple[float, float]]:
    """Frequency and direction of the greatest values of the spectrum, and half that frequency."""
    size = 4 * max(sides)
    spectrum = np.abs(np.fft.fftn(values.reshape(sides), s=(size,) * len(sides), axes=range(len(sides))))
    frequencies = np.fft.fftfreq(size)
    at = np.unravel_index(int(spectrum.argmax()), spectrum.shape)
    down, right = (frequencies[at[0]], frequencies[at[1]]) if len(sides) == 2 else (0.0, frequencies[at[0]])
    peak, theta = math.hypot(down, right), math.atan2(-down, right)
    return [(peak, theta), (peak / 2, theta), (peak, theta + math.pi / 2)][: 3 if len(sides) == 2 else 2]


def _told(number: int, place: Array, p: float, q: float, r2: float, sides: tuple[int, ...]) -> Gabor:
    """Parameters as people say them: the wave runs at right angles to the bars, counterclockwise from them."""
    rank = len(sides)
    sigma, frequency = np.exp(place[rank : 2 * rank]), float(place[2 * rank])
    theta, bars = (math.degrees(place[-1]) % 360, 0.0) if rank == 2 else (90.0, 0.0)
    along, across = _energies(sigma, frequency, p, q) if rank == 2 else (1.0, 0.0)
    if not 90 <= theta < 270:  # the wave told from its other end
        theta, q = (theta + 180) % 360, -q
    if rank == 2:
        bars = (theta - 90 if along >= across else theta) % 180
    count, parameters = math.prod(sides), 3 + 3 * rank
    return Gabor(
        kernel=number,
        orientation=bars,
        frequency=frequency,
        phase=math.degrees(math.atan2(-q, p)),
        center=tuple(map(float, place[:rank])),
        sigma=tuple(map(float, sigma)),
        amplitude=math.hypot(p, q),
        r2=r2,
        adjusted=1 - (1 - r2) * (count - 1) / (count - parameters),
        selectivity=abs(along - across) / (along + across),
    )


def _energies(sigma: Array, frequency: float, p: float, q: float) -> tuple[float, float]:
    """Energy of the gradient along the wave and across it, which are the function's own axes."""
    line = np.linspace(-4, 4, 801) * sigma[0]
    angle = 2 * np.pi * frequency * line
    wave = np.exp(-((line / sigma[0]) ** 2) / 2) * (p * np.cos(angle) + q * np.sin(angle))
    step = line[1] - line[0]
    energy = float((wave**2).sum()) or 1e-300
    return float((np.gradient(wave, step) ** 2).sum()) / energy, 1 / (2 * float(sigma[1]) ** 2)
