"""SGD, AdamW, Muon and Adadelta, with weight decay that spares norms and biases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, AdamW, Optimizer

from striate.errors import InputError
from striate.recipe import Recipe


class Muon(torch.optim.Muon):
    """torch.optim.Muon for weights of any rank: each is seen as a matrix with a row per output channel.

    Updates are scaled to the root mean square of AdamW's, so that one learning rate serves both.
    Source: Jordan et al. 2024, Muon; scaling of Liu et al. 2025, section 2.2.
    """

    def __init__(self, weights: Sequence[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        self.weights = list(weights)
        # The matrices share the weights' memory; their gradients are lent to them in `step`.
        matrices = [nn.Parameter(_matrix(weight.detach(), weight)) for weight in self.weights]
        super().__init__(matrices, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of the weights from their gradients."""
        for matrix, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            if matrix.data_ptr() != weight.data_ptr():
                raise InputError(
                    "the weights moved to other memory after the optimizer was built",
                    where="Muon",
                    fix="Move the model to its device and memory format first.",
                )
            matrix.grad = None if weight.grad is None else _matrix(weight.grad, weight)
        result = super().step(closure)  # type: ignore[no-untyped-call]
        for matrix in self.param_groups[0]["params"]:
            matrix.grad = None
        return result

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the weights' gradients."""
        for weight in self.weights:
            weight.grad = None if set_to_none else torch.zeros_like(weight)


def _matrix(tensor: Tensor, weight: Tensor) -> Tensor:
    """A weight or its gradient as a matrix: rows are output channels, columns as the weight lies in memory."""
    columns = sorted(range(1, weight.ndim), key=weight.stride, reverse=True)
    return tensor.permute(0, *columns).reshape(len(weight), -1)


def build_optimizers(model: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """The optimizers of a recipe for the parameters of `model` that want a gradient.

    Weights (two or more axes) decay; biases, norms and other vectors do not. Muon takes every weight but the last
    one, the classifier, which goes to AdamW with the vectors (Jordan et al. 2024). Weight decay is decoupled in
    AdamW and Muon, and part of the gradient in SGD and Adadelta (Zeiler 2012), whose rho is `beta2`. Raises InputError
    when nothing is left to train.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise InputError("the model has nothing to train", expected="parameters with requires_grad=True", got="none")
    weights = [p for p in trainable if p.ndim >= 2]
    vectors = [p for p in trainable if p.ndim < 2]
    lr, momentum, decay = recipe.learning_rate, recipe.momentum, recipe.weight_decay
    # Fused steps scale 16-bit gradients themselves, which hides them from gradient clipping.
    fused = trainable[0].device.type in ("cpu", "cuda") and recipe.precision != "16-mixed"

    def groups(weights: list[nn.Parameter]) -> list[dict[str, Any]]:
        both = ({"params": weights, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0})
        return [group for group in both if group["params"]]

    if recipe.optimizer == "sgd":
        return [SGD(groups(weights), lr=lr, momentum=momentum, nesterov=momentum > 0, fused=fused)]
    if recipe.optimizer == "adamw":
        return [AdamW(groups(weights), lr=lr, betas=(momentum, recipe.beta2), fused=fused)]
    if recipe.optimizer == "adadelta":
        return [Adadelta(groups(weights), lr=lr, rho=recipe.beta2, eps=1e-6)]
    optimizers: list[Optimizer] = [Muon(weights[:-1], lr, momentum, decay)] if weights[:-1] else []
    return [*optimizers, AdamW(groups(weights[-1:]), lr=lr, betas=(momentum, recipe.beta2), fused=fused)]


def set_rates(optimizers: Sequence[Optimizer], learning_rate: float, momentum: float) -> None:
    """Set the learning rate and the momentum (AdamW: beta1; Adadelta has none) of every group."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif "momentum" in group:
                group["momentum"] = momentum


def optimizer_tensors(optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Everything the optimizers remember, as flat named tensors."""
    return {
        f"{o}.{index}.{key}": value
        for o, optimizer in enumerate(optimizers)
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizers(optimizers: Sequence[Optimizer], tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; rates are set anew at every update."""
    for o, optimizer in enumerate(optimizers):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            which, index, key = name.split(".", 2)
            if int(which) == o:
                parameter = parameters[int(index)]
                # Fused steps read memory in the parameter's own order, which a file does not keep.
                same = value.shape == parameter.shape
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value) if same else value
                state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
