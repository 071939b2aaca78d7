"""Grey pixels in [0, 1] with a density of the Bernoulli's form."""

import torch
from torch import Tensor

from vae_exp.models.contracts import Likelihood
from vae_exp.models.likelihoods.values import check_within
from vae_exp.probability.continuous_bernoulli import ContinuousBernoulli, log_integral


class ContinuousBernoulliLikelihood(Likelihood):
    """p(x | z) = Π_i C(λ_i) λ_i^x_i (1 − λ_i)^(1 − x_i), λ = σ(logit); one logit a pixel.

    Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845. A density on [0, 1]: it has no upper bound,
    and is not to be compared with a mass.
    """

    takes = "grey"

    def __init__(self) -> None:
        super().__init__()

    def forward(self, parameters: Tensor) -> ContinuousBernoulli:
        """Logits [.., D] -> p(x | z)."""
        return ContinuousBernoulli(parameters)

    def check_values(self, x: Tensor) -> None:
        """Raise UserError if a pixel is outside [0, 1]."""
        check_within(x)

    def table(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Logits [G, D], x [B, D] -> [B, G], as one product of matrices."""
        return torch.addmm(-log_integral(parameters).sum(-1), x, parameters.T)

    def each(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Logits [B, S, D], x [B, D] -> [B, S]: Σ_i x_i l_i is a product of matrices."""
        x_logits = torch.bmm(parameters, x[:, :, None])[..., 0]
        return x_logits - log_integral(parameters).sum(-1)
