"""Posteriors far from the origin: the prior's tail says how far the integral has to look."""

import math
from itertools import product

import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.integrate import quad
from torch import Tensor, nn

from vae_exp.evaluation.exact import evidence
from vae_exp.inference import scan
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.priors import MixtureOfGaussians, StandardNormal
from vae_exp.models.vae import VAE

pytestmark = pytest.mark.thinned(2)

FLOAT64 = {"dtype": torch.float64}


def opening_at(place: float, latent_dim: int, pixels: int = 784, steep: float = 8.0) -> VAE:
    """A decoder whose one unit tells dark images from light ones only beyond z₁ = place."""
    model = VAE(latent_dim, Encoder((2,)), Decoder((1,)), shape=(pixels,)).double()
    layer = model.decoder.features[0]
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0] = steep
        layer.bias.fill_(-steep * place)
        model.decoder.parameters_of_x.weight.fill_(1.0)
        model.decoder.parameters_of_x.bias.zero_()
    return model


def log_evidence_on_the_line(model: VAE, x: Tensor) -> float:
    """log p(x) of a model that reads z₁ alone, by SciPy."""
    low = torch.linspace(-45, 45, 90_001, **FLOAT64)
    z = torch.zeros(len(low), model.latent_dim, **FLOAT64)
    z[:, 0] = low
    with torch.no_grad():
        joint = model.joint_log_density(x, z) + 0.5 * (model.latent_dim - 1) * math.log(2 * math.pi)
    peak = joint.max().item()

    def density(place: float) -> float:
        at = torch.zeros(1, model.latent_dim, **FLOAT64)
        at[0, 0] = place
        with torch.no_grad():
            rest = 0.5 * (model.latent_dim - 1) * math.log(2 * math.pi)
            return math.exp(model.joint_log_density(x, at).item() + rest - peak)

    places = low[joint > peak - 40].tolist()
    mass, _ = quad(density, places[0], places[-1], points=[low[joint.argmax()].item()], limit=500)
    return peak + math.log(mass)


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("place", "latent_dim"),
    [(7.0, 1), (14.0, 1), (14.0, 2), (16.0, 2), (21.0, 1), (21.0, 2), (28.0, 1)],
)
def test_a_mode_that_lies_far_out_is_found(place: float, latent_dim: int) -> None:
    model, x = opening_at(place, latent_dim), torch.ones(1, 784, **FLOAT64)
    found = evidence(model, x)
    assert found.converged.all()
    assert found.log_p_x.item() == pytest.approx(log_evidence_on_the_line(model, x), abs=1e-3)


def test_the_mass_beyond_what_was_searched_is_part_of_the_error() -> None:
    prior = StandardNormal(2)
    tail = prior.log_tail(3.0)
    inside = math.erf(3.0 / math.sqrt(2)) ** 2
    assert tail == pytest.approx(math.log(1 - inside), abs=2e-3)
    assert tail >= math.log(1 - inside)
    for half_side in (5.0, 20.0, 60.0):
        assert prior.log_tail(half_side) < -(half_side**2) / 2


def test_no_image_is_above_the_ceiling() -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((5,)), Decoder((5,)), shape=(6,)).double()
    with torch.no_grad():
        model.decoder.parameters_of_x.weight.mul_(8)
    x = torch.tensor(list(product([0.0, 1.0], repeat=6)), **FLOAT64)
    z = 4 * torch.randn(200, 2, **FLOAT64)
    with torch.no_grad():
        table = model.joint_log_density_table(x, z)
        torch.testing.assert_close(table.amax(0), model.joint_ceiling(z))
        assert (model.joint_ceiling(z) <= model.log_prior(z)).all()


@pytest.mark.parametrize("log_std", [-1.0, -3.0, -5.5, -8.0])
def test_what_no_lattice_saw_of_a_narrow_prior_is_part_of_the_error(log_std: float) -> None:
    torch.manual_seed(0)
    prior = MixtureOfGaussians(1, 2)
    model = VAE(1, Encoder((5,)), Decoder((5,)), prior=prior, shape=(8, 8)).double()
    x = (torch.rand(5, 64, **FLOAT64) < 0.5).double()
    with torch.no_grad():
        prior.means.copy_(torch.tensor([[0.0], [0.11]]))
        prior.log_stds.copy_(torch.tensor([[0.0], [log_std]]))
        nodes, weights = (torch.from_numpy(each) for each in hermegauss(60))
        z = prior.means.double() + prior.log_stds.double().exp() * nodes  # [2, G]
        log_p_x_given_z = model.log_likelihood(x[:, None, None], z[..., None])
    log_share = weights.log() - 0.5 * math.log(2 * math.pi) - math.log(2)
    truth = (log_p_x_given_z + log_share).flatten(1).logsumexp(1)
    found = evidence(model, x)
    assert ((found.log_p_x - truth).abs() <= 1.001 * found.error + 1e-6).all()
    assert found.converged.all() == (log_std > -5)


def test_what_no_lattice_saw_of_a_prior_on_a_line_is_part_of_the_error() -> None:
    torch.manual_seed(0)
    prior = MixtureOfGaussians(2, 2)
    model = VAE(2, Encoder((5,)), Decoder((9,)), prior=prior, shape=(8, 8)).double()
    with torch.no_grad():
        model.decoder.parameters_of_x.weight.mul_(12)  # so that p(x | z) changes along the line
        prior.means.copy_(torch.tensor([[0.0, 0.0], [0.11, 0.0]]))
        prior.log_stds.copy_(torch.tensor([[0.0, 0.0], [-8.0, 0.0]]))
        z = torch.stack([torch.full((8001,), 0.11), torch.linspace(-8, 8, 8001)], 1).double()
        x = (torch.rand(5, 64, **FLOAT64) < model.likelihood(z[5300]).mean).double()
        log_p = model.log_likelihood(x[:, None], z) - 0.5 * z[:, 1].square()
    on_the_line = log_p.logsumexp(1) + math.log(16 / 8000 / 2) - 0.5 * math.log(2 * math.pi)
    found = evidence(model, x)
    truth = torch.logaddexp(found.log_p_x, on_the_line)
    assert (truth - found.log_p_x > 0.05).all()
    assert (truth - found.log_p_x <= found.error + 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, scan.FEW + 1])
def test_mass_that_the_prior_just_allows_is_found(images: int) -> None:
    model, x = opening_at(13.0, 2, pixels=100), torch.ones(images, 100, **FLOAT64)
    found = evidence(model, x)
    truth = log_evidence_on_the_line(model, x[:1])
    dark = 100 * nn.functional.logsigmoid(torch.tensor(-1.0)).item()
    assert truth > dark + 5  # what lies in the first square is little beside it
    assert found.converged.all()
    assert found.log_p_x.tolist() == pytest.approx([truth] * images, abs=1e-3)


@pytest.mark.slow
def test_few_images_have_the_evidence_that_they_have_among_many() -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((5,)), Decoder((50,)), shape=(9, 12)).double()
    with torch.no_grad():
        model.decoder.parameters_of_x.weight.mul_(8)
        x = (torch.rand(scan.FEW + 1, 108, **FLOAT64) < 0.5).double()
    many = evidence(model, x)
    few = evidence(model, x[:3])
    assert many.half_width.max() > 10  # so that the ceiling was asked for
    torch.testing.assert_close(few.log_p_x, many.log_p_x[:3], atol=1e-9, rtol=0)


@pytest.mark.slow
def test_nothing_is_decoded_where_the_prior_rules_it_out() -> None:
    model, x = opening_at(3.0, 2), torch.ones(1, 784, **FLOAT64)
    asked = []
    model.decoder.register_forward_hook(lambda _, inputs, __: asked.append(inputs[0]))
    found = evidence(model, x)
    farthest = torch.cat([z.flatten(0, -2) for z in asked]).norm(dim=1).max().item()
    corner = math.sqrt(2) * found.half_width.item()
    assert found.half_width.item() > 12
    assert farthest < 0.85 * corner


@pytest.mark.slow
def test_an_image_whose_mass_may_lie_beyond_the_largest_square_is_not_called_converged() -> None:
    model, x = opening_at(60.0, 2), torch.ones(1, 784, **FLOAT64)
    with torch.no_grad():
        model.decoder.parameters_of_x.weight.fill_(4.0)
    found = evidence(model, x)
    assert not found.converged.any()
    assert found.error.item() > 100
