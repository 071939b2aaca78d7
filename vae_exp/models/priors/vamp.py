"""A prior that is the posterior of images that never were."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vae_exp import memory
from vae_exp.errors import UserError, check_positive
from vae_exp.models.contracts import Prior, Shape, pixels_of
from vae_exp.probability.distributions import Posterior
from vae_exp.probability.mixtures import Mixture
from vae_exp.ranges import Positive

# Of the pseudo-inputs' logits at first: a fifth of a pseudo-input is ink, as of a drawing.
LOGIT_MEAN, LOGIT_STD = -2.0, 2.0


class VampPrior(Prior):
    """p(z) = (1/K) Σ_k q(z | u_k), K learnt pseudo-inputs u_k in (0, 1)^D through the encoder.

    Tomczak & Welling 2018, arXiv:1705.07120. The encoder is the model's own, as is its family.
    """

    def __init__(self, latent_dim: Positive = 2, pseudo_inputs: Positive = 50):
        super().__init__()
        check_positive("prior.latent_dim", latent_dim)
        check_positive("prior.pseudo_inputs", pseudo_inputs)
        self.latent_dim = latent_dim
        self.pseudo_inputs = pseudo_inputs
        self._posterior: Callable[[Tensor], Posterior] | None = None

    def connect(self, posterior: Callable[[Tensor], Posterior], shape: Shape) -> None:
        """Make the pseudo-inputs; keep the model's q(z | x), whose weights stay the model's."""
        pixels = pixels_of(shape)
        sizes = {"prior.pseudo_inputs": self.pseudo_inputs, "pixels": pixels}
        memory.require(4.0 * self.pseudo_inputs * pixels, sizes)
        self.logits = nn.Parameter(torch.empty(self.pseudo_inputs, pixels))
        nn.init.normal_(self.logits, LOGIT_MEAN, LOGIT_STD)
        self._posterior = posterior

    def forward(self) -> Mixture:
        """The mixture at the present pseudo-inputs and encoder."""
        if self._posterior is None:
            raise UserError("VampPrior reads the encoder of a model: give it to a VAE first")
        log_weights = self.logits.new_full((self.pseudo_inputs,), -math.log(self.pseudo_inputs))
        return Mixture(self._posterior(torch.sigmoid(self.logits)), log_weights)
