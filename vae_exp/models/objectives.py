"""What training maximises: a bound on log p(x), per image and with its terms."""

from typing import Literal

import torch
from torch import Tensor

from vae_exp.errors import UserError, check_positive
from vae_exp.inference import bounds
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.divergences import kl as closed_form_kl


class ELBO:
    """E_q log p(x | z) − KL(q(z | x) ‖ p(z)) with ``samples`` reparameterised z an image.

    The KL is in closed form, or by Monte Carlo over the same z.
    """

    def __init__(self, samples: int = 1, kl: Literal["closed_form", "monte_carlo"] = "closed_form"):
        check_positive("objective.samples", samples)
        if kl not in ("closed_form", "monte_carlo"):
            raise UserError(f"objective.kl must be closed_form or monte_carlo, got {kl!r}")
        self.samples = samples
        self.kl: Literal["closed_form", "monte_carlo"] = kl
        self.name = "elbo"
        self.estimator = "ELBO, KL " + ("in closed form" if kl == "closed_form" else "by sampling")

    def __call__(self, model: VAE, x: Tensor, noise: Tensor) -> Terms:
        """x [B, D], noise [S, B, Z] -> terms [B]."""
        return model.elbo_terms(x, noise, self.kl)


class IWAE:
    """log (1/S) Σ_s p(x, z_s) / q(z_s | x) (Burda et al. 2016, arXiv:1509.00519)."""

    def __init__(self, samples: int = 50):
        check_positive("objective.samples", samples)
        self.samples = samples
        self.name = f"iwae_{samples}"
        self.estimator = "importance-weighted bound"

    def __call__(self, model: VAE, x: Tensor, noise: Tensor) -> Terms:
        """x [B, D], noise [S, B, Z] -> terms [B]; log likelihood and KL are those of the ELBO."""
        x = model.checked(x, noise)
        q, prior = model.posterior(x), model.prior
        z = q.sample(noise)
        log_p_x_given_z = model.log_likelihood(x, z)
        log_q_over_p = q.log_prob(z) - prior.log_prob(z)
        with torch.no_grad():
            log_likelihood, kl = log_p_x_given_z.mean(0), closed_form_kl(q, prior)
            if kl is None:
                kl = log_q_over_p.mean(0)
        return Terms(bounds.iwae(log_p_x_given_z - log_q_over_p), log_likelihood, kl)


class Compiled:
    """Another objective through torch.compile; on a GPU each step is then one CUDA graph.

    The number of images in a batch is fixed, so a last batch that is smaller is compiled too. A
    graph overwrites its results at its next run: what is returned is a copy.
    """

    def __init__(self, objective: ELBO | IWAE):
        self.samples = objective.samples
        self.name = objective.name
        self.estimator = objective.estimator
        self._compiled = torch.compile(objective, mode="reduce-overhead", dynamic=False)

    def __call__(self, model: VAE, x: Tensor, noise: Tensor) -> Terms:
        """x [B, D], noise [S, B, Z] -> terms [B]."""
        torch.compiler.cudagraph_mark_step_begin()
        terms = self._compiled(model, x, noise)
        return Terms(terms.bound.clone(), terms.log_likelihood.clone(), terms.kl.clone())
