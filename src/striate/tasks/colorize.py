"""Colorization: the colors (a, b) of a picture from its lightness, as a classification of each place's color."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

from striate.data import Data, Framing
from striate.data.items import Kind
from striate.errors import InputError
from striate.ops.color import ab_bins, lab_to_srgb, srgb_to_lab
from striate.shapes import Float, Int64, Tensor, UInt8
from striate.tasks.color_scores import WITHIN, ColorizationScores, color_score, measure_colors_of
from striate.tasks.panels import beside, write_png
from striate.tasks.registry import Task, task
from striate.zoo.colorization import annealed_mean

STEP = 10  # of the grid of bins, in units of ab
SIGMA = 5.0  # of the Gaussian that spreads a color over its bins, and that smooths their frequencies
NEIGHBORS = 5
MEASURED = 5_000_000  # pixels whose colors are counted, of pictures spread evenly over the training set


@dataclass(frozen=True, eq=False)
class Colored:
    """A lightness and the colors given to it, in CIELAB."""

    lab: Float[Tensor, "3 h w"]

    def within(self, framing: Framing) -> Colored:
        """The same at the size of the whole picture; grey where the network did not look."""
        return Colored(framing.sampled(self.lab).nan_to_num(0.0))

    @property
    def picture(self) -> Float[Tensor, "3 h w"]:
        """sRGB in 0..1."""
        return lab_to_srgb(self.lab[None])[0].clamp(0, 1)

    def row(self) -> dict[str, Any]:
        """The mean color and how vivid it is."""
        a, b = self.lab[1:].flatten(1).mean(1).tolist()
        return {"a": round(a, 3), "b": round(b, 3), "chroma": round(self.lab[1:].norm(dim=0).mean().item(), 3)}

    def json(self) -> dict[str, Any]:
        """The same numbers; the picture is a file."""
        return self.row()

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """The colored picture, and beside one another: its lightness, the colored picture, the one given.

        The lightness is that of the picture given, which may be finer than what the network saw.
        """
        given = given.to(self.lab).expand(3, -1, -1)
        lightness = srgb_to_lab(given[None])[0, :1]
        colored = Colored(torch.cat((lightness, self.lab[1:]))).picture
        grey = Colored(torch.cat((lightness, torch.zeros_like(self.lab[1:])))).picture
        row = beside([grey, colored, given])
        return [write_png(folder / f"{stem}.png", colored), write_png(folder / f"{stem}_beside.png", row)]


@task("colorize", takes=get_args(Kind))
@dataclass(frozen=True)
class Colorize(Task):
    """Learns the colors of pictures from their lightness; whatever else the data say of them is not used.

    The network is given (L - 50) / 100, n 1 h w, and answers logits of the 313 bins of `striate.ops.ab_bins`, at the
    picture's size or a part of it (a quarter). A place's true color, the mean over its pixels, is spread over its 5
    nearest bins by a Gaussian (σ 5), and the loss is the cross-entropy with it, times the weight of its nearest bin:

        w ∝ 1 / ((1 - λ) p + λ/313),  Σ p w = 1

    with `prior` p, the bins' shares of the training pixels, smoothed (σ 5), and `mixing` λ: 1 weighs all alike, 0.5 is
    the paper's. Colors are read out by the annealed mean at `temperature`, enlarged and joined with L. Targets: the
    picture in CIELAB, Float[n 3 h w]. `mean_color` (a, b) is that of the training pixels, a baseline.
    Source: R. Zhang, P. Isola, A. Efros, "Colorful image colorization" (2016), section 2.

    Raises InputError for a prior of another length, for a `mixing` outside 0..1 and a `temperature` not above 0.
    """

    dense: ClassVar[Literal["", "resized", "own"]] = "resized"
    told_by: ClassVar[tuple[str, ...]] = ("temperature",)
    prior: tuple[float, ...]
    mean_color: tuple[float, ...] = (0.0, 0.0)
    mixing: float = 0.5
    temperature: float = 0.38

    scaled = False

    def __post_init__(self) -> None:
        if len(self.prior) != self.outputs or min(self.prior) < 0 or abs(sum(self.prior) - 1) > 1e-3:
            expected = f"{self.outputs} shares of at least 0 with sum 1"
            raise InputError(
                "the prior of colors", expected=expected, got=f"{len(self.prior)} with {sum(self.prior):g}"
            )
        if not 0 <= self.mixing <= 1:
            raise InputError("mixing of the prior is out of range", expected="0 to 1", got=self.mixing)
        if not self.temperature > 0:
            raise InputError("the temperature is out of range", expected="above 0", got=self.temperature)

    @classmethod
    def of(cls, data: Data, mixing: float = 0.5, temperature: float = 0.38) -> Colorize:
        """With the colors of the training pictures; InputError for grey ones."""
        if data.shape[0] != 3:
            raise InputError(
                "colorization learns from colored pictures", expected="3 channels", got=data.shape[0],
                fix="Choose colored pictures, or set channels: 3.",
            )  # fmt: skip
        prior, mean = measure_colors(data.train.inputs)
        return cls(tuple(prior.tolist()), tuple(mean.tolist()), mixing, temperature)

    @property
    def outputs(self) -> int:
        """One score for each bin."""
        return len(ab_bins(STEP))

    def in_channels(self, channels: int) -> int:
        """The lightness alone."""
        return 1

    def encode(self, targets: Sequence[Float[Tensor, "3 h w"]]) -> Float[Tensor, "n 3 h w"]:
        """RGB pictures in 0..1 of one size -> CIELAB."""
        return srgb_to_lab(torch.stack(list(targets)))

    def example(
        self, inputs: Float[Tensor, "n 3 h w"], targets: Tensor, generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n 3 h w"]]:
        """The network's input (L - 50) / 100, and the picture in CIELAB."""
        lab = srgb_to_lab(inputs)
        return (lab[:, :1] - 50) / 100, lab

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise InputError if the network does not give a score for each bin and place."""
        if output.ndim != 4 or output.shape[1] != self.outputs:
            raise InputError(
                "the network's outputs do not fit colorization",
                expected=f"{self.outputs} scores for each place of a map",
                got=f"shape {tuple(output.shape[1:])}",
                fix=f"Build colorization, or another network of maps, with num_classes={self.outputs}, in_channels=1.",
            )
        if target.ndim != 4 or target.shape[1] != 3 or len(target) != len(output):
            expected = f"{len(output)} pictures in CIELAB, n 3 h w"
            raise InputError("the targets do not fit colorization", expected=expected, got=tuple(target.shape))

    def loss(self, output: Float[Tensor, "n k h2 w2"], target: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Mean over places of the re-weighted cross-entropy in nats."""
        return self._losses(output, target).mean()

    def _losses(self, output: Tensor, target: Tensor) -> Float[Tensor, "n h2 w2"]:
        ab = F.adaptive_avg_pool2d(target[:, 1:], (output.shape[2], output.shape[3]))
        nearest, shares = spread(ab)
        said = output.log_softmax(1).gather(1, nearest)
        weights = output.new_tensor(rarity(self.prior, self.mixing))
        return -(shares * said).sum(1) * weights[nearest[:, 0]]

    def colors(self, output: Float[Tensor, "n k h2 w2"], size: tuple[int, ...]) -> Float[Tensor, "n 2 h w"]:
        """The annealed mean of the bins' colors, enlarged bilinearly to `size`."""
        ab = annealed_mean(output.float(), ab_bins(STEP).to(output.device), self.temperature, enlarge=1)
        return F.interpolate(ab, size, mode="bilinear")

    def keep(self, output: Float[Tensor, "n k h2 w2"], target: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n row"]:
        """A row a picture: its loss, its pixels of each bin, then the measures of the network, mean color and grey."""
        ab, bins = self.colors(output, tuple(target.shape[2:])), nearest_bin(target[:, 1:])
        counts = ab.new_zeros(len(ab), self.outputs).scatter_add_(
            1, bins.flatten(1), torch.ones_like(ab[:, 0]).flatten(1)
        )
        grey = torch.zeros_like(ab)
        mean = grey + ab.new_tensor(self.mean_color).view(2, 1, 1)
        measures = [measure_colors_of(colors, target, bins, self.outputs) for colors in (ab, mean, grey)]
        losses = self._losses(output.float(), target).flatten(1).mean(1, keepdim=True)
        return torch.cat((losses, counts, *measures), 1)

    def metrics(self, kept: Float[Tensor, "n row"], target: Tensor) -> Mapping[str, float]:
        """The loss and the area under the curve (see `ColorScore`)."""
        losses, _, network, *_ = self._parts(kept)
        return {"loss": losses.mean().item(), "auc": network[:, 0].mean().item()}

    def score(self, kept: Float[Tensor, "n row"], target: Tensor) -> ColorizationScores:
        """Every measure, of the network, of the mean color and of grey; InputError for an empty set."""
        if not len(kept):
            raise InputError("cannot score an empty set", expected="at least one picture", got="0")
        losses, counts, *ways = self._parts(kept)
        names = ("network", "mean color", "grey")
        network, mean_color, grey = (color_score(*pair, counts) for pair in zip(names, ways, strict=True))
        each = (tuple(ways[0][:, column].tolist()) for column in (0, 1 + len(WITHIN)))
        return ColorizationScores(len(kept), losses.double().mean().item(), network, mean_color, grey, *each)

    def _parts(self, kept: Tensor) -> tuple[Tensor, ...]:
        """The losses, the counts and the measures of three ways of coloring that `keep` put side by side."""
        sizes = [1, self.outputs, *(self.outputs + 2 + len(WITHIN),) * 3]
        return torch.split_with_sizes(kept, sizes, 1)

    def decode(self, output: Float[Tensor, "n k h2 w2"]) -> tuple[Colored, ...]:
        """The colors at the size of the output, on a lightness of 50; `answer` joins them with the picture's own."""
        ab = self.colors(output, tuple(output.shape[2:]))
        return tuple(Colored(lab) for lab in torch.cat((torch.full_like(ab[:, :1], 50), ab), 1))

    def answer(self, model: nn.Module, inputs: Float[Tensor, "n 1 h w"]) -> tuple[Colored, ...]:
        """The pictures whose lightness the network is given, colored."""
        ab = self.colors(model(inputs), tuple(inputs.shape[2:]))
        return tuple(Colored(lab) for lab in torch.cat((inputs * 100 + 50, ab), 1).cpu())


def spread(ab: Float[Tensor, "n 2 h w"]) -> tuple[Int64[Tensor, "n m h w"], Float[Tensor, "n m h w"]]:
    """The 5 bins nearest to each color, nearest first, and the color's share of each: exp(-d² / 2σ²), with sum 1."""
    bins = ab_bins(STEP).to(ab)
    apart, nearest = torch.cdist(ab.movedim(1, -1).flatten(0, 2), bins).topk(NEIGHBORS, largest=False)
    shares = (-(apart**2) / (2 * SIGMA**2)).softmax(1)
    n, _, h, w = ab.shape
    return nearest.view(n, h, w, NEIGHBORS).movedim(-1, 1), shares.view(n, h, w, NEIGHBORS).movedim(-1, 1)


def nearest_bin(ab: Float[Tensor, "n 2 *space"]) -> Int64[Tensor, "n *space"]:
    """The bin that each color of sRGB rounds to."""
    bins = ab_bins(STEP)
    half = int(bins.abs().max()) // STEP + 1
    table = torch.full((2 * half + 1, 2 * half + 1), -1, dtype=torch.int64, device=ab.device)
    row, column = (bins / STEP).round().long().to(ab.device).unbind(1)
    table[row + half, column + half] = torch.arange(len(bins), device=ab.device)
    a, b = (ab / STEP).round().long().unbind(1)
    return table[a + half, b + half]


def measure_colors(images: UInt8[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, " k"], Float[Tensor, " 2"]]:
    """The bins' shares of the pixels, smoothed by a Gaussian (σ 5) over their distances, and the mean (a, b).

    At most 5 million pixels are measured, of pictures spread evenly over the set.
    """
    few = max(1, MEASURED // images[0, 0].numel())
    bins, every = ab_bins(STEP).double(), -(-len(images) // few)
    counts, total = torch.zeros(len(bins), dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    at_once = max(1, few // 10) * every
    for first in range(0, len(images), at_once):
        ab = srgb_to_lab(images[first : first + at_once : every].float() / 255)[:, 1:]
        counts += torch.bincount(nearest_bin(ab).flatten(), minlength=len(bins))
        total += ab.double().sum((0, 2, 3))
    bell = (-(torch.cdist(bins, bins) ** 2) / (2 * SIGMA**2)).exp()
    smooth = (counts / counts.sum()) @ (bell / bell.sum(1, keepdim=True))
    return smooth / smooth.sum(), total / counts.sum()


@lru_cache(maxsize=8)
def rarity(prior: tuple[float, ...], mixing: float) -> tuple[float, ...]:
    """The weight of each bin, 1 / ((1 - mixing) prior + mixing / k), scaled so that its mean under the prior is 1.

    >>> rarity((0.75, 0.25), 0.0), rarity((0.75, 0.25), 1.0)
    ((0.6666666666666666, 2.0), (1.0, 1.0))
    """
    bound = 1e-6  # a color that never occurred in training must not decide the loss alone
    raw = [1 / max((1 - mixing) * p + mixing / len(prior), bound) for p in prior]
    mean = sum(p * w for p, w in zip(prior, raw, strict=True))
    return tuple(w / mean for w in raw)
