"""Restoration: the clean picture from a noisy one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn

from striate.data import Data, Framing
from striate.data.items import Kind
from striate.errors import InputError, did_you_mean
from striate.shapes import Float, Tensor
from striate.tasks.fidelity import psnr, ssim
from striate.tasks.noise import NOISES
from striate.tasks.panels import beside, write_png
from striate.tasks.registry import Task, task
from striate.tasks.restore_scores import RestorationScores

DISTANCES = ("l2", "l1")


@dataclass(frozen=True, eq=False)
class Restored:
    """A picture in 0..1 without its noise, and the one that was `given`."""

    picture: Float[Tensor, "c h w"]
    given: Float[Tensor, "c h w"] | None = None

    def within(self, framing: Framing) -> Restored:
        """The same at the size of the whole picture."""
        given = None if self.given is None else framing.sampled(self.given)
        return Restored(framing.sampled(self.picture), given)

    @property
    def removed(self) -> float | None:
        """The root of the mean squared change, in 8-bit units."""
        return None if self.given is None else (self.picture - self.given).square().mean().sqrt().item() * 255

    def row(self) -> dict[str, Any]:
        """How much was removed."""
        removed = self.removed
        return {"removed": "" if removed is None else round(removed, 3)}

    def json(self) -> dict[str, Any]:
        """The same number; the picture is a file."""
        return {"removed": self.removed}

    def save(self, folder: Path, stem: str, given: Any) -> list[Path]:
        """The restored picture, and beside one another: the one given, the restored one."""
        row = beside([given.to(self.picture), self.picture])
        return [write_png(folder / f"{stem}.png", self.picture), write_png(folder / f"{stem}_beside.png", row)]


@task("restore", takes=get_args(Kind))
@dataclass(frozen=True)
class Restore(Task):
    """Learns the clean picture from one to which noise was added; whatever else the data say of it is not used.

        x = clean + noise -> estimate,   loss = mean (estimate - clean)²     (`distance="l1"`: mean |estimate - clean|)

    Pictures are in 0..1. `noise` is gaussian (standard deviation `sigma`, in 8-bit units), salt_pepper (a `share` of
    the pixels becomes black or white) or poisson (`photons` counted where the picture is white). It is drawn anew for
    each picture of each epoch, and is the same in every evaluation. A prediction takes the noisy picture as it is
    given. Targets: the clean and the noisy picture, Float[n 2 c h w].

    Raises InputError for unknown kinds of noise and distances, and for amounts out of range.
    """

    dense: ClassVar[Literal["", "resized", "own"]] = "own"
    channels: int
    noise: str = "gaussian"
    sigma: float = 25.0
    share: float = 0.1
    photons: float = 30.0
    distance: str = "l2"

    scaled = False

    def __post_init__(self) -> None:
        for what, known, given in (("noise", NOISES, self.noise), ("distance", DISTANCES, self.distance)):
            if given not in known:
                raise InputError(f"unknown kind of {what}", got=repr(given), fix=did_you_mean(given, known))
        for key, high in (("sigma", 255), ("share", 1), ("photons", 1e6)):
            if not 0 < getattr(self, key) <= high:
                expected = f"above 0, at most {high:g}"
                raise InputError(f"{key} of the noise is out of range", expected=expected, got=getattr(self, key))

    @classmethod
    def of(
        cls,
        data: Data,
        noise: str = "gaussian",
        sigma: float = 25.0,
        share: float = 0.1,
        photons: float = 30.0,
        distance: str = "l2",
    ) -> Restore:
        """For the channels of the pictures."""
        return cls(data.shape[0], noise, sigma, share, photons, distance)

    @property
    def outputs(self) -> int:
        """The picture's channels."""
        return self.channels

    def encode(self, targets: Sequence[Float[Tensor, "c h w"]]) -> Float[Tensor, "n 2 c h w"]:
        """Clean pictures in 0..1 of one size -> targets, as if nothing had been added."""
        clean = torch.stack(list(targets))
        return torch.stack((clean, clean), 1)

    def example(
        self, inputs: Float[Tensor, "n c h w"], targets: Tensor, generator: torch.Generator | None
    ) -> tuple[Float[Tensor, "n c h w"], Tensor]:
        """Noisy pictures, and clean and noisy ones; without a generator the pictures as they are given."""
        if generator is None:
            return inputs, targets
        make, amount = NOISES[self.noise]
        noisy = make(inputs, getattr(self, amount), generator)
        return noisy, torch.stack((inputs, noisy), 1)

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise InputError if the network does not give a picture of the size of its input."""
        if target.ndim != 5 or target.shape[1:3] != (2, self.channels):
            expected = f"n 2 {self.channels} h w, clean and noisy"
            raise InputError("the targets do not fit restoration", expected=expected, got=tuple(target.shape))
        if output.shape != target[:, 0].shape:
            raise InputError(
                "the network's outputs do not fit restoration",
                expected=f"pictures of {'x'.join(map(str, target.shape[2:]))}",
                got=f"shape {tuple(output.shape[1:])}",
                fix=f"Build denoising_unet, or another network of maps, with num_classes={self.channels}.",
            )

    def loss(self, output: Float[Tensor, "n c h w"], target: Float[Tensor, "n 2 c h w"]) -> Float[Tensor, ""]:
        """Mean over all values of the squared (l1: absolute) error."""
        return self._losses(output, target).mean()

    def _losses(self, output: Tensor, target: Tensor) -> Float[Tensor, " n"]:
        error = output - target[:, 0]
        return (error.square() if self.distance == "l2" else error.abs()).flatten(1).mean(1)

    def keep(self, output: Float[Tensor, "n c h w"], target: Float[Tensor, "n 2 c h w"]) -> Float[Tensor, "n 6"]:
        """Each picture's loss, squared error, PSNR and SSIM, and the noisy one's PSNR and SSIM."""
        output, (clean, noisy) = output.float(), target.unbind(1)
        shown = output.clamp(0, 1)  # a file holds no other values
        measures = [self._losses(output, target), (shown - clean).square().flatten(1).mean(1)]
        measures += [psnr(shown, clean), ssim(shown, clean), psnr(noisy, clean), ssim(noisy, clean)]
        return torch.stack([measure.float() for measure in measures], 1)

    def metrics(self, kept: Float[Tensor, "n 6"], target: Tensor) -> Mapping[str, float]:
        """The loss and the PSNR of the estimate."""
        loss, _, decibels, *_ = kept.double().mean(0).tolist()
        return {"loss": loss, "psnr": decibels}

    def score(self, kept: Float[Tensor, "n 6"], target: Tensor) -> RestorationScores:
        """Every measure; InputError for an empty set."""
        if not len(kept):
            raise InputError("cannot score an empty set", expected="at least one picture", got="0")
        loss, mse, decibels, alike, noisy, noisy_alike = kept.double().mean(0).tolist()
        each = (tuple(kept[:, column].tolist()) for column in (2, 3))
        return RestorationScores(len(kept), loss, decibels, alike, mse, noisy, noisy_alike, *each)

    def decode(self, output: Float[Tensor, "n c h w"]) -> tuple[Restored, ...]:
        """The estimates, clipped to 0..1."""
        return tuple(Restored(picture) for picture in output.detach().float().clamp(0, 1).cpu())

    def answer(self, model: nn.Module, inputs: Float[Tensor, "n c h w"]) -> tuple[Restored, ...]:
        """The estimates, and how far they are from what was given."""
        found = self.decode(model(inputs))
        return tuple(Restored(one.picture, given) for one, given in zip(found, inputs.cpu(), strict=True))
