"""The exact integral over z, against closed forms, brute force, SciPy and importance sampling."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_gaussian import LinearGaussian
from scipy.integrate import dblquad, quad
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.evaluation.exact import evidence, vae_table
from vae_exp.inference import bounds
from vae_exp.inference.lattice import integrate
from vae_exp.inference.quadrature import hermite_elbo, posterior_grid
from vae_exp.inference.svi import elbo_of
from vae_exp.inference.tiles import Table
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian

FLOAT64 = {"dtype": torch.float64}
Mode = tuple[float, tuple[float, float], float]  # weight, mean, standard deviation


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors this small are slower on two threads, and far slower beside a second process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_vae(latent_dim: int = 2, pixels: int = 4, contrast: float = 4.0, seed: int = 0) -> VAE:
    """A random VAE in float64 whose images depend strongly on z."""
    torch.manual_seed(seed)
    model = VAE(latent_dim, Encoder((5,)), Decoder((5,)), shape=(pixels,)).double()
    with torch.no_grad():
        for layer in (model.decoder.features[0], model.decoder.parameters_of_x):
            layer.weight *= contrast
    return model


def all_images(pixels: int = 4) -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=pixels)), dtype=torch.float64)


def normals(mean: Tensor, covariance: Tensor) -> Table:
    """One normalised Gaussian an image: its log integral is zero."""
    q = FullGaussian.from_moments(mean, covariance)

    def log_density(rows: Tensor, z: Tensor) -> Tensor:
        mine = FullGaussian(q.mean[rows], q.log_std[rows], q.lower[rows])
        return mine.log_prob(z[:, None].expand(-1, len(rows), -1)).T

    return Table(log_density, len(mean), mean.shape[1], torch.float64)


def mixture(*components: Mode) -> Table:
    """One image whose posterior is Σ_k weight_k N(mean_k, std_k² I), times e^−100."""

    def log_density(rows: Tensor, z: Tensor) -> Tensor:
        terms = [
            math.log(weight)
            - (z - torch.tensor(mean, **FLOAT64)).square().sum(1) / (2 * std**2)
            - math.log(2 * math.pi * std**2)
            for weight, mean, std in components
        ]
        return torch.stack(terms).logsumexp(0)[None].expand(len(rows), -1) - 100

    return Table(log_density, 1, 2, torch.float64)


def covariance(std: Tensor, correlation: Tensor) -> Tensor:
    cross = correlation * std.prod(1)
    rows = [torch.stack([std[:, 0] ** 2, cross], 1), torch.stack([cross, std[:, 1] ** 2], 1)]
    return torch.stack(rows, 1)


# --- right


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_linear_gaussian_evidence_and_moments_match_closed_form(latent_dim: int) -> None:
    model = LinearGaussian.random(latent_dim)
    table = Table(model.log_joint_table, len(model.x), latent_dim, torch.float64)
    exact = integrate(table)
    mean, covariance = model.posterior()
    assert exact.converged.all()
    torch.testing.assert_close(exact.log_p_x, model.log_evidence(), atol=1e-8, rtol=0)
    torch.testing.assert_close(exact.mean, mean, atol=1e-8, rtol=0)
    torch.testing.assert_close(exact.covariance, covariance.expand(5, -1, -1), atol=1e-8, rtol=0)
    entropy = 0.5 * torch.logdet(2 * math.pi * math.e * covariance)
    torch.testing.assert_close(exact.entropy, entropy.expand(5), atol=1e-8, rtol=0)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_evidence_sums_to_one_over_all_images(latent_dim: int) -> None:
    exact = evidence(small_vae(latent_dim), all_images())
    assert exact.converged.all()
    assert abs(exact.log_p_x.logsumexp(0).item()) < 1e-6


@pytest.mark.slow
def test_evidence_of_a_plane_agrees_with_scipy() -> None:
    model, x = small_vae(seed=1), all_images()[[3, 9]]
    w0, b0, w1, b1 = (p.detach().numpy() for p in model.decoder.parameters())

    def joint(z2: float, z1: float, image: np.ndarray) -> float:
        logits = w1 @ np.tanh(w0 @ np.array([z1, z2]) + b0) + b1
        log_likelihood = -np.logaddexp(0, np.where(image > 0, -logits, logits)).sum()
        return math.exp(log_likelihood - (z1 * z1 + z2 * z2) / 2) / (2 * math.pi)

    exact = evidence(model, x)
    for image, log_p_x in zip(x.numpy(), exact.log_p_x.tolist(), strict=True):
        value, _ = dblquad(joint, -7, 7, -7, 7, args=(image,), epsabs=1e-6, epsrel=1e-6)
        assert abs(math.log(value) - log_p_x) < 1e-4


def test_evidence_of_a_line_agrees_with_scipy() -> None:
    model, x = small_vae(1, seed=2), all_images()
    exact = evidence(model, x)
    for image, log_p_x in zip(x, exact.log_p_x.tolist(), strict=True):

        def joint(z: float, image: Tensor = image) -> float:
            with torch.no_grad():
                return model.joint_log_density(image, torch.tensor([z], **FLOAT64)).exp().item()

        value, _ = quad(joint, -9, 9, epsabs=1e-9, limit=200)
        assert abs(math.log(value) - log_p_x) < 1e-6


def test_evidence_of_part_of_an_image_is_the_sum_over_the_rest() -> None:
    model, top = small_vae(), torch.tensor([0, 1])
    whole = evidence(model, all_images()).log_p_x.view(4, 4)  # top, bottom
    part = evidence(model, all_images(2), top).log_p_x
    torch.testing.assert_close(part, whole.logsumexp(1), atol=1e-6, rtol=0)


def test_iwae_stays_below_the_evidence_and_comes_near_it() -> None:
    model, x = small_vae(pixels=12, seed=3), all_images(12)[::200]
    exact = evidence(model, x).log_p_x
    stream = torch.Generator().manual_seed(0)
    repeats, samples = 50, 1000
    noise = torch.randn(samples, repeats * len(x), 2, generator=stream, **FLOAT64)
    with torch.no_grad():
        weights = model.log_weights(x.repeat(repeats, 1), noise)
    estimates = bounds.iwae(weights).view(repeats, len(x))
    stderr = estimates.std(0) / math.sqrt(repeats)
    assert (estimates.mean(0) < exact + 4 * stderr).all()
    assert (estimates.mean(0) > exact - 0.5).all()
    elbo = bounds.elbo(weights).view(repeats, len(x)).mean(0)
    assert (elbo < exact).all()


def test_float32_agrees_with_float64_on_the_same_weights() -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((20,)), Decoder((20,)))
    with torch.no_grad():
        model.decoder.parameters_of_x.weight *= 5
        x = (torch.sigmoid(model.decoder(torch.randn(8, 2))) > 0.5).float()
    single = evidence(model, x)
    double = evidence(model.double(), x.double())
    torch.testing.assert_close(single.log_p_x, double.log_p_x, atol=1e-3, rtol=0)
    torch.testing.assert_close(single.entropy, double.entropy, atol=1e-2, rtol=0)
    torch.testing.assert_close(single.mean, double.mean, atol=1e-4, rtol=0)


# --- or says that it is not


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    at=st.tuples(*[st.floats(-5.9, 5.9)] * 2),
    log_std=st.tuples(*[st.floats(math.log(0.01), 0.0)] * 2),
    correlation=st.floats(-0.95, 0.95),
    tolerance=st.sampled_from([1e-3, 0.1]),
)
def test_error_bounds_the_true_error_of_any_gaussian(at, log_std, correlation, tolerance) -> None:
    std = torch.tensor([log_std], **FLOAT64).exp()
    spread = covariance(std, torch.tensor([correlation], **FLOAT64))
    exact = integrate(normals(torch.tensor([at], **FLOAT64), spread), tolerance=tolerance)
    assert exact.log_p_x.abs().item() <= exact.error.item()
    if exact.converged.item():
        assert exact.error.item() <= tolerance


def test_a_posterior_with_a_standard_deviation_of_a_hundredth_is_caught() -> None:
    stream = torch.Generator().manual_seed(0)
    mean = 8 * torch.rand(50, 2, generator=stream, **FLOAT64) - 4
    exact = integrate(normals(mean, 1e-4 * torch.eye(2, **FLOAT64).expand(50, 2, 2)))
    assert exact.converged.all()
    assert exact.log_p_x.abs().max() < 1e-3
    torch.testing.assert_close(exact.mean, mean, atol=1e-5, rtol=0)
    std = exact.covariance.diagonal(dim1=1, dim2=2).sqrt()
    torch.testing.assert_close(std, torch.full_like(std, 0.01), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0.5, (-4.1, 3.3), 0.03), (0.5, (4.7, -5.2), 0.05)),
        ((0.2, (0.013, 0.0), 0.01), (0.8, (5.0, 5.0), 0.4)),
        ((0.3, (0.0, 0.0), 0.1), (0.7, (8.0, -0.7), 0.2)),
        ((0.999, (1.0, 0.0), 0.4), (0.001, (-7.5, 8.1), 0.02)),
    ],
    ids=["narrow", "narrow and wide", "beyond the first square", "light, narrow and beyond"],
)
def test_two_far_modes_are_both_counted(one: Mode, other: Mode) -> None:
    exact = integrate(mixture(one, other))
    assert exact.converged.all()
    assert abs(exact.log_p_x.item() + 100) < 1e-3
    (weight_1, mean_1, _), (weight_2, mean_2, _) = one, other
    mean = weight_1 * torch.tensor(mean_1) + weight_2 * torch.tensor(mean_2)
    torch.testing.assert_close(exact.mean[0], mean.double(), atol=1e-2, rtol=0)


def test_the_square_grows_for_the_image_that_needs_it_alone() -> None:
    mean = torch.tensor([[0.0, 0.0], [11.0, -3.0]], **FLOAT64)
    exact = integrate(normals(mean, 0.09 * torch.eye(2, **FLOAT64).expand(2, 2, 2)))
    assert exact.converged.all()
    assert exact.half_width[0] < 10 < 12 < exact.half_width[1]
    torch.testing.assert_close(exact.mean, mean, atol=1e-6, rtol=0)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("mean", "std"), [((30.0, 0.0), 0.5), ((0.0, 0.0), 7.0), ((0.3, 0.2), 1e-4)]
)
def test_a_posterior_beyond_the_largest_square_or_the_finest_step_is_not_called_converged(
    mean, std
) -> None:
    spread = std**2 * torch.eye(2, **FLOAT64)[None]
    exact = integrate(normals(torch.tensor([mean], **FLOAT64), spread))
    assert not exact.converged.any()
    assert not (exact.error <= 1e-3).any()


def test_a_log_joint_that_is_not_a_number_is_not_called_converged() -> None:
    model = small_vae()
    with torch.no_grad():
        model.decoder.parameters_of_x.bias[0] = math.nan
    assert not evidence(model, all_images()).converged.any()


@pytest.mark.slow
def test_the_error_tightens_with_the_tolerance() -> None:
    model, x = small_vae(contrast=12), all_images()[:3]
    loose, tight = evidence(model, x, tolerance=0.1), evidence(model, x, tolerance=1e-6)
    assert loose.evaluations < tight.evaluations
    assert (loose.step >= tight.step).all()
    assert ((loose.log_p_x - tight.log_p_x).abs() <= loose.error + tight.error).all()


@pytest.mark.parametrize("latent_dim", [3, 20])
def test_more_than_two_latent_dimensions_are_refused(latent_dim: int) -> None:
    model = small_vae(latent_dim)
    with pytest.raises(UserError, match=f"latent_dim 1 or 2, got {latent_dim}"):
        integrate(vae_table(model, all_images()))
    with torch.no_grad(), pytest.raises(UserError, match=f"got {latent_dim}"):
        hermite_elbo(lambda z: z.sum(-1), model.posterior(all_images()))


# --- in blocks


def test_blocks_do_not_change_the_result() -> None:
    model, x = small_vae(contrast=6), all_images()[:8]
    whole = evidence(model, x)
    pieces = evidence(model, x, entries=1000)
    for name in ("log_p_x", "mean", "covariance", "entropy", "step"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), atol=1e-9, rtol=0)


def test_an_image_does_not_depend_on_its_batch() -> None:
    model, x = small_vae(contrast=8), all_images()[:8]
    alone = evidence(model, x[5:6])
    torch.testing.assert_close(alone.log_p_x, evidence(model, x).log_p_x[5:6], atol=1e-9, rtol=0)


def test_no_table_is_larger_than_a_block() -> None:
    spread = 0.1 * torch.eye(2, **FLOAT64).expand(100, 2, 2)
    gaussians = normals(torch.zeros(100, 2, **FLOAT64), spread)
    sizes = []

    def watched(rows: Tensor, z: Tensor) -> Tensor:
        sizes.append(len(rows) * len(z))
        return gaussians.log_joint(rows, z)

    exact = integrate(Table(watched, 100, 2, torch.float64), entries=40 * 256)
    assert exact.converged.all()
    assert max(sizes) <= 40 * 256
    assert sum(sizes) == exact.evaluations


def test_images_with_little_in_common_do_not_pay_for_each_other() -> None:
    stream = torch.Generator().manual_seed(0)
    mean = 6 * torch.rand(40, 2, generator=stream, **FLOAT64) - 3
    exact = integrate(normals(mean, 1e-4 * torch.eye(2, **FLOAT64).expand(40, 2, 2)))
    everywhere = (12 / exact.step.min().item()) ** 2 * len(mean)
    assert exact.evaluations < 0.05 * everywhere


def test_progress_rises_to_one() -> None:
    told = []
    evidence(small_vae(), all_images(), entries=6 * 256, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(set(told)) > 10


# --- q against the exact posterior


def test_gauss_hermite_elbo_of_a_linear_gaussian_is_log_p_x_minus_kl() -> None:
    model = LinearGaussian.random(2)
    mean, covariance = model.posterior()
    q = FullGaussian.from_moments(
        mean + 0.3, covariance @ covariance + 0.1 * torch.eye(2, **FLOAT64).expand(5, 2, 2)
    )
    target = torch.distributions.MultivariateNormal(mean, covariance)
    kl = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(q.mean, scale_tril=q.scale()), target
    )
    found = model.log_evidence() - hermite_elbo(model.log_joint, q, nodes=2)
    torch.testing.assert_close(found, kl, atol=1e-9, rtol=0)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_kl_to_the_exact_posterior_itself_is_zero(latent_dim: int) -> None:
    model = LinearGaussian.random(latent_dim)
    mean, covariance = model.posterior()
    q = FullGaussian.from_moments(mean, covariance.expand(5, -1, -1))
    kl = model.log_evidence() - hermite_elbo(model.log_joint, q)
    torch.testing.assert_close(kl, torch.zeros(5, **FLOAT64), atol=1e-9, rtol=0)


def test_gauss_hermite_elbo_agrees_with_monte_carlo() -> None:
    model, x = small_vae(seed=4), all_images()
    q = DiagonalGaussian(torch.full((16, 2), 0.3, **FLOAT64), torch.full((16, 2), -1.0, **FLOAT64))

    def log_joint(z: Tensor) -> Tensor:
        return model.joint_log_density(x, z)

    found = hermite_elbo(log_joint, q)
    torch.testing.assert_close(found, hermite_elbo(log_joint, q, nodes=40), atol=1e-2, rtol=0)
    sampled = torch.stack(
        [
            elbo_of(log_joint, q, samples=1000, generator=torch.Generator().manual_seed(seed))
            for seed in range(20)
        ]
    )
    stderr = sampled.std(0) / math.sqrt(20)
    assert ((sampled.mean(0) - found).abs() < 4.5 * stderr + 1e-6).all()


def test_kl_to_the_exact_posterior_is_not_negative() -> None:
    model, x = small_vae(seed=5), all_images()
    exact = evidence(model, x)
    with torch.no_grad():
        q = model.posterior(x)
    moments = FullGaussian.from_moments(exact.mean, exact.covariance)
    for density in (q, moments):
        kl = exact.log_p_x - hermite_elbo(
            lambda z: model.joint_log_density(x, z), density, nodes=40
        )
        assert (kl > -1e-2).all()


# --- the posterior on a window


def test_posterior_grid_is_normalised_and_has_the_exact_moments() -> None:
    model, x = small_vae(contrast=8), all_images()
    table = vae_table(model, x)
    exact = integrate(table)
    grid = posterior_grid(table, exact, 6, points=120)
    cell = (grid.axes[0][1] - grid.axes[0][0]) * (grid.axes[1][1] - grid.axes[1][0])
    mass = grid.log_density.exp() * cell
    assert abs(mass.sum().item() - 1) < 2e-3
    mean = torch.stack([(mass.sum(1) * grid.axes[0]).sum(), (mass.sum(0) * grid.axes[1]).sum()])
    torch.testing.assert_close(mean, exact.mean[6], atol=1e-2, rtol=0)


def test_posterior_grid_of_a_line_is_normalised() -> None:
    table = vae_table(small_vae(1), all_images())
    grid = posterior_grid(table, integrate(table), 3)
    mass = grid.log_density.exp().sum() * (grid.axes[0][1] - grid.axes[0][0])
    assert abs(mass.item() - 1) < 2e-3


def test_posterior_grid_holds_both_of_two_far_modes() -> None:
    table = mixture((0.9, (-4.0, 3.0), 0.3), (0.1, (4.0, -5.0), 0.4))
    exact = integrate(table)
    grid = posterior_grid(table, exact, 0)
    assert grid.inside > 1 - 1e-4 - exact.error.item()
    for axis, low, high in zip(grid.axes, (-4.9, -6.2), (5.2, 3.9), strict=True):
        assert axis[0] < low < high < axis[-1]


def test_posterior_grid_grows_until_a_light_far_mode_is_inside() -> None:
    # A tenth of a percent at 8 moves neither mean nor standard deviation far enough.
    table = mixture((0.999, (0.0, 0.0), 0.05), (0.001, (4.0, 0.0), 0.05))
    grid = posterior_grid(table, integrate(table, tolerance=1e-5), 0)
    assert grid.axes[0][-1] > 4.1
    assert grid.inside > 1 - 2e-4


def test_posterior_grid_covers_what_it_is_told_to() -> None:
    table = mixture((1.0, (0.0, 0.0), 0.1))
    wanted = torch.tensor([[2.0, -1.0], [-3.0, 0.5]])
    grid = posterior_grid(table, integrate(table), 0, include=wanted)
    assert grid.axes[0][0] < -2.9 < 1.9 < grid.axes[0][-1]
    assert grid.axes[1][0] < -0.9 < 0.4 < grid.axes[1][-1]
