"""Images drawn from a model, of which the true z is known."""

import torch
from torch import Tensor

from vae_exp.models.vae import VAE

BLOCK = 500  # images at a time


@torch.no_grad()
def simulate(model: VAE, count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """z ~ p(z) and x ~ p(x | z): z [count, Z] and x [count, D], on the model's device.

    So z is an exact sample of p(z | x).
    """
    prior = model.prior
    z = prior.sample(prior.noise.draw(count, generator=draws, device=model.device))
    images = []
    for part in z.split(BLOCK):
        p_x = model.likelihood(part)
        images.append(p_x.sample(p_x.noise.draw(len(part), generator=draws, device=model.device)))
    return z, torch.cat(images)
