"""Learnt priors: where their mass is, exact evidence under them, and whose weights they have."""

import copy
import math

import pytest
import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.evaluation.exact import evidence
from vae_exp.models.contracts import PosteriorFamily, Prior
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO
from vae_exp.models.posteriors import (
    DiagonalGaussianFamily,
    FullGaussianFamily,
    MixtureFamily,
    RealNVPFamily,
)
from vae_exp.models.priors import MixtureOfGaussians, RealNVPPrior, StandardNormal, VampPrior
from vae_exp.models.vae import VAE
from vae_exp.training.running import freeze

PRIORS = [MixtureOfGaussians, VampPrior, RealNVPPrior]
FAMILIES = [DiagonalGaussianFamily, FullGaussianFamily, MixtureFamily, RealNVPFamily]


def model_of(prior: type[Prior], family: type[PosteriorFamily] = DiagonalGaussianFamily) -> VAE:
    """A small model whose prior is no longer what it was at first."""
    torch.manual_seed(0)
    model = VAE(2, Encoder((9,)), Decoder((9,)), prior(2), posterior=family(2), shape=(4, 3))
    with torch.no_grad():
        for parameter in model.prior_family.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.double()


def images(count: int = 4) -> Tensor:
    return (torch.rand(count, 12, generator=torch.Generator().manual_seed(1)) < 0.4).double()


def grid(half_side: float = 24.0, points: int = 401) -> tuple[Tensor, float]:
    axis = torch.linspace(-half_side, half_side, points, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), 2 * math.log((axis[1] - axis[0]).item())


@pytest.mark.parametrize("prior", [StandardNormal, *PRIORS])
def test_the_mass_outside_a_box_is_no_more_than_is_said(prior: type[Prior]) -> None:
    model = model_of(prior)
    z, cell = grid()
    with torch.no_grad():
        log_mass = model.log_prior(z) + cell
    assert log_mass.logsumexp(0).item() == pytest.approx(0, abs=1e-4)

    def outside(half_side: float) -> float:
        return log_mass[(z.abs() > half_side).any(1)].logsumexp(0).item()

    for half_side in (3.0, 6.0, 9.0):
        said = model.prior_family.log_tail(half_side)
        assert said is not None
        assert said > outside(half_side) - 0.4  # cells that the border cuts
        if prior is not RealNVPPrior:
            assert said < outside(half_side) + 1
    assert outside(model.prior_family.reach()) < math.log(1.2e-8)


@pytest.mark.parametrize("prior", PRIORS)
def test_exact_evidence_integrates_over_the_model_s_own_prior(prior: type[Prior]) -> None:
    model, x = model_of(prior), images(2)
    z, cell = grid(15.0, 301)
    with torch.no_grad():
        expected = (model.joint_log_density_table(x, z) + cell).logsumexp(1)
    found = evidence(model, x)
    assert found.converged.all()
    torch.testing.assert_close(found.log_p_x, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_raises_the_bound(prior: type[Prior], family: type[PosteriorFamily]) -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((9,)), Decoder((9,)), prior(2), posterior=family(2), shape=(4, 3))
    x, objective = torch.eye(2).repeat(20, 6), ELBO()  # two kinds of images
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    noise = model.noise.draw(40, 40, generator=torch.Generator().manual_seed(2))
    bounds = []
    for step in range(40):
        bound = objective(model, x, noise[step : step + 1], step).bound.mean()
        optimizer.zero_grad()
        (-bound).backward()
        optimizer.step()
        bounds.append(bound.item())
    assert sum(bounds[-5:]) > sum(bounds[:5]) + 5  # a nat each


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vamp_prior_is_the_mean_of_the_encoder_s_q_of_its_pseudo_inputs(
    family: type[PosteriorFamily],
) -> None:
    model = model_of(VampPrior, family)
    u = torch.sigmoid(model.prior_family.logits)
    z = torch.randn(5, 2, dtype=torch.float64)
    each = model.posterior(u).log_prob(z[:, None].expand(-1, len(u), -1))
    torch.testing.assert_close(model.log_prior(z), each.logsumexp(1) - math.log(len(u)))


def test_a_vamp_prior_has_no_weights_but_its_pseudo_inputs() -> None:
    model = model_of(VampPrior)
    of_prior = [name for name in model.state_dict() if name.startswith("prior_family")]
    assert of_prior == ["prior_family.logits"]
    assert len([*model.parameters()]) == len({id(p) for p in model.parameters()})
    assert {name for name, _ in model.prior_family.named_parameters()} == {"logits"}


def test_a_copy_s_vamp_prior_reads_the_copy_s_encoder() -> None:
    model, z = model_of(VampPrior), torch.zeros(1, 2, dtype=torch.float64)
    before = model.log_prior(z).item()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.encoder.parameters_of_q.bias += 1
    assert other.log_prior(z).item() != before
    assert model.log_prior(z).item() == before
    loaded = VAE(2, Encoder((9,)), Decoder((9,)), VampPrior(2), shape=(4, 3)).double()
    loaded.load_state_dict(other.state_dict())
    assert loaded.log_prior(z).item() == other.log_prior(z).item()
    freeze(loaded, ("prior",))
    assert loaded.encoder.parameters_of_q.bias.requires_grad
    assert not loaded.prior_family.logits.requires_grad


@pytest.mark.slow
def test_a_compiled_step_of_a_vamp_prior_is_the_step_itself() -> None:
    model, x = model_of(VampPrior), images()
    noise = model.noise.draw(1, 4, dtype=torch.float64)
    compiled = torch.compile(ELBO(), backend="eager", fullgraph=True)
    found, plain = (step(model, x, noise, 0).bound for step in (compiled, ELBO()))
    torch.testing.assert_close(found, plain)


def test_what_cannot_be_is_told_in_one_line() -> None:
    with pytest.raises(UserError, match="give it to a VAE first"):
        VampPrior(2)()
    for make in (
        lambda: MixtureOfGaussians(2, 10**13),
        lambda: VAE(2, Encoder((4,)), Decoder((4,)), VampPrior(2, 10**13)),
    ):
        with pytest.raises(UserError, match=r"takes .* of memory"):
            make()


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_says_what_noise_its_q_take(
    family: type[PosteriorFamily], latent_dim: int
) -> None:
    if (family, latent_dim) == (RealNVPFamily, 1):  # refused
        return
    made = family(latent_dim)
    q = made(torch.randn(3, made.outputs, generator=torch.Generator().manual_seed(0)))
    assert made.noise == q.noise
    assert q.sample(made.noise.draw(4, 3)).shape == (4, 3, latent_dim)
