"""The window algebra: which inputs an output sees, along one axis, composed along a network.

    Window(stride, lo, hi)         output index o reads the input indices  stride*o + lo … stride*o + hi
    (s2,l2,h2) after (s1,l1,h1)  = (s1*s2,  s1*l2 + l1,  s1*h2 + h1)        identity (1, 0, 0)
    branches that meet           = the union;      read backwards = the reverse

Strides and bounds are fractions where a network upsamples. The set is exact, not only its hull: dilation leaves
holes, and where the stride is a fraction neighboring outputs read in turn by different patterns (phases).
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from math import ceil, floor, gcd, lcm

from striate.errors import InputError
from striate.geometry.indices import Indices

Number = int | Fraction


class Window:
    """Output o = period*q + r reads the input indices shift*q + t for every t in taps[r]; stride = shift / period.

    `Window(stride, lo, hi)` reads every integer in [stride*o + lo, stride*o + hi]; with `step`, and whole numbers, each
    step-th of them. `Window.of(stride, taps)` gives the pattern of each phase. Equal windows compare equal.

    A 3x3 convolution with stride 2 and padding 1, and what two of them see:

    >>> conv = Window(2, -1, 1)
    >>> conv.after(conv)
    Window(stride=4, lo=-3, hi=3)
    >>> dilated = Window(1, -2, 2, step=2)
    >>> [list(taps) for taps in dilated.taps]
    [[-2, 0, 2]]
    >>> Window(2, 0, 1).reverse  # a 2x2 transposed convolution with stride 2 is the reverse of a convolution
    Window(stride=1/2, lo=-1/2, hi=0)
    """

    __slots__ = ("shift", "taps")
    shift: int
    taps: tuple[Indices, ...]

    def __init__(self, stride: Number = 1, lo: Number = 0, hi: Number | None = None, step: int = 1) -> None:
        hi = lo if hi is None else hi
        stride = Fraction(stride)
        if step < 1:
            raise InputError("the taps of a window lie a step apart", expected="1 or more", got=step)
        if step != 1 and (stride.denominator, Fraction(lo).denominator) != (1, 1):
            raise InputError("a window with a step has whole strides and bounds", got=f"stride {stride}, lo {lo}")
        phases = range(stride.denominator)
        taps = [Indices.span(ceil(stride * r + lo), floor(stride * r + hi), step) for r in phases]
        self._settle(stride.numerator, taps)

    @classmethod
    def of(cls, shift: int, taps: Iterable[Indices]) -> Window:
        """The window whose output r < period reads taps[r], and output r + period the same, moved by `shift`."""
        window = cls.__new__(cls)
        window._settle(shift, list(taps))
        return window

    def _settle(self, shift: int, taps: list[Indices]) -> None:
        """Keep the shortest period that says the same, so that equal windows have equal taps."""
        period = len(taps)
        if not period:
            raise InputError("a window needs the pattern of at least one phase", got="none")
        for shorter in _divisors(period):
            moved, rest = divmod(shift * shorter, period)
            if not rest and all(taps[r] == taps[r - shorter].shift(moved) for r in range(shorter, period)):
                shift, taps = moved, taps[:shorter]
                break
        self.shift, self.taps = shift, tuple(taps)

    @classmethod
    def constant(cls, taps: Indices) -> Window:
        """Every output reads the same inputs."""
        return cls.of(0, [taps])

    @property
    def period(self) -> int:
        """Number of phases."""
        return len(self.taps)

    @property
    def stride(self) -> Number:
        """How far the inputs move from one output to the next; a fraction where the network upsamples."""
        return whole(Fraction(self.shift, self.period))

    @property
    def lo(self) -> Number:
        """The least bound with stride*o + lo <= every input that any output o reads."""
        return whole(min((t.first - self.stride * r for r, t in enumerate(self.taps) if t), default=Fraction(0)))

    @property
    def hi(self) -> Number:
        """The greatest."""
        return whole(max((t.last - self.stride * r for r, t in enumerate(self.taps) if t), default=Fraction(-1)))

    @property
    def size(self) -> int:
        """Length of the hull of what one output reads; the greatest over the phases."""
        return max(t.extent for t in self.taps)

    @property
    def center(self) -> Number:
        """Where, among the inputs, the middle of output 0 lies; that of output o lies stride*o further."""
        return whole(Fraction(self.lo + self.hi) / 2)

    def at(self, output: int) -> Indices:
        """What this output reads."""
        q, r = divmod(output, self.period)
        return self.taps[r].shift(self.shift * q)

    def after(self, inner: Window) -> Window:
        """What this window's outputs read of the inputs of `inner`, whose outputs this window reads."""
        cycles = inner.period // gcd(self.shift, inner.period)
        taps = [inner.image(self.at(r)) for r in range(self.period * cycles)]
        return Window.of(self.shift * cycles * inner.shift // inner.period, taps)

    def __or__(self, other: Window) -> Window:
        """Two branches that meet: what either reads. Their strides are equal, or there is no one pattern."""
        if self == other:
            return self
        if self.stride != other.stride:
            raise InputError("windows of two strides have no common window", got=f"{self.stride} and {other.stride}")
        period = lcm(self.period, other.period)
        return Window.of(self.shift * period // self.period, [self.at(r) | other.at(r) for r in range(period)])

    def parallel(self, other: Window) -> bool:
        """Whether the other reads the same pattern, moved by some distance: other inputs, or other phases first."""
        for start in range(self.period) if (self.shift, self.period) == (other.shift, other.period) else ():
            by = whole(other.lo - self.lo - Fraction(self.stride * start))
            if isinstance(by, int) and all(self.at(start + r).shift(by) == taps for r, taps in enumerate(other.taps)):
                return True
        return False

    @property
    def reverse(self) -> Window:
        """The same pairs read from the other side: which outputs each input reaches (the projective field)."""
        if not self.shift:
            raise InputError("a window that does not move has no reverse", got=self, fix="Ask for a preimage.")
        shift, sign = abs(self.shift), 1 if self.shift > 0 else -1
        reached: list[list[int]] = [[] for _ in range(shift)]
        for r, taps in enumerate(self.taps):
            for tap in taps:
                # Input i = shift*t + phase comes from q = (i - tap) / shift periods further on.
                phase = tap % shift
                reached[phase].append(self.period * sign * ((phase - tap) // shift) + r)
        return Window.of(self.period * sign, [Indices.of(outputs) for outputs in reached])

    def image(self, outputs: Indices) -> Indices:
        """What these outputs read."""
        found = Indices()
        period, shift = self.period, self.shift
        for first, count in outputs.runs():
            for start in range(first, first + min(period, count)):
                q, r = divmod(start, period)
                copies = (count - (start - first) + period - 1) // period
                found |= self.taps[r].shift(shift * q).repeat(shift, copies)
        return found

    def preimage(self, inputs: Indices, outputs: int) -> Indices:
        """Which of the outputs 0 … outputs - 1 read any of these inputs."""
        if self.shift and sum(map(len, self.taps)) < outputs:
            return self.reverse.image(inputs).within(outputs)
        if not self.shift:
            hit = Indices.of(r for r, taps in enumerate(self.taps) if taps & inputs)
            return hit.repeat(self.period, -(-outputs // self.period)).within(outputs)
        return Indices.of(o for o in range(outputs) if self.at(o) & inputs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Window) and (self.shift, self.taps) == (other.shift, other.taps)

    def __hash__(self) -> int:
        return hash((self.shift, self.taps))

    def __repr__(self) -> str:
        holes = "" if all(len(t) == t.extent for t in self.taps) else ", with holes"
        return f"Window(stride={self.stride}, lo={self.lo}, hi={self.hi}{holes})"


def whole(number: Number) -> Number:
    """An int where it is one."""
    return number.numerator if number.denominator == 1 else number


@cache
def _divisors(number: int) -> tuple[int, ...]:
    """Divisors below the number, least first."""
    return tuple(d for d in range(1, number // 2 + 1) if number % d == 0)


IDENTITY = Window()
