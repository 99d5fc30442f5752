"""Measures of colored pictures, beside coloring nothing and coloring all with one color."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table

from striate.ops.color import lab_to_srgb
from striate.shapes import Float, Int64, Tensor
from striate.tasks.fidelity import psnr

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
        """All of it as plain types."""
        return asdict(self)

    def table(self) -> Table:
        """A row for each way of coloring."""
        columns = ("AuC", "AuC balanced", *(f"within ΔE {t}" for t in WITHIN), "PSNR, dB")
        table = Table("colors", *columns, title=f"{self.n} pictures  loss {self.loss:.4f}")
        for way in (self.network, self.mean_color, self.grey):
            within = (f"{share:.2%}" for share in way.within.values())
            table.add_row(way.name, f"{way.auc:.2%}", f"{way.balanced_auc:.2%}", *within, f"{way.psnr:.2f}")
        return table


def score_colors(
    name: str, ab: Float[Tensor, "n 2 *space"], truth: Float[Tensor, "n 3 *space"], bins: Int64[Tensor, "n *space"]
) -> tuple[ColorScore, Float[Tensor, " n"], Float[Tensor, " n"]]:
    """The score of colors beside the true Lab, with each picture's area and PSNR; `bins` are the true colors'."""
    apart = torch.linalg.vector_norm(ab - truth[:, 1:], dim=1).double()
    area = (1 - apart / FARTHEST).clamp(min=0)  # ∫ [apart <= t] dt over t = 0 to 150, in closed form
    count = torch.bincount(bins.flatten())
    per_bin = torch.bincount(bins.flatten(), area.flatten())[count > 0] / count[count > 0]
    shown = (lab_to_srgb(lab).clamp(0, 1) for lab in (torch.cat((truth[:, :1], ab), 1), truth))
    decibels = psnr(*shown)
    within = {t: (apart <= t).double().mean().item() for t in WITHIN}
    score = ColorScore(name, area.mean().item(), per_bin.mean().item(), within, decibels.mean().item())
    return score, area.flatten(1).mean(1), decibels
