"""Bounds of several importance weights an image: w_s = p(x, z_s) / q(z_s | x), z_s ~ q."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.errors import UserError, check_positive
from vae_exp.inference import bounds
from vae_exp.models.objectives.contracts import Step
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.divergences import kl as closed_form_kl
from vae_exp.ranges import NonNegativeNumber, Positive


class IWAE:
    """log (1/S) Σ_s w_s (Burda et al. 2016, arXiv:1509.00519)."""

    def __init__(self, samples: Positive = 50):
        check_positive("objective.samples", samples)
        self.samples = samples
        self.name = f"iwae_{samples}"
        self.estimator = "importance-weighted bound"

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]; log likelihood and KL are those of the ELBO."""
        weighed = weigh(model, x, noise)
        return Terms(bounds.iwae(weighed.log_weights), weighed.log_likelihood, weighed.kl)


class DReG:
    """The bound of IWAE, with the doubly reparameterised gradient (Tucker et al. 2019).

    Of the parameters φ of q it is Σ_s w̃_s² (∂ log w_s / ∂z_s) (∂z_s / ∂φ), and of the model's
    Σ_s w̃_s ∇ log w_s, with w̃ the weights divided by their sum. Its mean is that of IWAE's
    gradient. Its signal does not sink in noise as the samples S become many, as that of IWAE's
    does for φ. arXiv:1810.04152, eq. 8.
    """

    def __init__(self, samples: Positive = 50):
        check_positive("objective.samples", samples)
        self.samples = samples
        self.name = f"iwae_{samples}_dreg"
        self.estimator = "importance-weighted bound, doubly reparameterised gradient"

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]; log likelihood and KL are those of the ELBO."""
        weighed = weigh(model, x, noise, through_z_alone=True)
        shares = torch.softmax(weighed.log_weights.detach(), 0)
        if weighed.z.requires_grad:  # what flows on to φ is weighed a second time
            weighed.z.register_hook(lambda gradient: shares[..., None] * gradient)
        ascent = (shares * weighed.log_weights).sum(0)
        bound = bounds.iwae(weighed.log_weights).detach() + (ascent - ascent.detach())
        return Terms(bound, weighed.log_likelihood, weighed.kl)


class Renyi:
    """(1 − α)⁻¹ log (1/S) Σ_s w_s^(1 − α), Rényi's variational bound (Li & Turner 2016).

    α = 1 is the ELBO with a sampled KL, α = 0 is IWAE; between them the bound falls with α.
    arXiv:1602.02311, eq. 14.
    """

    def __init__(self, alpha: NonNegativeNumber = 0.5, samples: Positive = 50):
        check_positive("objective.samples", samples)
        if not 0 <= alpha < float("inf"):
            raise UserError(f"objective.alpha must be 0 or a positive number, got {alpha}")
        self.alpha = alpha
        self.samples = samples
        self.name = f"renyi_{alpha:.15g}_{samples}"
        self.estimator = f"variational Rényi bound, α = {alpha:.15g}"

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]; log likelihood and KL are those of the ELBO."""
        weighed = weigh(model, x, noise)
        bound = bounds.renyi(weighed.log_weights, self.alpha)
        return Terms(bound, weighed.log_likelihood, weighed.kl)


@dataclass(frozen=True)
class Weighed:
    """Log weights [S, B] of z [S, B, Z], and the two terms [B] of the ELBO from the same z."""

    log_weights: Tensor
    z: Tensor
    log_likelihood: Tensor
    kl: Tensor


def weigh(model: VAE, x: Tensor, noise: Tensor, *, through_z_alone: bool = False) -> Weighed:
    """Draw z ~ q(z | x) and weigh them: x [B, D], noise [S, B, N].

    through_z_alone: log q(z | x) has a gradient through z and none through the parameters of q.
    """
    x = model.checked(x, noise)
    q, prior = model.posterior(x), model.prior
    z = q.sample(noise)
    log_p_x_given_z = model.log_likelihood(x, z)
    scored = q
    if through_z_alone:
        scored = q.with_parameters([part.detach() for part in q.variational_parameters()])
    log_q_over_p = scored.log_prob(z) - prior.log_prob(z)
    with torch.no_grad():
        log_likelihood, kl = log_p_x_given_z.mean(0), closed_form_kl(q, prior)
        if kl is None:
            kl = log_q_over_p.mean(0)
    return Weighed(log_p_x_given_z - log_q_over_p, z, log_likelihood, kl)
