"""Diagnostics of q are held against models whose posterior is known; words follow the numbers."""

import io
import json
import math

import pytest
import torch
from conftest import mnist_folder
from linear_gaussian import LinearGaussian
from rich.cells import cell_len
from rich.console import Console
from scipy.stats import chi2
from test_figures import assert_no_text_is_cut_or_covered
from torch import Tensor

from vae_exp.analysis.base import Findings
from vae_exp.analysis.trust import Trust
from vae_exp.data import Splits, load_splits
from vae_exp.errors import UserError
from vae_exp.evaluation import diagnostics
from vae_exp.evaluation.diagnostics import (
    BINS,
    LEVELS,
    Aggregate,
    Calibration,
    aggregate,
    calibration,
    kl_to_prior,
)
from vae_exp.evaluation.estimates import elbo_terms, intervals
from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.simulation import simulate
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.gaussians import DiagonalGaussian, StandardGaussian
from vae_exp.probability.streams import generator

COUNT = 5000


def kl_of(q: DiagonalGaussian) -> Tensor:
    return kl_to_prior(q, StandardGaussian(q.mean.shape[1]), seed=0)


def aggregate_of(q: DiagonalGaussian, seed: int) -> Aggregate:
    return aggregate(q, StandardGaussian(q.mean.shape[1]), seed=seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def toy(dims: int = 3, count: int = COUNT) -> tuple[Tensor, DiagonalGaussian]:
    """z* [N, Z] ~ p(z) and the exact posteriors of x ~ p(x | z*), of which no two axes correlate.

    The columns of W are orthogonal, so that the linear-Gaussian posterior is a diagonal one.
    """
    weight = torch.linalg.qr(normal(6, dims, seed=0)).Q * torch.linspace(0.5, 2.0, dims)
    z = normal(count, dims, seed=1)
    x = z @ weight.T + 0.5 * normal(count, 6, seed=2)
    mean, covariance = LinearGaussian(weight, torch.zeros(6).double(), 0.5, x).posterior()
    torch.testing.assert_close(covariance, torch.diag(covariance.diagonal()))
    return z, DiagonalGaussian(mean, 0.5 * covariance.diagonal().log().expand(count, -1))


def with_std(q: DiagonalGaussian, factor: float) -> DiagonalGaussian:
    return DiagonalGaussian(q.mean, q.log_std + math.log(factor))


def test_exact_posteriors_cover_the_true_z_as_often_as_they_say() -> None:
    z, q = toy()
    found = calibration(q, z)
    for level in LEVELS:
        share, stderr = found.coverage(level)
        assert stderr == pytest.approx(math.sqrt(share * (1 - share) / COUNT))
        assert abs(share - level) < 4 * stderr
    assert diagnostics.miscalibration(found) is None


def test_exact_posteriors_give_uniform_ranks_and_shifted_ones_do_not() -> None:
    z, q = toy()
    found = calibration(q, z)
    counts, (low, high) = found.histogram(), diagnostics.histogram_band(COUNT)
    assert counts.sum(1).tolist() == [COUNT] * 3
    assert ((counts >= low) & (counts <= high)).all()
    assert found.uniformity().min() > 1e-3
    shifted = DiagonalGaussian(q.mean + 0.3 * q.log_std.exp() * torch.eye(3)[1], q.log_std)
    assert calibration(shifted, z).uniformity()[1] < 1e-9
    assert calibration(shifted, z).uniformity()[[0, 2]].min() > 1e-3


@pytest.mark.parametrize(("factor", "word"), [(0.5, "overconfident"), (2.0, "underconfident")])
def test_a_wrong_width_shows_as_the_coverage_that_chi_squared_foretells(
    factor: float, word: str
) -> None:
    z, q = toy()
    found = calibration(with_std(q, factor), z)
    for level in LEVELS:
        expected = chi2.cdf(chi2.ppf(level, 3) * factor**2, 3)
        stderr = math.sqrt(expected * (1 - expected) / COUNT)
        assert abs(found.coverage(level)[0] - expected) < 4 * stderr
    assert diagnostics.miscalibration(found) == word


def test_ninety_five_of_a_hundred_uniform_histograms_stay_in_the_band() -> None:
    ranks = torch.rand(2000, 1000, generator=torch.Generator().manual_seed(0))
    counts = Calibration(ranks[:, 0], ranks).histogram()
    low, high = diagnostics.histogram_band(2000)
    inside = ((counts >= low) & (counts <= high)).all(1).double().mean()
    assert 0.94 < inside < 0.985


def test_p_values_of_uniform_ranks_are_uniform() -> None:
    ranks = torch.rand(2000, 1000, generator=torch.Generator().manual_seed(0))
    p = Calibration(ranks[:, 0], ranks).uniformity()
    for level in (0.1, 0.5, 0.9):
        assert abs((p <= level).double().mean() - level) < 4 * math.sqrt(level * (1 - level) / 1000)


def model_of(latent_dim: int, hidden: int = 16) -> VAE:
    """A model whose images depend on z and whose q on the image, as if trained."""
    with torch.random.fork_rng():
        torch.manual_seed(latent_dim)
        model = VAE(latent_dim, Encoder((hidden,)), Decoder((hidden,)))
    with torch.no_grad():
        model.encoder.parameters_of_q.weight *= 5
    return model.eval()


def test_simulated_z_are_draws_from_the_exact_posteriors_of_their_images() -> None:
    model = model_of(2)
    z, x = simulate(model, 300, generator(0, "simulate"))
    exact = evidence(model, x)
    off = (z.double() - exact.mean)[..., None]
    square = (off.mT @ torch.linalg.solve(exact.covariance, off)).flatten()
    assert abs(square.mean() - 2) < 4 * square.std() / math.sqrt(len(square))
    assert off.square().mean() < 0.8 * z.square().mean()  # the images tell something of z


def test_kl_per_dimension_sums_to_the_kl_of_the_bound() -> None:
    model, x = model_of(3), (torch.rand(40, 784) < 0.3).float()
    kl = diagnostics.kl_per_dimension(diagnostics.encode(model, x), model.prior)
    assert kl.shape == (40, 3)
    torch.testing.assert_close(kl.sum(1).float(), elbo_terms(model, x).kl)


def test_an_unused_latent_is_inactive_and_the_used_ones_are_not() -> None:
    model = model_of(3)
    with torch.no_grad():
        model.encoder.parameters_of_q.weight[1] = 0
    x = (torch.rand(200, 784, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    variance = diagnostics.mean_variance(diagnostics.encode(model, x))
    assert (variance > diagnostics.ACTIVE).tolist() == [True, False, True]


def test_the_aggregate_density_is_the_mean_of_all_densities() -> None:
    _, q = toy(count=700)  # more than a block
    found = aggregate_of(q, seed=3)
    noise = (torch.randn(700, 3, generator=diagnostics.generator(3, "aggregate"))).double()
    z = q.sample(noise[None])[0]
    table = q.log_prob(z[:, None])  # [z, image]
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(found.kl, table.logsumexp(1) - math.log(700) - log_prior)
    rest = table.masked_fill(torch.eye(700, dtype=torch.bool), -torch.inf)
    torch.testing.assert_close(found.kl_left_out, rest.logsumexp(1) - math.log(699) - log_prior)


def test_moments_of_the_aggregate_are_those_of_its_draws() -> None:
    _, q = toy(count=400)
    shifted = DiagonalGaussian(q.mean @ normal(3, 3, seed=5) + 1, q.log_std)
    found = aggregate_of(shifted, seed=0)
    draws = shifted.sample(normal(2000, 400, 3, seed=6)).reshape(-1, 3)
    torch.testing.assert_close(found.mean, draws.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(found.covariance, draws.T.cov(), atol=0.02, rtol=0.01)


def test_the_error_of_the_aggregate_kl_holds_though_all_images_share_one_mixture() -> None:
    sets, count = 60, 150
    means = normal(sets, count, 2, seed=8)
    found = [
        aggregate_of(DiagonalGaussian(mean, torch.full_like(mean, -2.0)), seed)
        for seed, mean in enumerate(means)
    ]
    for values in ("kl", "kl_left_out"):
        own = torch.stack([getattr(each, values) for each in found])  # [sets, images]
        said = (own.std(1) / math.sqrt(count)).square().mean().sqrt()
        assert abs(said / own.mean(1).std() - 1) < 0.3, values


def test_the_errors_of_moments_are_their_spread_over_sets_of_images() -> None:
    sets, count = 200, 100
    means = normal(sets, count, 2, seed=9).square()
    found = [diagnostics.mean_variance(DiagonalGaussian(m, m)) for m in means]
    said = [diagnostics.mean_variance_error(DiagonalGaussian(m, m)) for m in means]
    spread = torch.stack(found).std(0)
    assert ((torch.stack(said).square().mean(0).sqrt() / spread - 1).abs() < 0.3).all()


def test_an_interval_of_a_quantile_covers_it_as_often_as_it_says() -> None:
    draws = normal(400, 101, seed=10)
    covered = []
    for sample in draws:
        low, high = intervals(sample)["median"]
        assert low is not None
        assert high is not None
        covered.append(low <= 0 <= high)
    assert 0.9 < sum(covered) / len(covered) <= 0.99
    assert intervals(draws[0, :5])["quantile_95"][1] is None


def test_equal_q_have_an_aggregate_of_their_own_kl_and_no_information() -> None:
    q = DiagonalGaussian(torch.full((500, 2), 0.7).double(), torch.full((500, 2), -1.0).double())
    found = aggregate_of(q, seed=0)
    torch.testing.assert_close(found.kl, found.kl_left_out)
    error = found.kl.std() / math.sqrt(500)
    assert abs(found.kl.mean() - kl_of(q)[0]) < 4 * error


def test_both_sides_of_the_aggregate_hold_the_truth_of_a_calibrated_model() -> None:
    _, q = toy(count=3000)  # exact posteriors: the aggregate of all images is the prior
    found, kl = (
        aggregate_of(q, seed=0),
        kl_of(q),
    )
    error = 4 * found.kl_left_out.std() / math.sqrt(3000)
    assert found.kl_left_out.mean() - error < 0 < found.kl.mean() + error
    assert found.kl_left_out.mean() < found.kl.mean()
    information = -q.log_std[0].sum()  # ½ log |I| − ½ log |posterior covariance|
    assert kl.mean() - found.kl.mean() - error < information
    assert information < kl.mean() - found.kl_left_out.mean() + error
    assert found.kl.mean() - found.kl_left_out.mean() < 0.1


FINE = Calibration((torch.arange(10_000) + 0.5) / 10_000, torch.rand(10_000, 2))


def bent(power: float) -> Calibration:
    """Masses whose coverage of level p is p^(1 / power): too low if power is below 1."""
    return Calibration(FINE.mass**power, FINE.ranks)


@pytest.mark.parametrize(
    ("variance", "power", "pareto_k", "words"),
    [
        ([0.5, 0.5], 1.0, 0.1, ["fine"]),
        ([0.5, 0.009], 1.0, 0.1, ["collapsed units"]),
        ([0.5, 0.5], 0.5, 0.1, ["overconfident"]),
        ([0.5, 0.5], 2.0, 0.1, ["underconfident"]),
        ([0.5, 0.5], 1.0, 0.71, ["poor proposal"]),
        ([0.5, 0.5], 1.0, -math.inf, ["fine"]),
        ([0.0, 0.0], 0.5, math.inf, ["collapsed units", "overconfident", "poor proposal"]),
    ],
)
def test_the_verdict_follows_the_numbers(
    variance: list[float], power: float, pareto_k: float, words: list[str]
) -> None:
    found = diagnostics.verdict(torch.tensor(variance), bent(power), torch.full((20,), pareto_k))
    assert list(found) == words


def test_a_q_that_is_too_wide_in_the_middle_and_too_narrow_in_the_tails_is_misshapen() -> None:
    mass = torch.cat([0.6 * FINE.mass[:8000], torch.ones(2000)])
    assert diagnostics.miscalibration(Calibration(mass, FINE.ranks)) == "misshapen"


def test_the_verdict_names_the_numbers_that_it_rests_on() -> None:
    found = diagnostics.verdict(
        torch.tensor([0.5, 0.0, 0.0]), bent(0.5), torch.tensor([0.9, 0.1, 0.1, 0.1])
    )
    assert "2 of 3 units" in found["collapsed units"]
    assert "hold 25 / 64 / 90 %" in found["overconfident"]
    assert "25 % of images" in found["poor proposal"]


@pytest.fixture(scope="module")
def splits() -> Splits:
    folder = mnist_folder()
    source = "digits" if folder is None else "mnist"
    return load_splits(source=source, root=folder, train_size=10, validation_size=10, test_size=150)


def asked(splits: Splits, latent_dim: int, seed: int = 0) -> Findings:
    return Trust(simulated=400, images=5, samples=100)(model_of(latent_dim), splits, seed)


@pytest.mark.parametrize("latent_dim", [1, 2, 7])
def test_trust_answers_for_any_latent_dim_in_eighty_columns(
    splits: Splits, latent_dim: int
) -> None:
    found = asked(splits, latent_dim)
    json.dumps(found.numbers, allow_nan=False)
    [fig] = found.figures.values()
    assert_no_text_is_cut_or_covered(fig)
    [table] = found.tables
    Console(width=80, file=(file := io.StringIO())).print(table)
    text = file.getvalue()
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "…" not in text
    assert all(word in text for word in found.numbers["verdict"])


def test_trust_reports_what_the_diagnostics_say_with_their_provenance(splits: Splits) -> None:
    model, numbers = model_of(2), asked(splits, 2).numbers
    q = diagnostics.encode(model, splits.test.images)
    assert numbers["data"]["sha256"] == splits.test.sha256
    assert numbers["active_units"]["variance_of_mean"] == pytest.approx(q.mean.var(0).tolist())
    assert numbers["kl"]["mean"] == pytest.approx(kl_of(q).mean().item())
    assert sum(kl["mean"] for kl in numbers["kl_per_dimension"]) == pytest.approx(
        numbers["kl"]["mean"]
    )
    z, x = simulate(model, 400, generator(0, "simulate"))
    found = calibration(diagnostics.encode(model, x), z)
    for level in LEVELS:
        told = numbers["calibration"]["coverage"][f"{level:g}"]
        assert (told["mean"], told["stderr"]) == found.coverage(level)
    assert numbers["proposal"]["samples"] == 100
    assert numbers["proposal"]["images"] == 5
    mixed = numbers["aggregate"]
    for side, other in (("lower", "upper"), ("upper", "lower")):
        information = mixed[f"mutual_information_{side}"]["mean"]
        assert mixed[f"kl_{other}"]["mean"] + information == pytest.approx(numbers["kl"]["mean"])


def test_trust_draws_the_histograms_the_coverage_and_the_kl_that_it_reports(
    splits: Splits,
) -> None:
    found = asked(splits, 7)
    axes = found.figures["trust"].axes
    *ranked, coverage, bars = axes
    histograms = found.numbers["calibration"]["rank_histogram"]
    for ax in ranked:
        dim = int(ax.get_xlabel().split("{")[1].split("}")[0]) - 1
        heights = [patch.get_height() for patch in ax.patches[:BINS]]
        assert heights == histograms[dim]
        assert ax.get_ylim()[1] >= max(heights)
    marks = [bar.lines[0].get_xydata()[0].tolist() for bar in coverage.containers]
    shares = [found.numbers["calibration"]["coverage"][f"{p:g}"]["mean"] for p in LEVELS]
    assert marks == [list(mark) for mark in zip(LEVELS, shares, strict=True)]
    drawn = [patch.get_height() for patch in bars.patches]
    assert drawn == pytest.approx([kl["mean"] for kl in found.numbers["kl_per_dimension"]])


def test_trust_is_a_function_of_its_seed(splits: Splits) -> None:
    first, again, other = (asked(splits, 2, seed).numbers for seed in (0, 0, 1))
    assert first == again
    assert first["calibration"]["coverage"] != other["calibration"]["coverage"]
    assert first["kl"] == other["kl"]


def test_too_few_samples_for_a_tail_are_refused() -> None:
    with pytest.raises(UserError, match=r"task\.samples must be 25 or more, got 24"):
        Trust(samples=24)
