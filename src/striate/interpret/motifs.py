"""Motifs: what the filters of a sequence network look for, files of known motifs, and the two as position weights."""

from __future__ import annotations

import io
import math
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from striate.data.sequences import read_lines
from striate.errors import InputError
from striate.shapes import Float, Tensor
from striate.train.checkpoint import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHABET = "ACGT"  # whose reverse is its complement
FIXED = 1e-3  # how far the probabilities of a column may be from a sum of 1


@dataclass(frozen=True, eq=False)
class Motif:
    """The probability of A, C, G and T at each position of a motif; `sites` is of how many sequences it is the mean.

    Raises InputError for a matrix of another shape, and for a column that is no distribution.
    """

    name: str
    matrix: Float[Tensor, "letters w"]
    sites: int = 0

    def __post_init__(self) -> None:
        sums = self.matrix.sum(0)
        if self.matrix.dim() != 2 or len(self.matrix) != len(ALPHABET) or not self.matrix.shape[1]:
            expected = f"axes ({len(ALPHABET)}, width)"
            raise InputError("matrix of a motif", where=self.name, expected=expected, got=tuple(self.matrix.shape))
        if (self.matrix < 0).any() or ((sums - 1).abs() > FIXED).any():
            place = int(((sums - 1).abs() > FIXED).int().argmax()) + 1
            where = f"{self.name}, position {place}"
            got = [round(value, 4) for value in self.matrix[:, place - 1].tolist()]
            raise InputError("a position of a motif", where=where, expected="probabilities with the sum 1", got=got)

    def __len__(self) -> int:
        return self.matrix.shape[1]

    def information(self) -> Float[Tensor, " w"]:
        """Bits at each position, 2 + sum of p log2 p: 2 for a sure base, 0 where all four are alike.

        Source: Schneider & Stephens 1990, "Sequence logos", without their correction for few sites.

        >>> Motif("AW", torch.tensor([[1.0, 0.5], [0, 0], [0, 0], [0, 0.5]])).information()
        tensor([2., 1.])
        """
        bits: Tensor = 2 + torch.special.xlogy(self.matrix, self.matrix).sum(0) / math.log(2)
        return bits

    @property
    def consensus(self) -> str:
        """The likeliest letter at each position, small where its probability is below a half."""
        best = self.matrix.max(0)
        letters = (ALPHABET[i] for i in best.indices.tolist())
        return "".join(
            letter if p >= 0.5 else letter.lower() for letter, p in zip(letters, best.values.tolist(), strict=True)
        )

    def reversed(self) -> Motif:
        """The same motif on the other strand."""
        return Motif(self.name, self.matrix.flip(0, 1), self.sites)

    def trimmed(self, bits: float = 0.25) -> Motif:
        """Without the ends that have less than `bits` of information; as it is where all have less."""
        told = (self.information() >= bits).nonzero().flatten()
        if not len(told):
            return self
        return Motif(self.name, self.matrix[:, int(told[0]) : int(told[-1]) + 1], self.sites)

    def json(self) -> dict[str, Any]:
        """As plain types."""
        return {
            "name": self.name,
            "consensus": self.consensus,
            "sites": self.sites,
            "bits": float(self.information().sum()),
            "matrix": self.matrix.tolist(),
        }

    def plot(self) -> Figure:
        """The sequence logo: letters as high as their probability times the position's bits."""
        from striate.interpret.pictures import draw_logos

        return draw_logos([self])


def filter_motifs(
    model: nn.Module,
    sequences: Float[Tensor, "n 4 t"],
    *,
    layer: str | None = None,
    threshold: float = 0.5,
    batch: int = 256,
) -> tuple[Motif, ...]:
    """What each filter of a convolution matches: the mean of the one-hot subsequences on which it is most active.

    Counted is each subsequence of `sequences` on which a filter's output exceeds `threshold` times its greatest one
    (Kelley et al. 2016: a half). `layer` is the path of the convolution, by default the first; it must read the bases
    themselves. What the network adds around a sequence (DeepBind's unknown bases) counts as it stands there, zeros of
    the convolution's own padding as unknown bases. A filter that is never above zero has 0 sites and says nothing.

    Raises InputError for a layer that is no convolution of four channels or is never run, and a threshold outside 0..1.
    Source: Alipanahi et al. 2015, supplement 10.2; Kelley et al. 2016, Basset, methods ("Nucleotide motifs").
    """
    if not 0 <= threshold < 1:
        raise InputError("threshold of active subsequences", expected="at least 0, below 1", got=threshold)
    path, conv = _find(model, layer)
    highest = torch.full((conv.out_channels,), 0.0)
    counts = torch.zeros(conv.out_channels, len(ALPHABET), conv.kernel_size[0], dtype=torch.float64)
    sites = torch.zeros(conv.out_channels, dtype=torch.int64)
    for _, active in _activity(model, path, conv, sequences, batch):
        highest = torch.maximum(highest, active.amax((0, 2)))
    for windows, active in _activity(model, path, conv, sequences, batch):
        counted = (active > threshold * highest[:, None]) & (active > 0)
        sites += counted.sum((0, 2))
        counts += torch.einsum("nft,nctk->fck", counted.float(), windows).double()
    alike = torch.full_like(counts[0], 1 / len(ALPHABET))
    return tuple(
        Motif(f"{path}.{i}", (count / count.sum(0) if of else alike).float(), of)
        for i, (count, of) in enumerate(zip(counts, sites.tolist(), strict=True))
    )


def _find(model: nn.Module, layer: str | None) -> tuple[str, nn.Conv1d]:
    """The convolution and its path; InputError unless it reads single bases."""
    modules = dict(model.named_modules())
    convolutions = [path for path, module in modules.items() if isinstance(module, nn.Conv1d)]
    path = layer if layer is not None else next(iter(convolutions), "")
    found = modules.get(path)
    if not isinstance(found, nn.Conv1d):
        known = ", ".join(convolutions) or "none"
        raise InputError("no such convolution of sequences", where=path or type(model).__name__, expected=known)
    if found.in_channels != len(ALPHABET) or found.groups != 1 or found.dilation != (1,):
        got = f"{found.in_channels} channels, {found.groups} groups, dilation {found.dilation[0]}"
        raise InputError("this layer does not read bases", where=path, expected="4 channels, dilation 1", got=got)
    return path, found


@torch.no_grad()
def _activity(
    model: nn.Module, path: str, conv: nn.Conv1d, sequences: Tensor, batch: int
) -> Iterator[tuple[Float[Tensor, "n c t k"], Float[Tensor, "n f t"]]]:
    """What the convolution reads at each position and what it answers, batch by batch, in evaluation mode."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = conv.register_forward_hook(lambda _m, inputs, output: seen.append((inputs[0], output)))
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        for first in range(0, len(sequences), batch):
            seen.clear()
            model(sequences[first : first + batch].to(conv.weight, copy=True))  # it may begin in place
            if not seen:
                raise InputError("this layer was never run", where=path, fix="Name one that the network uses.")
            for read, output in seen:
                pad = conv.padding[0] if isinstance(conv.padding, tuple) else 0
                if conv.padding == "same":
                    left = (conv.kernel_size[0] - 1) // 2
                    sides = (left, conv.kernel_size[0] - 1 - left)
                else:
                    sides = (int(pad), int(pad))
                padded = F.pad(read, sides, value=1 / len(ALPHABET))
                yield padded.unfold(2, conv.kernel_size[0], conv.stride[0]).cpu(), output.cpu()
    finally:
        handle.remove()
        for module, mode in modes.items():
            module.training = mode


def read_motifs(path: str | Path) -> tuple[Motif, ...]:
    """Known motifs from a file in MEME or JASPAR text format (may be packed with gzip), or a folder or tar of such.

        MEME     MOTIF name, then "letter-probability matrix: ..." and a row of A C G T for each position
        JASPAR   >name, then a row for each letter, A [ 12 0 3 ] with counts

    Columns of counts become probabilities; nothing is added to them. Raises InputError for a file that has no motif of
    either form, and for a row that has not as many numbers as it should, with its line.
    Source: Bailey et al. 2009 (MEME Suite); Castro-Mondragon et al. 2022 (JASPAR).
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in (".jaspar", ".meme", ".pfm"))
        if not files:
            raise InputError("a folder without motifs", where=path, expected="*.meme, *.jaspar or *.pfm")
        return tuple(motif for file in files for motif in read_motifs(file))
    if path.is_file() and tarfile.is_tarfile(path):
        return tuple(motif for name, lines in _packed(path) for motif in _parse(lines, f"{path}, {name}"))
    return _parse(read_lines(path), str(path))


def _packed(path: Path) -> Iterator[tuple[str, list[str]]]:
    with tarfile.open(path) as tar:
        for member in sorted((m for m in tar if m.isfile()), key=lambda m: m.name):
            if (file := tar.extractfile(member)) is not None:
                yield member.name, io.TextIOWrapper(file, encoding="utf-8").read().splitlines()


def _parse(lines: Sequence[str], where: str) -> tuple[Motif, ...]:
    form = _meme if any(line.startswith("MEME version") for line in lines) else _jaspar
    motifs = tuple(form(lines, where))
    if not motifs:
        raise InputError("a file without motifs", where=where, expected="MEME or JASPAR text format")
    return motifs


def _meme(lines: Sequence[str], where: str) -> Iterator[Motif]:
    name, place = "", 0
    while place < len(lines):
        line = lines[place]
        place += 1
        if line.startswith("MOTIF"):
            name = " ".join(line.split()[1:])
        elif line.startswith("letter-probability matrix"):
            facts = {key: float(value) for key, value in re.findall(r"(\w+)=\s*(\S+)", line)}
            if facts.get("alength", 4) != len(ALPHABET) or not name:
                raise InputError("a motif of another alphabet", where=f"{where}, line {place}", expected=ALPHABET)
            rows: list[list[float]] = []
            while place < len(lines) and lines[place].strip() and lines[place].strip()[0] in "0123456789.-":
                rows.append(_numbers(lines[place].split(), f"{where}, line {place + 1}", len(ALPHABET)))
                place += 1
            if not rows or len(rows) != int(facts.get("w", len(rows))):
                expected = f"{int(facts.get('w', 1))} rows"
                raise InputError("a motif ends early", where=f"{where}, {name}", expected=expected, got=len(rows))
            yield _motif(name, torch.tensor(rows).T, int(facts.get("nsites", 0)))


def _jaspar(lines: Sequence[str], where: str) -> Iterator[Motif]:
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    for first in range(0, len(filled), 5):
        (number, head), *rows = filled[first : first + 5]
        if not head.startswith(">") or len(rows) < len(ALPHABET):
            raise InputError("a motif in JASPAR format", where=f"{where}, line {number}", expected=">NAME and 4 rows")
        counts: list[list[float]] = []
        for letter, (number, row) in zip(ALPHABET, rows, strict=True):
            fields = row.replace("[", " ").replace("]", " ").split()
            fields = fields[1:] if fields[:1] == [letter] else fields
            counts.append(_numbers(fields, f"{where}, line {number}", len(counts[0]) if counts else None))
        matrix = torch.tensor(counts)
        yield _motif(" ".join(head[1:].split()), matrix, round(float(matrix.sum(0).max())))


def _numbers(fields: Sequence[str], where: str, count: int | None) -> list[float]:
    try:
        found = [float(field) for field in fields]
    except ValueError:
        found = []
    if not found or (count is not None and len(found) != count):
        expected = f"{count or 'some'} numbers"
        raise InputError("a row of a motif", where=where, expected=expected, got=repr(" ".join(fields)[:40]))
    return found


def _motif(name: str, matrix: Tensor, sites: int) -> Motif:
    """A motif of probabilities or counts."""
    return Motif(name, matrix / matrix.sum(0), sites)


def write_motifs(motifs: Sequence[Motif], path: str | Path) -> None:
    """Write motifs in MEME text format, as Tomtom and FIMO of the MEME Suite read them.

    Those without sites are left out. Raises StorageError where it cannot be written.
    """
    lines = ["MEME version 4", "", f"ALPHABET= {ALPHABET}", "", "strands: + -", ""]
    for motif in motifs:
        if motif.sites:
            head = f"letter-probability matrix: alength= {len(ALPHABET)} w= {len(motif)} nsites= {motif.sites}"
            rows = [" ".join(f"{p:.6f}" for p in column) for column in motif.matrix.T.tolist()]
            lines += [f"MOTIF {motif.name}", head, *rows, ""]
    write_atomically(Path(path), "\n".join(lines).encode())
