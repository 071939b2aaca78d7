"""Both Gaussian families, for any leading axes and however narrow, against torch's own."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vae_exp.probability.divergences import kl
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian, StandardGaussian


def normal(*shape: int, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def pair(*lead: int, dims: int = 3) -> list[tuple[DiagonalGaussian | FullGaussian, object]]:
    """A q of each family with leading axes, and torch's distribution of the same parameters."""
    mean, log_std, lower = (
        normal(*lead, dims),
        normal(*lead, dims, seed=1),
        normal(*lead, dims, dims, seed=2),
    )
    full = FullGaussian(mean, log_std, lower)
    return [
        (DiagonalGaussian(mean, log_std), Independent(Normal(mean, log_std.exp()), 1)),
        (full, MultivariateNormal(mean, scale_tril=full.scale())),
    ]


@pytest.mark.parametrize("lead", [(), (4,), (2, 4)], ids=str)
def test_density_and_entropy_are_those_of_torch_for_any_leading_axes(lead: tuple[int, ...]) -> None:
    z = normal(5, *lead, 3, seed=3)
    for q, theirs in pair(*lead):
        torch.testing.assert_close(q.log_prob(z), theirs.log_prob(z))
        torch.testing.assert_close(q.entropy(), theirs.entropy())


@pytest.mark.parametrize("lead", [(4,), (2, 4)], ids=str)
def test_kl_in_closed_form_is_that_of_torch_for_any_leading_axes(
    lead: tuple[int, ...],
) -> None:
    zeros, eye = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    for q, _ in pair(*lead):
        mine = MultivariateNormal(q.mean, scale_tril=q.scale())
        theirs = kl_divergence(mine, MultivariateNormal(zeros, eye))
        torch.testing.assert_close(kl(q, StandardGaussian(3)), theirs)


def test_a_sample_is_the_mean_plus_the_scale_times_the_noise() -> None:
    noise = normal(5, 2, 4, 3, seed=3)
    for q, _ in pair(2, 4):
        by_hand = q.mean + (q.scale() @ noise[..., None])[..., 0]
        torch.testing.assert_close(q.sample(noise), by_hand)


def test_density_of_a_sample_is_that_of_its_noise_over_the_volume() -> None:
    noise = normal(5, 2, 4, 3, seed=3)
    for q, _ in pair(2, 4):
        standard = -0.5 * noise.square().sum(-1) - 1.5 * math.log(2 * math.pi)
        volume = torch.linalg.slogdet(q.scale()).logabsdet
        torch.testing.assert_close(q.log_prob(q.sample(noise)), standard - volume)


@given(
    log_std=st.tuples(*[st.floats(math.log(1e-4), math.log(10))] * 2),
    correlation=st.floats(-0.99, 0.99),
)
def test_moments_make_a_round_trip(log_std: tuple[float, float], correlation: float) -> None:
    first, second = (math.exp(part) for part in log_std)
    cross = correlation * first * second
    covariance = torch.tensor([[[first**2, cross], [cross, second**2]]], dtype=torch.float64)
    q = FullGaussian.from_moments(torch.ones(1, 2, dtype=torch.float64), covariance)
    torch.testing.assert_close(q.scale() @ q.scale().mT, covariance, rtol=1e-9, atol=0)


def test_parameters_make_a_round_trip_and_only_the_lower_triangle_counts() -> None:
    z = normal(5, 4, 3, seed=3)
    for q, _ in pair(4):
        same = q.with_parameters(q.variational_parameters())
        assert torch.equal(same.log_prob(z), q.log_prob(z))
    full = pair(4)[1][0]
    upper = torch.triu(normal(4, 3, 3, seed=4))
    other = full.with_parameters([full.mean, full.log_std, full.lower.tril(-1) + upper])
    assert torch.equal(other.log_prob(z), full.log_prob(z))


@pytest.mark.parametrize("std", [1e-6, 1e-3, 1e3])
def test_no_bound_on_log_std_binds(std: float) -> None:
    q = DiagonalGaussian(torch.zeros(1, 2), torch.full((1, 2), math.log(std)))
    for family in (q, FullGaussian.from_diagonal(q)):
        one_off = family.log_prob(torch.full((1, 1, 2), std)).item()
        assert one_off == pytest.approx(-1 - math.log(2 * math.pi) - 2 * math.log(std), rel=1e-5)
        assert family.sample(torch.ones(1, 1, 2)).flatten().tolist() == pytest.approx([std] * 2)
