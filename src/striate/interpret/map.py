"""What an explanation returns: the scores, what they are compared with, and where each of them belongs."""

from __future__ import annotations

import base64
import html
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table

from striate.errors import InputError
from striate.locality.patch.plan import Plan
from striate.shapes import Float, Num, Tensor
from striate.train.checkpoint import save_tensors, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Map(ABC):
    """What one method says of one input (or of several), on the CPU.

    `x`: what was explained, (n, c, *space), or tokens (n, t). `base`: the outputs that are explained, any axes, none
    for one number. `scores`: what the method found, the axes of `base` and then one for each of `axes`, which name the
    coordinates: of the changes, or of x. `parameters`: how it was made; "letters" among them are what pictures write
    for each position of a text or sequence (see `lettered`).
    """

    method: str
    x: Num[Tensor, "n ..."]
    base: Float[Tensor, "..."]
    scores: Float[Tensor, "..."]
    axes: Mapping[str, Sequence[int | str]]
    parameters: Mapping[str, Any]

    @abstractmethod
    def heatmap(self) -> Float[Tensor, "..."]:
        """How much each position of x speaks for the output, (*outputs, *space): NaN where nothing is known."""

    @abstractmethod
    def plot(self, output: int | Sequence[int] | None = None) -> Figure:
        """One output's map drawn; `output` is its index in `base`, the greatest one without it."""

    @property
    def effect(self) -> Float[Tensor, "..."]:
        """What `table` puts in order, as large as `scores`."""
        return self.scores

    def output(self, output: int | Sequence[int] | None = None) -> tuple[int, ...]:
        """The index of one output in `base`: as given, or of the greatest one.

        Raises InputError for an index that `base` does not have.
        """
        sides = tuple(self.base.shape)
        if output is None:
            return tuple(int(i) for i in torch.unravel_index(self.base.nan_to_num().argmax(), sides)) if sides else ()
        index = (output,) if isinstance(output, int) else tuple(output)
        if len(index) != len(sides) or not all(-side <= i < side for i, side in zip(index, sides, strict=True)):
            raise InputError("no such output", expected=f"an index into axes {sides}", got=index)
        return index

    def lettered(self, letters: Sequence[str]) -> Map:
        """The same map with words or letters for the positions.

        Raises InputError where they are not as many.
        """
        length = self.heatmap().shape[-1]
        if len(letters) != length:
            raise InputError("letters are one for each position", expected=length, got=len(letters))
        return replace(self, parameters={**self.parameters, "letters": list(letters)})

    def table(self, rows: int = 20) -> Table:
        """What has the greatest effect, up or down, of all outputs."""
        effect = self.effect
        table = Table(title=self.title(), caption=self._remark())
        changed = effect is not self.scores
        for name in (*(["output"] if self.base.dim() else []), *self.axes, "score", *["change"] * changed):
            table.add_column(name, justify="right")
        order = effect.abs().nan_to_num().flatten().topk(min(rows, effect.numel())).indices
        labels = list(self.axes.values())
        for place in order:
            index = tuple(int(i) for i in torch.unravel_index(place, effect.shape))
            of, at = index[: self.base.dim()], index[self.base.dim() :]
            cells = [",".join(map(str, of))] if of else []
            cells += [str(label[i]) for label, i in zip(labels, at, strict=True)]
            cells += [f"{float(self.scores[index]):.6g}", *[f"{float(effect[index]):+.6g}"] * changed]
            table.add_row(*cells)
        return table

    def json(self) -> dict[str, Any]:
        """Everything but `x` as plain types."""
        return {**self._facts(), "base": self.base.tolist(), "scores": self.scores.tolist()}

    def save(self, path: str | Path) -> None:
        """Write `x`, `base` and `scores` into a safetensors file, the rest as JSON into its header; into an archive
        of numpy's, with the heat map, where `path` ends in .npz.

        Raises StorageError where it cannot be written; what `path` held is then untouched.
        """
        tensors = {"x": self.x, "base": self.base, "scores": self.scores}
        if Path(path).suffix != ".npz":
            save_tensors(Path(path), tensors, self._facts())
            return
        import numpy as np

        archive = io.BytesIO()
        arrays: dict[str, Any] = {
            name: np.asarray(value) for name, value in (tensors | {"heatmap": self.heatmap()}).items()
        }
        np.savez_compressed(archive, facts=np.array(json.dumps(self._facts())), **arrays)
        write_atomically(Path(path), archive.getvalue())

    def title(self) -> str:
        """Method and size: "occlusion, 27 rows × 27 columns"."""
        sizes = (f"{len(labels)} {name}{'s' * (len(labels) != 1)}" for name, labels in self.axes.items())
        return f"{self.method}, " + " × ".join(sizes)

    def _facts(self) -> dict[str, Any]:
        axes = {name: list(labels) for name, labels in self.axes.items()}
        return {"method": self.method, "parameters": dict(self.parameters), "axes": axes}

    def _remark(self) -> str | None:
        """What stands below the table."""
        return None

    def _repr_html_(self) -> str:
        picture = io.BytesIO()
        self.plot().savefig(picture, format="png")
        data = base64.b64encode(picture.getvalue()).decode()
        return f'<img alt="{html.escape(self.title())}" src="data:image/png;base64,{data}">'

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title()}, base {tuple(self.base.shape)})"


@dataclass(frozen=True, eq=False, repr=False)
class Changes(Map):
    """Outputs of a network for many changes of an input: `scores` are those for each change.

    `plan`: what the engine did with each layer; `plan.whole` says why all was run on whole inputs, if it was (of
    several inputs the plan of the first, or of one that was run whole).
    """

    plan: Plan | None = None

    @property
    def change(self) -> Float[Tensor, "..."]:
        """scores - base: what each change does to the output."""
        return self.scores - self.base.reshape(*self.base.shape, *[1] * len(self.axes))

    @property
    def effect(self) -> Float[Tensor, "..."]:
        """What each change does to the output, `change`."""
        return self.change

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"plan": self.plan.json() if self.plan else None}

    def _remark(self) -> str | None:
        whole = self.plan.whole if self.plan else ""
        return f"Run on whole inputs: {whole}." if whole else None
