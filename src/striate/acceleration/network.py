"""The accelerated network: a module that is called as the one it was made of."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from striate.acceleration.plan import NOTHING, Call, Plan, captured, rewritten
from striate.acceleration.report import Acceleration
from striate.errors import InputError
from striate.geometry.state import preserved

SHAPES = 8  # as many plans are kept, each with weights of its own


class Accelerated(nn.Module):
    """A network on its fastest exact form, as made by `accelerate`; `report` says what was done and gained.

    It holds the weights as they were then, has no parameters of its own, and gives no gradients. Inputs of other
    shapes than the example's are captured at their first call, with the rewrites that proved themselves, and held
    against the network itself; of the latest eight shapes each has its plan. It can be copied, pickled and saved
    with torch.save: plans are made anew. Autocast has no effect on it.
    """

    def __init__(self, model: nn.Module, rewrites: tuple[str, ...], tolerance: float, report: Acceleration) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple: no submodule, whose mode and device this one would change
        self.rewrites, self.tolerance, self.report = rewrites, tolerance, report
        self._plans: dict[Any, Plan | None] = {}
        self._versions: list[int] | None = versions(model)
        self.training = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns, without gradients."""
        if torch._C._is_any_autocast_enabled():
            with without_autocast():
                return self.forward(*args, **kwargs)
        if kwargs or len(args) != 1 or not isinstance(args[0], Tensor):
            leaves, nesting = pytree.tree_flatten((args, kwargs))
            key: tuple[Any, ...] = (nesting, *map(kind, leaves))
        else:
            leaves, key = [*args], (args[0].shape, args[0].dtype, args[0].device)
        if torch.is_grad_enabled() and any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves):
            fix = "Use the network that it was made of, or pass x.detach()."
            raise InputError("an accelerated network gives no gradients", got="an input that asks for them", fix=fix)
        if key not in self._plans:
            self._learn(key, args, kwargs)
        plan = self._plans[key]
        with torch.no_grad():
            if plan is None:
                return in_eval_mode(self._model[0], args, kwargs)
            return plan([leaf for leaf in leaves if isinstance(leaf, Tensor)])

    def _learn(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A plan for inputs of these shapes; None, the network itself, where no rewrite serves."""
        if self._versions is None:
            self._versions = versions(self._model[0])
        elif self._versions != versions(self._model[0]):
            name = type(self._model[0]).__name__
            raise InputError("its weights have changed since", where=name, fix="Accelerate it again.")
        while len(self._plans) >= SHAPES:
            del self._plans[next(iter(self._plans))]
        if not self.rewrites:
            self._plans[key] = None
            return
        plan = planned(self._model[0], args, kwargs, self.rewrites, self.tolerance)
        self._plans[key] = plan if plan.touched else None
        wrong = [f"{step.rewrite}: {step.reason}" for step in plan.steps if step.reason not in ("", NOTHING)]
        if wrong:
            shapes = ", ".join(map(str, key))
            warnings.warn(f"for this input ({shapes}) rewrites are left out: {'; '.join(wrong)}", stacklevel=4)

    def __repr__(self) -> str:
        return f"{type(self).__name__} {type(self._model[0]).__name__}: {self.report}"

    def train(self, mode: bool = True) -> Accelerated:
        """Eval mode is the only one."""
        if mode:
            fix = "Train the network that it was made of, then accelerate it again."
            raise InputError("an accelerated network has no training mode", fix=fix)
        return self

    def _apply(self, *_: Any, **__: Any) -> NoReturn:
        fix = "Move or convert the network that it was made of, then accelerate it again."
        raise InputError("an accelerated network keeps its device and precision", fix=fix)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The weights of the network that it was made of."""
        return self._model[0].state_dict(*args, **kwargs)

    def load_state_dict(self, *_: Any, **__: Any) -> NoReturn:
        """Not possible: weights are folded into each other."""
        fix = "Load into the network that it was made of, then accelerate it again."
        raise InputError("an accelerated network takes no other weights", fix=fix)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}, "_versions": None}


def versions(model: nn.Module) -> list[int]:
    """How often each weight was written."""
    return [tensor._version for tensor in (*model.parameters(), *model.buffers()) if not tensor.is_inference()]


@contextlib.contextmanager
def without_autocast() -> Iterator[None]:
    """Weights and inputs in the precision in which they are: packed kernels have no other."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        yield


def in_eval_mode(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a network returns in eval mode, even if it is being trained."""
    if not any(module.training for module in model.modules()):
        return model(*args, **kwargs)
    with preserved(model):
        return model.eval()(*args, **kwargs)


def kind(leaf: Any) -> Any:
    """What a plan depends on: shape and type of a tensor, anything else itself."""
    return (leaf.shape, leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else (type(leaf), leaf)


@torch.inference_mode(False)
@torch.no_grad()
def planned(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], rewrites: tuple[str, ...], tolerance: float
) -> Plan:
    """A plan of the model for these arguments."""
    call = Call(*pytree.tree_flatten((args, kwargs)))
    with preserved(model):
        model.eval()
        plain, wanted = captured(model, call)
        return rewritten(plain, rewrites, call, wanted, tolerance)
