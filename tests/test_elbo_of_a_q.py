"""The ELBO of a q that stays as it is: refined until more nodes do not matter, with its error."""

import math

import pytest
import torch
from torch import Tensor

from vae_exp.inference.quadrature import elbo_of, elbo_with_error, hermite_elbo
from vae_exp.probability.gaussians import DiagonalGaussian

FLOAT64 = {"dtype": torch.float64}
GATES = torch.tensor([8.0, 20.0, 200.0, 3.0], **FLOAT64)  # how suddenly each image changes with z


def log_joint_of(gates: Tensor):
    """log N(z; 0, I) + 50 log σ(gate (z₁ + z₂ − 0.3)): smooth, but far from a polynomial."""

    def log_joint(z: Tensor) -> Tensor:
        likelihood = 50 * torch.nn.functional.logsigmoid(gates * (z.sum(-1) - 0.3))
        return likelihood - 0.5 * z.square().sum(-1) - math.log(2 * math.pi)

    return log_joint


def wide(images: int = 4, log_std: float = 0.0) -> DiagonalGaussian:
    return DiagonalGaussian(torch.zeros(images, 2, **FLOAT64), torch.full((images, 2), log_std))


def truth(gates: Tensor) -> Tensor:
    """E_q log p − E_q log q: the sum of two standard Gaussians is a line, summed finely."""
    u = torch.linspace(-12, 12, 400_001, **FLOAT64)
    weight = torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi) * (u[1] - u[0])
    z = torch.stack([math.sqrt(2) * u, torch.zeros_like(u)], 1)[:, None]
    likelihood = log_joint_of(gates)(z) + 0.5 * z[..., 0].square() + math.log(2 * math.pi)
    return weight @ likelihood  # E_q [log N(z; 0, I) − log q] is 0 as q is N(0, I)


@pytest.mark.parametrize("nodes", [8, 12, 16])
def test_the_elbo_of_a_broad_q_is_within_its_error_of_the_truth(nodes: int) -> None:
    exact = truth(GATES)
    plain = hermite_elbo(log_joint_of(GATES), wide(), nodes=nodes)
    assert (plain - exact).abs().max() > 0.4  # what a fixed number of nodes came to
    found = elbo_with_error(log_joint_of(GATES), wide(), nodes=nodes)
    assert ((found.value - exact).abs() <= 2 * found.error + 1e-9).all()
    assert found.error[3] <= 1e-3
    assert (found.error[:2] < 1.0).all()


def test_an_elbo_that_does_not_settle_says_so() -> None:
    found = elbo_with_error(log_joint_of(GATES), wide(), tolerance=1e-6)
    assert found.error[2] > 1e-3


def test_only_images_that_have_not_converged_are_computed_again() -> None:
    asked = []

    def of_images(rows: Tensor):
        asked.append(rows.tolist())
        return log_joint_of(GATES[rows])

    some = elbo_with_error(log_joint_of(GATES), wide(), of_images=of_images)
    every = elbo_with_error(log_joint_of(GATES), wide())
    torch.testing.assert_close(some, every, atol=1e-9, rtol=0)
    assert asked[-1] == [0, 1, 2][-len(asked[-1]) :]
    assert len(asked) >= 2


def test_starts_are_refined_side_by_side() -> None:
    narrow = wide(log_std=-4.0)
    both = narrow.with_parameters(
        [
            torch.stack(pair)
            for pair in zip(
                narrow.variational_parameters(), wide().variational_parameters(), strict=True
            )
        ]
    )
    found = elbo_with_error(
        log_joint_of(GATES), both, of_images=lambda rows: log_joint_of(GATES[rows])
    )
    for start, q in enumerate((narrow, wide())):
        torch.testing.assert_close(
            found.value[start], elbo_of(log_joint_of(GATES), q), atol=1e-6, rtol=0
        )


def test_the_error_of_a_sampled_elbo_is_its_standard_error() -> None:
    q = DiagonalGaussian(torch.zeros(3, 3, **FLOAT64), torch.zeros(3, 3, **FLOAT64))
    runs = [
        elbo_with_error(log_joint_of(GATES[:3]), q, generator=torch.Generator().manual_seed(seed))
        for seed in range(60)
    ]
    spread = torch.stack([run.value for run in runs]).std(0)
    said = torch.stack([run.error for run in runs]).square().mean(0).sqrt()
    assert ((said / spread - 1).abs() < 0.35).all()


def test_a_single_block_of_samples_has_no_error() -> None:
    q = DiagonalGaussian(torch.zeros(3, 3, **FLOAT64), torch.zeros(3, 3, **FLOAT64))
    assert elbo_with_error(log_joint_of(GATES[:3]), q, samples=2).error.isinf().all()
