"""Importance sampling about the modes: its density is one, it agrees with exact values, k̂ warns."""

import math

import pytest
import torch
from scipy import stats
from small_models import binary_images, small
from torch import Tensor

from vae_exp.analysis.bounds_shown import FAR, agreement
from vae_exp.evaluation import exact, modes
from vae_exp.inference.ais import Annealed
from vae_exp.inference.modes import AtModes, _scales, mixture_at_modes, weigh
from vae_exp.probability.gaussians import DiagonalGaussian, StandardGaussian
from vae_exp.probability.student_t import StudentTMixture

DRAWS = torch.Generator


def mixture(degrees: int = 5) -> StudentTMixture:
    """Two components in the plane for each of two images, in double precision."""
    draws = DRAWS().manual_seed(0)
    location = torch.randn(2, 2, 2, generator=draws, dtype=torch.float64)
    lower = torch.tril(torch.randn(2, 2, 2, 2, generator=draws, dtype=torch.float64), -1)
    lower = lower + torch.diag_embed(torch.full((2, 2, 2), 0.7, dtype=torch.float64))
    weights = torch.tensor([[0.3, 0.8], [0.7, 0.2]], dtype=torch.float64)
    return StudentTMixture(location, lower, weights.log(), degrees)


def test_the_density_is_scipys() -> None:
    q = mixture()
    z = torch.randn(20, 2, 2, generator=DRAWS().manual_seed(1), dtype=torch.float64)
    for image in range(2):
        expected = 0.0
        for k in range(2):
            scale = (q.lower[k, image] @ q.lower[k, image].T).numpy()
            law = stats.multivariate_t(q.location[k, image].numpy(), scale, df=5)
            expected = expected + q.log_weights[k, image].exp().item() * law.pdf(z[:, image])
        assert q.log_prob(z)[:, image].exp().numpy() == pytest.approx(expected, rel=1e-9)


def test_samples_have_the_densitys_mean_and_covariance() -> None:
    q, count = mixture(degrees=8), 100_000
    noise = q.noise.draw(count, 2, generator=DRAWS().manual_seed(2), dtype=torch.float64)
    z = q.sample(noise)
    weights = q.log_weights.exp()[..., None]
    torch.testing.assert_close(z.mean(0), q.mean, atol=0.02, rtol=0)
    each = q.lower @ q.lower.mT * 8 / 6 + q.location[..., None] * q.location[..., None, :]
    second = (weights[..., None] * each).sum(0)
    found = torch.einsum("sbi,sbj->bij", z, z) / count
    torch.testing.assert_close(found, second, atol=0.05, rtol=0)


@pytest.mark.parametrize("latent_dim", [2, 3])
def test_it_agrees_with_the_exact_evidence_within_its_errors(latent_dim: int) -> None:
    model, x = small(latent_dim), binary_images(20)
    truth = exact.evidence(model, x).log_p_x
    found = modes.evidence(model, x)
    assert found.trusted.double().mean() > 0.7  # k̂ is careful: the others agree as well
    assert found.error.max() < 0.1
    score = (found.log_p_x - truth) / (found.error + 1e-3)
    assert score.abs().max() < 4
    assert score.square().mean() < 2


def test_it_is_exact_for_a_linear_gaussian_model_in_eight_dimensions() -> None:
    dims, pixels = 8, 12
    draws = DRAWS().manual_seed(0)
    weight = torch.randn(pixels, dims, generator=draws)
    x = torch.randn(3, pixels, generator=draws)

    def log_joint(z: Tensor) -> Tensor:
        noise = x - z @ weight.T
        log_p_x_given_z = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1)
        return log_p_x_given_z + StandardGaussian(dims).log_prob(z)

    start = DiagonalGaussian(torch.zeros(3, dims), torch.zeros(3, dims))
    prior = StandardGaussian(dims)
    q = mixture_at_modes(log_joint, start, prior, draws, steps=200)
    found = weigh(log_joint, q, prior, 4000, draws)
    covariance = (weight @ weight.T + torch.eye(pixels)).double().numpy()
    expected = stats.multivariate_normal(cov=covariance).logpdf(x.double().numpy())
    assert found.trusted.all()
    assert ((found.log_p_x.numpy() - expected) / found.error.numpy()).__abs__().max() < 4
    assert found.error.max() < 0.03


def two_bumps(z: Tensor) -> Tensor:
    """log of ½ N(−4, 0.1²) + ½ N(4, 0.1²) in one dimension, which no single start covers."""
    each = [-0.5 * ((z[..., 0] - place) / 0.1).square() for place in (-4.0, 4.0)]
    norm = -math.log(0.1) - 0.5 * math.log(2 * math.pi) - math.log(2)
    return torch.stack(each).logsumexp(0) + norm


@pytest.mark.parametrize(("starts", "expected"), [(1, -math.log(2)), (8, 0.0)])
def test_several_starts_find_a_mode_that_one_start_misses_without_a_word(
    starts: int, expected: float
) -> None:
    start = DiagonalGaussian(torch.full((1, 1), 4.0), torch.full((1, 1), -2.3))
    prior = DiagonalGaussian(torch.tensor([3.5]), torch.tensor([0.4]))
    if starts > 1:
        prior = DiagonalGaussian(torch.zeros(1), torch.ones(1))
    draws = DRAWS().manual_seed(0)
    q = mixture_at_modes(two_bumps, start, prior, draws, starts=starts)
    found = weigh(two_bumps, q, prior, 2000, draws)
    assert found.trusted.all()  # so another method must stand beside it, which is AIS
    assert found.log_p_x.item() == pytest.approx(expected, abs=4 * found.error.item())


def test_reverse_chains_from_its_draws_bound_real_images_from_above() -> None:
    model, x = small(2), binary_images(12)
    truth = exact.evidence(model, x).log_p_x
    z = modes.evidence(model, x, starts=4).z
    above = modes.upper_bound(model, x, z, chains=16, temperatures=40).log_p_x - truth
    assert above.mean() > -4 * above.std() / len(x) ** 0.5
    assert above.median() < 0.2


def test_images_on_which_two_estimators_disagree_are_named() -> None:
    zeros = torch.zeros(4, dtype=torch.float64)
    found = AtModes(zeros, zeros + 0.01, zeros, torch.zeros(4, 2))
    log_weights = 0.1 * torch.randn(64, 4, generator=DRAWS().manual_seed(0), dtype=torch.float64)
    log_weights[:, 2] += 5  # a mode that importance sampling has not found
    annealed = Annealed(log_weights.logsumexp(0) - math.log(64), log_weights, zeros + 0.6)
    assert agreement(found, annealed)["disagree"] == [2]
    assert agreement(found, annealed)["modes_minus_ais"]["stderr"] * 4 > FAR * 0.02


def test_at_a_saddle_no_direction_is_wider_than_the_widest_one_of_q() -> None:
    q = DiagonalGaussian(torch.zeros(1, 2), torch.tensor([[-2.0, -1.0]]))

    def saddle(z: Tensor) -> Tensor:
        return -50 * z[..., 0].square() + 1e-3 * z[..., 1].square()

    scale = _scales(saddle, q)[0]
    torch.testing.assert_close(scale, torch.diag(torch.tensor([0.1, math.exp(-1)])))
