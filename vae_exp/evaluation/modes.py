"""log p(x) of images by importance sampling about their modes, and a bound from above beside it."""

import torch
from torch import Tensor

from vae_exp.errors import check_positive
from vae_exp.evaluation import ais
from vae_exp.evaluation.frozen import frozen
from vae_exp.inference import svi
from vae_exp.inference.ais import Annealed
from vae_exp.inference.modes import STARTS, AtModes, mixture_at_modes, weigh
from vae_exp.inference.progress import Progress
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator

BLOCK = 50  # images at a time
SAMPLES = 2000


def evidence(
    model: VAE,
    x: Tensor,
    *,
    samples: int = SAMPLES,
    starts: int = STARTS,
    seed: int = 0,
    progress: Progress | None = None,
) -> AtModes:
    """log p(x) of images x [B, D] from ``samples`` z an image, for any latent_dim.

    Raises UserError if a number is not positive.
    """
    check_positive("samples", samples)
    check_positive("starts", starts)
    parts = []
    with frozen(model):
        prior = model.prior
        for first in range(0, len(x), BLOCK):
            block = x[first : first + BLOCK].to(model.device)
            draws = generator(seed, "modes", first)

            def log_joint(z: Tensor, block: Tensor = block) -> Tensor:
                return model.joint_log_density(block, z)

            with torch.no_grad():
                encoder = svi.diagonal_of(model.posterior(block))
            mixture = mixture_at_modes(log_joint, encoder, prior, draws, starts=starts)
            parts.append(weigh(log_joint, mixture, prior, samples, draws))
            if progress is not None:
                progress(min(1.0, (first + BLOCK) / len(x)))
    return AtModes.joined(parts)


def upper_bound(
    model: VAE,
    x: Tensor,
    z: Tensor,
    *,
    chains: int = ais.CHAINS,
    temperatures: int = ais.TEMPERATURES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Annealed:
    """A stochastic upper bound on log p(x) of real images x [B, D], by reverse AIS chains from z.

    z [B, Z] must be draws from p(z | x): those of ``evidence`` are nearly, if they are trusted
    (bidirectional Monte Carlo, Grosse et al. 2015, arXiv:1511.02543).
    """
    path = ais.annealer(model, x, temperatures=temperatures, seed=seed)
    return path.reverse(z, chains, generator(seed, "modes", "reverse"), progress)
