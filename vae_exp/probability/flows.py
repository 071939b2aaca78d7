"""A flow of affine couplings about a Gaussian, whose networks may differ from image to image."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vae_exp.probability.densities import standard_gaussian_log_density
from vae_exp.probability.distributions import Noise, Posterior, SampledMoments
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian, gaussian_log_tail

STRETCH = 0.9  # the most that all couplings together add to a log scale
SPREAD = 1.5  # the fixed thresholds of hidden units lie between −1.5 and 1.5


@dataclass(frozen=True)
class RealNVP(SampledMoments):
    """z = base.sample(u): a Gaussian whose noise ε is bent to u by affine couplings.

    Couplings move the second half b of the coordinates and the first one in turn, each by a
    network of the other half a with one layer of tanh units:

        u_b ← exp(s) u_b + t,    (r, t) = W₂ tanh((W₁ + D) u_a + b₁ − c) + b₂
        s = S − log(1 + exp(β − r)),    so s = 0 at r = 0 and s < S

    ``weights`` [.., n] are W₁, b₁, W₂, b₂ of every coupling; D and c are fixed and let hidden units
    differ. With zero weights the flow is its base. The inverse is as exact as the flow. As tanh is
    bounded and no s exceeds S, tails are those of a Gaussian. Dinh et al. 2017, arXiv:1605.08803.
    """

    base: DiagonalGaussian | FullGaussian
    weights: Tensor
    couplings: int
    hidden: int

    @classmethod
    def about(
        cls, base: DiagonalGaussian | FullGaussian, couplings: int = 4, hidden: int = 8
    ) -> "RealNVP":
        """The density of a Gaussian of two dimensions or more, in the family that can bend."""
        count = count_weights(base.mean.shape[-1], couplings, hidden)
        weights = base.mean.new_zeros(*base.mean.shape[:-1], count)
        return cls(base, weights, couplings, hidden)

    @property
    def noise(self) -> Noise:
        """A standard Gaussian number for each dimension."""
        return self.base.noise

    def sample(self, noise: Tensor) -> Tensor:
        """The couplings one after the other, then the base."""
        first, second = self._halves(noise)
        for moved, network in self._networks():
            if moved:
                log_s, t = network(first)
                second = log_s.exp() * second + t
            else:
                log_s, t = network(second)
                first = log_s.exp() * first + t
        return self.base.sample(torch.cat([first, second], -1)).view(noise.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(ε; 0, I) − Σ s − Σ log_std of the base, ε by the inverse."""
        first, second = self._halves(self.base.noise_of(self._rows(value)))
        stretched = self.base.log_std.sum(-1)
        for moved, network in reversed(list(self._networks())):
            if moved:
                log_s, t = network(first)
                second = (second - t) * torch.exp(-log_s)
            else:
                log_s, t = network(second)
                first = (first - t) * torch.exp(-log_s)
            stretched = stretched + log_s.sum(-1)
        noise = torch.cat([first, second], -1)
        return (standard_gaussian_log_density(noise) - stretched).view(value.shape[:-1])

    def log_tail(self, half_side: float) -> Tensor | None:
        """Of a Gaussian that is wider and further out: |u_i| ≤ exp(Σ max s) |ε_i| + what t adds.

        None for a base with a covariance.
        """
        if not isinstance(self.base, DiagonalGaussian):
            return None
        zeros = [half[0] for half in self._halves(torch.zeros_like(self.base.mean))]
        wide, far = list(zeros), list(zeros)
        for moved, network in self._networks():
            most_s, most_t = network.bounds()
            wide[moved] = wide[moved] + most_s
            far[moved] = most_s.exp() * far[moved] + most_t
        log_std = self.base.log_std.double()
        shift = self.base.mean.double().abs() + log_std.exp() * torch.cat(far, -1).double()
        return gaussian_log_tail(shift, log_std + torch.cat(wide, -1).double(), half_side)

    def near(self, gaussian: Posterior) -> "RealNVP":
        """A diagonal Gaussian itself."""
        std = gaussian.scale().square().sum(-1).sqrt()
        base = DiagonalGaussian(gaussian.mean, std.log())
        return RealNVP.about(base, self.couplings, self.hidden)

    def variational_parameters(self) -> list[Tensor]:
        """Those of the base, and the weights."""
        return [*self.base.variational_parameters(), self.weights]

    def with_parameters(self, parameters: list[Tensor]) -> "RealNVP":
        """A flow of the same couplings at (.. of the base, weights)."""
        *base, weights = parameters
        return RealNVP(self.base.with_parameters(base), weights, self.couplings, self.hidden)

    def _rows(self, value: Tensor) -> Tensor:
        """[.., Z] with one axis before those of the densities: [S, .., Z]."""
        lead = self.weights.dim() - 1
        return value.to(self.weights).reshape(-1, *value.shape[value.dim() - 1 - lead :])

    def _halves(self, value: Tensor) -> tuple[Tensor, Tensor]:
        dims = value.shape[-1]
        first, second = self._rows(value).split([dims // 2, dims - dims // 2], -1)
        return first, second

    def _networks(self) -> Iterator[tuple[int, "Coupling"]]:
        """Which half a coupling moves, 1 for the second, and its network, in order."""
        dims = self.base.mean.shape[-1]
        sizes = coupling_sizes(dims, self.couplings, self.hidden)
        most = STRETCH / math.ceil(self.couplings / 2)
        blocks = self.weights.split([size for _, _, size in sizes], -1)
        for index, (block, (inputs, outputs, _)) in enumerate(zip(blocks, sizes, strict=True)):
            yield 1 - index % 2, Coupling(block, inputs, outputs, self.hidden, most)


class Coupling:
    """The network of a coupling: half of the noise u_a to s and t of the other half.

    weights [.., n]; s is below ``most``.
    """

    def __init__(self, weights: Tensor, inputs: int, outputs: int, hidden: int, most: float):
        parts = weights.split([hidden * inputs, hidden, 2 * outputs * hidden, 2 * outputs], -1)
        first, bias, second, self.shift = parts
        unit = torch.arange(hidden, device=weights.device)
        looks_along = F.one_hot(unit % inputs, inputs).to(weights)
        thresholds = torch.linspace(-SPREAD, SPREAD, hidden).to(weights)
        self.first = first.unflatten(-1, (hidden, inputs)) + looks_along
        self.bias = bias - thresholds
        self.second = second.unflatten(-1, (2 * outputs, hidden))
        self.most = most

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """u [S, .., inputs] -> s and t, [S, .., outputs] each."""
        units = torch.tanh(torch.einsum("s...i,...hi->s...h", u, self.first) + self.bias)
        r, t = (torch.einsum("s...h,...oh->s...o", units, self.second) + self.shift).chunk(2, -1)
        return self._log_scale(r), t

    def bounds(self) -> tuple[Tensor, Tensor]:
        """What s and |t| never exceed, [.., outputs] each."""
        reach = self.second.abs().sum(-1)
        r, t = (self.shift + reach).chunk(2, -1)[0], (self.shift.abs() + reach).chunk(2, -1)[1]
        return self._log_scale(r), t

    def _log_scale(self, r: Tensor) -> Tensor:
        return self.most - F.softplus(math.log(math.expm1(self.most)) - r)


def coupling_sizes(dims: int, couplings: int, hidden: int) -> list[tuple[int, int, int]]:
    """Of each coupling: how many coordinates it reads and moves, and how many weights it has."""
    halves = [(dims // 2, dims - dims // 2), (dims - dims // 2, dims // 2)]
    return [
        (read, moved, hidden * (read + 1) + 2 * moved * (hidden + 1))
        for read, moved in (halves[index % 2] for index in range(couplings))
    ]


def count_weights(dims: int, couplings: int, hidden: int) -> int:
    """How many weights all couplings have."""
    return sum(size for _, _, size in coupling_sizes(dims, couplings, hidden))
