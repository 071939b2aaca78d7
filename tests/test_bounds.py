"""What holds for bounds whatever the model, and what holds where log p(x) is known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_gaussian import LinearGaussian
from torch import Tensor

from vae_exp.inference import bounds
from vae_exp.inference.quadrature import hermite_elbo
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.divergences import kl
from vae_exp.probability.gaussians import FullGaussian


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def weights_of_a_wide_q(samples: int, images: int = 5) -> tuple[Tensor, Tensor]:
    """log p(x, z) − log q(z) [S, B] for a q too wide by half, and log p(x) [B]."""
    model = LinearGaussian.random(2, images=images)
    mean, covariance = model.posterior()
    q = FullGaussian.from_moments(mean, (2 * covariance).expand(images, -1, -1))
    z = q.sample(normal(samples, images, 2))
    return model.log_joint(z) - q.log_prob(z), model.log_evidence()


many_weights = st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=8).map(
    lambda values: torch.tensor(values, dtype=torch.float64)[:, None]
)


@given(many_weights)
def test_iwae_lies_between_the_elbo_and_the_largest_weight(log_weights: Tensor) -> None:
    elbo, iwae = bounds.elbo(log_weights), bounds.iwae(log_weights)
    assert elbo.item() <= iwae.item() + 1e-9
    assert iwae.item() <= log_weights.max().item() + 1e-9
    assert iwae.item() >= log_weights.max().item() - math.log(len(log_weights)) - 1e-9


@given(many_weights)
def test_iwae_with_one_sample_less_is_lower_on_average_over_which(log_weights: Tensor) -> None:
    count = len(log_weights)
    fewer = [bounds.iwae(log_weights[torch.arange(count) != left_out]) for left_out in range(count)]
    assert torch.stack(fewer).mean().item() <= bounds.iwae(log_weights).item() + 1e-9


@given(many_weights, st.floats(-1e4, 1e4))
def test_a_constant_factor_of_the_weights_shifts_both_bounds(
    log_weights: Tensor, shift: float
) -> None:
    for bound in (bounds.elbo, bounds.iwae):
        moved = bound(log_weights + shift) - bound(log_weights)
        assert moved.item() == pytest.approx(shift, abs=1e-8)


def test_float32_weights_far_below_the_smallest_float_keep_their_mean() -> None:
    log_weights = torch.tensor([[-5000.0], [-5000.0 + math.log(3)]])
    assert bounds.iwae(log_weights).item() == pytest.approx(-5000 + math.log(2), abs=1e-3)


def test_the_gradient_of_iwae_is_the_normalised_weights() -> None:
    log_weights = (10 * normal(6, 3)).requires_grad_()
    (gradient,) = torch.autograd.grad(bounds.iwae(log_weights).sum(), log_weights)
    weights = log_weights.detach().exp()
    torch.testing.assert_close(gradient, weights / weights.sum(0))


def test_the_mean_weight_is_an_unbiased_estimate_of_the_evidence() -> None:
    log_weights, log_p_x = weights_of_a_wide_q(200_000)
    ratio = torch.exp(log_weights - log_p_x)
    stderr = ratio.std(0) / math.sqrt(len(ratio))
    assert ((ratio.mean(0) - 1).abs() < 4 * stderr).all()
    assert (stderr < 0.01).all()


def test_bounds_rise_to_the_evidence_with_samples() -> None:
    log_weights, log_p_x = weights_of_a_wide_q(100_000)
    groups = [bounds.iwae(log_weights.view(k, -1, 5)).mean(0) for k in (1, 10, 100, 1000)]
    gap = log_p_x - torch.stack(groups)
    assert (gap.diff(dim=0) < 0).all()
    torch.testing.assert_close(gap[0], log_p_x - bounds.elbo(log_weights))
    assert (gap[-1].abs() < 0.01).all()


def test_elbo_of_one_sample_an_image_is_unbiased_with_either_kl() -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((8,)), Decoder((8,)), shape=(12,)).double()
    x = (normal(6, 12, seed=1) > 0).double()
    with torch.no_grad():
        truth = hermite_elbo(lambda z: model.joint_log_density(x, z), model.posterior(x), nodes=30)
        for kl in ("closed_form", "monte_carlo"):
            stream = seeded(2)
            draws = torch.stack([model.elbo(x, generator=stream, kl=kl) for _ in range(2000)])
            stderr = draws.std().item() / math.sqrt(len(draws))
            assert abs(draws.mean().item() - truth.mean().item()) < 4 * stderr


def test_given_noise_decides_the_bound() -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((8,)), Decoder((8,)), shape=(12,)).double()
    x, noise = (normal(6, 12, seed=1) > 0).double(), normal(6, 2, seed=3)
    with torch.no_grad():
        q = model.posterior(x)
        z = q.mean + q.log_std.exp() * noise
        by_hand = model.log_likelihood(x, z) - kl(q, model.prior)
        torch.testing.assert_close(model.elbo(x, noise=noise), by_hand.mean())
        assert torch.equal(model.elbo(x, noise=noise), model.elbo(x, noise=noise[None]))
        drawn = torch.randn(1, 6, 2, generator=seeded(5), dtype=torch.float64)
        assert torch.equal(model.elbo(x, noise=drawn), model.elbo(x, generator=seeded(5)))
