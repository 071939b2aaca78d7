"""Likelihoods p(x | z), one a module."""

from vae_exp.models.likelihoods.bernoulli import BernoulliLikelihood

__all__ = ["BernoulliLikelihood"]
