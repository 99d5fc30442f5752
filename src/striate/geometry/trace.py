"""Any nn.Module -> the graph of operations that it executes, on meta tensors: no weights, no arithmetic.

The forward runs as it is, functional calls, loops and in-place writes included; a dispatch mode sees each operation
of torch's core below every Python surface, and asks its rule (rules.py) how outputs read inputs.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from striate.errors import InputError
from striate.geometry.attention import fused
from striate.geometry.failure import DiedError, cannot_run, depends_on_numbers, explained, is_own, place
from striate.geometry.graph import Constant, Graph, Node
from striate.geometry.inputs import Inputs, as_inputs, brief
from striate.geometry.reading import Readings
from striate.geometry.rules import COMPOSED, PRODUCTS, Call, Facts, facts_of, writes
from striate.geometry.running import Running, watched
from striate.geometry.shapes import like, shape_function
from striate.geometry.state import State, preserved, unwrapped
from striate.geometry.values import Values, storage

# Operations with a list of indices.
INDEXED = ("aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_")


@torch.inference_mode(False)  # in it, operations are seen before they are taken apart
def trace(model: nn.Module, input: Inputs, *, training: bool = False) -> Graph:
    """The operations that `model` executes on an input of this shape.

    `input` is the shape of one item (without the batch axis), an example tensor (with it), or for a network with
    several inputs a tuple (by position) or dict (by name) of these. The network runs in eval mode; with `training` in
    train mode with gradients, which adds what autograd keeps. It is left as it was, as are torch's random numbers;
    only a list or dict of its own that the forward changes in place stays changed.

    Raises InputError where the model is no nn.Module, wants other inputs, cannot take this size (naming the layer),
    executes an operation without a rule, or lets its course depend on the numbers in a tensor (naming the line).
    """
    if not isinstance(model, nn.Module):
        fix = "Build it first: striate.build(name)." if isinstance(model, str) else "Pass a torch.nn.Module."
        raise InputError("this is no network", expected="a torch.nn.Module", got=brief(model), fix=fix)
    model = unwrapped(model)
    positional, named = as_inputs(model, input)
    tracer = Tracer(model, training)
    state = {**tracer.state.parameters, **tracer.state.buffers}
    batch = 2 if training else 1
    args = [tracer.add_input(name, t, batch) for name, t in positional.items()]
    kwargs = {name: tracer.add_input(name, t, batch) for name, t in named.items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one opaque operation for a whole encoder layer
    try:
        with preserved(model), fused(), torch.set_grad_enabled(training), tracer.watching():
            model.train(training)
            outputs = torch.func.functional_call(model, state, tuple(args), kwargs, tie_weights=False)
    except Exception as error:
        if isinstance(error, InputError) and is_own(error):
            raise
        raise tracer.explain(error) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return tracer.graph(outputs)


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs every operation on meta tensors and writes down what it read."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped by torch.compile's machinery, whose import alone takes longer than any network here."""
        return False

    def __init__(self, model: nn.Module, training: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.training = training
        self.values = Values()
        self.nodes: list[Node] = []
        self.inputs: dict[str, int] = {}
        self.state = State(model)
        # tensor made of parameters only -> their names
        self.derived = {id(self.state.parameters[name]): frozenset([name]) for name in self.state.weights}
        self.guesses: set[int] = set()  # memory off meta whose numbers depend on the input, or on chance
        self.model = model
        self.running: Running = lambda: ("", model)
        self.modules: dict[str, int] = {}  # path -> what the module returned
        self.calls: dict[str, list[int | None]] = {}
        self.died: tuple[str, nn.Module] | None = None
        self.saved: list[list[tuple[int, int]]] = []
        self.early: list[tuple[int, int]] = []
        self.paths = [(path, id(module)) for path, module in model.named_modules(remove_duplicate=False)]
        self.first_paths = {key: path for path, key in reversed(self.paths)}

    def add_input(self, name: str, tensor: torch.Tensor, batch: int) -> torch.Tensor:
        """A network input, with `batch` copies of the item."""
        tensor = tensor.expand(batch, *tensor.shape[1:]).clone() if batch > 1 else tensor
        self.inputs[name] = self.values.add(tensor, ())
        return tensor

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While the network runs: module paths, what autograd keeps, and every operation."""

        def left(path: str, module: nn.Module, output: Any, failed: bool) -> None:
            if failed:
                self.died = self.died or (path, module)
            known = self.values.known
            made = [known[id(t)] for t in _tensors((output,)) if id(t) in known]
            if made:
                self.modules[path] = made[0]
            if id(module) in self.first_paths:
                whole = known.get(id(output)) if isinstance(output, torch.Tensor) else None
                self.calls.setdefault(path, []).append(whole)

        saving = torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor)
        with watched(self.model, left) as self.running, saving if self.training else contextlib.nullcontext(), self:
            yield

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors((*args, *kwargs.values()))
        for tensor in tensors:
            self.values.refresh(tensor)
        random = torch.Tag.nondeterministic_seeded in func.tags
        if not random and not any(map(self._is_open, tensors)):
            # Numbers that depend neither on the input nor on chance are computed as they are; indices and masks stay
            # where they have numbers.
            if func._schema.name == "aten::_to_copy" and not args[0].is_floating_point():
                kwargs = {**kwargs, "device": None}
            out = func(*args, **kwargs)
            self._add_views(Call(func, args, kwargs, _tensors((out,)), *self._so_far), tensors)
            return out
        if torch.Tag.data_dependent_output in func.tags:
            raise depends_on_numbers(func._schema.name, place(*self.running()))
        if func._schema.name in COMPOSED:
            with self:
                return COMPOSED[func._schema.name](*args, **kwargs)
        if func._schema.name in INDEXED:
            args = self._without_masks(args)
        out = self._run(func, args, kwargs, tensors)
        outputs = _tensors((out,))
        for tensor in outputs:
            self.values.keep(tensor)
        call = Call(func, args, kwargs, outputs, *self._so_far)
        written = writes(call)
        for argument in func._schema.arguments:
            if argument.is_out:  # what was there before is not read
                self.values.known.pop(id(call[argument.name]), None)
        self.guesses |= {storage(t) for t in outputs if id(t) in written and not t.is_meta}
        if not any(id(t) in self.values.known for t in tensors):
            names = frozenset[str]().union(*(self.derived.get(id(t), ()) for t in tensors))
            self.derived |= {id(t): names for t in outputs}
            self._add_views(call, tensors)
            if func._schema.name in PRODUCTS:  # arithmetic all the same (a network that makes its own position codes)
                self._record(call, facts_of(call, place(*self.running())), tensors, set(), known=False)
            return out
        self._record(call, facts_of(call, place(*self.running())), tensors, written)
        return out

    @property
    def _so_far(self) -> tuple[Any, Any, Any]:
        return self.values.all, self.nodes, self.values.known

    def _is_open(self, tensor: torch.Tensor) -> bool:
        """Whether the numbers of a tensor depend on the input, or on chance."""
        return tensor.is_meta or (bool(self.guesses) and storage(tensor) in self.guesses)

    def _run(self, func: Any, args: Any, kwargs: Any, tensors: list[torch.Tensor]) -> Any:
        """An operation on meta tensors; what it writes into tensors that are elsewhere, it writes into copies."""
        copies: dict[int, torch.Tensor] = {}
        if func.is_view and not any(t.is_meta for t in tensors):
            return func(*args, **kwargs)  # a view of memory that was written: no numbers are needed
        if "device" in kwargs or not all(t.is_meta for t in tensors):
            args, kwargs = _to_meta(args, copies), _to_meta(kwargs, copies)
        if not tensors:  # chance
            kwargs = {**kwargs, "device": torch.device("meta")}
        if "generator" in kwargs:
            kwargs = {**kwargs, "generator": None}
        told = shape_function(func)
        try:
            out = func(*args, **kwargs) if told is None else told(args, kwargs)
        except NotImplementedError as error:
            raise cannot_run(func, place(*self.running())) from error
        return _originals(out, copies) if func._schema.is_mutable else out

    def _without_masks(self, args: Sequence[Any]) -> list[Any]:
        """Masks whose numbers are known select so many positions, which are indices."""
        indices: list[Any] = []
        for index in args[1]:
            mask = index is not None and index.dtype in (torch.bool, torch.uint8) and not self._is_open(index)
            indices += index.nonzero().unbind(1) if mask else [index]
        return [args[0], indices, *args[2:]]

    def _add_views(self, call: Call, tensors: list[torch.Tensor]) -> None:
        """Views of what does not depend on the input: it may be written into later."""
        for number, view in enumerate(call.outputs if call.func.is_view else ()):
            base = _base(view, tensors)
            if base is not None:
                self.values.add_view(view, base, self._later(call, number))

    def _later(self, call: Call, number: int) -> Callable[[], Readings]:
        where = place(*self.running())
        return lambda: _nth(facts_of(call, where), number)

    def _record(
        self, call: Call, facts: Facts, tensors: list[torch.Tensor], written: set[int], known: bool = True
    ) -> None:
        """One more node. Its outputs are known as values, unless they do not depend on the input."""
        inputs = tuple(dict.fromkeys(self.values.known[id(t)] for t in tensors if id(t) in self.values.known))
        made = []
        for number, tensor in enumerate(call.outputs):
            readings = _nth(facts, number)
            if torch.Tag.inplace_view in call.func.tags and id(tensor) in self.values.known:
                made.append(self.values.turn(tensor, readings))
                continue
            if id(tensor) in written:
                made.append(self.values.write(tensor, readings))
                continue
            made.append(self.values.add(tensor, readings if known else (), known))
            base = _base(tensor, tensors)
            if base is not None:
                self.values.add_view(tensor, base, lambda readings=readings: readings)  # type: ignore[misc]
        names = frozenset[str]().union(*(self.derived.get(id(t), ()) for t in tensors))
        order = sorted(names, key=list(self.state.weights).index) if len(names) > 1 else tuple(names)
        path, module = self.running()
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
                self._constants(call, tensors),
            )
        )
        self.saved.append(self.early)
        self.early = []

    def _constants(self, call: Call, tensors: list[torch.Tensor]) -> tuple[Constant, ...]:
        """What an operation was given that does not depend on the input; whole numbers are sizes, unless it works point
        by point."""
        fixed = [t for t in tensors if id(t) not in self.values.known]
        single = [t.item() for t in fixed if t.numel() == 1 and not self._is_open(t)]
        kinds = (int, float, str) if torch.Tag.pointwise in call.func.tags else (bool, float, str)
        given = [value for value in call.arguments if isinstance(value, kinds)]
        return (*(tuple(t.shape) for t in fixed), *single, *given)

    def _save(self, tensor: torch.Tensor) -> torch.Tensor:
        """What autograd keeps belongs to the operation that was recorded last (or to the next, before the first)."""
        if id(tensor) not in self.derived:
            self.values.keep(tensor)
            kept = self.values.number(tensor), tensor.untyped_storage().nbytes()
            (self.saved[-1] if self.saved else self.early).append(kept)
        return tensor

    def graph(self, outputs: Any) -> Graph:
        """What was recorded, with the outputs that depend on the input."""
        tensors = _tensors((outputs,))
        for tensor in tensors:
            self.values.refresh(tensor)
        found = tuple(self.values.known[id(t)] for t in tensors if id(t) in self.values.known)
        if not found:
            raise InputError(
                "no output of the network depends on its input",
                expected="tensors, in tuples, lists, dicts or dataclasses",
                got=brief(outputs),
            )
        state = (*self.state.parameters.values(), *self.state.buffers.values())
        own = {self.values.number(t) for t in state}
        nodes = tuple(
            dataclasses.replace(node, saved=tuple(s for s in saved if s[0] not in own))
            for node, saved in zip(self.nodes, self.saved, strict=True)
        )
        self.modules[""] = found[0]
        firsts = ((path, self.first_paths[key]) for path, key in self.paths)
        modules = {path: self.modules[first] for path, first in firsts if first in self.modules}
        calls = {path: tuple(made) for path, made in self.calls.items()}
        return Graph(tuple(self.values.all), nodes, self.inputs, found, modules, self.state.weights, calls)

    def explain(self, error: Exception) -> InputError:
        """What the network's own error means, with the layer at which it arose."""
        path, module = self.died or ("", self.model)
        last = self.nodes[-1].outputs if self.nodes else self.inputs.values()
        found = explained(error, path, module, [self.values.all[index].shape[1:] for index in last])
        if isinstance(found, DiedError):
            found.operations = len(self.nodes)
        return found


def _base(view: torch.Tensor, tensors: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """The argument that a result is a view of."""
    return next((t for t in tensors if t is not view and storage(t) == storage(view)), None)


def _nth(facts: Facts, number: int) -> Readings:
    return facts.readings[min(number, len(facts.readings) - 1)]


def _tensors(things: Any) -> list[torch.Tensor]:
    """The tensors in things, nested sequences, mappings and dataclasses included, each once."""
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
        elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            waiting = [*vars(thing).values(), *waiting]
    return list(found.values())


def _to_meta(thing: Any, copies: dict[int, torch.Tensor]) -> Any:
    """Arguments on meta; `copies` notes of which tensor each new one is."""
    if isinstance(thing, torch.Tensor):
        if thing.is_meta:
            return thing
        copy = like(thing)
        copies[id(copy)] = thing
        return copy
    if isinstance(thing, torch.device):
        return torch.device("meta")
    if isinstance(thing, tuple | list):
        return type(thing)(_to_meta(part, copies) for part in thing)
    if isinstance(thing, Mapping):
        return {key: _to_meta(part, copies) for key, part in thing.items()}
    return thing


def _originals(thing: Any, copies: Mapping[int, torch.Tensor]) -> Any:
    """Results of an operation that wrote into copies: the tensors that they stand for, in the shape that they got."""
    if isinstance(thing, tuple | list):
        return type(thing)(_originals(part, copies) for part in thing)
    if id(thing) not in copies:
        return thing
    original = copies[id(thing)]
    return original if original.shape == thing.shape else original.resize_(thing.shape)
