"""Densities and masses of pixels are those of SciPy, and sum or integrate to one."""

import math
from typing import get_args

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.models import vae
from vae_exp.models.contracts import Likelihood
from vae_exp.models.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    DiscretisedLogisticLikelihood,
    GaussianLikelihood,
    on_levels,
)
from vae_exp.models.likelihoods.on_levels import Levels
from vae_exp.models.vae import VAE
from vae_exp.probability.continuous_bernoulli import ContinuousBernoulli, log_integral
from vae_exp.probability.levels import CategoricalLevels, DiscretisedLogistic, OnLevels, level_of
from vae_exp.probability.streams import generator

PIXELS = 6
LOGITS = [-800.0, -40.0, -1.0, -0.2001, -0.1999, -1e-3, 0.0, 1e-9, 0.05, 0.2, 3.0, 60.0, 800.0]
GREY = [
    ContinuousBernoulliLikelihood(),
    GaussianLikelihood(std=0.15),
    CategoricalLikelihood(),
    CategoricalLikelihood(256),
    DiscretisedLogisticLikelihood(),
    DiscretisedLogisticLikelihood(16, "pixel"),
]
MASSES = [likelihood for likelihood in GREY if likelihood.discrete]


def named(likelihood: Likelihood) -> str:
    return f"{type(likelihood).__name__}{getattr(likelihood, 'levels', '')}"


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "pixels"), dtype=torch.float64)


def greys(*shape: int) -> Tensor:
    """Values k / 255, many of them 0 and 1."""
    k = torch.randint(-60, 316, shape, generator=generator(0, "greys")).clamp(0, 255)
    return k.double() / 255


@pytest.fixture(params=GREY, ids=named)
def likelihood(request: pytest.FixtureRequest) -> Likelihood:
    chosen: Likelihood = request.param.double()
    return chosen


def test_a_continuous_bernoulli_integrates_to_one_and_is_torchs() -> None:
    for logit in LOGITS[1:-1]:
        p = ContinuousBernoulli(torch.tensor([logit], dtype=torch.float64))
        mass, _ = scipy.integrate.quad(
            lambda x, p=p: p.log_prob(torch.tensor([x], dtype=torch.float64)).exp().item(), 0, 1
        )
        assert mass == pytest.approx(1, abs=1e-9)
    logits, x = 3 * normal(200, 1), torch.rand(200, 1, dtype=torch.float64)
    theirs = torch.distributions.ContinuousBernoulli(logits=logits)
    ours = ContinuousBernoulli(logits)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x)[:, 0], rtol=0, atol=1e-7)
    torch.testing.assert_close(ours.mean, theirs.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.sample(x), theirs.icdf(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_continuous_bernoullis_mean_is_the_slope_of_its_constant(dtype: torch.dtype) -> None:
    logits = torch.tensor(LOGITS, dtype=dtype, requires_grad=True)
    constant = log_integral(logits)
    [slope] = torch.autograd.grad(constant.sum(), logits)
    mean = ContinuousBernoulli(logits.detach()).mean
    torch.testing.assert_close(slope, mean, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)
    assert constant.isfinite().all()
    sides = log_integral(torch.tensor([0.2 - 1e-7, 0.2 + 1e-7], dtype=torch.float64))
    assert (sides[1] - sides[0]).item() == pytest.approx(2e-7 * mean[9].item(), abs=1e-12)


def test_a_continuous_bernoulli_is_sampled_by_the_inverse_of_its_distribution_function() -> None:
    u = torch.linspace(0, 1 - 2**-24, 50, dtype=torch.float64)[:, None]
    for logit in (-30.0, -2.0, -1e-3, 0.0, 1e-3, 2.0, 30.0):
        x = ContinuousBernoulli(torch.tensor([logit], dtype=torch.float64)).sample(u)
        reached = x if logit == 0 else torch.expm1(logit * x) / math.expm1(logit)
        torch.testing.assert_close(reached, u, rtol=0, atol=1e-9)
    extreme = ContinuousBernoulli(torch.tensor([-1e4, 1e4, 0.0])).sample(u.float())
    assert ((extreme >= 0) & (extreme <= 1)).all()


def test_gaussian_pixels_are_scipys_with_one_scale_that_is_learnt_or_not() -> None:
    outputs, x = normal(5, PIXELS), normal(5, PIXELS, seed=1)
    learnt, fixed = GaussianLikelihood(0.3).double(), GaussianLikelihood(0.3, learn=False).double()
    theirs = scipy.stats.norm.logpdf(x, torch.sigmoid(outputs), 0.3).sum(-1)
    for likelihood in (learnt, fixed):
        np.testing.assert_allclose(likelihood(outputs).log_prob(x).detach(), theirs, rtol=1e-6)
    assert [name for name, _ in learnt.named_parameters()] == ["log_std"]
    assert not list(fixed.parameters())
    squares = (torch.sigmoid(outputs) - x).square()
    optimum = GaussianLikelihood(squares.mean().sqrt().item()).double()
    optimum(outputs).log_prob(x).sum().backward()
    assert optimum.log_std.grad is not None
    assert optimum.log_std.grad.abs() < 1e-5  # the likeliest scale is the root mean square


@pytest.mark.parametrize("levels", get_args(Levels))
def test_a_level_is_the_highest_bits_of_a_grey_and_a_levels_own_value_lies_in_it(
    levels: int,
) -> None:
    k = torch.arange(256)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(level_of(k.to(dtype) / 255, levels), k >> 8 - levels.bit_length() + 1)
        own = torch.arange(levels).to(dtype) / (levels - 1)
        assert torch.equal(level_of(own, levels), torch.arange(levels))


def masses() -> list[OnLevels]:
    """One pixel a row, ordinary ones and extreme ones."""
    location = torch.tensor([0.5, 0.003, -3.0, 1.7, 0.51, 0.2], dtype=torch.float64)[:, None]
    log_scale = torch.tensor([-2.0, -9.0, 0.0, -1.0, -30.0, 8.0], dtype=torch.float64)[:, None]
    return [
        CategoricalLevels(4 * normal(6, 16, 1)),
        *(DiscretisedLogistic(location, log_scale, levels) for levels in (2, 16, 256)),
    ]


@pytest.mark.parametrize("p", masses(), ids=lambda p: f"{type(p).__name__}{p.levels}")
def test_masses_of_levels_sum_to_one_and_tell_mean_ceiling_and_samples(p: OnLevels) -> None:
    values = torch.arange(p.levels, dtype=torch.float64)[:, None, None] / (p.levels - 1)
    log_mass = p.log_prob(values)  # [K, pixel]
    mass = log_mass.exp()
    assert not log_mass.isnan().any()
    torch.testing.assert_close(mass.sum(0), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(p.log_mass()[..., 0].T, log_mass)
    torch.testing.assert_close(p.highest()[:, 0], log_mass.amax(0))
    torch.testing.assert_close(p.mean[:, 0], (mass * values[..., 0]).sum(0))
    u = (torch.arange(20_000, dtype=torch.float64)[:, None, None] + 0.5) / 20_000
    drawn = level_of(p.sample(u.expand(-1, 6, 1))[..., 0], p.levels)
    for pixel in range(6):
        share = torch.bincount(drawn[:, pixel], minlength=p.levels) / 20_000
        assert (share - mass[:, pixel]).abs().max() < 1.1e-4  # one of the u at each edge


def test_a_discretised_logistic_is_scipys_between_its_edges() -> None:
    location, scale, k = 0.4, 0.03, np.arange(1, 255)
    p = DiscretisedLogistic(
        torch.full((254, 1), location, dtype=torch.float64),
        torch.full((254, 1), math.log(scale), dtype=torch.float64),
        256,
    )
    cdf = scipy.stats.logistic(location, scale).cdf
    theirs = cdf((k + 0.5) / 255) - cdf((k - 0.5) / 255)
    ours = p.log_prob(torch.from_numpy(k / 255)[:, None])
    np.testing.assert_allclose(ours, np.log(theirs), atol=1e-9)
    edges = DiscretisedLogistic(p.location[:2], p.log_scale[:2], 256)
    np.testing.assert_allclose(
        edges.log_prob(torch.tensor([[0.0], [1.0]], dtype=torch.float64)).exp(),
        [cdf(0.5 / 255), 1 - cdf(254.5 / 255)],
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_discretised_logistic_far_off_has_a_finite_mass_and_gradient(dtype: torch.dtype) -> None:
    location = torch.full((1, 1), -1.0, dtype=dtype, requires_grad=True)
    log_scale = torch.full((1, 1), -8.0, dtype=dtype, requires_grad=True)
    p = DiscretisedLogistic(location, log_scale, 256)
    log_mass = p.log_prob(torch.full((1, 1), 0.5, dtype=dtype))
    # F(b) − F(a) is 0 in any precision; its log is −(v − h − m) / s + log(1 − e^(−2 h / s)).
    away = (round(127.5) - 0.5) / 255 + 1
    assert log_mass.item() == pytest.approx(-away * math.exp(8), rel=1e-3)
    log_mass.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (location, log_scale))


def test_two_levels_of_binary_images_are_a_bernoulli() -> None:
    logits, x = normal(7, 2 * PIXELS), (normal(7, PIXELS, seed=1) > 0).double()
    off, on = logits.chunk(2, -1)
    bernoulli = BernoulliLikelihood()(on - off)
    two = CategoricalLikelihood(2)(logits)
    torch.testing.assert_close(two.log_prob(x), bernoulli.log_prob(x))
    torch.testing.assert_close(two.mean, bernoulli.mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tables_and_each_are_the_plain_log_density(
    likelihood: Likelihood, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_levels, "BLOCK", 4096)  # several blocks
    likelihood = likelihood.to(dtype)
    parameters = normal(40, likelihood.outputs * PIXELS).to(dtype)
    for images in (3, 300):
        x = greys(images, PIXELS).to(dtype)
        plain = likelihood(parameters).log_prob(x[:, None])
        close = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {}
        torch.testing.assert_close(likelihood.table(parameters, x), plain, **close)
    x, own = greys(4, PIXELS).to(dtype), parameters.unflatten(0, (4, 10))
    torch.testing.assert_close(
        likelihood.each(own, x), likelihood(own).log_prob(x[:, None]), **close
    )


@pytest.mark.parametrize("likelihood", MASSES, ids=named)
def test_no_image_has_more_than_the_ceiling(likelihood: Likelihood) -> None:
    parameters = normal(20, likelihood.outputs * PIXELS)
    ceiling = likelihood.double().ceiling(parameters)
    p = likelihood(parameters)
    levels = getattr(likelihood, "levels", 0)
    values = torch.arange(levels, dtype=torch.float64)[:, None, None] / (levels - 1)
    likeliest = values[:, 0, 0][p.log_mass().argmax(-2)]
    torch.testing.assert_close(p.log_prob(likeliest), ceiling)
    assert (p.log_prob(greys(500, 1, PIXELS)) <= ceiling + 1e-12).all()


def test_values_outside_what_a_likelihood_takes_are_refused_in_one_line() -> None:
    for likelihood, x, told in (
        (GREY[0], [0.5, 1.5], "grey values in [0, 1], got values from 0.5 to 1.5"),
        (GREY[2], [-0.5, 0.5], "got values from -0.5 to 0.5: give pixels / 255"),
        (GREY[4], [0.5, math.nan], "got nan"),
        (GREY[1], [0.5, math.inf], "must hold finite grey values, got inf"),
        (BernoulliLikelihood(), [0.5, 1.0], "likelihood=gaussian"),
    ):
        with pytest.raises(UserError) as refused:
            likelihood.check_values(torch.tensor([x]))
        assert told in str(refused.value)
        assert "\n" not in str(refused.value)
    GREY[1].check_values(torch.tensor([[-2.0, 3.0]]))
    for build, told in (
        (lambda: CategoricalLikelihood(10), "levels must be one of 2, 4, 8, 16, 32, 64, 128, 256"),  # type: ignore[arg-type]
        (lambda: GaussianLikelihood(0.0), "likelihood.std must be a positive number, got 0.0"),
    ):
        with pytest.raises(UserError, match=told):
            build()


def test_a_model_decodes_in_parts_what_would_not_fit_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = VAE(2, likelihood=CategoricalLikelihood(), shape=(3, 2)).double()
    x, z = greys(7, PIXELS), normal(11, 7, 2)
    whole = [model.joint_log_density_table(x, z[:, 0]), model.joint_ceiling(z[:, 0])]
    each = model.log_joint_of_each(x)(z)
    monkeypatch.setattr(vae, "DECODED", 3 * 16 * PIXELS)
    parts = [model.joint_log_density_table(x, z[:, 0]), model.joint_ceiling(z[:, 0])]
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(model.log_joint_of_each(x)(z), each)
