"""Pixels on K equally spaced grey levels 0, 1 / (K − 1), .., 1: masses, not densities."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vae_exp.probability.distributions import Distribution, Noise

GREYS = 256  # of a file's unsigned bytes
NARROWEST = -16.0  # log scale; a logistic so narrow lies in one of 256 levels to 1e-6


def level_of(x: Tensor, levels: int) -> Tensor:
    """The level ⌊k K / 256⌋ of each value k / 255 in [0, 1]: [..] -> [..] int64."""
    greys = torch.round(x * (GREYS - 1)).clamp(0, GREYS - 1)
    return greys.long() * levels // GREYS


def level_table(log_mass: Tensor, level: Tensor) -> Tensor:
    """Σ_i log_mass[g, level[b, i], i] of every image b and every g: [G, K, D], [B, D] -> [B, G].

    Rows of the transposed masses are added up, so that the work does not grow with K.
    """
    pixels = log_mass.shape[-1]
    rows = level * pixels + torch.arange(pixels, device=level.device)
    return F.embedding_bag(rows, log_mass.flatten(1).T.contiguous(), mode="sum")


class OnLevels(Distribution):
    """A mass on K levels for each of D pixels."""

    levels: int

    @abstractmethod
    def log_mass(self) -> Tensor:
        """Of every level of every pixel: [.., K, D] in nats."""

    @abstractmethod
    def log_prob_of_level(self, level: Tensor) -> Tensor:
        """Of a level of every pixel: [.., D] int64 -> [.., D] in nats."""

    @abstractmethod
    def highest(self) -> Tensor:
        """The log mass of the likeliest level of every pixel: [.., D]."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Σ_i log p(level of x_i): [.., D] in [0, 1] -> [..] in nats."""
        return self.log_prob_of_level(level_of(value, self.levels)).sum(-1)


@dataclass(frozen=True)
class CategoricalLevels(OnLevels):
    """p(level k) = softmax_k(logits); logits [.., K, D]."""

    logits: Tensor

    @property
    def levels(self) -> int:  # type: ignore[override]
        """K."""
        return self.logits.shape[-2]

    @property
    def noise(self) -> Noise:
        """A uniform number for each pixel."""
        return Noise("uniform", self.logits.shape[-1])

    @property
    def mean(self) -> Tensor:
        """Σ_k k / (K − 1) p(level k)."""
        steps = torch.arange(self.levels, device=self.logits.device, dtype=self.logits.dtype)
        values = steps[:, None] / (self.levels - 1)
        return (values * torch.softmax(self.logits, -2)).sum(-2)

    def log_mass(self) -> Tensor:
        """log softmax over the levels."""
        return torch.log_softmax(self.logits, -2)

    def log_prob_of_level(self, level: Tensor) -> Tensor:
        """logit of the level − log Σ_k exp(logit_k)."""
        pixels = self.logits.shape[-1]
        place = level * pixels + torch.arange(pixels, device=level.device)
        shape = torch.broadcast_shapes(place.shape[:-1], self.logits.shape[:-2])
        flat = self.logits.flatten(-2).expand(*shape, -1)  # along -1, which is ten times as fast
        chosen = flat.gather(-1, place.expand(*shape, -1))
        return chosen - self.logits.logsumexp(-2)

    def highest(self) -> Tensor:
        """That of the largest logit."""
        return self.logits.amax(-2) - self.logits.logsumexp(-2)

    def sample(self, noise: Tensor) -> Tensor:
        """The first level whose distribution function exceeds the noise."""
        below = torch.softmax(self.logits, -2).cumsum(-2)[..., :-1, :]
        level = (below <= noise[..., None, :]).sum(-2)
        return level.to(self.logits.dtype) / (self.levels - 1)


@dataclass(frozen=True)
class DiscretisedLogistic(OnLevels):
    """A logistic density integrated over each level; the edge levels take the tails.

    p(level k) = σ((v_k + h − m) / s) − σ((v_k − h − m) / s), v_k = k / (K − 1), h = ½ / (K − 1)

    with the first σ replaced by 1 at k = K − 1 and the second by 0 at k = 0 (Salimans et al. 2017,
    arXiv:1701.05517). location m and log_scale log s are [.., D].
    """

    location: Tensor
    log_scale: Tensor
    levels: int

    @property
    def noise(self) -> Noise:
        """A uniform number for each pixel."""
        return Noise("uniform", self.location.shape[-1])

    @property
    def mean(self) -> Tensor:
        """Σ_k k / (K − 1) p(level k) = Σ_k≥1 P(level ≥ k) / (K − 1)."""
        steepness = 1 / self._scale()
        at, total = self.location * steepness, torch.zeros_like(self.location)
        for level in range(1, self.levels):  # the K levels at once would take K times the memory
            edge = (level - 0.5) / (self.levels - 1)
            total += torch.sigmoid(torch.sub(at, steepness, alpha=edge))
        return total / (self.levels - 1)

    def log_mass(self) -> Tensor:
        """Of every level."""
        level = torch.arange(self.levels, device=self.location.device)[:, None]
        part = DiscretisedLogistic(
            self.location[..., None, :], self.log_scale[..., None, :], self.levels
        )
        return part.log_prob_of_level(level)

    def log_prob_of_level(self, level: Tensor) -> Tensor:
        """log of the difference σ(a) − σ(b), as σ(a) σ(−b) (1 − e^(b − a)): nothing cancels."""
        scale, last = self._scale(), self.levels - 1
        away = level.to(self.location.dtype) / last - self.location
        half = 0.5 / last
        below = F.logsigmoid((away + half) / scale)
        above = F.logsigmoid((half - away) / scale)
        within = torch.log(-torch.expm1(-2 * half / scale))
        inner = below + above + within
        return torch.where(level == 0, below, torch.where(level == last, above, inner))

    def highest(self) -> Tensor:
        """That of the level nearest to the location, or of an edge."""
        last = self.levels - 1
        nearest = torch.round(self.location.detach() * last).clamp(0, last).long()
        edges = torch.zeros_like(nearest), torch.full_like(nearest, last)
        found = [self.log_prob_of_level(level) for level in (nearest, *edges)]
        return torch.stack(found).amax(0)

    def sample(self, noise: Tensor) -> Tensor:
        """The level of m + s logit(u)."""
        last = self.levels - 1
        y = self.location + self._scale() * torch.logit(noise)
        return torch.round(y * last).clamp(0, last) / last

    def _scale(self) -> Tensor:
        return torch.exp(self.log_scale.clamp(min=NARROWEST))
