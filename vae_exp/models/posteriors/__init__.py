"""Families of q(z | x), one a module."""

from vae_exp.models.posteriors.diagonal import DiagonalGaussianFamily
from vae_exp.models.posteriors.full import FullGaussianFamily
from vae_exp.models.posteriors.mixture import MixtureFamily
from vae_exp.models.posteriors.realnvp import RealNVPFamily

__all__ = ["DiagonalGaussianFamily", "FullGaussianFamily", "MixtureFamily", "RealNVPFamily"]
