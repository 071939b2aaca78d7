"""Priors p(z), one a module."""

from vae_exp.models.priors.mixture import MixtureOfGaussians
from vae_exp.models.priors.realnvp import RealNVPPrior
from vae_exp.models.priors.standard_normal import StandardNormal
from vae_exp.models.priors.vamp import VampPrior

__all__ = ["MixtureOfGaussians", "RealNVPPrior", "StandardNormal", "VampPrior"]
