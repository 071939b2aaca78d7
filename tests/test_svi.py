"""Gaussian families are the densities they say, and SVI finds known posteriors."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from linear_gaussian import LinearGaussian
from torch import Tensor

from vae_exp.evaluation.exact import evidence
from vae_exp.inference import svi
from vae_exp.inference.quadrature import hermite_elbo
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.divergences import kl
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian, StandardGaussian


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def full_gaussian(seed: int = 0) -> tuple[FullGaussian, Tensor, Tensor]:
    root = torch.randn(3, 2, 2, generator=seeded(seed), dtype=torch.float64)
    covariance = root @ root.mT + 0.1 * torch.eye(2)
    mean = torch.randn(3, 2, generator=seeded(seed + 1), dtype=torch.float64)
    return FullGaussian.from_moments(mean, covariance), mean, covariance


def test_full_gaussian_is_scipys() -> None:
    q, mean, covariance = full_gaussian()
    z = torch.randn(5, 3, 2, generator=seeded(3), dtype=torch.float64)
    for i in range(3):
        theirs = scipy.stats.multivariate_normal(mean[i].numpy(), covariance[i].numpy())
        np.testing.assert_allclose(q.log_prob(z)[:, i].numpy(), theirs.logpdf(z[:, i].numpy()))
        assert q.entropy()[i].item() == pytest.approx(theirs.entropy())
    torch.testing.assert_close(q.scale() @ q.scale().mT, covariance)


def test_full_gaussian_samples_have_its_moments() -> None:
    q, mean, covariance = full_gaussian()
    z = q.sample(torch.randn(100_000, 3, 2, generator=seeded(4), dtype=torch.float64))
    for i in range(3):
        np.testing.assert_allclose(z[:, i].mean(0).numpy(), mean[i].numpy(), atol=0.03)
        np.testing.assert_allclose(np.cov(z[:, i].T), covariance[i].numpy(), atol=0.06)


def test_full_family_holds_the_diagonal_one() -> None:
    diagonal = DiagonalGaussian(
        torch.randn(3, 2, generator=seeded()), torch.randn(3, 2, generator=seeded(1))
    )
    full = FullGaussian.from_diagonal(diagonal)
    z = torch.randn(4, 3, 2, generator=seeded(2))
    torch.testing.assert_close(full.log_prob(z), diagonal.log_prob(z))
    torch.testing.assert_close(full.sample(z), diagonal.sample(z))
    torch.testing.assert_close(kl(full, StandardGaussian(2)), kl(diagonal, StandardGaussian(2)))
    torch.testing.assert_close(full.entropy(), diagonal.entropy())


def test_kl_to_prior_is_torchs() -> None:
    q, mean, covariance = full_gaussian()
    prior = torch.distributions.MultivariateNormal(
        torch.zeros(2).double(), torch.eye(2, dtype=torch.float64)
    )
    theirs = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(mean, covariance), prior
    )
    torch.testing.assert_close(kl(q, StandardGaussian(q.mean.shape[-1])), theirs)


def start(model: LinearGaussian, dims: int) -> DiagonalGaussian:
    shape = (len(model.x), dims)
    return DiagonalGaussian(torch.zeros(shape).double(), torch.zeros(shape).double())


def test_svi_recovers_the_posterior_of_a_linear_gaussian_model() -> None:
    model = LinearGaussian.random(2)
    mean, covariance = model.posterior()
    q = svi.fit(
        model.log_joint,
        FullGaussian.from_diagonal(start(model, 2)),
        steps=800,
        generator=seeded(),
    ).q
    torch.testing.assert_close(q.mean, mean, atol=5e-3, rtol=0)
    torch.testing.assert_close(
        q.scale() @ q.scale().mT, covariance.expand(5, 2, 2), atol=5e-3, rtol=0.02
    )
    elbo = svi.elbo_of(model.log_joint, q, samples=1000, generator=seeded(1))
    torch.testing.assert_close(elbo, model.log_evidence(), atol=2e-3, rtol=0)


def test_the_best_diagonal_gaussian_matches_the_precisions() -> None:
    model = LinearGaussian.random(2)
    _, covariance = model.posterior()
    fit = svi.fit(model.log_joint, start(model, 2), steps=800, samples=64, generator=seeded())
    std = torch.linalg.inv(covariance).diagonal().rsqrt()
    torch.testing.assert_close(fit.q.log_std.exp(), std.expand(5, 2), rtol=0.03, atol=0)


def test_ten_restarts_agree() -> None:
    model = LinearGaussian.random(3, seed=2)
    begin = DiagonalGaussian(
        4 * torch.randn(10, 5, 3, generator=seeded(), dtype=torch.float64),
        torch.zeros(10, 5, 3, dtype=torch.float64),
    )
    fit = svi.fit(model.log_joint, begin, steps=800, generator=seeded(1))
    elbo = svi.elbo_of(model.log_joint, fit.q, samples=40_000, generator=seeded(2))
    assert (elbo.amax(0) - elbo.amin(0)).max() < 0.05
    assert fit.trace.shape == (800, 10, 5)
    assert (fit.trace[-20:].mean(0) > fit.trace[:20].mean(0)).all()


def test_images_are_fitted_independently_of_their_batch() -> None:
    model = LinearGaussian.random(2, images=2)
    alone = LinearGaussian(model.weight, model.bias, model.std, model.x[:1])
    together = svi.fit(model.log_joint, start(model, 2), steps=400, generator=seeded()).q
    single = svi.fit(alone.log_joint, start(alone, 2), steps=400, generator=seeded()).q
    torch.testing.assert_close(together.mean[:1], single.mean, atol=0.01, rtol=0)


def test_fitting_leaves_its_start_alone() -> None:
    model = LinearGaussian.random(2)
    begin = start(model, 2)
    svi.fit(model.log_joint, begin, steps=3, generator=seeded())
    assert (begin.mean == 0).all()
    assert (begin.log_std == 0).all()
    assert not begin.mean.requires_grad


def test_noise_comes_in_pairs_that_cancel() -> None:
    q = DiagonalGaussian(torch.zeros(3, 2), torch.zeros(3, 2))
    noise = svi.antithetic_noise(8, q, seeded())
    assert noise.shape == (8, 3, 2)
    torch.testing.assert_close(noise.sum(0), torch.zeros(3, 2))
    assert svi.antithetic_noise(5, q, seeded()).shape == (5, 3, 2)


def test_starts_are_the_best_of_disjoint_candidates() -> None:
    target = torch.tensor([[2.0, 0.0], [-1.0, 1.0]])

    def log_joint(z: Tensor) -> Tensor:
        return -(z - target).square().sum(-1)

    begin = svi.promising_starts(log_joint, torch.randn(400, 2, generator=seeded()), 2, starts=4)
    assert begin.mean.shape == (4, 2, 2)
    assert (begin.mean - target).norm(dim=-1).max() < 0.8
    for image in range(2):
        assert len(begin.mean[:, image].unique(dim=0)) == 4


def test_starts_are_where_the_model_is_and_as_precise() -> None:
    def log_joint(z: Tensor) -> Tensor:
        seen.append(z)
        return -z.square().sum(-1)

    seen: list[Tensor] = []
    for like in (torch.empty(0, dtype=torch.float64), torch.empty(0, device="meta")):
        begin = svi.promising_starts(log_joint, torch.randn(512, 2, generator=seeded()).to(like), 3)
        for tensor in (seen[-1], begin.mean, begin.log_std):
            assert (tensor.dtype, tensor.device) == (like.dtype, like.device)


def test_the_best_start_is_kept_for_each_image() -> None:
    q = DiagonalGaussian(torch.arange(12.0).reshape(3, 2, 2), torch.zeros(3, 2, 2))
    elbo = torch.tensor([[0.0, 9.0], [5.0, 1.0], [2.0, 3.0]])
    best = svi.best_of_starts(q, elbo)
    assert torch.equal(best.mean, torch.stack([q.mean[1, 0], q.mean[0, 1]]))


def test_a_posterior_a_hundredth_wide_is_reached() -> None:
    target = DiagonalGaussian(
        torch.tensor([[0.7, -1.3]], dtype=torch.float64),
        torch.full((1, 2), math.log(0.01), dtype=torch.float64),
    )
    begin = DiagonalGaussian(target.mean + 0.05, torch.full_like(target.mean, -2.0))
    q = svi.fit(target.log_prob, begin, steps=600, generator=seeded()).q
    torch.testing.assert_close(q.log_std, target.log_std, atol=0.02, rtol=0)
    torch.testing.assert_close(q.mean, target.mean, atol=1e-4, rtol=0)


def test_where_q_is_exact_its_gradient_has_no_noise() -> None:
    model = LinearGaussian.random(2)
    mean, covariance = model.posterior()
    exact = FullGaussian.from_moments(mean, covariance.expand(5, -1, -1))
    # A step of Adam is 0.1 where the gradient is anything but rounding.
    fit = svi.fit(model.log_joint, exact, steps=1, samples=1, lr=0.1, generator=seeded())
    moved = zip(fit.q.variational_parameters(), exact.variational_parameters(), strict=True)
    assert all((new - old).abs().max() < 1e-5 for new, old in moved)
    torch.testing.assert_close(fit.trace, model.log_evidence()[None])


def test_the_best_gaussian_for_a_vae_is_below_the_evidence_and_above_the_encoders() -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((10,)), Decoder((10,)), shape=(30,)).double()
    with torch.no_grad():
        model.decoder.parameters_of_x.weight *= 6
        z = torch.randn(8, 2, generator=seeded(), dtype=torch.float64)
        x = (torch.sigmoid(model.decoder(z)) > 0.5).double()
        encoder = model.posterior(x)

    def log_joint(z: Tensor) -> Tensor:
        return model.joint_log_density(x, z.to(x))

    log_p_x = evidence(model, x).log_p_x
    single = svi.promising_starts(log_joint, torch.randn(400, 2, generator=seeded(1)), 8, starts=10)
    starts = DiagonalGaussian(single.mean.double(), single.log_std.double())
    fits = svi.fit(log_joint, starts, generator=seeded(2)).q
    each = hermite_elbo(log_joint, fits)
    diagonal = svi.best_of_starts(fits, each)
    best = hermite_elbo(log_joint, diagonal)
    full = svi.fit(log_joint, FullGaussian.from_diagonal(diagonal), generator=seeded(3)).q
    assert (best >= each.amax(0) - 1e-9).all()
    assert (best > hermite_elbo(log_joint, encoder, nodes=40)).all()
    assert (hermite_elbo(log_joint, full) > best - 0.01).all()
    assert (hermite_elbo(log_joint, full) < log_p_x + 0.01).all()
    # Restarts end in one of few modes: most of them in the best one.
    assert ((each > best - 0.05).float().mean(0) >= 0.3).all()
