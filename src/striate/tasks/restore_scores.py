"""Measures of restored pictures beside what was given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from striate.plain import finite


@dataclass(frozen=True)
class RestorationScores:
    """Scores of `n` pictures: means over pictures, of the estimate and of the noisy input.

    psnr: decibels, 10 log10(1 / mean squared error). ssim: structural similarity, 1 at best. mse: mean squared error
    of the estimate. The noisy input is taken as it is, not clipped; `picture_psnr` and `picture_ssim` have the
    estimate's of each picture.
    """

    n: int
    loss: float
    psnr: float
    ssim: float
    mse: float
    noisy_psnr: float
    noisy_ssim: float
    picture_psnr: tuple[float, ...]
    picture_ssim: tuple[float, ...]

    def summary(self) -> dict[str, float]:
        """The single numbers."""
        keys = ("n", "psnr", "ssim", "noisy_psnr", "noisy_ssim", "mse", "loss")
        return {key: getattr(self, key) for key in keys}

    def json(self) -> dict[str, Any]:
        """All of it as plain types; what is not defined is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    def table(self) -> Table:
        """The estimate and the noisy input."""
        table = Table("picture", "PSNR, dB", "SSIM", title=f"{self.n} pictures  loss {self.loss:.5f}")
        table.add_row("noisy", f"{self.noisy_psnr:.2f}", f"{self.noisy_ssim:.4f}")
        table.add_row("restored", f"{self.psnr:.2f}", f"{self.ssim:.4f}")
        return table
