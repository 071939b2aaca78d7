"""What a few steps of SVI from the encoder's q would add to the ELBO of an image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_exp.inference.refining import refined
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior
from vae_exp.probability.streams import generator

BLOCK = 1000  # images refined at a time


def elbo_after_steps(
    model: VAE,
    images: Tensor,
    steps: Sequence[int] = (0, 1, 5, 20),
    *,
    lr: float = 0.01,
    samples: int = 16,
    seed: int = 0,
) -> dict[int, Tensor]:
    """The ELBO of every image after so many steps of SVI on its q(z | x), by their number.

    images [N, D] -> [N] in nats each, from ``samples`` z an image. 0 steps are the encoder's own q.
    All are scored on the same noise, which no step has seen, so that they can be compared.
    """
    blocks = []
    for index, x in enumerate(images.split(BLOCK)):
        x = model.checked(x.to(model.device))
        draws = generator(seed, "refinement", index)
        noise = model.noise.draw(samples, len(x), generator=draws, device=x.device, dtype=x.dtype)

        def elbo(q: Posterior, noise: Tensor, x: Tensor = x) -> Tensor:
            return model.elbo_terms_of(q, x, noise).bound

        with torch.no_grad():
            q, done, found = model.posterior(x), 0, {}
            for count in sorted({*steps}):
                noises = [q.draw_noise(samples, draws) for _ in range(count - done)]
                q, done = refined(elbo, q, noises, lr=lr), count
                found[count] = elbo(q, noise)
        blocks.append(found)
    return {count: torch.cat([found[count] for found in blocks]) for count in steps}
