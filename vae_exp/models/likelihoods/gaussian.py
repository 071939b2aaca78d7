"""Grey pixels about a mean, with one standard deviation for all of them."""

import math

import torch
from torch import Tensor, nn

from vae_exp.errors import UserError
from vae_exp.models.contracts import Likelihood
from vae_exp.models.likelihoods.values import check_finite
from vae_exp.probability.densities import LOG_2PI
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.ranges import PositiveNumber


class GaussianLikelihood(Likelihood):
    """p(x | z) = N(x; σ(output), std² I); one output a pixel, and one ``std`` for all pixels.

    ``std`` is learnt from its start if ``learn`` (Rybkin et al. 2021, arXiv:2006.13202), and else
    stays. A density of grey values: it can be above 1, and is not to be compared with a mass.
    """

    takes = "grey"
    log_std: Tensor

    def __init__(self, std: PositiveNumber = 0.2, learn: bool = True):
        super().__init__()
        if not 0 < std < math.inf:
            raise UserError(f"likelihood.std must be a positive number, got {std}")
        log_std = torch.tensor(math.log(std))
        if learn:
            self.log_std = nn.Parameter(log_std)
        else:
            self.register_buffer("log_std", log_std)

    def forward(self, parameters: Tensor) -> DiagonalGaussian:
        """Outputs [.., D] -> p(x | z)."""
        mean = torch.sigmoid(parameters)
        return DiagonalGaussian(mean, self.log_std.expand_as(mean))

    def check_values(self, x: Tensor) -> None:
        """Raise UserError if a pixel is not finite."""
        check_finite(x)

    def table(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Outputs [G, D], x [B, D] -> [B, G], as one product of matrices.

        ‖x − m‖² = ‖x − c‖² − 2 (x − c)·(m − c) + ‖m − c‖², and little cancels if c is the mean of
        the images.
        """
        centre = x.mean(0)
        mean, x = torch.sigmoid(parameters) - centre, x - centre
        squares = torch.addmm(mean.square().sum(-1), x, mean.T, alpha=-2)
        return self._log_density(squares + x.square().sum(-1, keepdim=True), x.shape[-1])

    def each(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Outputs [B, S, D], x [B, D] -> [B, S]."""
        squares = (torch.sigmoid(parameters) - x[:, None]).square().sum(-1)
        return self._log_density(squares, x.shape[-1])

    def _log_density(self, squares: Tensor, pixels: int) -> Tensor:
        scaled = squares * torch.exp(-2 * self.log_std)
        return -0.5 * scaled - pixels * (self.log_std + 0.5 * LOG_2PI)
