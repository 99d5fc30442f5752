"""Measures of colored pictures, beside coloring nothing and coloring all with one color."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table

from striate.ops.color import lab_to_srgb
from striate.plain import finite
from striate.shapes import Float, Int64, Tensor
from striate.tasks.fidelity import psnr
from striate.tasks.spelling import spell

FARTHEST = 150  # the largest threshold, in units of ab
WITHIN = (5, 10, 20)


@dataclass(frozen=True)
class ColorScore:
    """How near one way of coloring comes to the truth.

    auc: area under the share of pixels whose (a, b) lies within t of the truth, over t = 0 to 150, divided by 150
    (Zhang et al. 2016, section 3.1). balanced_auc: the mean of that area over the bins of true colors that occur, so
    that rare colors count as much as common ones (their re-weighting, equation 4 with λ = 0 and the scored pixels'
    frequencies). within: share of pixels within a ΔE of 5, 10, 20 (lightness is given). psnr: decibels, mean over
    pictures.
    """

    name: str
    auc: float
    balanced_auc: float
    within: dict[int, float]
    psnr: float


@dataclass(frozen=True)
class ColorizationScores:
    """Scores of `n` pictures: of the network, of one mean color and of grey, and of the network picture by picture."""

    n: int
    loss: float
    network: ColorScore
    mean_color: ColorScore
    grey: ColorScore
    picture_auc: tuple[float, ...]
    picture_psnr: tuple[float, ...]

    def summary(self) -> dict[str, float]:
        """The single numbers."""
        return {
            "n": self.n,
            "auc": self.network.auc,
            "balanced_auc": self.network.balanced_auc,
            **{f"within_{t}_rate": share for t, share in self.network.within.items()},
            "psnr": self.network.psnr,
            "loss": self.loss,
            **{f"{way.name.replace(' ', '_')}_auc": way.auc for way in (self.mean_color, self.grey)},
            **{f"{way.name.replace(' ', '_')}_balanced_auc": way.balanced_auc for way in (self.mean_color, self.grey)},
        }

    def json(self) -> dict[str, Any]:
        """All of it as plain types; what is not defined is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def table(self) -> Table:
        """A row for each way of coloring."""
        columns = ("AuC", "AuC balanced", *(spell(f"within_{t}_rate") for t in WITHIN), "PSNR, dB")
        table = Table("colors", *columns, title=f"{self.n} pictures  loss {self.loss:.4f}")
        for way in (self.network, self.mean_color, self.grey):
            within = (f"{share:.2%}" for share in way.within.values())
            table.add_row(way.name, f"{way.auc:.2%}", f"{way.balanced_auc:.2%}", *within, f"{way.psnr:.2f}")
        return table


def measure_colors_of(
    ab: Float[Tensor, "n 2 *space"], truth: Float[Tensor, "n 3 *space"], bins: Int64[Tensor, "n *space"], count: int
) -> Float[Tensor, "n row"]:
    """A row a picture: area, shares within each ΔE, PSNR, and the sum of the area over the pixels of each bin.

    `truth` is CIELAB, `bins` has the number below `count` of each pixel's true bin.
    """
    apart = torch.linalg.vector_norm(ab - truth[:, 1:], dim=1).flatten(1)
    area = (1 - apart / FARTHEST).clamp(min=0)  # ∫ [apart <= t] dt over t = 0 to 150, in closed form
    shown = (lab_to_srgb(lab).clamp(0, 1) for lab in (torch.cat((truth[:, :1], ab), 1), truth))
    numbers = [area.mean(1), *((apart <= t).float().mean(1) for t in WITHIN), psnr(*shown).to(area)]
    per_bin = area.new_zeros(len(area), count).scatter_add_(1, bins.flatten(1), area)
    return torch.cat((torch.stack(numbers, 1), per_bin), 1)


def color_score(name: str, rows: Float[Tensor, "n row"], counts: Float[Tensor, "n k"]) -> ColorScore:
    """The score of rows that `measure_colors_of` made; `counts` has each picture's pixels of each bin."""
    area, *within, decibels = rows[:, : 2 + len(WITHIN)].double().mean(0).tolist()
    pixels = counts.double().sum(0)
    per_bin = rows[:, 2 + len(WITHIN) :].double().sum(0)[pixels > 0] / pixels[pixels > 0]
    return ColorScore(name, area, per_bin.mean().item(), dict(zip(WITHIN, within, strict=True)), decibels)
