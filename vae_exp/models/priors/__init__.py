"""Priors p(z), one a module."""

from vae_exp.models.priors.standard_normal import StandardNormal

__all__ = ["StandardNormal"]
