"""Independent continuous Bernoulli pixels (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vae_exp.probability.distributions import Distribution, Noise

SMALL = 0.2  # a logit below which series take the place of forms that end in 0 / 0
TINY = 1e-12


def log_integral(logits: Tensor) -> Tensor:
    """log ∫_0^1 exp(x l) dx = log((e^l − 1) / l) for each logit l.

    It is l / 2 + log(sinh(h) / h) with h = l / 2, and log(sinh(h) / h) has the series
    h²/6 − h⁴/180 + h⁶/2835 − h⁸/37800 + ..
    """
    size = logits.abs()
    small = size < SMALL
    h2 = (logits / 2).square()
    series = logits / 2 + h2 * (1 / 6 - h2 * (1 / 180 - h2 * (1 / 2835 - h2 / 37800)))
    far = torch.where(small, torch.ones_like(size), size)  # no gradient of 0 / 0
    closed = F.relu(logits) + torch.log(-torch.expm1(-far)) - torch.log(far)
    return torch.where(small, series, closed)


def continuous_bernoulli_log_density(logits: Tensor, x: Tensor) -> Tensor:
    """Log density of pixels in [0, 1] with p(x_i) ∝ λ_i^x_i (1 − λ_i)^(1 − x_i).

    log p(x) = Σ_i [ x_i l_i − log((e^l_i − 1) / l_i) ],  λ_i = σ(l_i)

    The same as Σ_i log C(λ_i) + x_i log λ_i + (1 − x_i) log(1 − λ_i) with the constant
    C(λ) = 2 artanh(1 − 2λ) / (1 − 2λ). Arguments broadcast: [.., D] each -> [..] in nats.
    """
    return (x * logits - log_integral(logits)).sum(-1)


@dataclass(frozen=True)
class ContinuousBernoulli(Distribution):
    """p(x) = Π_i l_i exp(x_i l_i) / (exp(l_i) − 1) on [0, 1]^D; logits l [.., D]."""

    logits: Tensor

    @property
    def noise(self) -> Noise:
        """A uniform number for each pixel."""
        return Noise("uniform", self.logits.shape[-1])

    @property
    def mean(self) -> Tensor:
        """1 / (1 − e^−l) − 1 / l, which is not σ(l); near 0: ½ + l/12 − l³/720 + .."""
        logits, size = self.logits, self.logits.abs()
        small = size < SMALL
        l2 = logits.square()
        odd = 1 / 12 - l2 * (1 / 720 - l2 * (1 / 30240 - l2 / 1209600))
        far = torch.where(small, torch.ones_like(size), size)
        above = 1 / -torch.expm1(-far) - 1 / far  # of |l|; that of −|l| is 1 minus it
        closed = torch.where(logits < 0, 1 - above, above)
        return torch.where(small, 0.5 + logits * odd, closed)

    def log_prob(self, value: Tensor) -> Tensor:
        """Σ_i x_i l_i − log((e^l_i − 1) / l_i)."""
        return continuous_bernoulli_log_density(self.logits, value)

    def sample(self, noise: Tensor) -> Tensor:
        """The inverse of F(x) = (e^(x l) − 1) / (e^l − 1) at the noise u.

        For l < 0 it is log(1 + u (e^l − 1)) / l; for l > 0 it is 1 − the inverse of −l at 1 − u.
        """
        positive, size = self.logits > 0, self.logits.abs().clamp(min=TINY)
        u = torch.where(positive, 1 - noise, noise)
        below = (-torch.log1p(u * torch.expm1(-size)) / size).clamp(max=1)  # log 0 if u is 1
        return torch.where(positive, 1 - below, below)
