"""Binary pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.models.contracts import Likelihood
from vae_exp.probability.bernoulli import Bernoulli
from vae_exp.probability.densities import bernoulli_log_density_table


class BernoulliLikelihood(Likelihood):
    """p(x | z) = Π_i Bernoulli(x_i; σ(logit_i)); the decoder says one logit a pixel."""

    discrete = True
    takes = "binary"

    def __init__(self) -> None:
        super().__init__()

    def forward(self, parameters: Tensor) -> Bernoulli:
        """Logits [.., D] -> p(x | z)."""
        return Bernoulli(parameters)

    def check_values(self, x: Tensor) -> None:
        """Raise UserError if a pixel is neither 0 nor 1."""
        if not ((x == 0) | (x == 1)).all():
            raise UserError(
                f"x must hold 0 and 1 alone, got values from {x.min():.3g} to {x.max():.3g}: "
                "grey images have no Bernoulli log mass, binarise them or take likelihood=gaussian"
            )

    def ceiling(self, parameters: Tensor) -> Tensor:
        """Σ_i log σ(|logit_i|), the log mass of the likeliest image: [G, D] -> [G]."""
        return -F.softplus(-parameters.abs()).sum(-1)

    def table(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Logits [G, D], x [B, D] -> [B, G], as one product of matrices."""
        return bernoulli_log_density_table(parameters, x)

    def each(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Logits [B, S, D], x [B, D] -> [B, S]: Σ_i x_i l_i is a product of matrices."""
        x_logits = torch.bmm(parameters, x[:, :, None])[..., 0]
        return x_logits - F.softplus(parameters).sum(-1)
