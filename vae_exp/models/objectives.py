"""What training maximises: a bound on log p(x), per image and with its terms."""

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from vae_exp.errors import UserError, check_positive
from vae_exp.inference import bounds
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.divergences import kl as closed_form_kl
from vae_exp.ranges import NonNegative, NonNegativeNumber

Step = int | Tensor  # 0, 1, .. over a run; a tensor [] in a compiled step


@runtime_checkable
class Objective(Protocol):
    """What training maximises, per image, with its true name: ``elbo``, ``iwae_50``.

    The name ``elbo`` is for log_likelihood − kl alone. Another bound has a name of its own, which
    tells every setting that makes it another bound.
    """

    name: str
    estimator: str  # what it is, in words
    samples: int

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B] at a step of the run.

        Validation asks for the run's last step, so that epochs can be compared.
        """
        ...


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

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]."""
        return model.elbo_terms(x, noise, self.kl)


class BetaELBO:
    """E_q log p(x | z) − β(t) KL(q(z | x) ‖ p(z)) at step t, in closed form or by Monte Carlo.

    β(t) rises along a line from 0 to ``beta`` over the first ``warmup`` steps (Higgins et al. 2017,
    openreview.net/forum?id=Sy2fzU9gl; Bowman et al. 2016, arXiv:1511.06349). With β < 1 it is no
    bound on log p(x).
    """

    def __init__(self, beta: NonNegativeNumber = 4.0, warmup: NonNegative = 0, samples: int = 1):
        check_positive("objective.samples", samples)
        if not 0 <= beta < float("inf"):
            raise UserError(f"objective.beta must be 0 or a positive number, got {beta}")
        if warmup < 0:
            raise UserError(f"objective.warmup must be 0 or more steps, got {warmup}")
        self.beta = beta
        self.warmup = warmup
        self.samples = samples
        rise = f"_warmup_{warmup}" if warmup else ""
        self.name = f"beta_elbo_{beta:.15g}{rise}"
        self.estimator = f"mean log p(x|z) minus {beta:.15g} KL"

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]; log likelihood and KL are those of the ELBO."""
        terms = model.elbo_terms(x, noise)
        beta: float | Tensor = self.beta
        if self.warmup:
            beta = beta * torch.as_tensor(step / self.warmup).clamp(max=1.0)
        return Terms(terms.log_likelihood - beta * terms.kl, terms.log_likelihood, terms.kl)


class IWAE:
    """log (1/S) Σ_s p(x, z_s) / q(z_s | x) (Burda et al. 2016, arXiv:1509.00519)."""

    def __init__(self, samples: int = 50):
        check_positive("objective.samples", samples)
        self.samples = samples
        self.name = f"iwae_{samples}"
        self.estimator = "importance-weighted bound"

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]; log likelihood and KL are those of the ELBO."""
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
    graph overwrites its results at its next run: what is returned is a copy. The step is a tensor
    on the device, as a number would be compiled anew for each of its values.
    """

    def __init__(self, objective: Objective):
        self.samples = objective.samples
        self.name = objective.name
        self.estimator = objective.estimator
        self._compiled = torch.compile(objective, mode="reduce-overhead", dynamic=False)

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]."""
        torch.compiler.cudagraph_mark_step_begin()
        counted = torch.full((), float(step), device=x.device)
        terms = self._compiled(model, x, noise, counted)
        return Terms(terms.bound.clone(), terms.log_likelihood.clone(), terms.kl.clone())
