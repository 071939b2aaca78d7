"""The ELBO, and an encoder that also learns from images that the model makes."""

import torch
from torch import Tensor

from vae_exp.errors import UserError, check_positive
from vae_exp.models.networks.layers import StepNoise
from vae_exp.models.objectives.contracts import Step
from vae_exp.models.vae import VAE, Terms
from vae_exp.ranges import Positive, PositiveNumber


class Dreams:
    """The ELBO, with ``weight`` · ∇ log q(z* | x*) added to the encoder's gradient.

    z* ~ p(z) and x* ~ p(x | z*) are drawn anew at each training step, one pair for each image of
    the batch: the model knows the z of an image that it made itself, and such images never run
    out. This is the sleep phase of Hinton et al. 1995 (doi:10.1126/science.7761831) beside the
    ELBO. The decoder and the prior get the gradient of the ELBO alone. The value is that of the
    ELBO.
    """

    compiles = False

    def __init__(self, weight: PositiveNumber = 0.3, samples: Positive = 1):
        check_positive("objective.samples", samples)
        if not 0 < weight < float("inf"):
            raise UserError(f"objective.weight must be a positive number, got {weight}")
        self.weight = weight
        self.samples = samples
        self.name = f"elbo_dreams_{weight:.15g}"
        self.estimator = f"ELBO; the encoder also learns {weight:.15g} of log q(z|x) of dreams"

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]."""
        terms = model.elbo_terms(x, noise)
        if model.step_noise is None:  # not a training step: its value is the ELBO's
            return terms
        log_q = _log_q_of_dreams(model, len(x), model.step_noise)
        nothing = log_q - log_q.detach()  # 0, with the gradient of log q
        return Terms(terms.bound + self.weight * nothing, terms.log_likelihood, terms.kl)


def _log_q_of_dreams(model: VAE, count: int, noise: StepNoise) -> Tensor:
    """log q(z* | x*) of images that the model makes: [B] in nats."""
    with torch.no_grad():
        z, x = dream(model, count, noise)
    return model.posterior(x).log_prob(z)


def dream(model: VAE, count: int, noise: StepNoise) -> tuple[Tensor, Tensor]:
    """z ~ p(z) [B, Z] and x ~ p(x | z) [B, D] of a step."""
    prior = model.prior
    z = prior.sample(noise.draw(prior.noise, count, model.device).to(model.dtype))
    likelihood = model.likelihood(z)
    return z, likelihood.sample(noise.draw(likelihood.noise, count, model.device).to(model.dtype))
