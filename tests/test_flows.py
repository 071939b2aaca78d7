"""Flows of couplings: an exact inverse, a density that is one in all, and certified tails."""

import math

import pytest
import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.inference import svi
from vae_exp.inference.quadrature import hermite_elbo
from vae_exp.models.posteriors import RealNVPFamily
from vae_exp.models.priors import RealNVPPrior
from vae_exp.probability.flows import STRETCH, RealNVP
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian


def normal(*shape: int, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def bent(*lead: int, dims: int = 2, full: bool = False, size: float = 0.5) -> RealNVP:
    mean, log_std = normal(*lead, dims), normal(*lead, dims, seed=1) / 3
    base = FullGaussian(mean, log_std, normal(*lead, dims, dims, seed=2))
    flow = RealNVP.about(base if full else DiagonalGaussian(mean, log_std))
    weights = size * normal(*flow.weights.shape, seed=3)
    return flow.with_parameters([*flow.variational_parameters()[:-1], weights])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("dims", [2, 3, 5])
def test_a_density_is_that_of_the_noise_over_the_jacobian(dims: int, full: bool) -> None:
    flow, noise = bent(dims=dims, full=full), normal(dims, seed=4)
    jacobian = torch.func.jacrev(lambda ε: flow.sample(ε[None])[0])(noise)
    standard = -0.5 * (noise.square().sum() + dims * math.log(2 * math.pi))
    found = flow.log_prob(flow.sample(noise[None]))[0]
    torch.testing.assert_close(found, standard - torch.linalg.slogdet(jacobian).logabsdet)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
def test_each_image_has_its_own_flow_for_any_leading_axes(lead: tuple[int, ...]) -> None:
    flow, noise = bent(*lead), normal(5, *lead, 2, seed=4)
    z = flow.sample(noise)
    assert z.shape == noise.shape
    one = tuple(0 for _ in lead)
    torch.testing.assert_close(flow.at(one).sample(noise[(slice(None), *one)])[1], z[(1, *one)])
    torch.testing.assert_close(
        flow.at(one).log_prob(z[(slice(None), *one)])[1], flow.log_prob(z)[(1, *one)]
    )


def test_its_mass_is_one_and_its_moments_are_those_of_samples() -> None:
    flow = bent(2)
    axis = torch.linspace(-14, 14, 281, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)[:, None].expand(-1, 2, -1)
    mass = flow.log_prob(z).exp().sum(0) * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-4)
    z = flow.draw(20_000, torch.Generator().manual_seed(1))
    std = z.std(0)
    assert ((flow.mean - z.mean(0)).abs() < 0.05 * std).all()
    mine = flow.scale().square().sum(-1).sqrt()
    torch.testing.assert_close(mine, std, rtol=0.1, atol=0)


@pytest.mark.parametrize("full", [False, True])
def test_with_zero_weights_it_is_its_base_and_can_be_fitted_from_there(full: bool) -> None:
    flow = bent(3, full=full, size=0.0)
    z = normal(5, 3, 2, seed=5)
    torch.testing.assert_close(flow.log_prob(z), flow.base.log_prob(z))
    torch.testing.assert_close(flow.sample(z), flow.base.sample(z))

    def log_joint(z: Tensor) -> Tensor:  # a banana
        return -0.5 * (z[..., 0].square() + (z[..., 1] - z[..., 0].square()).square() / 0.1)

    fitted = svi.fit(log_joint, flow.base, steps=100, lr=0.1).q
    begun = RealNVP.about(fitted)
    after = svi.fit(log_joint, begun, steps=100, lr=0.05).q
    gained = hermite_elbo(log_joint, after, nodes=16) - hermite_elbo(log_joint, begun, nodes=16)
    assert (gained > 0.1).all()


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_no_tail_is_heavier_than_is_said(size: float) -> None:
    flow = bent(size=size)
    z = flow.draw(100_000, torch.Generator().manual_seed(1))
    for half_side in (2.0, 4.0, 8.0, 16.0):
        outside = (z.abs() > half_side).any(1).double().mean().item()
        error = 5 * math.sqrt(outside / len(z))
        assert math.exp(flow.log_tail(half_side)) > outside - error
    noise = torch.tensor([[0.0, 1e6]], dtype=torch.float64)
    most = math.exp(2 * STRETCH) * flow.base.log_std.exp().max() * 1e6
    assert flow.sample(noise).abs().max() < 1.001 * most


def test_a_single_dimension_is_refused_in_one_line() -> None:
    for make, part in ((RealNVPPrior, "prior"), (RealNVPFamily, "posterior")):
        with pytest.raises(UserError, match=f"{part}=realnvp needs latent_dim 2 or more") as caught:
            make(latent_dim=1)
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match=f"lower {part}.couplings"):
            make(couplings=10**12)
