"""The training loop: an iterator of steps.

    data.train -> Batches -> model -> task.loss -> optimizer -> Step      (one an update)
                                            data.validation -> metrics   (on the last step of an epoch)

Logging, drawing and saving are the caller's: code in the body of its `for`. All randomness is a pure function of
(recipe.seed, update number), and the position in the data follows from the update number, so that a checkpoint
is the weights, what the optimizer remembers, and one number; training resumed from it is bit-identical.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from striate.data import Batch, Batches, Data, augmentation_of
from striate.errors import DivergedError, InputError
from striate.ops import resize
from striate.recipe import Recipe
from striate.shapes import Float, Tensor
from striate.tasks import Task
from striate.train import schedules
from striate.train.checkpoint import load_weights, read_tensors, save_tensors
from striate.train.device import prepare
from striate.train.evaluate import evaluate, evaluating
from striate.train.optimizers import build_optimizers, optimizer_tensors, restore_optimizers, set_rates
from striate.train.process import lay_out, settle_process
from striate.train.randomness import seeded
from striate.train.transfer import freeze

# Fields of a recipe that may differ when training resumes: they change no result.
WHERE = {"device", "workers"}


@dataclass(frozen=True)
class Step:
    """One update of the weights.

    `number` counts updates from 1 to `of`, `epoch` counts from 1; the last epoch may be a part of one. `train_loss`
    (mean over the epoch) and `validation` (metrics of the task, None without a validation set) stand on the step that
    ends an epoch only; `last` marks the end of the training, also an early one.
    """

    number: int
    of: int
    epoch: int
    items: int
    learning_rate: float
    momentum: float
    loss_tensor: Float[Tensor, ""] = field(repr=False)
    ends_epoch: bool
    last: bool
    train_loss: float | None
    validation: Mapping[str, float] | None
    training: _Training = field(repr=False)

    @property
    def loss(self) -> float:
        """Mean loss of the step's items."""
        return self.loss_tensor.item()

    def save(self, path: Path) -> None:
        """Write a checkpoint of the training as it stands now; see `fit` for how to resume from it.

        The file is replaced atomically. Raises StorageError if it cannot be written and DivergedError if the
        weights are no longer finite; what `path` held is kept.
        """
        self.training.save(path)


def fit(
    model: nn.Module, task: Task, data: Data, recipe: Recipe, *, resume: str | Path | None = None
) -> Iterator[Step]:
    """Train `model` in place; yields a `Step` after each update.

    The model's weights are its own to initialize; the recipe's fields on optimizer, schedule, length, batches,
    augmentation, averaging, device and seed are followed here (its `model`, `data` and split fields describe
    where the arguments came from). When the iterator is exhausted, `model` holds the weights to keep: the moving
    average with `ema`, those of the best epoch with `patience`, else the last ones.

        for step in fit(model, task, data, recipe):
            print(step.number, step.loss)
            if step.ends_epoch:
                step.save("checkpoint.safetensors")

    A network that has a method `constrain()` has it called after each update (a bound on the norm of its weights, say).

    The process is settled for training on a CPU: numbers below 1e-38 become 0, and memory that is freed stays with
    the process (train/process.py).

    `resume` continues from a file that `step.save` wrote: the weights end bit-identical to those of an
    uninterrupted run on the same machine.

    Raises InputError at once when data, network and task do not fit, and for a checkpoint of another network or
    recipe; DivergedError, before the update, when the loss is no longer finite.
    """
    training = _Training(model, task, data, recipe)
    if resume is not None:
        training.restore(Path(resume))
    return training.run()


@dataclass
class _Progress:
    """Where training stands, besides tensors. Written into checkpoints as JSON."""

    updates: int = 0
    epoch_items: int = 0
    best_loss: float | None = None
    epochs_since_best: int = 0
    epochs_since_drop: int = 0
    drops: int = 0
    stopped: bool = False


class _Training:
    """The state of one training, and what an update does to it."""

    def __init__(self, model: nn.Module, task: Task, data: Data, recipe: Recipe) -> None:
        settle_process()
        self.model, self.task, self.recipe = model, task, recipe
        augment = augmentation_of(recipe.augment, data)
        self.fabric = prepare(recipe.device, recipe.precision)
        self.device = self.fabric.device
        model.to(self.device).train()
        if self.device.type == "cpu":
            lay_out(model)
        freeze(model, recipe.freeze)
        self.optimizers = build_optimizers(model, recipe)
        self.forward, *self.stepped = self.fabric.setup(model, *self.optimizers)
        self.precision = self.fabric.strategy.precision
        self.batches = Batches(
            data.train,
            data.preprocess,
            batch_size=recipe.batch_size,
            device=self.device,
            seed=recipe.seed,
            augment=augment,
            example=task.example,
            # A short last batch would weigh its items more; other epochs leave out other items.
            drop_last=len(data.train) >= recipe.batch_size,
            workers=recipe.workers,
        )
        self.data = data
        self.ema: AveragedModel | None = None
        if recipe.ema is not None:
            average = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
        self.best: dict[str, Tensor] = {}
        self.progress = _Progress()
        self.epoch_loss = torch.zeros((), device=self.device)
        self.steps_per_epoch = math.ceil(len(self.batches) / recipe.accumulate)
        self.steps = math.ceil(self.steps_per_epoch * recipe.epochs)
        self.queue: Iterator[Batch] | None = None
        self._check_fit()

    @property
    def done(self) -> bool:
        """Whether no update is left."""
        return self.progress.stopped or self.progress.updates >= self.steps

    @property
    def kept(self) -> nn.Module:
        """The model whose weights are validated and kept."""
        return self.model if self.ema is None else self.ema.module

    def run(self) -> Iterator[Step]:
        """Every step that is left; then the model gets the weights to keep."""
        while not self.done:
            yield self.step()
        load_weights(self.model, self.best or self.kept.state_dict(), "training")

    def step(self) -> Step:
        """One update and, at the end of an epoch, validation."""
        progress, recipe = self.progress, self.recipe
        epoch, place = divmod(progress.updates, self.steps_per_epoch)
        group = self._next_batches(epoch, place)
        height = schedules.height(recipe, progress.updates, self.steps, self.steps_per_epoch, progress.drops)
        rate, momentum = schedules.learning_rate(recipe, height), schedules.momentum(recipe, height)
        set_rates(self.optimizers, rate, momentum)
        with seeded(recipe.seed, progress.updates, device=self.device):
            loss = self._update(group)
        items = sum(len(batch) for batch in group)
        progress.updates += 1
        progress.epoch_items += items
        self.epoch_loss += loss * items
        ends = place + 1 == self.steps_per_epoch or progress.updates == self.steps
        train_loss, validation = self._end_epoch() if ends else (None, None)
        return Step(
            number=progress.updates,
            of=self.steps,
            epoch=epoch + 1,
            items=items,
            learning_rate=rate,
            momentum=momentum,
            loss_tensor=loss,
            ends_epoch=ends,
            last=self.done,
            train_loss=train_loss,
            validation=validation,
            training=self,
        )

    def _next_batches(self, epoch: int, place: int) -> list[Batch]:
        if self.queue is None:
            self.queue = self.batches.epoch(epoch, start=place * self.recipe.accumulate)
        return list(islice(self.queue, self.recipe.accumulate))

    def _update(self, group: list[Batch]) -> Float[Tensor, ""]:
        """Forward, backward and optimizer step; the mean loss of the group."""
        items = sum(len(batch) for batch in group)
        total = torch.zeros((), device=self.device)
        side = schedules.train_size(self.recipe, self.progress.updates, self.steps)
        for batch in group:
            loss = self.task.loss(self.forward(_resized(batch.inputs, side)), batch.targets) * (len(batch) / items)
            total += loss.detach()
            self._check_finite(total)
            self.fabric.backward(loss)
        if self.recipe.gradient_clip is not None:
            for optimizer in self.optimizers:
                self.precision.unscale_gradients(optimizer)
            # Over all parameters at once, whichever optimizer holds them.
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        for optimizer in self.stepped:
            optimizer.step()
            optimizer.zero_grad()
        # A network may keep its weights in bounds (max-norm of text_cnn).
        if callable(constrain := getattr(self.model, "constrain", None)):
            constrain()
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        return total

    def _check_finite(self, loss: Float[Tensor, ""]) -> None:
        """DivergedError on a loss that is no number, naming the update that it would have caused."""
        number = self.progress.updates + 1
        if not math.isfinite(value := loss.item()):
            epoch = (number - 1) // self.steps_per_epoch + 1
            raise DivergedError(
                f"the loss became {value} at step {number} (epoch {epoch}), and training stopped. "
                "Lower --learning-rate, or bound the gradient with --gradient-clip 1."
            )

    def _end_epoch(self) -> tuple[float, Mapping[str, float] | None]:
        """Validation, early stopping and plateaus; the epoch's mean training loss and the metrics."""
        progress = self.progress
        train_loss = self.epoch_loss.item() / progress.epoch_items
        self.queue = None
        self.epoch_loss.zero_()
        progress.epoch_items = 0
        metrics = None
        if self.data.validation is not None:
            metrics = self.task.metrics(
                *evaluate(self.kept, self.task, self.data.validation, self.data.preprocess, self.device)
            )
        watched = train_loss if metrics is None else metrics["loss"]
        progress.epochs_since_best += 1
        progress.epochs_since_drop += 1
        if progress.best_loss is None or watched < progress.best_loss:
            progress.best_loss = watched
            progress.epochs_since_best = progress.epochs_since_drop = 0
            if self.recipe.patience is not None:
                self.best = {name: tensor.clone() for name, tensor in self.kept.state_dict().items()}
        if self.recipe.schedule == "plateau" and progress.epochs_since_drop >= self.recipe.step_epochs:
            progress.drops += 1
            progress.epochs_since_drop = 0
        if self.recipe.patience is not None and progress.epochs_since_best >= self.recipe.patience:
            progress.stopped = True
        return train_loss, metrics

    def save(self, path: Path) -> None:
        """Write a checkpoint; see `Step.save`."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise DivergedError(
                    f"the weights are no longer finite ({name.removeprefix('model.')}) at step "
                    f"{self.progress.updates}; no checkpoint was written. Lower --learning-rate."
                )
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(self.optimizers).items()}
        tensors["epoch_loss"] = self.epoch_loss
        facts = {
            "progress": asdict(self.progress),
            "recipe": asdict(self.recipe),
            "data": self.data.fingerprint(),
            "precision": self.precision.state_dict(),
        }
        save_tensors(Path(path), tensors, facts)

    def restore(self, path: Path) -> None:
        """Put back what `save` wrote."""
        tensors, facts = read_tensors(path)
        if not {"progress", "recipe"} <= set(facts):
            raise InputError("this file is no checkpoint of a training", where=path)
        own, saved = json.loads(json.dumps(asdict(self.recipe))), facts["recipe"]
        differing = [key for key in own if key not in WHERE and own[key] != saved.get(key)]
        if differing:
            key = differing[0]
            raise InputError(
                "the checkpoint is of another recipe",
                where=path,
                expected=f"{key} {saved.get(key)!r}",
                got=repr(own[key]),
                fix="Resume with the recipe that the training began with.",
            )
        if facts["data"] != self.data.fingerprint():
            raise InputError(
                "the data is not what it was when the training began",
                where=path,
                expected="the same items, classes and splits",
                fix="Put the files back as they were, or train anew.",
            )
        part = {kind: _under(kind, tensors) for kind in ("model", "ema", "best", "optimizer")}
        load_weights(self.model, part["model"], path)
        if self.ema is not None:
            load_weights(self.ema, part["ema"], path)
        self.best = {name: tensor.to(self.device) for name, tensor in part["best"].items()}
        restore_optimizers(self.optimizers, part["optimizer"])
        self.epoch_loss.copy_(tensors["epoch_loss"])
        self.progress = _Progress(**facts["progress"])
        self.precision.load_state_dict(facts["precision"])

    def _check_fit(self) -> None:
        """InputError before the first update if data, network and task do not fit each other."""
        few = self.data.train.subset(range(min(2, len(self.data.train))))
        batch = next(
            Batches(
                few, self.data.preprocess, batch_size=len(few), device=self.device, example=self.task.example
            ).epoch(0)
        )
        if self.recipe.train_sizes and (self.data.meaning.kind not in ("class", "labels") or batch.inputs.ndim < 4):
            raise InputError(
                "only images of classes are resized in training",
                where="train_sizes",
                got=f"inputs of {batch.inputs.ndim - 1} axes, targets of kind {self.data.meaning.kind}",
                fix="Leave train_sizes out; the augmentation scale resizes targets, too.",
            )
        for side in (*self.recipe.train_sizes, None):
            output = self._tried(_resized(batch.inputs, side))
        self.task.check(output, batch.targets)

    def _tried(self, inputs: Tensor) -> Any:
        """The network's output; InputError where it does not take the inputs."""
        try:
            with evaluating(self.model):
                return self.model(inputs)
        except RuntimeError as error:
            shape = "x".join(map(str, inputs.shape[1:]))
            raise InputError(
                "the network cannot take the inputs",
                where=f"{type(self.model).__name__}, inputs {shape}",
                got=str(error).partition("\n")[0],
                fix="Build it for their size and channels, or change them (for images: --image-size, --channels).",
            ) from error


def _resized(inputs: Tensor, side: int | None) -> Tensor:
    """Images with a shorter side of so many pixels."""
    if side is None:
        return inputs
    space = inputs.shape[2:]
    return resize(inputs, [round(length * side / min(space)) for length in space])


def _under(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `kind` and a dot, without that beginning."""
    return {name.removeprefix(f"{kind}."): t for name, t in tensors.items() if name.startswith(f"{kind}.")}
