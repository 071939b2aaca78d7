"""The ELBO, and the same with its KL weighed or floored."""

from typing import Literal

import torch
from torch import Tensor

from vae_exp.errors import UserError, check_positive
from vae_exp.models.objectives.contracts import Step
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.distributions import Distribution
from vae_exp.probability.divergences import kl_per_dimension
from vae_exp.ranges import NonNegative, NonNegativeNumber, Positive


class ELBO:
    """E_q log p(x | z) − KL(q(z | x) ‖ p(z)) with ``samples`` reparameterised z an image.

    The KL is in closed form, or by Monte Carlo over the same z.
    """

    def __init__(
        self, samples: Positive = 1, kl: Literal["closed_form", "monte_carlo"] = "closed_form"
    ):
        check_positive("objective.samples", samples)
        if kl not in ("closed_form", "monte_carlo"):
            raise UserError(f"objective.kl must be closed_form or monte_carlo, got {kl!r}")
        self.samples = samples
        self.kl: Literal["closed_form", "monte_carlo"] = kl
        self.name = "elbo"
        self.estimator = "ELBO, KL " + ("in closed form" if kl == "closed_form" else "by sampling")

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]."""
        return model.elbo_terms(x, noise, self.kl)


class BetaELBO:
    """E_q log p(x | z) − β(t) KL(q(z | x) ‖ p(z)) at step t, in closed form or by Monte Carlo.

    β(t) rises along a line from 0 to ``beta`` over the first ``warmup`` steps, or epochs if
    ``warmup_in`` says so (Higgins et al. 2017, openreview.net/forum?id=Sy2fzU9gl; Bowman et al.
    2016, arXiv:1511.06349). With β < 1 it is no bound on log p(x).
    """

    def __init__(
        self,
        beta: NonNegativeNumber = 4.0,
        warmup: NonNegative = 0,
        samples: Positive = 1,
        warmup_in: Literal["steps", "epochs"] = "steps",
    ):
        check_positive("objective.samples", samples)
        if not 0 <= beta < float("inf"):
            raise UserError(f"objective.beta must be 0 or a positive number, got {beta}")
        if warmup < 0:
            raise UserError(f"objective.warmup must be 0 or more steps, got {warmup}")
        if warmup_in not in ("steps", "epochs"):
            raise UserError(f"objective.warmup_in must be steps or epochs, got {warmup_in!r}")
        self.beta = beta
        self.warmup = warmup
        self.warmup_in = warmup_in
        self.samples = samples
        self._steps_per_epoch: int | None = None
        unit = "_epochs" if warmup_in == "epochs" else ""
        rise = f"_warmup_{warmup}{unit}" if warmup else ""
        self.name = f"beta_elbo_{beta:.15g}{rise}"
        self.estimator = f"mean log p(x|z) minus {beta:.15g} KL"

    def begin(self, model: VAE, steps_per_epoch: int) -> None:
        """Take in the length of an epoch."""
        self._steps_per_epoch = steps_per_epoch

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]; log likelihood and KL are those of the ELBO."""
        terms = model.elbo_terms(x, noise)
        beta: float | Tensor = self.beta
        if self.warmup:
            beta = beta * torch.as_tensor(step / self._rise()).clamp(max=1.0)
        return Terms(terms.log_likelihood - beta * terms.kl, terms.log_likelihood, terms.kl)

    def _rise(self) -> int:
        """The steps in which β rises."""
        if self.warmup_in == "steps":
            return self.warmup
        if self._steps_per_epoch is None:
            raise UserError(
                "objective.warmup_in=epochs needs the steps of an epoch: call begin(model, steps) "
                "before the first step, as fit and the Trainer do"
            )
        return self.warmup * self._steps_per_epoch


class FreeBits:
    """E_q log p(x | z) − Σ_j max(λ, KL_j), KL_j = KL(q(z_j | x) ‖ p(z_j)) of each image.

    λ = ``nats`` of each latent dimension are free: below λ the KL of a dimension has no gradient,
    so nothing draws that dimension to the prior. Kingma et al. 2016, arXiv:1606.04934, compare λ
    with the mean of KL_j over a minibatch; here it is compared image by image, so that an image's
    bound does not depend on what else is in its batch.
    """

    def __init__(self, nats: NonNegativeNumber = 0.5, samples: Positive = 1):
        check_positive("objective.samples", samples)
        if not 0 <= nats < float("inf"):
            raise UserError(f"objective.nats must be 0 or a positive number, got {nats}")
        self.nats = nats
        self.samples = samples
        self.name = f"free_bits_{nats:.15g}"
        self.estimator = f"mean log p(x|z) minus the KL, at least {nats:.15g} nats a dimension"

    def begin(self, model: VAE, steps_per_epoch: int) -> None:
        """Raise UserError if the KL of this model is no sum over dimensions."""
        with torch.no_grad():
            q = model.posterior(
                torch.zeros(1, model.pixels, device=model.device, dtype=model.dtype)
            )
            self._kl_per_dimension(q, model.prior)

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]; log likelihood and KL are those of the ELBO."""
        x = model.checked(x, noise)
        q = model.posterior(x)
        terms = model.elbo_terms_of(q, x, noise)
        floored = self._kl_per_dimension(q, model.prior).clamp(min=self.nats).sum(-1)
        return Terms(terms.log_likelihood - floored, terms.log_likelihood, terms.kl)

    def _kl_per_dimension(self, q: Distribution, prior: Distribution) -> Tensor:
        """KL_j of every image: [B, Z] in nats."""
        each = kl_per_dimension(q, prior)
        if each is None:
            raise UserError(
                f"{self.name} needs a KL that is a sum over latent dimensions, and that of "
                f"{type(q).__name__} to {type(prior).__name__} is none: take posterior=diagonal "
                "and prior=standard_normal, or another objective"
            )
        return each
