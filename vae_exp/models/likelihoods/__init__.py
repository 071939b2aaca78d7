"""Likelihoods p(x | z), one a module."""

from vae_exp.models.likelihoods.bernoulli import BernoulliLikelihood
from vae_exp.models.likelihoods.categorical import CategoricalLikelihood
from vae_exp.models.likelihoods.continuous_bernoulli import ContinuousBernoulliLikelihood
from vae_exp.models.likelihoods.discretised_logistic import DiscretisedLogisticLikelihood
from vae_exp.models.likelihoods.gaussian import GaussianLikelihood

__all__ = [
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ContinuousBernoulliLikelihood",
    "DiscretisedLogisticLikelihood",
    "GaussianLikelihood",
]
