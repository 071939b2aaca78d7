"""Annealed importance sampling: stochastic bounds on log p(x) for any number of latent dimensions.

Neal 2001, arXiv:physics/9803008; with reverse chains from exact posterior samples, bidirectional
Monte Carlo, Grosse et al. 2015, arXiv:1511.02543; for decoders, Wu et al. 2017, arXiv:1611.04273.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from vae_exp import bounds, hmc
from vae_exp.densities import sample_bernoulli
from vae_exp.errors import UserError
from vae_exp.lattice import Progress
from vae_exp.model import VAE
from vae_exp.networks import check_positive
from vae_exp.posteriors import DiagonalGaussian, Posterior
from vae_exp.seeding import generator
from vae_exp.svi import LogJoint

TEMPERATURES = 150
CHAINS = 64
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
        z = _draw(self.start, chains, generator)
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
        densities = (self.start.log_density, self.log_joint)
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

    betas [T + 1] from 0 to 1, three at least. Raises UserError where they are not.
    """
    if len(betas) < 3 or betas[0] != 0 or betas[-1] != 1 or not (betas.diff() > 0).all():
        raise UserError(
            "betas must rise from 0 to 1 through at least one value between, "
            f"got {[round(beta, 4) for beta in betas.tolist()[:4]]}..."
        )
    start = start.with_parameters([p.detach() for p in start.variational_parameters()])
    densities = (start.log_density, log_joint)
    point = hmc.Point.at(densities, _draw(start, chains, generator))
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

    Raises UserError where T < 2: there would be no transition.
    """
    if temperatures < 2:
        raise UserError(f"temperatures must be 2 or more, got {temperatures!r}")
    return torch.linspace(0, 1, temperatures + 1, dtype=torch.float64) ** exponent


def broadened(q: DiagonalGaussian) -> DiagonalGaussian:
    """A Gaussian about the mean of q with the variance of q and of the prior together, σ² + 1.

    Wider than the prior in every direction, so p(x, z) / q(z) is bounded: mass that q misses is
    found, while what q knows shortens the path.
    """
    return DiagonalGaussian(q.mean, 0.5 * torch.log1p(torch.exp(2 * q.log_std)))


def simulate(model: VAE, images: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """z ~ p(z) and x ~ p(x | z): [B, Z] and [B, D], so that z is an exact sample of p(z | x)."""
    check_positive("images", images)
    stream = generator(seed, "ais", "simulate")
    z = torch.randn(images, model.latent_dim, generator=stream).to(model.device)
    with torch.no_grad():
        logits = model.decoder(z)
    uniform = torch.rand(logits.shape, generator=stream).to(logits)
    return z, sample_bernoulli(logits, noise=uniform)


def annealer(
    model: VAE,
    x: Tensor,
    *,
    temperatures: int = TEMPERATURES,
    leapfrog: int = LEAPFROG,
    seed: int = 0,
    progress: Progress | None = None,
) -> Annealer:
    """The path from the broadened encoder's q to p(x, z) for images x [B, D], tuned."""
    check_positive("leapfrog", leapfrog)
    x = x.to(model.device)
    with torch.no_grad():
        start = broadened(model.posterior(x))
    return tune(
        lambda z: model.joint_log_density(x, z),
        start,
        power_schedule(temperatures),
        leapfrog=leapfrog,
        generator=generator(seed, "ais", "tune"),
        progress=progress,
    )


def evidence(
    model: VAE,
    x: Tensor,
    *,
    temperatures: int = TEMPERATURES,
    chains: int = CHAINS,
    leapfrog: int = LEAPFROG,
    seed: int = 0,
    progress: Progress | None = None,
) -> Annealed:
    """A stochastic lower bound on log p(x) of images x [B, D], for any latent_dim.

    ``progress`` is told the fraction that is done. Raises UserError where a number is too small.
    """
    check_positive("chains", chains)
    tuning, walking = _shares(progress, TUNING_CHAINS, chains)
    path = annealer(
        model, x, temperatures=temperatures, leapfrog=leapfrog, seed=seed, progress=tuning
    )
    return path.forward(chains, generator(seed, "ais", "forward"), walking)


def sandwich(
    model: VAE,
    images: int,
    *,
    temperatures: int = TEMPERATURES,
    chains: int = CHAINS,
    leapfrog: int = LEAPFROG,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Annealed, Annealed]:
    """Lower and upper stochastic bounds on log p(x) of images simulated from the model.

    What lies between them bounds the error of either, and so tells how far ``evidence`` is off
    on data like the model's own (Grosse et al. 2015). Raises UserError as ``evidence`` does.
    """
    check_positive("chains", chains)
    z, x = simulate(model, images, seed=seed)
    tuning, up, down = _shares(progress, TUNING_CHAINS, chains, chains)
    path = annealer(
        model, x, temperatures=temperatures, leapfrog=leapfrog, seed=seed, progress=tuning
    )
    return (
        path.forward(chains, generator(seed, "ais", "forward"), up),
        path.reverse(z, chains, generator(seed, "ais", "reverse"), down),
    )


def _draw(q: Posterior, chains: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(chains, *q.mean.shape, generator=generator, dtype=q.mean.dtype)
    return q.sample(noise.to(q.mean.device))


def _coefficients(beta: Tensor, like: Tensor) -> Tensor:
    """Of log q and log p(x, z) at a temperature: (1 − β, β)."""
    return torch.stack([1 - beta, beta]).to(like)


def _shares(progress: Progress | None, *sizes: int) -> list[Progress | None]:
    """Progress of consecutive parts of the given sizes, each told as that of the whole."""

    def share(start: int, size: int) -> Progress | None:
        if progress is None:
            return None
        return lambda fraction: progress((start + size * fraction) / sum(sizes))

    return [share(sum(sizes[:part]), size) for part, size in enumerate(sizes)]
