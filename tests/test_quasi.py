"""The evidence over three latent dimensions, against closed forms and sums over fine grids."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from linear_gaussian import LinearGaussian
from test_quadrature import all_images, small_vae
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.evaluation.evidence import ESTIMATED
from vae_exp.evaluation.evidence import evidence as best_evidence
from vae_exp.evaluation.exact import evidence
from vae_exp.inference import quasi
from vae_exp.inference.lattice import Integral
from vae_exp.inference.svi import LogJoint
from vae_exp.inference.tiles import Table

FLOAT64 = {"dtype": torch.float64}


def integral_of(log_joint: Callable[[Tensor], Tensor], images: int, **settings) -> Integral:
    """Of images that are alike: z [.., 3] -> [..]."""

    def of_images(rows: Tensor) -> LogJoint:
        return log_joint

    table = Table(lambda rows, z: log_joint(z).expand(len(rows), -1), images, 3, torch.float64)
    return quasi.integrate(table, of_images, **settings)


def modes(*places: tuple[float, float, float], std: float) -> Callable[[Tensor], Tensor]:
    """Equal Gaussians, together of mass e^−100."""
    mean = torch.tensor(places, **FLOAT64)

    def log_density(z: Tensor) -> Tensor:
        square = (z[..., None, :] - mean).square().sum(-1) / std**2
        scale = 1.5 * math.log(2 * math.pi) + 3 * math.log(std) + math.log(len(places))
        return (-0.5 * square).logsumexp(-1) - scale - 100

    return log_density


def test_linear_gaussian_evidence_and_moments_match_closed_form() -> None:
    model = LinearGaussian.random(3)
    table = Table(model.log_joint_table, len(model.x), 3, torch.float64)
    found = quasi.integrate(table, lambda rows: replace(model, x=model.x[rows]).log_joint)
    mean, covariance = model.posterior()
    assert found.converged.all()
    assert found.estimated
    assert ((found.log_p_x - model.log_evidence()).abs() <= found.error).all()
    torch.testing.assert_close(found.mean, mean, atol=1e-2, rtol=0)
    torch.testing.assert_close(found.covariance, covariance.expand(5, -1, -1), atol=1e-2, rtol=0)
    entropy = 0.5 * torch.logdet(2 * math.pi * math.e * covariance)
    torch.testing.assert_close(found.entropy, entropy.expand(5), atol=3e-2, rtol=0)


@pytest.mark.parametrize("contrast", [4.0, 12.0])
def test_a_small_model_agrees_with_a_sum_over_a_fine_grid(contrast: float) -> None:
    model, x = small_vae(3, contrast=contrast), all_images()
    axis = torch.linspace(-6, 6, 91, **FLOAT64)
    plane = torch.cartesian_prod(axis, axis)
    step, sums = (axis[1] - axis[0]).item(), []
    with torch.no_grad():
        for first in axis:
            z = torch.cat([first.expand(len(plane), 1), plane], 1)
            sums.append(model.joint_log_density_table(x, z).logsumexp(1))
    truth = torch.stack(sums).logsumexp(0) + 3 * math.log(step)
    found = evidence(model, x)
    assert ((found.log_p_x - truth).abs() <= found.error + 2e-3).all()
    assert found.log_p_x.logsumexp(0).abs() < 0.01
    if contrast < 10:
        assert found.converged.all()


@pytest.mark.parametrize("std", [0.3, 0.03, 0.003])
def test_narrow_and_far_modes_are_found(std: float) -> None:
    place = torch.tensor([2.0, -2.5, 1.0])
    found = integral_of(modes(tuple(place.tolist()), std=std), 1)
    assert found.converged.all()
    assert abs(found.log_p_x.item() + 100) <= found.error.item()
    torch.testing.assert_close(found.mean[0], place.double(), atol=0.1 * std, rtol=0)


def test_several_modes_are_all_counted() -> None:
    places = ((0.0, 0.0, 0.0), (2.0, 1.0, 0.0), (-1.0, 2.0, 2.0), (0.0, -3.0, 1.0))
    found = integral_of(modes(*places, std=0.1), 1)
    assert found.converged.all()
    assert abs(found.log_p_x.item() + 100) <= found.error.item()


def test_more_modes_than_the_mixture_has_parts_are_not_called_converged() -> None:
    places = tuple(torch.randn(14, 3, generator=torch.Generator().manual_seed(0)).mul(2).tolist())
    found = integral_of(modes(*places, std=0.08), 1)
    assert not found.converged.any()
    assert abs(found.log_p_x.item() + 100) <= found.error.item()


def test_the_error_holds_the_truth_over_seeds() -> None:
    model = modes((0.5, 0.2, -0.3), (1.0, 0.6, -0.1), std=0.25)
    found = [integral_of(model, 1, seed=seed, tolerance=1.0) for seed in range(25)]
    held = [abs(each.log_p_x.item() + 100) <= each.error.item() for each in found]
    assert sum(held) >= 23
    assert max(each.error.item() for each in found) < 0.2


def test_an_image_does_not_depend_on_its_batch() -> None:
    model, x = small_vae(3), all_images()[:5]
    whole = evidence(model, x).log_p_x
    pieces = evidence(model, x, entries=2 * quasi.SCANNED)
    torch.testing.assert_close(pieces.log_p_x, whole, atol=1e-9, rtol=0)


def test_a_log_joint_that_is_not_a_number_is_not_called_converged() -> None:
    model = small_vae(3)
    with torch.no_grad():
        model.decoder.parameters_of_x.bias[0] = math.nan
    assert not evidence(model, all_images()).converged.any()


def test_the_best_evidence_says_that_its_error_is_estimated() -> None:
    found = best_evidence(small_vae(3), all_images()[:2])
    assert found.method == ESTIMATED
    assert "error estimated" in str(found)


@pytest.mark.parametrize("latent_dim", [4, 20])
def test_more_than_three_latent_dimensions_are_refused(latent_dim: int) -> None:
    with pytest.raises(UserError, match=f"latent_dim 1 to 3, got {latent_dim}"):
        evidence(small_vae(latent_dim), all_images())
