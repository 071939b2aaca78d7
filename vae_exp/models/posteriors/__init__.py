"""Families of q(z | x), one a module."""

from vae_exp.models.posteriors.diagonal import DiagonalGaussianFamily

__all__ = ["DiagonalGaussianFamily"]
