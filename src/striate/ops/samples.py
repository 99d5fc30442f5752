"""Convolution and both forms of cross-correlation as sums over all whole numbers, with the indices kept."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from striate.errors import InputError, did_you_mean
from striate.ops.convolve import convolve
from striate.ops.padding import Axes
from striate.shapes import Float, Tensor

SHIFTS = ("image", "kernel")


@dataclass(frozen=True, eq=False)
class Samples:
    """A function of whole numbers, one for each axis: `values`, of which the first stands at index `first`.

    Everywhere else it is zero, so sums over all whole numbers are finite. Raises InputError for no value, more than
    three axes, or another number of indices in `first`.

    >>> import torch
    >>> Samples(torch.tensor([5.0, 6.0]), first=(-1,))[0], Samples(torch.tensor([5.0, 6.0]))[7]
    (6.0, 0.0)
    """

    values: Float[Tensor, "*size"]
    first: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        rank = self.values.ndim
        if not 1 <= rank <= 3 or not self.values.numel():
            expected, got = "1 to 3 axes and a value or more", f"shape {tuple(self.values.shape)}"
            raise InputError("cannot sample a function", where="values", expected=expected, got=got)
        object.__setattr__(self, "first", tuple(self.first) or (0,) * rank)
        if len(self.first) != rank:
            raise InputError("cannot sample a function", where="first", expected=f"{rank} indices", got=self.first)

    @classmethod
    def centered(cls, values: Float[Tensor, "*size"]) -> Samples:
        """With index 0 in the middle: -(k - 1) / 2 … (k - 1) / 2 on each axis. Raises InputError for an even size.

        >>> import torch
        >>> Samples.centered(torch.ones(3, 5)).first
        (-1, -2)
        """
        if not all(size % 2 for size in values.shape):
            fix = "Pass `first`: an even kernel has no middle."
            raise InputError("cannot center", expected="odd sizes", got=tuple(values.shape), fix=fix)
        return cls(values, tuple(-(size // 2) for size in values.shape))

    def __getitem__(self, index: Axes) -> float:
        """The value at an index, one whole number for each axis: 0 beyond the values. InputError for another number."""
        index = tuple(index) if isinstance(index, tuple | list) else (index,)
        if len(index) != len(self.first):
            raise InputError("cannot look up a value", expected=f"{len(self.first)} indices", got=index)
        at = [operator.index(i) - f for i, f in zip(index, self.first, strict=True)]
        inside = all(0 <= i < size for i, size in zip(at, self.values.shape, strict=True))
        return self.values[tuple(at)].item() if inside else 0.0

    def mirror(self) -> Samples:
        """The function f(-i).

        >>> import torch
        >>> Samples(torch.tensor([5.0, 6.0]), first=(1,)).mirror()
        Samples(values=tensor([6., 5.]), first=(-2,))
        """
        ends = zip(self.first, self.values.shape, strict=True)
        return Samples(self.values.flip(tuple(range(self.values.ndim))), tuple(1 - f - size for f, size in ends))


def convolve_samples(f: Samples, g: Samples) -> Samples:
    """Convolution h(i) = Σ_x f(x) g(i - x), over all whole numbers x (of each axis), for all i where it is not empty.

    Commutative, associative, linear in both. With a kernel whose index 0 is its middle (`Samples.centered`) the
    output stands where the input does. Raises InputError where the axes or the types differ.
    Source: Goodfellow, Bengio and Courville 2016, equations 9.3 to 9.5.

    >>> import torch
    >>> convolve_samples(Samples(torch.tensor([1.0, 2.0])), Samples(torch.tensor([1.0, 10.0, 100.0]), first=(-1,)))
    Samples(values=tensor([  1.,  12., 120., 200.]), first=(-1,))
    """
    if f.values.ndim != g.values.ndim:
        raise InputError("cannot convolve", expected="as many axes", got=f"{f.values.ndim} and {g.values.ndim}")
    # Directly: sums of whole numbers stay whole.
    values = convolve(f.values[None, None], g.values[None, None], padding="full", algorithm="direct")[0, 0]
    return Samples(values, tuple(a + b for a, b in zip(f.first, g.first, strict=True)))


def correlate_samples(f: Samples, g: Samples, *, shift: str = "image") -> Samples:
    """Cross-correlation of an image f and a kernel g, over all whole numbers; not commutative.

        shift="image"    h(i) = Σ_a f(i + a) g(a)    as networks have it: f(i) ∗ g(-i)
        shift="kernel"   h(i) = Σ_x f(x) g(i + x)    as f ⋆ g is often written: f(-i) ∗ g(i)

    Both have the same values; the index of one is minus that of the other. Raises InputError as `convolve_samples`
    does, and for another `shift`.

    >>> import torch
    >>> f, g = Samples(torch.tensor([1.0, 2.0, 4.0])), Samples(torch.tensor([1.0, 0.0]))
    >>> correlate_samples(f, g), correlate_samples(f, g, shift="kernel")
    (Samples(values=tensor([0., 1., 2., 4.]), first=(-1,)), Samples(values=tensor([4., 2., 1., 0.]), first=(-2,)))
    """
    if shift not in SHIFTS:
        raise InputError("unknown shift", got=repr(shift), fix=did_you_mean(shift, SHIFTS))
    return convolve_samples(f, g.mirror()) if shift == "image" else convolve_samples(f.mirror(), g)


def difference(f: Samples, axis: int = 0) -> Samples:
    """The discrete derivative f(i) - f(i - 1) along an axis, itself a convolution, with (1, -1).

    So the derivative of a convolution is that of either part, convolved with the other. Raises InputError for an axis
    that f has not.

    >>> import torch
    >>> difference(Samples(torch.tensor([1.0, 4.0, 9.0])))
    Samples(values=tensor([ 1.,  3.,  5., -9.]), first=(0,))
    """
    step = f.values.new_tensor([1.0, -1.0])
    rank = f.values.ndim
    if not -rank <= axis < rank:
        raise InputError("cannot differ", where="axis", expected=f"one of {rank}, from 0", got=axis)
    return convolve_samples(f, Samples(step.view([2 if a == axis % rank else 1 for a in range(rank)])))
