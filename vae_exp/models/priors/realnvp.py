"""A prior that is a flow."""

import math

import torch
from torch import nn

from vae_exp.models.contracts import NEGLIGIBLE_MASS, Prior
from vae_exp.models.couplings import require_couplings
from vae_exp.probability.flows import RealNVP
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.ranges import Positive

ANGLES = 4096


class RealNVPPrior(Prior):
    """p(z) is a Gaussian bent by affine couplings, and N(0, I) at first.

    Raises UserError if latent_dim is 1: no coordinate could move another one.
    """

    def __init__(self, latent_dim: Positive = 2, couplings: Positive = 6, hidden: Positive = 16):
        super().__init__()
        count = require_couplings("prior", latent_dim, couplings, hidden)
        self.latent_dim = latent_dim
        self.couplings = couplings
        self.hidden = hidden
        self.mean = nn.Parameter(torch.zeros(latent_dim))
        self.log_std = nn.Parameter(torch.zeros(latent_dim))
        self.weights = nn.Parameter(torch.zeros(count))

    def forward(self) -> RealNVP:
        """The flow at the present parameters."""
        base = DiagonalGaussian(self.mean, self.log_std)
        return RealNVP(base, self.weights, self.couplings, self.hidden)

    @torch.no_grad()
    def reach(self) -> float:
        """In the plane, that of the curve to which the flow bends a circle with all but 1e-8."""
        if self.latent_dim != 2:
            return super().reach()
        radius = math.sqrt(-2 * math.log(NEGLIGIBLE_MASS))
        angle = torch.linspace(0, 2 * math.pi, ANGLES, device=self.mean.device)
        circle = radius * torch.stack([angle.cos(), angle.sin()], 1).to(self.mean)
        farthest: float = self().sample(circle).abs().max().item()
        return math.ceil(2 * farthest) / 2
