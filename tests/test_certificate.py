"""A certified bracket of log p(x) holds the truth, however hostile the decoder is."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_certified import log_evidence_on_the_line, opening_at
from test_quadrature import all_images, small_vae
from torch import Tensor, nn

from vae_exp.analysis.brackets import bracket_numbers, bracket_table
from vae_exp.analysis.evaluate import Evaluate
from vae_exp.data import load_splits
from vae_exp.errors import UserError
from vae_exp.evaluation.certificate import certificate, without_certificate
from vae_exp.evaluation.exact import evidence
from vae_exp.inference.enclosures import Enclosure, pairs, slope_and_bend_of_softplus
from vae_exp.models.likelihoods import BernoulliLikelihood
from vae_exp.models.networks import Decoder, Encoder, Tanh
from vae_exp.models.vae import VAE

FLOAT64 = {"dtype": torch.float64}


class Coins(BernoulliLikelihood):
    """Pixels of another kind, as far as anybody knows."""


def linear(model: VAE, layer: int) -> nn.Linear:
    found = model.decoder.features[2 * layer]
    assert isinstance(found, nn.Linear)
    return found


def likely_box(half: float = 0.03, at: float = 0.72) -> VAE:
    """A decoder of two layers that is bright only in a small box of the plane."""
    model = VAE(2, Encoder((2,)), Decoder((4, 1)), shape=(784,)).double()
    steep = 600.0
    with torch.no_grad():
        linear(model, 0).weight.copy_(
            steep * torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], **FLOAT64)
        )
        ends = torch.tensor([at - half, -at - half] * 2, **FLOAT64)
        linear(model, 0).bias.copy_(-steep * ends)
        linear(model, 1).weight.fill_(5.0)
        linear(model, 1).bias.fill_(-15.0)  # above 0 if all four walls are open
        model.decoder.parameters_of_x.weight.fill_(1.0)
        model.decoder.parameters_of_x.bias.fill_(-0.4)
    return model


def sum_over_a_fine_grid(model: VAE, x: Tensor, at: float = 0.72, reach: float = 0.22) -> float:
    """log p(x) by 1,600 × 1,600 points about the box; elsewhere every pixel is dark."""
    total = []
    with torch.no_grad():
        axis = at - reach + 2 * reach * (torch.arange(1600, **FLOAT64) + 0.5) / 1600
        for block in axis.split(100):
            z = torch.cartesian_prod(block, axis)
            h = model.decoder.features(z)
            logit = h[:, 0] + model.decoder.parameters_of_x.bias[0]  # of every pixel alike
            f = 784 * nn.functional.logsigmoid(logit) - 0.5 * z.square().sum(1)
            total.append(f.logsumexp(0) + 2 * math.log(2 * reach / 1600) - math.log(2 * math.pi))
    dark = 784 * nn.functional.logsigmoid(torch.tensor(-1.4, **FLOAT64))
    assert (x == 1).all()
    return torch.logaddexp(torch.stack(total).logsumexp(0), dark).item()


@pytest.mark.slow
def test_a_narrow_box_between_the_points_of_the_scan_is_inside_the_bracket() -> None:
    model, x = likely_box(half=0.01), torch.ones(1, 784, **FLOAT64)
    truth = sum_over_a_fine_grid(model, x)
    assert evidence(model, x).log_p_x.item() < truth - 100  # the lattice does not see it
    found = certificate(model, x, tolerance=0.05)
    assert found.lower.item() <= truth <= found.upper.item()
    assert found.width.item() < 0.1


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("at", [0.7, 0.72, 0.731, 0.745, 0.75])
def test_a_box_as_wide_as_a_step_of_the_first_lattice_is_found_without_a_certificate(
    at: float,
) -> None:
    model, x = likely_box(at=at), torch.ones(1, 784, **FLOAT64)
    truth, found = sum_over_a_fine_grid(model, x), evidence(model, x)
    assert found.log_p_x.item() == pytest.approx(truth, abs=0.01)
    assert found.error.item() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("at", [0.7, 0.72, 0.731])
def test_the_error_of_a_density_with_edges_is_no_smaller_than_how_far_it_is_off(at: float) -> None:
    model, x = likely_box(half=0.3, at=at), torch.ones(1, 784, **FLOAT64)
    truth, found = sum_over_a_fine_grid(model, x, at, reach=0.32), evidence(model, x)
    assert abs(found.log_p_x.item() - truth) <= found.error.item() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("place", [14.0, 21.0])
def test_a_mode_far_out_is_inside_the_bracket(place: float) -> None:
    model, x = opening_at(place, 2), torch.ones(1, 784, **FLOAT64)
    found = certificate(model, x, tiles=20_000)
    truth = log_evidence_on_the_line(model, x)
    assert found.lower.item() <= truth <= found.upper.item()
    assert found.width.item() < 0.1


def hostile(latent_dim: int, hidden: tuple[int, ...], scale: float, shift: float, seed: int) -> VAE:
    model = VAE(latent_dim, Encoder((2,)), Decoder(hidden), shape=(4,)).double()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws, **FLOAT64))
        linear(model, 0).weight.mul_(scale)
        linear(model, 0).bias.sub_(scale * shift)
        model.decoder.parameters_of_x.weight.mul_(5)
    return model


@settings(max_examples=20, deadline=None)
@given(
    hidden=st.sampled_from([(1,), (3,), (8,), (3, 2), (5, 5)]),
    scale=st.sampled_from([1.0, 10.0, 100.0]),
    shift=st.sampled_from([0.0, 1.0, 5.0, 12.0]),
    seed=st.integers(0, 10_000),
)
def test_the_truth_is_never_outside_the_bracket_of_a_hostile_decoder(
    hidden, scale, shift, seed
) -> None:
    model, x = hostile(1, hidden, scale, shift, seed), all_images()[[0, 5, 11, 15]]
    z = torch.linspace(-40, 40, 400_001, **FLOAT64)[:, None]
    with torch.no_grad():
        table = model.joint_log_density_table(x, z)
    truth = table.logsumexp(1) + math.log(80 / 400_000)
    halved = table[:, ::2].logsumexp(1) + math.log(80 / 200_000)
    found = certificate(model, x)
    unsure = (truth - halved).abs() + 1e-9
    assert (found.lower <= truth + unsure).all()
    assert (truth - unsure <= found.upper).all()
    assert (found.width < 0.02).all()


@settings(max_examples=8, deadline=None)
@given(
    hidden=st.sampled_from([(3,), (8,), (3, 2)]),
    scale=st.sampled_from([1.0, 10.0]),
    shift=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 10_000),
)
def test_in_the_plane_the_brackets_of_all_images_hold_one_between_their_sums(
    hidden, scale, shift, seed
) -> None:
    found = certificate(hostile(2, hidden, scale, shift, seed), all_images(), tiles=4000)
    assert found.lower.logsumexp(0).item() <= 0 <= found.upper.logsumexp(0).item()
    assert (found.lower <= found.upper).all()


def test_a_bracket_closes_as_tiles_are_allowed_and_stops_at_the_tolerance() -> None:
    model, x = small_vae(contrast=6), all_images()[:3]
    few, many = certificate(model, x, tiles=1000), certificate(model, x, tiles=20_000)
    assert (many.width < few.width).all()
    assert (many.width <= 1e-2 + 1e-6).all()
    assert (few.lower <= many.upper).all()
    assert (many.lower <= few.upper).all()
    middle = evidence(model, x)
    assert (many.lower - middle.error <= middle.log_p_x).all()
    assert (middle.log_p_x <= many.upper + middle.error).all()


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_values_and_second_derivatives_lie_in_their_enclosures(latent_dim: int) -> None:
    model = hostile(latent_dim, (4, 3), 2.0, 0.3, 1)
    draws = torch.Generator().manual_seed(0)
    centre = torch.randn(20, latent_dim, generator=draws, **FLOAT64)
    half = 0.2 * torch.rand(20, generator=draws, **FLOAT64)
    f = Enclosure.of_boxes(centre, half)
    leaves = [m for m in model.decoder.features.modules() if isinstance(m, nn.Linear | Tanh)]
    for layer in [*leaves, model.decoder.parameters_of_x]:
        f = f.linear(layer.weight, layer.bias) if isinstance(layer, nn.Linear) else f.tanh()
    low, high = f.ends()
    slope, bend = slope_and_bend_of_softplus(low, high)
    for _ in range(5):
        inside = 2 * torch.rand(centre.shape, generator=draws, **FLOAT64) - 1
        z = centre + half[:, None] * inside
        logits = model.decoder(z)
        assert ((low <= logits) & (logits <= high)).all()
        σ = torch.sigmoid(logits)
        assert ((σ - slope.middle).abs() <= slope.radius + 1e-12).all()
        assert ((σ * (1 - σ) - bend.middle).abs() <= bend.radius + 1e-12).all()
        for box in range(5):
            second = torch.autograd.functional.hessian(
                lambda z: model.decoder(z).sum(), z[box], create_graph=False
            )
            for place, (k, m) in enumerate(pairs(latent_dim)):
                away = (second[k, m] - f.hessian.middle[box, place].sum()).abs()
                assert away <= f.hessian.radius[box, place].sum() + 1e-9


def test_a_model_without_a_certificate_says_why() -> None:
    assert without_certificate(small_vae(2)) is None
    assert "latent dimensions" in str(without_certificate(small_vae(3)))
    relu = VAE(2, Encoder((2,)), Decoder((2,), activation="relu"), shape=(4,))
    assert "tanh layers" in str(without_certificate(relu))
    other = VAE(2, Encoder((2,)), Decoder((2,)), likelihood=Coins(), shape=(4,))
    assert "Coins" in str(without_certificate(other))
    with pytest.raises(UserError, match="no certificate: pixels must be Bernoulli"):
        certificate(other, all_images().float())


def test_brackets_are_told_beside_the_exact_values_that_they_hold() -> None:
    model, x = small_vae(), all_images()[:4]
    bracket, exact = certificate(model, x), evidence(model, x)
    numbers = bracket_numbers(bracket, exact)
    assert numbers["exact_missed_by_more_than_its_error"] == 0
    assert numbers["lower"] <= exact.log_p_x.mean().item() + 1e-3
    assert numbers["upper"] >= exact.log_p_x.mean().item() - 1e-3
    assert bracket_table(bracket, exact).row_count == 1
    astray = replace(exact, log_p_x=exact.log_p_x + 1)
    assert bracket_numbers(bracket, astray)["exact_missed_by_more_than_its_error"] == 4


def test_a_certificate_that_cannot_be_had_is_refused_before_anything_is_computed() -> None:
    splits = load_splits(source="digits", train_size=10, validation_size=5, test_size=5)
    with pytest.raises(UserError, match=r"task.certified must be 0, got 2: tiles cover one or two"):
        Evaluate(certified=2).unsuited(VAE(3), splits)
    assert Evaluate(certified=2).unsuited(VAE(2), splits) is None
