"""The ELBO of a q that starts as the encoder's and is refined for each image."""

import torch
from torch import Tensor

from vae_exp.errors import UserError, check_positive
from vae_exp.inference.refining import refined
from vae_exp.models.objectives.contracts import Step
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.distributions import Posterior
from vae_exp.ranges import Positive, PositiveNumber


class SemiAmortised:
    """The ELBO of the q that ``steps`` of SVI make of the encoder's q(z | x) (Kim et al. 2018).

    Each step takes ``lr`` times the gradient of an ELBO estimate from noise of its own. With
    ``through`` the encoder and the decoder are trained through the steps (arXiv:1802.02550), at
    the price of second derivatives. Without it the steps count as constants: the encoder gets the
    gradient that the refined q would get. Terms are those of the encoder's own ELBO.

    samples: of z an image for each step and for the bound. The objective asks for noise for all of
    them, ``samples`` · (``steps`` + 1) of z.
    """

    compiles = False

    def __init__(
        self,
        steps: Positive = 5,
        lr: PositiveNumber = 0.01,
        samples: Positive = 1,
        through: bool = True,
    ):
        check_positive("objective.steps", steps)
        check_positive("objective.samples", samples)
        if not 0 < lr < float("inf"):
            raise UserError(f"objective.lr must be a positive number, got {lr}")
        self.steps = steps
        self.lr = lr
        self.through = through
        self.samples = samples * (steps + 1)
        several = f"_samples_{samples}" if samples > 1 else ""
        self.name = f"semi_amortised_elbo_{steps}_lr_{lr:.15g}{several}"
        self.estimator = f"ELBO after {steps} steps of SVI from the encoder's q"

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        """x [B, D], noise [samples · (steps + 1), B, N] -> terms [B]."""
        if torch.is_inference_mode_enabled():  # whose tensors have no gradients
            with torch.inference_mode(False), torch.no_grad():
                return self(model, x.clone(), noise.clone(), step)
        x = model.checked(x, noise)
        first, *others = noise.unflatten(0, (self.steps + 1, -1))

        def elbo(q: Posterior, noise: Tensor) -> Tensor:
            return model.elbo_terms_of(q, x, noise).bound

        q = refined(elbo, model.posterior(x), others, lr=self.lr, through=self.through)
        bound = elbo(q, first)
        with torch.no_grad():
            own = model.elbo_terms(x, first)
        return Terms(bound, own.log_likelihood, own.kl)
