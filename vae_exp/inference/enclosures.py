"""Functions over a small box, enclosed: value and gradient at the centre, a range of the Hessian.

By Taylor's theorem f(c + d) = f(c) + g · d + ½ dᵀ H d with H in the range, for every d of the box.
Ranges are a middle ± a radius. They go through linear layers as W middle ± |W| radius.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Range:
    """middle ± radius."""

    middle: Tensor
    radius: Tensor

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> "Range":
        """From the lowest value to the highest."""
        return cls((low + high) / 2, (high - low) / 2)

    def __mul__(self, other: "Range") -> "Range":
        middle = self.middle * other.middle
        radius = self.middle.abs() * other.radius + self.radius * other.most()
        return Range(middle, radius)

    def __add__(self, other: "Range") -> "Range":
        return Range(self.middle + other.middle, self.radius + other.radius)

    def most(self) -> Tensor:
        """The largest absolute value."""
        return self.middle.abs() + self.radius


@dataclass(frozen=True)
class Enclosure:
    """N functions over T boxes |d_k| ≤ half_side: value [T, N], gradient [T, Z, N].

    ``hessian`` [T, K, N] holds a range of each of the K = Z (Z + 1) / 2 second derivatives, in the
    order of ``pairs``; ``range`` [T, N] one of f, by the ranges of what f is made of; half_side is
    [T, 1].
    """

    value: Tensor
    gradient: Tensor
    hessian: Range
    range: Range
    half_side: Tensor

    @classmethod
    def of_boxes(cls, centre: Tensor, half_side: Tensor) -> "Enclosure":
        """z itself over boxes about ``centre`` [T, Z]: ``half_side`` [T]."""
        boxes, dims = centre.shape
        eye = torch.eye(dims, dtype=centre.dtype, device=centre.device)
        flat = centre.new_zeros(boxes, len(pairs(dims)), dims)
        return cls(
            centre,
            eye.expand(boxes, dims, dims),
            Range(flat, flat),
            Range(centre, half_side[:, None].expand(boxes, dims)),
            half_side[:, None],
        )

    def linear(self, weight: Tensor, bias: Tensor) -> "Enclosure":
        """W f + b."""
        return Enclosure(
            F.linear(self.value, weight, bias),
            F.linear(self.gradient, weight),
            Range(
                F.linear(self.hessian.middle, weight),
                F.linear(self.hessian.radius, weight.abs()),
            ),
            Range(
                F.linear(self.range.middle, weight, bias),
                F.linear(self.range.radius, weight.abs()),
            ),
            self.half_side,
        )

    def tanh(self) -> "Enclosure":
        """tanh f."""
        t, ends = torch.tanh(self.value), self.ends()
        low, high = torch.tanh(ends[0]), torch.tanh(ends[1])
        return Enclosure(
            t,
            (1 - t.square())[:, None] * self.gradient,
            self.curved(_slope_of_tanh(low, high), _bend_of_tanh(low, high)),
            Range.between(low, high),
            self.half_side,
        )

    def curved(self, slope: Range, bend: Range) -> Range:
        """The Hessian of φ(f), if φ′(f) and φ″(f) lie in these ranges [T, N]: φ″ g gᵀ + φ′ H."""
        return _of_each(bend) * self.outer() + _of_each(slope) * self.hessian

    def outer(self) -> Range:
        """g_k g_l over the whole box: [T, K, N]."""
        dims = self.gradient.shape[1]
        g = Range(self.gradient, self.wander())
        first, second = (list(index) for index in zip(*pairs(dims), strict=True))
        return Range(g.middle[:, first], g.radius[:, first]) * Range(
            g.middle[:, second], g.radius[:, second]
        )

    def wander(self) -> Tensor:
        """How far each derivative moves within a box: Σ_l |H_kl| half_side, [T, Z, N]."""
        most, moves = self.hessian.most(), torch.zeros_like(self.gradient)
        for place, (k, m) in enumerate(pairs(self.gradient.shape[1])):
            moves[:, k] += most[:, place]
            if k != m:
                moves[:, m] += most[:, place]
        return moves * self.half_side[:, None]

    def ends(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest value that f can have: [T, N] each."""
        reach = self.gradient.abs().sum(1) * self.half_side
        reach = reach + 0.5 * self.wander().sum(1) * self.half_side
        low = torch.maximum(self.value - reach, self.range.middle - self.range.radius)
        high = torch.minimum(self.value + reach, self.range.middle + self.range.radius)
        return low, high


def pairs(dims: int) -> list[tuple[int, int]]:
    """The second derivatives: (0, 0), (0, 1), (1, 1) in the plane."""
    return list(combinations_with_replacement(range(dims), 2))


def slope_and_bend_of_softplus(low: Tensor, high: Tensor) -> tuple[Range, Range]:
    """The ranges of σ(l) and of σ(l) (1 − σ(l)) for l from ``low`` to ``high``."""
    low, high = torch.sigmoid(low), torch.sigmoid(high)
    ends = low * (1 - low), high * (1 - high)
    most = torch.where((low < 0.5) & (high > 0.5), 0.25, torch.maximum(*ends))
    return Range.between(low, high), Range.between(torch.minimum(*ends), most)


def _slope_of_tanh(low: Tensor, high: Tensor) -> Range:
    """The range of 1 − t² for t from ``low`` to ``high``."""
    ends = low.square(), high.square()
    least = torch.where((low < 0) & (high > 0), 0.0, torch.minimum(*ends))
    return Range.between(1 - torch.maximum(*ends), 1 - least)


def _bend_of_tanh(low: Tensor, high: Tensor) -> Range:
    """The range of −2 t (1 − t²), whose turning points are t = ±1/√3."""
    ends = [-2 * t * (1 - t.square()) for t in (low, high)]
    least, most = torch.minimum(*ends), torch.maximum(*ends)
    turn, height = 3**-0.5, 4 / 3 * 3**-0.5
    most = torch.where((low < -turn) & (high > -turn), height, most)
    least = torch.where((low < turn) & (high > turn), -height, least)
    return Range.between(least, most)


def _of_each(values: Range) -> Range:
    """A range [T, N] that goes with every second derivative: [T, 1, N]."""
    return Range(values.middle[:, None], values.radius[:, None])
