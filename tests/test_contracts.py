"""Every prior, likelihood and posterior family, in every estimator, by brute force.

A part is found by its file in ``conf/``: a new one is tested here without a further line.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from odd_parts import BentFamily, GreyLikelihood, TwoGaussiansPrior
from omegaconf import OmegaConf
from torch import Tensor, nn

from vae_exp import parts
from vae_exp.evaluation import ais, diagnostics
from vae_exp.evaluation.completion import EXACT, Masked, infer, scores
from vae_exp.evaluation.estimates import elbo_terms
from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.gap import inference_gap
from vae_exp.evaluation.importance import importance
from vae_exp.evaluation.simulation import simulate
from vae_exp.inference import bounds
from vae_exp.inference.quadrature import elbo_of
from vae_exp.models.contracts import Likelihood, PosteriorFamily, Prior
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, IWAE
from vae_exp.models.vae import VAE
from vae_exp.probability.divergences import kl as closed_form_kl
from vae_exp.probability.streams import generator
from vae_exp.training.optimizers import Adam, AdamOneCycle, refuse_forgotten

IMAGES, SHAPE = 4, (4, 3)
KINDS = {"prior": Prior, "likelihood": Likelihood, "posterior": PosteriorFamily}
COMMON = {"prior": "standard_normal", "likelihood": "bernoulli", "posterior": "diagonal"}
ODD = {"prior": TwoGaussiansPrior, "likelihood": GreyLikelihood, "posterior": BentFamily}


def combinations() -> list[dict[str, str]]:
    """Every file of every group with the assignment's other parts, and the odd ones with each."""
    alone = [
        COMMON | {group: file.stem}
        for group in KINDS
        for file in sorted((parts.CONF / group).glob("*.yaml"))
    ]
    odd = [
        dict(zip(KINDS, names, strict=True))
        for names in itertools.product(*[(COMMON[group], "odd") for group in KINDS])
    ]
    return [c for place, c in enumerate(odd + alone) if c not in (odd + alone)[:place]]


def part(group: str, name: str) -> nn.Module:
    """The part of a file, at two latent dimensions."""
    if name == "odd":
        return ODD[group]()
    node = OmegaConf.create({"latent_dim": 2, group: parts.choice(group, name)})
    config: Any = OmegaConf.to_container(node, resolve=True)
    built: nn.Module = parts.build(config[group], group, KINDS[group])
    return built


pytestmark = pytest.mark.sampled(5)


@dataclass(frozen=True)
class Case:
    """A model, images drawn from it, and their log p(x) by a fine grid."""

    model: VAE
    x: Tensor
    log_p_x: Tensor


def names(combination: dict[str, str]) -> str:
    return "-".join(combination.values())


@pytest.fixture(scope="module", params=combinations(), ids=names)
def case(request: pytest.FixtureRequest) -> Case:
    """A random model of a combination of parts, in double precision."""
    torch.manual_seed(0)
    built = {group: part(group, name) for group, name in request.param.items()}
    model = VAE(2, Encoder((9,)), Decoder((9,)), shape=SHAPE, **built).double()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(2)
    _, x = simulate(model, IMAGES, generator(0, "contract"))
    axis = torch.linspace(-9, 9, 361, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)[:, None]
    with torch.no_grad():
        joint = torch.cat([model.joint_log_density(x, block) for block in z.split(5_000)])
    cell = 2 * math.log((axis[1] - axis[0]).item())
    return Case(model, x.double(), torch.logsumexp(joint, 0) + cell)


def grid(dims: int = 2) -> tuple[Tensor, float]:
    axis = torch.linspace(-9, 9, 181, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * dims), (axis[1] - axis[0]).item() ** dims


def test_prior_and_posterior_are_normalised(case: Case) -> None:
    z, cell = grid()
    assert case.model.prior.log_prob(z).exp().sum().item() * cell == pytest.approx(1, abs=1e-4)
    q = case.model.posterior(case.x)
    mass = q.log_prob(z[:, None].expand(-1, IMAGES, -1)).exp().sum(0) * cell
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-4)


def test_samples_have_the_distribution_s_mean(case: Case) -> None:
    draws = generator(1, "contract")
    prior, q = case.model.prior, case.model.posterior(case.x)
    z = prior.sample(prior.noise.draw(40_000, generator=draws, dtype=torch.float64))
    assert (z.mean(0) - prior.mean).abs().max() < 5 * z.std(0).max() / 200
    z = q.draw(40_000, draws)
    assert ((z.mean(0) - q.mean).abs() < 5 * z.std(0) / math.sqrt(2000)).all()
    p_x = case.model.likelihood(z[:, 0])
    x = p_x.sample(p_x.noise.draw(len(z), generator=draws, dtype=torch.float64))
    assert (x - p_x.mean).mean(0).abs().max() < 0.05


def test_a_table_and_each_are_the_likelihood(case: Case) -> None:
    z = torch.randn(5, IMAGES, 2, dtype=torch.float64)
    plain = case.model.joint_log_density(case.x, z)
    torch.testing.assert_close(case.model.log_joint_of_each(case.x)(z), plain)
    table = case.model.joint_log_density_table(case.x, z[:, 0])
    torch.testing.assert_close(table, case.model.joint_log_density(case.x[:, None], z[None, :, 0]))


def test_some_pixels_alone_are_what_they_are_among_all(case: Case) -> None:
    z = torch.randn(IMAGES, 2, dtype=torch.float64)
    some, others = torch.tensor([0, 3, 7]), torch.tensor([1, 2, 4, 5, 6, 8, 9, 10, 11])
    parts = [case.model.log_likelihood(case.x[:, part], z, part) for part in (some, others)]
    torch.testing.assert_close(sum(parts), case.model.log_likelihood(case.x, z))


def test_the_exact_evidence_is_that_of_brute_force(case: Case) -> None:
    found = evidence(case.model, case.x)
    assert found.converged.all()
    torch.testing.assert_close(found.log_p_x, case.log_p_x, rtol=0, atol=2e-3)


def test_every_bound_is_below_the_evidence_and_more_samples_are_closer(case: Case) -> None:
    model, x = case.model, case.x
    with torch.no_grad():
        exact_elbo = elbo_of(lambda z: model.joint_log_density(x, z), model.posterior(x), nodes=40)
        log_weights = model.log_weights(x, model.noise.draw(4000, IMAGES, dtype=torch.float64))
    assert (exact_elbo < case.log_p_x + 1e-3).all()
    terms = elbo_terms(model, x, samples=4000)
    error = log_weights.std(0) / math.sqrt(4000)
    assert ((bounds.elbo(log_weights) - exact_elbo).abs() < 5 * error).all()
    assert ((terms.bound - exact_elbo).abs() < 5 * error).all()
    weights = importance(model, x, (1, 10, 4000), seed=0)
    assert (weights.bounds[4000] < case.log_p_x + 0.3).all()
    assert weights.bounds[4000].mean() > exact_elbo.mean()


def test_ais_agrees_with_the_evidence(case: Case) -> None:
    found = ais.evidence(case.model, case.x, temperatures=100, chains=64)
    assert (found.log_p_x - case.log_p_x).abs().max() < 0.6
    lower, upper = ais.sandwich(case.model, 20, temperatures=60, chains=16)
    assert abs((upper.log_p_x - lower.log_p_x).mean()) < 0.3


def test_the_gap_is_taken_apart(case: Case) -> None:
    gap = inference_gap(case.model, case.x)
    assert (gap.elbo_full < case.log_p_x + 1e-2).all()
    assert (gap.elbo_diagonal <= gap.elbo_full + 1e-6).all()
    assert (gap.elbo_encoder < case.log_p_x + 1e-2).all()
    parts = gap.parts(case.log_p_x)
    torch.testing.assert_close(sum(parts.values()), case.log_p_x - gap.elbo_encoder)


def test_a_completion_is_scored_by_every_method_alike(case: Case) -> None:
    masked = Masked(case.model, case.x, torch.arange(12) < 6)
    found = scores(masked, infer(masked, restarts=4, steps=100, samples=8), samples=4000)
    for name, score in found.items():
        assert torch.isfinite(score.log_p_hidden).all()
        if name.startswith("importance"):
            miss = (score.log_p_hidden - found[EXACT].log_p_hidden).abs()
            assert miss.max() < 0.3
        if not score.kl.isnan().any():
            assert (score.kl > -1e-3).all()


def test_ranks_of_a_prior_s_own_z_are_those_of_its_posteriors(case: Case) -> None:
    z, x = simulate(case.model, 200, generator(2, "contract"))
    q = diagnostics.encode(case.model, x.double())
    found = diagnostics.calibration(q, z)
    assert found.mass.shape == (200,)
    assert ((found.ranks >= 0) & (found.ranks <= 1)).all()


def test_what_is_simulated_is_drawn_from_the_models_own_parts(case: Case) -> None:
    z, x = simulate(case.model, 4000, generator(4, "contract"))
    assert ((z.mean(0) - case.model.prior.mean).abs() < 5 * z.std(0) / math.sqrt(4000)).all()
    rest = x - case.model.likelihood(z).mean
    assert (rest.mean(0).abs() < 5 * rest.std(0) / math.sqrt(4000)).all()


def test_a_kl_is_to_the_models_own_prior(case: Case) -> None:
    prior, q = case.model.prior, diagnostics.encode(case.model, case.x)
    kl = diagnostics.kl_to_prior(q, prior, seed=0)
    z = q.draw(4000, generator(3, "contract"))
    log_q_over_p = q.log_prob(z) - prior.log_prob(z)
    error = log_q_over_p.std(0) / math.sqrt(1000)  # of the fewer of the two samples
    assert ((kl - log_q_over_p.mean(0)).abs() < 6 * error).all()
    each = diagnostics.kl_per_dimension(q, prior)
    if each is not None:
        torch.testing.assert_close(each.sum(1), kl)
    mixed = diagnostics.aggregate(q, prior, seed=0)
    z = q.sample(q.noise.draw(1, IMAGES, generator=generator(0, "aggregate")).double())[0]
    log_each = q.log_prob(z[:, None].expand(-1, IMAGES, -1))  # [z, image]
    log_mixture = log_each.logsumexp(1) - math.log(IMAGES)
    torch.testing.assert_close(mixed.kl, log_mixture - prior.log_prob(z))


@pytest.mark.parametrize("objective", [ELBO(2), ELBO(2, "monte_carlo"), IWAE(3)])
def test_every_objective_is_a_bound_with_gradients_of_every_parameter(
    case: Case, objective: ELBO | IWAE
) -> None:
    model = case.model
    noise = model.noise.draw(objective.samples, IMAGES, dtype=torch.float64)
    model.zero_grad()
    terms = objective(model, case.x, noise, 0)
    weights = model.log_weights(case.x, noise)
    if isinstance(objective, IWAE):
        torch.testing.assert_close(terms.bound, bounds.iwae(weights))
        if closed_form_kl(model.posterior(case.x), model.prior) is None:
            torch.testing.assert_close(terms.log_likelihood - terms.kl, bounds.elbo(weights))
    elif objective.kl == "monte_carlo":
        torch.testing.assert_close(terms.bound, bounds.elbo(weights))
    bounds.loss(terms.bound).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("optimizer", [Adam(), AdamOneCycle()])
def test_every_optimiser_trains_every_parameter(case: Case, optimizer: Adam | AdamOneCycle) -> None:
    refuse_forgotten(case.model, optimizer.build(case.model, 100)[0])


def test_contracts_are_kept(case: Case) -> None:
    assert isinstance(case.model.prior_family, Prior)
    assert isinstance(case.model.likelihood_family, Likelihood)
    assert isinstance(case.model.posterior_family, PosteriorFamily)
