"""The inference gap: its parts are not negative, make the whole, and are what they are called."""

import torch
from torch import Tensor

from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.gap import PARTS, inference_gap
from vae_exp.inference.quadrature import hermite_elbo
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE

PIXELS = 100


def vae(latent_dim: int = 2) -> VAE:
    torch.manual_seed(0)
    model = VAE(latent_dim, Encoder((20,)), Decoder((20,)), shape=(PIXELS,))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(3)
        model.encoder.parameters_of_q.bias[latent_dim:] -= 2  # as narrow as a trained one
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
