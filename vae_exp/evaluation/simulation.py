"""Images drawn from a model, of which the true z is known."""

import torch
from torch import Tensor

from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Distribution

BLOCK = 500  # images at a time


@torch.no_grad()
def simulate(model: VAE, count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """z ~ p(z) and x ~ p(x | z): z [count, Z] and x [count, D], on the model's device.

    So z is an exact sample of p(z | x).
    """

    def drawn(p: Distribution, samples: int) -> Tensor:
        noise = p.noise.draw(samples, generator=draws, device=model.device, dtype=model.dtype)
        return p.sample(noise)

    z = drawn(model.prior, count)
    return z, torch.cat([drawn(model.likelihood(part), len(part)) for part in z.split(BLOCK)])
