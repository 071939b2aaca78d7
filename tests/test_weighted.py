"""Bounds of several weights: which lies above which, and whose gradient has which mean."""

import math

import pytest
import small_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_bounds import many_weights
from torch import Tensor

from vae_exp.inference import bounds
from vae_exp.models.objectives import IWAE, DReG, Objective, Renyi
from vae_exp.models.vae import VAE

SAMPLES, IMAGES, DRAWS = 6, 3, 600


@given(many_weights, st.floats(0, 3), st.floats(0, 3))
def test_renyi_falls_with_alpha(log_weights: Tensor, one: float, other: float) -> None:
    low, high = sorted((one, other))
    above, below = (bounds.renyi(log_weights, alpha).item() for alpha in (low, high))
    assert above >= below - 1e-6 * max(1.0, abs(below))


@given(many_weights)
def test_renyi_is_iwae_at_0_and_the_elbo_at_1(log_weights: Tensor) -> None:
    torch.testing.assert_close(bounds.renyi(log_weights, 0.0), bounds.iwae(log_weights))
    assert torch.equal(bounds.renyi(log_weights, 1.0), bounds.elbo(log_weights))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.999, 1.001, 2.0])
def test_renyi_is_its_formula(alpha: float) -> None:
    log_weights = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_hand = (log_weights.exp() ** (1 - alpha)).mean(0).log() / (1 - alpha)
    torch.testing.assert_close(bounds.renyi(log_weights, alpha), by_hand)
    variable = log_weights.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(bounds.renyi(variable, alpha).sum(), variable)
    torch.testing.assert_close(gradient, torch.softmax((1 - alpha) * log_weights, 0))


def test_renyi_near_1_is_near_the_elbo_in_single_precision() -> None:
    log_weights = -150 + 3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    for alpha in (1 - 1e-6, 1 + 1e-6):
        found = bounds.renyi(log_weights, alpha)
        torch.testing.assert_close(found, bounds.elbo(log_weights), rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def model() -> VAE:
    return small_models.small().double()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return small_models.binary_images(IMAGES).double()


def gradients(objective: Objective, model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of the encoder's and of the decoder's weights, a row for each draw of the noise."""
    stream, found = torch.Generator().manual_seed(2), []
    networks = [[*model.encoder.parameters()], [*model.decoder.parameters()]]
    for _ in range(DRAWS):
        noise = model.noise.draw(SAMPLES, IMAGES, generator=stream, dtype=torch.float64)
        bound = objective(model, x, noise, 0).bound.mean()
        each = torch.autograd.grad(bound, [*networks[0], *networks[1]])
        count = len(networks[0])
        found.append(
            [torch.cat([g.flatten() for g in part]) for part in (each[:count], each[count:])]
        )
    encoder, decoder = (torch.stack(part) for part in zip(*found, strict=True))
    return encoder, decoder


def test_dreg_has_the_mean_of_iwaes_gradient_and_less_variance(model: VAE, x: Tensor) -> None:
    plain, doubly = gradients(IWAE(SAMPLES), model, x), gradients(DReG(SAMPLES), model, x)
    torch.testing.assert_close(doubly[1], plain[1])  # the decoder's, draw by draw
    apart = doubly[0] - plain[0]
    error = apart.std(0) / math.sqrt(DRAWS)
    assert (apart.mean(0).abs() < 5 * error + 1e-12).all()
    assert plain[0].mean(0).norm() > 5 * error.norm()  # so that a wrong mean would be seen
    assert doubly[0].var(0).sum() < 0.7 * plain[0].var(0).sum()


def test_dregs_gradient_is_that_of_the_paper(model: VAE, x: Tensor) -> None:
    noise = torch.randn(
        SAMPLES, IMAGES, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    q = model.posterior(x)
    z = q.sample(noise)
    fixed = q.with_parameters([part.detach() for part in q.variational_parameters()])
    at = z.detach().requires_grad_()
    log_weights = model.joint_log_density(x, at) - fixed.log_prob(at)
    (by_z,) = torch.autograd.grad(log_weights.sum(), at)
    shares = torch.softmax(log_weights.detach(), 0)[..., None]
    weights = [*model.encoder.parameters()]
    by_hand = torch.autograd.grad((shares.square() * by_z * z).sum(), weights)
    bound = DReG(SAMPLES)(model, x, noise, 0).bound
    torch.testing.assert_close(bound, IWAE(SAMPLES)(model, x, noise, 0).bound)
    for found, expected in zip(torch.autograd.grad(bound.sum(), weights), by_hand, strict=True):
        torch.testing.assert_close(found, expected)


def test_an_objective_of_weights_is_its_bound(model: VAE, x: Tensor) -> None:
    noise = torch.randn(SAMPLES, IMAGES, 2, dtype=torch.float64)
    log_weights = model.log_weights(x, noise)
    for objective, expected in (
        (IWAE(SAMPLES), bounds.iwae(log_weights)),
        (DReG(SAMPLES), bounds.iwae(log_weights)),
        (Renyi(0.3, SAMPLES), bounds.renyi(log_weights, 0.3)),
    ):
        torch.testing.assert_close(objective(model, x, noise, 0).bound, expected)
