"""Mixtures are the densities they say, and gradients through their samples are unbiased."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vae_exp.inference.quadrature import has_rule, hermite_elbo
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian
from vae_exp.probability.mixtures import GaussianMixture, Mixture

WEIGHTS = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def theirs(location: Tensor, log_std: Tensor, weights: Tensor) -> MixtureSameFamily:
    parts = Independent(Normal(location, log_std.exp()), 1)
    return MixtureSameFamily(Categorical(weights.expand(location.shape[:-1])), parts)


@pytest.mark.parametrize("lead", [(), (5,), (4, 5)], ids=str)
def test_densities_are_those_of_torch_for_any_leading_axes(lead: tuple[int, ...]) -> None:
    location, log_std = normal(3, 2), normal(3, 2, seed=1) / 2
    z = normal(*lead, 2, seed=2)
    mixture = Mixture(DiagonalGaussian(location, log_std), WEIGHTS.log())
    expected = theirs(location, log_std, WEIGHTS)
    torch.testing.assert_close(mixture.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(mixture.mean, expected.mean)
    location, log_std = normal(*lead, 3, 2), normal(*lead, 3, 2, seed=1) / 2
    q, z = GaussianMixture(location, log_std), normal(6, *lead, 2, seed=2)
    expected = theirs(location, log_std, torch.full((3,), 1 / 3))
    torch.testing.assert_close(q.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(q.mean, expected.mean)
    assert q.sample(normal(6, *lead, 3)).shape == (6, *lead, 2)


def test_a_mixture_of_tilted_gaussians_is_that_of_scipy() -> None:
    parts = FullGaussian(normal(3, 2), normal(3, 2, seed=1) / 2, normal(3, 2, 2, seed=2))
    z, covariance = normal(7, 2, seed=3), parts.scale() @ parts.scale().mT
    each = [
        weight * scipy.stats.multivariate_normal(mean, cov).pdf(z.numpy())
        for weight, mean, cov in zip(
            WEIGHTS.tolist(), parts.mean.numpy(), covariance.numpy(), strict=True
        )
    ]
    found = Mixture(parts, WEIGHTS.log()).log_prob(z).exp()
    np.testing.assert_allclose(found.numpy(), sum(each))


def test_samples_come_from_each_component_as_often_as_it_weighs() -> None:
    places = torch.tensor([[-9.0, 0], [0, 5], [9, 9]], dtype=torch.float64)
    mixture = Mixture(DiagonalGaussian(places, torch.zeros_like(places)), WEIGHTS.log())
    z = mixture.sample(normal(40_000, 3))
    nearest = torch.cdist(z, places).argmin(1)
    shares = nearest.bincount().double() / len(z)
    assert (shares - WEIGHTS).abs().max() < 4 * 0.5 / 200
    for component, place in enumerate(places):
        own = z[nearest == component]
        assert (own.mean(0) - place).abs().max() < 0.05
        assert (own.std(0) - 1).abs().max() < 0.05


def test_a_weight_of_nothing_is_never_drawn() -> None:
    places = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    log_weights = torch.tensor([-math.inf, 0.0, -math.inf], dtype=torch.float64)
    mixture = Mixture(DiagonalGaussian(places, torch.full_like(places, -30)), log_weights)
    extremes = torch.tensor([[0.0, -40.0], [0.0, 0.0], [0.0, 40.0]], dtype=torch.float64)
    torch.testing.assert_close(mixture.sample(extremes), torch.ones(3, 1, dtype=torch.float64))


def test_moments_are_those_of_samples() -> None:
    q = GaussianMixture(normal(2, 4, 3), normal(2, 4, 3, seed=1) / 2)
    z = q.draw(100_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(q.mean, z.mean(0), rtol=0, atol=0.03)
    covariance = torch.stack([z[:, i].T.cov() for i in range(2)])
    torch.testing.assert_close(q.scale() @ q.scale().mT, covariance, rtol=0, atol=0.08)


def test_gradients_through_samples_are_those_of_the_expectation() -> None:
    location, log_std = normal(3, 1), normal(3, 1, seed=1) / 2
    parameters = [location.requires_grad_(), log_std.requires_grad_()]
    noise = normal(200_000, 2, seed=2)
    third_moment = GaussianMixture(*parameters).sample(noise).pow(3).mean()
    found = torch.autograd.grad(third_moment, parameters)
    variance = torch.exp(2 * log_std)
    expectation = (location.pow(3) + 3 * location * variance).mean()
    for mine, exact in zip(found, torch.autograd.grad(expectation, parameters), strict=True):
        torch.testing.assert_close(mine, exact, rtol=0.03, atol=0.03)


def test_a_rule_of_each_part_gives_the_elbo_of_the_whole() -> None:
    q = GaussianMixture(2 * normal(1, 3, 2), normal(1, 3, 2, seed=1) / 2)
    target = DiagonalGaussian(torch.zeros(1, 2).double(), torch.full((1, 2), 0.7).double())
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)[:, None]
    log_q = q.log_prob(z)
    exact = (log_q.exp() * (target.log_prob(z) - log_q)).sum(0) * (axis[1] - axis[0]) ** 2
    assert has_rule(q)
    found = hermite_elbo(target.log_prob, q, nodes=40)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-3)


def test_near_a_gaussian_lies_a_mixture_with_its_mean_and_about_its_width() -> None:
    gaussian = DiagonalGaussian(normal(2, 3), normal(2, 3, seed=1) - 1)
    q = GaussianMixture(torch.zeros(2, 4, 3).double(), torch.zeros(2, 4, 3).double()).near(gaussian)
    torch.testing.assert_close(q.mean, gaussian.mean)
    std = q.scale().square().sum(-1).sqrt()
    torch.testing.assert_close(std, gaussian.log_std.exp(), rtol=0.1, atol=0)
    assert len(q.location[0].unique(dim=0)) == 4
