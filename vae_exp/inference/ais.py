"""Annealed importance sampling: stochastic bounds on log p(x) for any number of latent dimensions.

Neal 2001, arXiv:physics/9803008; with reverse chains from exact posterior samples, bidirectional
Monte Carlo, Grosse et al. 2015, arXiv:1511.02543; for decoders, Wu et al. 2017, arXiv:1611.04273.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.inference import bounds, hmc
from vae_exp.inference.progress import Progress
from vae_exp.inference.svi import LogJoint
from vae_exp.probability.distributions import Posterior
from vae_exp.probability.gaussians import DiagonalGaussian

LEAPFROG = 1
TUNING_CHAINS = 8
ACCEPTANCE = 0.65  # that step sizes are tuned to
GAIN = 0.6  # of the logarithm of a step size, per unit of acceptance


@dataclass(frozen=True)
class Annealed:
    """An estimate of log p(x) and the log weights that it comes from, in float64."""

    log_p_x: Tensor  # [B] nats
    log_weights: Tensor  # [C, B] nats
    acceptance: Tensor  # [B] the mean over chains and temperatures

    @property
    def error(self) -> Tensor:
        """The relative standard error of the mean weight: [B] nats, by the delta method."""
        weights = torch.exp(self.log_weights - self.log_weights.amax(0))
        error: Tensor = weights.std(0) / weights.mean(0) / len(weights) ** 0.5
        return error


@dataclass(frozen=True)
class Annealer:
    """The path f_β = q^(1 − β) p(x, z)^β from a normalised q to the joint, and how to walk it.

    All of it is fixed before the chains that count are started, so that the mean of the weights
    of forward chains is p(x), and that of the inverse weights of reverse chains 1 / p(x).
    """

    log_joint: LogJoint  # z [C, B, Z] -> [C, B]
    start: Posterior  # q, over images [B]
    betas: Tensor  # [T + 1], from 0 to 1
    step_sizes: Tensor  # [T − 1, B], of the transitions at betas[1:-1]
    leapfrog: int  # steps a transition

    def forward(
        self, chains: int, generator: torch.Generator, progress: Progress | None = None
    ) -> Annealed:
        """log (1/C) Σ_c w_c, on average at most log p(x): a stochastic lower bound.

        w = Π_t f_{β_t}(z_{t−1}) / f_{β_{t−1}}(z_{t−1}), z_0 ~ q, z_t from an HMC transition at β_t.
        """
        z = self.start.draw(chains, generator)
        weights, acceptance = self._walk(z, range(len(self.betas) - 1), generator, progress)
        return Annealed(bounds.iwae(weights), weights, acceptance)

    def reverse(
        self,
        z: Tensor,
        chains: int,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> Annealed:
        """−log (1/C) Σ_c 1 / w_c, on average at least log p(x): a stochastic upper bound.

        The chains start from z [B, Z], which must be exact samples of p(z | x), such as the z that
        x was simulated from, and take the same transitions as ``forward`` in opposite order.
        """
        z = z.expand(chains, -1, -1)
        steps = range(len(self.betas) - 2, -1, -1)
        weights, acceptance = self._walk(z, steps, generator, progress)
        return Annealed(-bounds.iwae(-weights), weights, acceptance)

    def _walk(
        self, z: Tensor, steps: range, generator: torch.Generator, progress: Progress | None
    ) -> tuple[Tensor, Tensor]:
        """Log weights [C, B] and mean acceptance [B] of chains from z [C, B, Z].

        Step t goes between betas[t] and betas[t + 1]; it adds to the weights. Between two steps
        lies the transition at the temperature that they share.
        """
        densities = (self.start.log_prob, self.log_joint)
        point = hmc.Point.at(densities, z)
        log_weights = self._increment(point, steps[0])
        acceptance = []
        for done, (before, after) in enumerate(pairwise(steps), 1):
            shared = min(before, after)
            point, accepted = hmc.transition(
                densities,
                _coefficients(self.betas[shared + 1], z),
                point,
                self.step_sizes[shared],
                self.leapfrog,
                generator,
            )
            acceptance.append(accepted)
            log_weights += self._increment(point, after)
            if progress is not None:
                progress(done / (len(steps) - 1))
        return log_weights, torch.stack(acceptance).mean(0)

    def _increment(self, point: hmc.Point, step: int) -> Tensor:
        log_q, log_p = point.log_densities.double().unbind(0)
        return (log_p - log_q) * (self.betas[step + 1] - self.betas[step]).item()


def tune(
    log_joint: LogJoint,
    start: Posterior,
    betas: Tensor,
    *,
    leapfrog: int = LEAPFROG,
    chains: int = TUNING_CHAINS,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> Annealer:
    """Choose the step size of every temperature and image by a run whose chains are then dropped.

    Along the path log ε moves by GAIN (acceptance − 0.65) after each transition. The weights of
    these chains would be biased, since ε depends on where they went; they are not used. (Wu et
    al. 2017 adapt ε in the chains that count.)

    betas [T + 1] from 0 to 1, three at least. Raises UserError if they are not.
    """
    if len(betas) < 3 or betas[0] != 0 or betas[-1] != 1 or not (betas.diff() > 0).all():
        raise UserError(
            "betas must rise from 0 to 1 through at least one value between, "
            f"got {[round(beta, 4) for beta in betas.tolist()[:4]]}..."
        )
    start = start.with_parameters([p.detach() for p in start.variational_parameters()])
    densities = (start.log_prob, log_joint)
    point = hmc.Point.at(densities, start.draw(chains, generator))
    step = start.scale().diagonal(dim1=-2, dim2=-1).log().mean(-1).exp()
    steps = []
    for done, beta in enumerate(betas[1:-1], 1):
        steps.append(step)
        point, accepted = hmc.transition(
            densities, _coefficients(beta, step), point, step, leapfrog, generator
        )
        step = step * torch.exp(GAIN * (accepted - ACCEPTANCE))
        if progress is not None:
            progress(done / (len(betas) - 2))
    return Annealer(log_joint, start, betas, torch.stack(steps), leapfrog)


def power_schedule(temperatures: int, exponent: float = 2.0) -> Tensor:
    """β_t = (t / T)^exponent: [T + 1]; linear at 1, and more of them near the start beyond.

    Raises UserError if T < 2: there would be no transition.
    """
    if temperatures < 2:
        raise UserError(f"temperatures must be 2 or more, got {temperatures!r}")
    return torch.linspace(0, 1, temperatures + 1, dtype=torch.float64) ** exponent


def broadened(q: Posterior) -> DiagonalGaussian:
    """A Gaussian about the mean of q with the variance of q and of N(0, I) together, σ² + 1.

    Wider than a standard normal prior in every direction, so p(x, z) / q(z) is bounded: mass that
    q misses is found, while what q knows shortens the path.
    """
    variance = q.scale().square().sum(-1)
    return DiagonalGaussian(q.mean, 0.5 * torch.log1p(variance))


def _coefficients(beta: Tensor, like: Tensor) -> Tensor:
    """Of log q and log p(x, z) at a temperature: (1 − β, β)."""
    return torch.stack([1 - beta, beta]).to(like)
