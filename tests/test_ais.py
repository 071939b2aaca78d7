"""Annealed importance sampling and its HMC transitions, on models whose evidence is known."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vae_exp.errors import UserError
from vae_exp.evaluation import ais as annealing
from vae_exp.evaluation.exact import evidence as exact_evidence
from vae_exp.evaluation.simulation import simulate
from vae_exp.inference import ais, hmc
from vae_exp.inference.ais import Annealer, broadened, power_schedule, tune
from vae_exp.inference.svi import LogJoint
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.densities import LOG_2PI
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.probability.streams import generator

NOISE = 0.4


class LinearGaussian:
    """z ~ N(0, I) [Z], x | z ~ N(A z, NOISE² I), with images simulated from known z; float64."""

    def __init__(self, images: int, latent_dim: int = 3, data_dim: int = 5):
        generator = torch.Generator().manual_seed(0)
        self.a = torch.randn(data_dim, latent_dim, generator=generator).double()
        self.z = torch.randn(images, latent_dim, generator=generator).double()
        epsilon = torch.randn(images, data_dim, generator=generator).double()
        self.x = self.z @ self.a.T + NOISE * epsilon
        self.prior = DiagonalGaussian(torch.zeros_like(self.z), torch.zeros_like(self.z))

    def log_joint(self, z: Tensor) -> Tensor:
        residual = (self.x - z @ self.a.T) / NOISE
        constant = 0.5 * LOG_2PI * (z.shape[-1] + len(self.a)) + len(self.a) * math.log(NOISE)
        return -0.5 * (z.square().sum(-1) + residual.square().sum(-1)) - constant

    @property
    def log_p_x(self) -> Tensor:
        covariance = NOISE**2 * torch.eye(len(self.a)).double() + self.a @ self.a.T
        return MultivariateNormal(torch.zeros(len(self.a)).double(), covariance).log_prob(self.x)

    def tuned(self, temperatures: int, leapfrog: int = 3, seed: int = 0) -> Annealer:
        stream = torch.Generator().manual_seed(seed)
        schedule = power_schedule(temperatures)
        return tune(self.log_joint, self.prior, schedule, leapfrog=leapfrog, generator=stream)


def small_vae() -> VAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(2, Encoder([8]), Decoder([8]), shape=(20,))
        with torch.no_grad():
            model.decoder.parameters_of_x.weight.mul_(4)
    return model


def stream(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def standard_error(found: ais.Annealed, sign: int = 1) -> Tensor:
    """Of an estimate, by the spread of its weights (or of their inverses, sign −1): [B]."""
    w = torch.exp(sign * found.log_weights - (sign * found.log_weights).amax(0))
    return w.std(0) / w.mean(0) / math.sqrt(len(w))


def test_the_estimate_is_the_closed_form_within_monte_carlo_error() -> None:
    model = LinearGaussian(images=30)
    found = model.tuned(60).forward(100, stream())
    deviations = (found.log_p_x - model.log_p_x) / standard_error(found)
    assert standard_error(found).median() < 0.25
    assert deviations.abs().max() < 4
    assert abs(deviations.mean().item()) < 4 / math.sqrt(30)


def test_the_mean_weight_is_unbiased_however_few_and_rough_the_steps() -> None:
    """Two temperatures and a wrong step size: noisy, but exp log w still averages to p(x)."""
    model = LinearGaussian(images=1, latent_dim=1, data_dim=1)
    steps = torch.full((1, 1), 1.7).double()
    rough = Annealer(model.log_joint, model.prior, power_schedule(2), steps, leapfrog=1)
    up = rough.forward(100_000, stream())
    assert abs((up.log_p_x - model.log_p_x).item()) < 4 * standard_error(up).item()
    assert standard_error(up).item() < 0.01


def test_the_mean_inverse_weight_is_unbiased_over_exact_posterior_samples() -> None:
    """E 1/w = 1/p(x) over z* ~ p(z | x): here each image is the same x with a z* of its own."""
    model = LinearGaussian(images=20_000, latent_dim=1, data_dim=1)
    a = model.a.item()
    model.x = model.x[:1].expand(20_000, -1)
    variance = 1 / (1 + a**2 / NOISE**2)
    noise = torch.randn(20_000, 1, generator=stream(3)).double()
    z = variance * a / NOISE**2 * model.x + math.sqrt(variance) * noise
    rough = Annealer(
        model.log_joint, model.prior, power_schedule(4), torch.full((3, 20_000), 0.7).double(), 1
    )
    inverse = torch.exp(-rough.reverse(z, 1, stream()).log_weights[0] + model.log_p_x)
    error = inverse.std() / math.sqrt(20_000)
    assert error < 0.1
    assert abs(inverse.mean() - 1) < 4 * error


def test_forward_and_reverse_chains_hold_the_closed_form_between_them() -> None:
    model = LinearGaussian(images=300)
    path = model.tuned(12, leapfrog=2)
    lower = path.forward(4, stream()).log_p_x
    upper = path.reverse(model.z, 4, stream(2)).log_p_x
    below, above = model.log_p_x - lower, upper - model.log_p_x
    for gap in (below, above):
        error = gap.std() / math.sqrt(300)
        assert gap.mean() > 3 * error


def test_the_sandwich_tightens_with_more_temperatures() -> None:
    model = LinearGaussian(images=100)
    widths = []
    for temperatures in (5, 20, 80):
        path = model.tuned(temperatures)
        lower, upper = path.forward(4, stream()), path.reverse(model.z, 4, stream(2))
        widths.append((upper.log_p_x - lower.log_p_x).mean().item())
    assert widths[0] > 2 * widths[1] > 4 * widths[2] > 0


def test_on_a_decoder_forward_is_below_and_reverse_above_the_exact_evidence() -> None:
    model = small_vae()
    z, x = simulate(model, 60, generator(0, "x"))
    exact = exact_evidence(model, x).log_p_x
    path = annealing.annealer(model, x, temperatures=4)
    below = exact - path.forward(2, stream()).log_p_x
    above = path.reverse(z, 2, stream(2)).log_p_x - exact
    for gap in (below, above):
        assert 3 * gap.std() / math.sqrt(60) < gap.mean() < 3


def test_the_evidence_of_a_decoder_is_found_from_the_broadened_encoder() -> None:
    model = small_vae()
    _, x = simulate(model, 30, generator(4, "x"))
    exact = exact_evidence(model, x).log_p_x
    found = annealing.evidence(model, x, temperatures=40, chains=32)
    assert found.log_weights.shape == (32, 30)
    assert ((found.log_p_x - exact).abs() < 4.5 * standard_error(found)).all()
    assert abs((found.log_p_x - exact).mean().item()) < 0.05


def test_the_two_bounds_of_a_sandwich_are_of_the_same_images() -> None:
    lower, upper = annealing.sandwich(small_vae(), 30, temperatures=30, chains=8)
    width = upper.log_p_x - lower.log_p_x
    assert width.abs().max() < 0.5 * lower.log_p_x.std()
    assert width.mean() > -3 * width.std() / math.sqrt(30)


def test_seeds_decide_and_nothing_else() -> None:
    model = small_vae()
    _, x = simulate(model, 3, generator(0, "x"))
    torch.manual_seed(0)
    first = annealing.evidence(model, x, temperatures=5, chains=4)
    torch.manual_seed(1)
    again = annealing.evidence(model, x, temperatures=5, chains=4)
    other = annealing.evidence(model, x, temperatures=5, chains=4, seed=1)
    assert torch.equal(first.log_weights, again.log_weights)
    assert not torch.isclose(first.log_weights, other.log_weights).any()


def test_the_chains_that_count_leave_the_tuned_steps_as_they_are() -> None:
    model = LinearGaussian(images=5)
    path = model.tuned(20)
    steps = path.step_sizes.clone()
    path.forward(3, stream())
    path.reverse(model.z, 3, stream())
    assert torch.equal(path.step_sizes, steps)


def test_step_sizes_are_tuned_to_the_acceptance_that_is_aimed_at() -> None:
    model = LinearGaussian(images=20)
    found = model.tuned(200).forward(16, stream())
    assert abs(found.acceptance.mean().item() - ais.ACCEPTANCE) < 0.05
    assert (found.acceptance - ais.ACCEPTANCE).abs().max() < 0.15


def test_a_broadened_q_is_normalised_and_wider_than_q_and_the_prior() -> None:
    q = DiagonalGaussian(torch.tensor([[3.0, -1.0]]), torch.tensor([[-3.0, 0.5]]))
    wide = broadened(q)
    torch.testing.assert_close(wide.log_std.exp() ** 2, q.log_std.exp() ** 2 + 1)
    axis = torch.linspace(-12, 12, 241)
    grid = torch.cartesian_prod(axis, axis)[:, None]
    mass = wide.log_prob(grid).double().exp().sum() * 0.1**2
    assert mass.item() == pytest.approx(1, abs=1e-4)


def correlated_gaussian() -> tuple[LogJoint, Tensor, Tensor]:
    """An unnormalised log density over z [3], its mean and its covariance."""
    root = torch.randn(3, 3, generator=stream(9)).double()
    covariance = root @ root.T + 0.2 * torch.eye(3).double()
    precision, mean = torch.linalg.inv(covariance), torch.arange(3).double()

    def log_density(z: Tensor) -> Tensor:
        return -0.5 * ((z - mean) @ precision * (z - mean)).sum(-1)

    return log_density, mean, covariance


def assert_moments(z: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Of independent draws z [C, 3], within Monte Carlo error."""
    variance = covariance.diagonal()
    assert ((z.mean(0) - mean).abs() < 4.5 * (variance / len(z)).sqrt()).all()
    error = ((variance[:, None] * variance + covariance**2) / len(z)).sqrt()
    assert ((z.T.cov() - covariance).abs() < 4.5 * error).all()


def test_hmc_leaves_a_gaussian_as_it_is() -> None:
    log_density, mean, covariance = correlated_gaussian()
    draws = torch.randn(4000, 4, 3, generator=stream()).double()
    point = hmc.Point.at([log_density], mean + draws @ torch.linalg.cholesky(covariance).T)
    step = torch.linspace(0.5, 0.9, 4).double()
    generator = stream(2)
    for _ in range(10):
        point, acceptance = hmc.transition(
            [log_density], torch.ones(1).double(), point, step, 3, generator
        )
    assert (acceptance > 0.1).all()
    assert (acceptance < 0.97).all()
    for z in point.z.unbind(1):
        assert_moments(z, mean, covariance)


def test_hmc_brings_chains_from_elsewhere_to_the_gaussian() -> None:
    log_density, mean, covariance = correlated_gaussian()
    point = hmc.Point.at([log_density], torch.full((4000, 1, 3), -2.0).double())
    one, step, generator = torch.ones(1).double(), torch.full((1,), 0.6).double(), stream()
    for _ in range(60):
        point, _acceptance = hmc.transition([log_density], one, point, step, 3, generator)
    assert_moments(point.z[:, 0], mean, covariance)


def test_the_target_of_a_transition_is_the_weighted_sum_of_its_log_densities() -> None:
    """0.25 log N(−3, 1) + 0.75 log N(1, 1) is log N(0, 1) up to a constant."""
    densities = [lambda z, mean=mean: -0.5 * (z - mean).square().sum(-1) for mean in (-3.0, 1.0)]
    coefficients = torch.tensor([0.25, 0.75]).double()
    point = hmc.Point.at(densities, torch.randn(8000, 1, 1, generator=stream()).double())
    generator = stream(2)
    for _ in range(10):
        point, _acceptance = hmc.transition(
            densities, coefficients, point, torch.full((1,), 1.2).double(), 2, generator
        )
    assert abs(point.z.mean().item()) < 4 / math.sqrt(8000)
    assert abs(point.z.var().item() - 1) < 4 * math.sqrt(2 / 8000)


def wavy(z: Tensor) -> Tensor:
    """A log density that is not quadratic."""
    return -0.5 * z.square().sum(-1) + torch.sin(2 * z).sum(-1) - 0.1 * z.pow(4).sum(-1)


def energy(point: hmc.Point, momentum: Tensor) -> Tensor:
    return 0.5 * momentum.square().sum(-1) - point.log_densities[0]


def test_leapfrog_runs_back_to_where_it_came_from() -> None:
    one, step = torch.ones(1).double(), torch.full((4,), 0.3).double()
    start = hmc.Point.at([wavy], torch.randn(10, 4, 2, generator=stream()).double())
    momentum = torch.randn(10, 4, 2, generator=stream(2)).double()
    end, end_momentum = hmc.leapfrog([wavy], one, start, momentum, step, 15)
    assert (end.z - start.z).abs().mean() > 0.3
    back, back_momentum = hmc.leapfrog([wavy], one, end, -end_momentum, step, 15)
    torch.testing.assert_close(back.z, start.z, rtol=0, atol=1e-9)
    torch.testing.assert_close(-back_momentum, momentum, rtol=0, atol=1e-9)


def test_the_energy_error_of_leapfrog_falls_with_the_square_of_the_step() -> None:
    start = hmc.Point.at([wavy], torch.randn(200, 1, 2, generator=stream()).double())
    momentum = torch.randn(200, 1, 2, generator=stream(2)).double()
    errors = []
    for steps in (8, 16, 32, 64):
        step = torch.full((1,), 1.0 / steps).double()
        end = hmc.leapfrog([wavy], torch.ones(1).double(), start, momentum, step, steps)
        errors.append((energy(*end) - energy(start, momentum)).abs().mean().item())
    ratios = [coarse / fine for coarse, fine in pairwise(errors)]
    assert ratios == pytest.approx([4, 4, 4], rel=0.1)


def test_blocks_of_chains_do_not_change_what_is_evaluated() -> None:
    z = torch.randn(7, 4, 2, generator=stream()).double()
    whole = hmc.Point.at([wavy], z)
    assert torch.equal(whole.gradients, hmc.Point.at([wavy], z, rows=1).gradients)
    expected = -z + 2 * torch.cos(2 * z) - 0.4 * z**3
    torch.testing.assert_close(whole.gradients[0], expected)


def test_a_trajectory_that_diverges_is_rejected() -> None:
    start = hmc.Point.at([wavy], torch.randn(6, 1, 2, generator=stream()).double())
    step = torch.full((1,), 1e60, dtype=torch.float64)
    end, acceptance = hmc.transition([wavy], torch.ones(1).double(), start, step, 5, stream())
    assert torch.equal(end.z, start.z)
    assert acceptance.item() == 0


@pytest.mark.parametrize(
    "betas",
    [[0.0, 1.0], [0.1, 0.5, 1.0], [0.0, 0.5, 0.9], [0.0, 0.6, 0.4, 1.0], [0.0, 0.5, 0.5, 1.0]],
)
def test_a_schedule_that_does_not_rise_from_zero_to_one_is_refused(betas: list[float]) -> None:
    model = LinearGaussian(images=1)
    with pytest.raises(UserError, match="betas must rise from 0 to 1"):
        tune(model.log_joint, model.prior, torch.tensor(betas), generator=stream())


def test_schedules_rise_from_zero_to_one() -> None:
    torch.testing.assert_close(power_schedule(4, 1.0), torch.linspace(0, 1, 5).double())
    torch.testing.assert_close(power_schedule(2), torch.tensor([0, 0.25, 1]).double())


def test_progress_of_a_sandwich_rises_to_one() -> None:
    told: list[float] = []
    annealing.sandwich(small_vae(), 3, temperatures=6, chains=2, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    assert len(told) == 15


@pytest.mark.parametrize("name", ["chains", "leapfrog", "temperatures"])
def test_numbers_that_are_not_positive_are_refused_by_name(name: str) -> None:
    model = small_vae()
    _, x = simulate(model, 2, generator(0, "x"))
    with pytest.raises(UserError, match=name):
        annealing.evidence(model, x, **{name: 0})
