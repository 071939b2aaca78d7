"""The inference gap: its parts are not negative, make the whole, and are what they are called."""

import pytest
import torch
from torch import Tensor

from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.frozen import frozen
from vae_exp.evaluation.gap import ELBO_TOLERANCE, OUTSIDE, PARTS, _Fits, inference_gap
from vae_exp.inference import svi
from vae_exp.inference.quadrature import hermite_elbo
from vae_exp.inference.rounds import TOLERANCE
from vae_exp.models.contracts import PosteriorFamily
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.posteriors import (
    DiagonalGaussianFamily,
    FullGaussianFamily,
    MixtureFamily,
    RealNVPFamily,
)
from vae_exp.models.vae import VAE

PIXELS = 100


def vae(latent_dim: int = 2, family: type[PosteriorFamily] = DiagonalGaussianFamily) -> VAE:
    torch.manual_seed(0)
    model = VAE(
        latent_dim,
        Encoder((20,)),
        Decoder((20,)),
        posterior=family(latent_dim),
        shape=(PIXELS,),
    )
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(3)
        if family is DiagonalGaussianFamily:  # as narrow as a trained one
            model.encoder.parameters_of_q.bias[latent_dim:] -= 2
    return model


def images(count: int = 12) -> Tensor:
    return (torch.rand(count, PIXELS, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def test_parts_are_not_negative_and_make_the_whole() -> None:
    model, x = vae(), images()
    exact = evidence(model, x)
    gap = inference_gap(model, x)
    parts = gap.parts(exact.log_p_x)
    assert tuple(parts) == PARTS
    assert (parts["not Gaussian"] > -1e-3).all()
    assert (parts["no covariance"] >= 0).all()
    assert (parts["amortisation"] >= 0).all()
    assert parts["amortisation"].mean() > 0.1  # the encoder was never trained
    elbo = hermite_elbo(lambda z: model.joint_log_density(x, z), model.posterior(x), nodes=40)
    torch.testing.assert_close(sum(parts.values()), exact.log_p_x - elbo, atol=1e-2, rtol=0)


def test_best_gaussians_are_where_more_effort_finds_nothing() -> None:
    model, x = vae(), images()
    usual = inference_gap(model, x, seed=0)
    thorough = inference_gap(model, x, seed=1, starts=12, steps=400, samples=32)
    for name in ("elbo_diagonal", "elbo_full"):
        missed = getattr(thorough, name) - getattr(usual, name)
        assert missed.median() < 1e-2
        assert missed.max() < 0.2


def test_the_fitted_q_have_the_elbo_that_is_reported() -> None:
    model, x = vae(), images()
    gap = inference_gap(model, x)
    for q, reported in ((gap.diagonal, gap.elbo_diagonal), (gap.full, gap.elbo_full)):
        again = hermite_elbo(lambda z: model.joint_log_density(x, z), q, nodes=40)
        torch.testing.assert_close(again, reported, atol=1e-2, rtol=0)
        assert ((again - reported).abs() <= gap.error + 1e-4).all()  # and single precision
    assert (gap.error > 0).all()
    assert (gap.error <= ELBO_TOLERANCE).all()


def test_fitting_leaves_the_model_as_it_was() -> None:
    model = vae()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inference_gap(model, images(3), steps=8)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_more_latent_dimensions_are_fitted_too() -> None:
    model, x = vae(latent_dim=4), images(3)
    gap = inference_gap(model, x)
    assert (gap.elbo_full >= gap.elbo_diagonal - 0.1).all()
    assert (gap.elbo_diagonal > gap.elbo_encoder).all()


@pytest.mark.parametrize("family", [FullGaussianFamily, MixtureFamily, RealNVPFamily])
def test_amortisation_is_to_the_best_q_of_the_encoder_s_own_family(
    family: type[PosteriorFamily],
) -> None:
    model, x = vae(family=family), images(3)
    log_p_x = evidence(model, x).log_p_x
    gap = inference_gap(model, x, starts=3, steps=60)
    parts = gap.parts(log_p_x)
    rest = "not Gaussian" if family is FullGaussianFamily else OUTSIDE
    assert tuple(parts) == (rest, "amortisation")
    torch.testing.assert_close(sum(parts.values()), log_p_x - gap.elbo_encoder)
    assert (parts["amortisation"] >= 0).all()
    assert (parts[rest] > -1e-3).all()
    own = gap.own
    assert type(own.q) is type(gap.encoder)
    if family is not MixtureFamily:
        assert (own.elbo > gap.elbo_diagonal - 1e-6).all()  # as it holds every diagonal Gaussian


@pytest.mark.exhaustive
def test_a_flow_lies_between_the_best_gaussian_and_the_truth() -> None:
    model, x = vae(), images(3)
    gap = inference_gap(model, x, flow=True, starts=3, steps=60)
    flow, log_p_x = gap.best["flow"], evidence(model, x).log_p_x
    left = log_p_x - gap.elbo_full
    assert (flow.elbo >= gap.elbo_full - 1e-6).all()
    assert (flow.elbo < log_p_x + 1e-3).all()
    assert ((log_p_x - flow.elbo).mean() < 0.7 * left.mean()).all()


def test_rounds_go_on_until_more_steps_do_not_help_and_else_say_so() -> None:
    model, x = vae(), images(3)
    hasty = inference_gap(model, x, steps=4, rounds=1)
    mended = inference_gap(model, x, steps=4, rounds=8)

    def log_joint(z: Tensor) -> Tensor:
        return model.joint_log_density(x, z)

    for name in ("diagonal", "full"):
        best = mended.best[name]
        assert not hasty.best[name].converged.all()
        assert best.converged.all()
        further = svi.fit(log_joint, best.q, steps=300, lr=0.02).q
        gained = hermite_elbo(log_joint, further, nodes=16) - best.elbo
        assert gained.median() < 2 * TOLERANCE
        assert gained.max() < 0.2
        assert ((best.elbo - hasty.best[name].elbo) > 0.1).any()


def test_the_elbo_of_many_dimensions_is_the_same_number_for_the_same_q() -> None:
    model, x = vae(latent_dim=4), images(4)
    fits = _Fits(model, x, starts=2, steps=4, samples=4, rounds=1, seed=0, first=0)
    with torch.no_grad():
        q = model.posterior(x)
    whole = fits.elbo(q, torch.arange(4))
    some = torch.tensor([1, 3])
    torch.testing.assert_close(fits.elbo(q.at(some), some), whole[some])


def test_a_frozen_models_weights_ask_for_gradients_again_after_an_error() -> None:
    model = vae()
    model.requires_grad_(True)
    model.decoder.parameters_of_x.bias.requires_grad_(False)

    def fails() -> None:
        with frozen(model):
            assert not any(parameter.requires_grad for parameter in model.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name != "decoder.parameters_of_x.bias")
