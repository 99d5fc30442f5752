"""Any nn.Module -> the graph of operations that it executes, on meta tensors: no weights, no arithmetic.

The forward runs as it is, functional calls, loops and in-place writes included; a dispatch mode sees each operation
of torch's core below every Python surface, and asks its rule (rules.py) how outputs read inputs.
"""

from __future__ import annotations

import contextlib
import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import InputError
from striate.geometry.graph import Graph, Node, Value, Weight
from striate.geometry.inputs import Inputs, as_inputs, brief
from striate.geometry.reading import Reading
from striate.geometry.rules import COMPOSED, PRODUCTS, Call, Facts, facts_of, writes, written_through
from striate.geometry.shapes import like, shape_function

TORCH = str(Path(torch.__file__).parent)
HERE = str(Path(__file__).parent)
# Operations whose result is a number or whose size depends on numbers.
READS_NUMBERS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2")
# Frames of these say nothing of the network.
WRAPPERS = ("contextlib", "jaxtyping", "beartype")
# Integer tensors up to this size keep their numbers: they index others.
INDEX_NUMEL = 1 << 20


def trace(model: nn.Module, input: Inputs, *, training: bool = False) -> Graph:
    """The operations that `model` executes on an input of this shape.

    `input` is the shape of one item (without the batch axis), an example tensor (with it), or for a network with
    several inputs a tuple (by position) or dict (by name) of these. The network runs in eval mode; with `training` in
    train mode with gradients, which adds what autograd keeps. Its modes, weights and buffers are left as they are.

    Raises InputError where the model is no nn.Module, wants other inputs, cannot take this size (naming the layer),
    executes an operation without a rule, or lets its course depend on the numbers in a tensor (naming the line).
    """
    if not isinstance(model, nn.Module):
        fix = "Build it first: striate.build(name)." if isinstance(model, str) else "Pass a torch.nn.Module."
        raise InputError("this is no network", expected="a torch.nn.Module", got=brief(model), fix=fix)
    positional, named = as_inputs(model, input)
    tracer = Tracer(model, training)
    state = {**tracer.parameters, **tracer.buffers}
    batch = 2 if training else 1
    args = [tracer.add_input(name, t, batch) for name, t in positional.items()]
    kwargs = {name: tracer.add_input(name, t, batch) for name, t in named.items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque operation for a whole encoder layer
    try:
        with _mode(model, training), torch.set_grad_enabled(training), tracer.watching():
            outputs = torch.func.functional_call(model, state, tuple(args), kwargs)
    except InputError:
        raise
    except Exception as error:
        raise tracer.explain(error) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return tracer.graph(outputs)


@contextlib.contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The whole model in train or eval mode; each module's own mode comes back."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation on meta tensors and writes down what it read."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped by torch.compile's machinery, whose import alone takes longer than any network here."""
        return False

    def __init__(self, model: nn.Module, training: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.training = training
        self.values: list[Value] = []
        self.nodes: list[Node] = []
        self.inputs: dict[str, int] = {}
        self.kept: list[torch.Tensor] = []  # keeps id() unique
        self.known: dict[int, int] = {}  # tensor -> value
        self.derived: dict[int, frozenset[str]] = {}  # tensor made of parameters only -> their names
        self.storages: dict[int, int] = {}
        self.aliases: dict[int, list[torch.Tensor]] = {}  # storage -> the tensors that show it
        self.views: dict[int, tuple[torch.Tensor, tuple[Reading, ...]]] = {}  # view -> base, and how it reads it
        self.stale: set[int] = set()
        self.stack: list[tuple[str, nn.Module]] = [("", model)]
        self.modules: dict[str, int] = {}  # path -> what the module returned
        self.died: tuple[str, nn.Module] | None = None
        self.saved: list[list[tuple[int, int]]] = []
        self.early: list[tuple[int, int]] = []
        self.paths = {id(module): path for path, module in reversed(list(model.named_modules(remove_duplicate=False)))}
        self.parameters: dict[str, torch.Tensor] = {}
        self.buffers: dict[str, torch.Tensor] = {}
        self.weights: dict[str, Weight] = {}
        self._read_state(model)

    def _read_state(self, model: nn.Module) -> None:
        names: dict[int, list[str]] = {}
        tensors: dict[int, nn.Parameter] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if isinstance(parameter, nn.UninitializedParameter):
                raise InputError(
                    "a lazy layer has no weights yet",
                    where=name,
                    fix="Run the network once on an example, then describe it.",
                )
            names.setdefault(id(parameter), []).append(name)
            tensors[id(parameter)] = parameter
        for key, parameter in tensors.items():
            meta = like(parameter).requires_grad_(parameter.requires_grad)
            first = names[key][0]
            self.weights[first] = Weight(
                tuple(names[key]),
                tuple(parameter.shape),
                parameter.numel() * parameter.element_size(),
                parameter.requires_grad,
            )
            self.derived[self._keep(meta)] = frozenset([first])
            self.parameters |= dict.fromkeys(names[key], meta)
        for name, buffer in model.named_buffers(remove_duplicate=False):
            # Whole numbers index others, so they are kept (as copies: training writes into them).
            index = not buffer.is_floating_point() and not buffer.is_meta and buffer.numel() <= INDEX_NUMEL
            self.buffers[name] = buffer.detach().cpu().clone() if index else like(buffer)

    def add_input(self, name: str, tensor: torch.Tensor, batch: int) -> torch.Tensor:
        """A network input, with `batch` copies of the item."""
        tensor = tensor.expand(batch, *tensor.shape[1:]).clone() if batch > 1 else tensor
        self.inputs[name] = self._add_value(tensor, ())
        return tensor

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While the network runs: module paths, what autograd keeps, and every operation."""

        def enter(module: nn.Module, _: Any) -> None:
            path = self.paths.get(id(module))
            self.stack.append((self.stack[-1][0] if path is None else path, module))

        def leave(_module: nn.Module, _args: Any, output: Any) -> None:
            if sys.exc_info()[1] is not handled:
                self.died = self.died or self.stack[-1]
            made = [self.known[id(t)] for t in _tensors((output,)) if id(t) in self.known]
            if made:
                self.modules[self.stack[-1][0]] = made[0]
            self.stack.pop()

        handled = sys.exc_info()[1]
        hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)
        saving = torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor)
        try:
            with saving if self.training else contextlib.nullcontext(), self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors((*args, *kwargs.values()))
        on_meta = any(t.is_meta for t in tensors)
        if not on_meta:
            # Numbers that do not depend on the input are computed as they are.
            return func(*args, **kwargs)
        name = func._schema.name
        if name in READS_NUMBERS:
            raise _depends_on_numbers(name, self.stack[-1])
        if name in COMPOSED:
            with self:
                return COMPOSED[name](*args, **kwargs)
        for tensor in tensors:
            self._refresh(tensor)
        mixed = any(not t.is_meta and t.dim() for t in tensors)
        try:
            if mixed or "device" in kwargs:
                call_args, call_kwargs = _to_meta(args), _to_meta(kwargs)
            else:
                call_args, call_kwargs = args, kwargs
            told = shape_function(func)
            out = func(*call_args, **call_kwargs) if told is None else told(call_args, call_kwargs)
        except NotImplementedError as error:
            raise self._cannot_run(name, error) from error
        outputs = _tensors((out,))
        for tensor in outputs:
            self._keep(tensor)
        if not any(id(t) in self.known for t in tensors):
            names = frozenset[str]().union(*(self.derived.get(id(t), ()) for t in tensors))
            self.derived |= {id(t): names for t in outputs}
            if name in PRODUCTS:  # arithmetic all the same (a network that makes its own position codes)
                call = Call(func, args, kwargs, outputs, self.values, self.nodes, self.known)
                self._record(call, facts_of(call, _place(*self.stack[-1])), tensors, outputs, known=False)
            return out
        call = Call(func, args, kwargs, outputs, self.values, self.nodes, self.known)
        facts = facts_of(call, _place(*self.stack[-1]))
        self._record(call, facts, tensors, outputs)
        return out

    def _record(
        self, call: Call, facts: Facts, tensors: list[torch.Tensor], outputs: list[torch.Tensor], known: bool = True
    ) -> None:
        """One more node. Its outputs are known as values, unless they do not depend on the input."""
        written = writes(call)
        inputs = tuple(dict.fromkeys(self.known[id(t)] for t in tensors if id(t) in self.known))
        made = []
        for number, tensor in enumerate(outputs):
            readings = tuple(facts.readings[min(number, len(facts.readings) - 1)])
            if torch.Tag.inplace_view in call.func.tags and id(tensor) in self.known:
                made.append(self._turn(tensor, readings))
                continue
            if id(tensor) in written:
                made.append(self._write(tensor, readings))
                continue
            base = next((t for t in tensors if t is not tensor and _storage(t) == _storage(tensor)), None)
            made.append(self._add_value(tensor, readings if known else (), known))
            if base is not None:
                self.views[id(tensor)] = (base, readings)
        names = frozenset[str]().union(*(self.derived.get(id(t), ()) for t in tensors))
        order = sorted(names, key=list(self.weights).index) if len(names) > 1 else tuple(names)
        path, module = self.stack[-1]
        self.nodes.append(
            Node(
                len(self.nodes),
                path,
                type(module).__name__,
                facts.operation,
                facts.kind,
                inputs,
                tuple(made),
                tuple(order),
                facts.counts,
            )
        )
        self.saved.append(self.early)
        self.early = []

    def _add_value(self, tensor: torch.Tensor, readings: tuple[Reading, ...], known: bool = True) -> int:
        key = _storage(tensor)
        storage = self.storages.setdefault(key, len(self.storages))
        self.aliases.setdefault(key, []).append(tensor)
        value = Value(
            len(self.values),
            tuple(tensor.shape),
            tensor.dtype,
            readings,
            storage,
            tensor.untyped_storage().nbytes(),
        )
        self.values.append(value)
        if known:
            self.known[self._keep(tensor)] = value.index
        self.stale.discard(id(tensor))
        return value.index

    def _write(self, tensor: torch.Tensor, readings: tuple[Reading, ...]) -> int:
        """An in-place write: the tensor, what it is a view of, and all other views of that are new values."""
        index = self._add_value(tensor, readings)
        family = [t for t in self.aliases[_storage(tensor)] if t is not tensor]
        view: torch.Tensor | None = tensor
        while view is not None and id(view) in self.views:
            base, through = self.views[id(view)]
            old = self.known.get(id(base), -1)  # -1: memory without meaning so far (torch.empty)
            kept, new = written_through(through, old, tuple(base.shape), self.known[id(view)], tuple(view.shape))
            self._add_value(base, (*kept, *new) if old >= 0 else new)
            family = [t for t in family if t is not base]
            view = base
        self.stale |= {id(t) for t in family if id(t) in self.views}
        return index

    def _turn(self, tensor: torch.Tensor, readings: tuple[Reading, ...]) -> int:
        """An in-place change of shape (transpose_) writes nothing: the tensor is now a view of what it was."""
        shape = self.values[self.known[id(tensor)]].shape
        old = tensor.as_strided(shape, [0] * len(shape))
        self.known[self._keep(old)] = self.known[id(tensor)]
        if id(tensor) in self.views:
            self.views[id(old)] = self.views[id(tensor)]
        self.views |= {view: (old, through) for view, (base, through) in self.views.items() if base is tensor}
        self.views[id(tensor)] = (old, readings)
        self.aliases[_storage(tensor)].append(old)
        return self._add_value(tensor, readings)

    def _refresh(self, tensor: torch.Tensor) -> None:
        """A view of memory that was written since is read anew."""
        if id(tensor) not in self.stale and not (id(tensor) in self.views and id(tensor) not in self.known):
            return
        base, readings = self.views[id(tensor)]
        self._refresh(base)
        if id(base) in self.known:
            source = self.known[id(base)]
            self._add_value(tensor, tuple(_from(reading, source) for reading in readings))

    def _keep(self, tensor: torch.Tensor) -> int:
        self.kept.append(tensor)
        return id(tensor)

    def _save(self, tensor: torch.Tensor) -> torch.Tensor:
        """What autograd keeps belongs to the operation that was recorded last (or to the next, before the first)."""
        if id(tensor) not in self.derived:
            key = _storage(tensor)
            storage = self.storages.setdefault(key, len(self.storages))
            self._keep(tensor)
            (self.saved[-1] if self.saved else self.early).append((storage, tensor.untyped_storage().nbytes()))
        return tensor

    def graph(self, outputs: Any) -> Graph:
        """What was recorded, with the outputs that depend on the input."""
        tensors = _tensors(list(outputs.values()) if isinstance(outputs, Mapping) else (outputs,))
        for tensor in tensors:
            self._refresh(tensor)
        found = tuple(self.known[id(t)] for t in tensors if id(t) in self.known)
        if not found:
            raise InputError("no output of the network depends on its input", got=brief(outputs))
        state = (*self.parameters.values(), *self.buffers.values())
        storages = {self.storages.get(_storage(t)) for t in state}
        nodes = [
            Node(**{**node.__dict__, "saved": tuple(s for s in saved if s[0] not in storages)})
            for node, saved in zip(self.nodes, self.saved, strict=True)
        ]
        self.modules[""] = found[0]
        return Graph(tuple(self.values), tuple(nodes), self.inputs, found, self.modules, self.weights)

    def _cannot_run(self, name: str, error: NotImplementedError) -> InputError:
        if "nonzero" in name or "dynamic" in str(error) or "data" in str(error):
            return _depends_on_numbers(name, self.stack[-1])
        return InputError(
            "torch cannot tell the shape of an operation's result",
            where=_place(*self.stack[-1]),
            got=name,
            fix="Register a meta kernel for it: torch.library.register_fake.",
        )

    def explain(self, error: Exception) -> InputError:
        """What the network's own error means, with the layer at which it arose."""
        text = str(error).partition("\n")[0]
        path, module = self.died or self.stack[-1]
        if any(sign in text for sign in ("meta tensor", "data-dependent", "unallocated storage")):
            return _depends_on_numbers(type(error).__name__, (path, module))
        shapes = [self.values[i].shape[1:] for i in (self.nodes[-1].outputs if self.nodes else self.inputs.values())]
        died = DiedError(
            "the network cannot take this input",
            where=f"at {_place(path, module)}",
            got=f"{' and '.join(map(_by, shapes))} there: {text}",
        )
        if isinstance(module, nn.Linear) and shapes and shapes[0] and shapes[0][-1] != module.in_features:
            died.features = shapes[0][-1], module.in_features
        return died


class DiedError(InputError):
    """The forward failed on this input; another size may work.

    `features` are those that a linear layer was given and those that it takes, where that is why.
    """

    features: tuple[int, int] | None = None


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _place(path: str, module: nn.Module) -> str:
    name = type(module).__name__
    return f"layer {path} ({name})" if path else f"the network itself ({name})"


def _depends_on_numbers(name: str, place: tuple[str, nn.Module]) -> InputError:
    """The error for control flow on data, with the user's own line."""
    frames = [
        f
        for f in traceback.extract_stack()
        if not f.filename.startswith((TORCH, HERE, "<")) and not any(part in f.filename for part in WRAPPERS)
    ]
    if error := sys.exc_info()[1]:
        inner = traceback.extract_tb(error.__traceback__)
        frames += [f for f in inner if not f.filename.startswith((TORCH, HERE, "<"))]
    line = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
    source = (
        (frames[-1].line or linecache.getline(frames[-1].filename, frames[-1].lineno or 0)).strip() if frames else ""
    )
    return InputError(
        "the course of the network depends on the numbers in a tensor, which no shape can tell",
        where=f"{_place(*place)}, {line}: {source}",
        got=name,
        fix="Describe the parts before and after that line, or replace it by tensor operations (torch.where).",
    )


def _tensors(things: Any) -> list[torch.Tensor]:
    """The tensors in arguments, nested sequences included, each once."""
    found: dict[int, torch.Tensor] = {}
    waiting = list(things)
    while waiting:
        thing = waiting.pop(0)
        if isinstance(thing, torch.Tensor):
            found[id(thing)] = thing
        elif isinstance(thing, tuple | list):
            waiting = [*thing, *waiting]
        elif isinstance(thing, Mapping):
            waiting = [*thing.values(), *waiting]
    return list(found.values())


def _to_meta(thing: Any) -> Any:
    if isinstance(thing, torch.Tensor):
        return thing if thing.is_meta or not thing.dim() else like(thing)
    if isinstance(thing, torch.device):
        return torch.device("meta")
    if isinstance(thing, tuple | list):
        return type(thing)(_to_meta(part) for part in thing)
    if isinstance(thing, Mapping):
        return {key: _to_meta(part) for key, part in thing.items()}
    return thing


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _from(reading: Reading, source: int) -> Reading:
    """The same reading of another value."""
    return replace(reading, source=source)
