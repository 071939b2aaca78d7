"""Stochastic bounds on log p(x) by annealed importance sampling, for any number of dimensions.

Forward chains from a broadened encoder's q give a lower bound (Wu et al. 2017, arXiv:1611.04273);
on simulated images reverse chains give an upper bound (Grosse et al. 2015, arXiv:1511.02543).
"""

import torch
from torch import Tensor

from vae_exp.errors import check_positive
from vae_exp.evaluation.simulation import simulate
from vae_exp.inference.ais import (
    LEAPFROG,
    TUNING_CHAINS,
    Annealed,
    Annealer,
    broadened,
    power_schedule,
    tune,
)
from vae_exp.inference.progress import Progress, shares, silent
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator

TEMPERATURES = 150
CHAINS = 64


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

    ``progress`` is told the fraction that is done. Raises UserError if a number is too small.
    """
    check_positive("chains", chains)
    tuning, walking = shares(progress or silent, TUNING_CHAINS, chains)
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
    check_positive("images", images)
    z, x = simulate(model, images, generator(seed, "ais", "simulate"))
    tuning, up, down = shares(progress or silent, TUNING_CHAINS, chains, chains)
    path = annealer(
        model, x, temperatures=temperatures, leapfrog=leapfrog, seed=seed, progress=tuning
    )
    return (
        path.forward(chains, generator(seed, "ais", "forward"), up),
        path.reverse(z, chains, generator(seed, "ais", "reverse"), down),
    )
