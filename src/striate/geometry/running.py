"""Which layer of a network runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

Running = Callable[[], tuple[str, nn.Module]]


@contextlib.contextmanager
def watched(model: nn.Module, left: Callable[[str, nn.Module, Any, bool], None] = lambda *_: None) -> Iterator[Running]:
    """While it lasts, the function that it gives tells which layer is running: path and module.

    A module that is no part of `model` has the path of the one that called it. `left` is told of each module that
    ends: path, module, output, and whether it failed.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    running: list[tuple[str, nn.Module]] = [("", model)]
    handled = sys.exc_info()[1]  # the network may be run while an exception is handled

    def enter(module: nn.Module, _args: Any) -> None:
        running.append((paths.get(id(module), running[-1][0]), module))

    def leave(_module: nn.Module, _args: Any, output: Any) -> None:
        try:
            left(*running[-1], output, sys.exc_info()[1] is not handled)
        finally:
            running.pop()

    hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)
    try:
        yield lambda: running[-1]
    finally:
        for hook in hooks:
            hook.remove()
