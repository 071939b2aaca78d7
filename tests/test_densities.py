"""Densities are densities, samplers draw from them, and both stay finite where it is hard."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from vae_exp.probability.densities import (
    bernoulli_log_density,
    bernoulli_log_density_table,
    factorized_gaussian_log_density,
    gaussian_kl_to_standard,
    sample_bernoulli,
    sample_diag_gaussian,
    standard_gaussian_log_density,
)

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def doubles(shape: tuple[int, ...], low: float, high: float) -> st.SearchStrategy[Tensor]:
    return hnp.arrays(np.float64, shape, elements=st.floats(low, high)).map(torch.from_numpy)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=SHAPES)
def test_gaussian_log_density_is_scipys(data: st.DataObject, shape: tuple[int, ...]) -> None:
    mean = data.draw(doubles(shape, -50, 50))
    log_std = data.draw(doubles(shape, -10, 10))
    x = mean + log_std.exp() * data.draw(doubles(shape, -20, 20))
    ours = factorized_gaussian_log_density(mean, log_std, x)
    theirs = scipy.stats.norm.logpdf(x.numpy(), mean.numpy(), log_std.exp().numpy()).sum(-1)
    assert ours.shape == shape[:-1]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=SHAPES)
def test_bernoulli_log_density_is_scipys(data: st.DataObject, shape: tuple[int, ...]) -> None:
    logits = data.draw(doubles(shape, -30, 30))
    x = data.draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0])))
    ours = bernoulli_log_density(logits, torch.from_numpy(x))
    sign = np.where(x == 1, 1.0, -1.0)
    theirs = scipy.special.log_expit(sign * logits.numpy()).sum(-1)
    assert ours.shape == shape[:-1]
    # torch's softplus takes log(1 + exp(20)) for 20: 2e-9 a pixel.
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logit", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_bernoulli_is_exact_at_extreme_logits(logit: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([logit], dtype=dtype, requires_grad=True)
    for x, expected in ((1.0, min(logit, 0.0)), (0.0, min(-logit, 0.0))):
        value = bernoulli_log_density(logits, torch.tensor([x], dtype=dtype))
        expected = -math.log(2) if logit == 0 else expected
        assert value.item() == pytest.approx(expected, abs=1e-6)
        [gradient] = torch.autograd.grad(value, logits)
        assert gradient.item() == pytest.approx(x - torch.sigmoid(logits).item(), abs=1e-6)


def test_bernoulli_sums_to_one_over_all_images() -> None:
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    logits = torch.randn(5, 4, generator=seeded(), dtype=torch.float64) * 5
    total = bernoulli_log_density(logits[:, None], images).exp().sum(1)
    torch.testing.assert_close(total, torch.ones(5, dtype=torch.float64))


def test_gaussian_integrates_to_one() -> None:
    mean, log_std = torch.tensor([0.3, -0.2]).double(), torch.tensor([-0.5, 0.4]).double()
    axis = torch.linspace(-15, 15, 1501, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    cell = (axis[1] - axis[0]).square()
    for log_density in (
        factorized_gaussian_log_density(mean, log_std, z),
        standard_gaussian_log_density(z),
    ):
        assert (log_density.exp().sum() * cell).item() == pytest.approx(1, abs=1e-9)


def test_standard_gaussian_is_the_factorised_one_at_zero_and_one() -> None:
    z = torch.randn(7, 3, generator=seeded(), dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(
        standard_gaussian_log_density(z), factorized_gaussian_log_density(zero, zero, z)
    )


@settings(max_examples=60, deadline=None)
@given(mean=st.floats(-20, 20), log_std=st.floats(-12, 5))
def test_kl_is_never_negative_and_zero_only_at_the_prior(mean: float, log_std: float) -> None:
    kl = gaussian_kl_to_standard(torch.tensor([mean]).double(), torch.tensor([log_std]).double())
    assert kl.item() >= -1e-12
    if abs(mean) > 1e-3 or abs(log_std) > 1e-3:
        assert kl.item() > 1e-7


def test_closed_form_kl_agrees_with_monte_carlo() -> None:
    mean, log_std = torch.tensor([0.7, -1.2]).double(), torch.tensor([-0.8, 0.3]).double()
    noise = torch.randn(200_000, 2, generator=seeded(), dtype=torch.float64)
    z = sample_diag_gaussian(mean, log_std, noise=noise)
    ratio = factorized_gaussian_log_density(mean, log_std, z) - standard_gaussian_log_density(z)
    stderr = ratio.std() / math.sqrt(len(ratio))
    assert abs(ratio.mean() - gaussian_kl_to_standard(mean, log_std).sum()) < 4 * stderr


@pytest.mark.parametrize("argument", [0, 1, 2])
def test_gradients_agree_with_finite_differences(argument: int) -> None:
    inputs = [torch.randn(3, 2, generator=seeded(i), dtype=torch.float64) for i in range(3)]
    inputs[argument].requires_grad_()
    assert torch.autograd.gradcheck(factorized_gaussian_log_density, inputs)
    logits = inputs[0].detach().clone().requires_grad_()
    binary = (inputs[1] > 0).double()
    assert torch.autograd.gradcheck(lambda value: bernoulli_log_density(value, binary), logits)


def test_table_holds_every_pair() -> None:
    logits = torch.randn(5, 784, generator=seeded(), dtype=torch.float64) * 3
    x = (torch.rand(4, 784, generator=seeded(1)) < 0.3).double()
    pairs = bernoulli_log_density(logits, x[:, None])
    torch.testing.assert_close(bernoulli_log_density_table(logits, x), pairs)


def test_gaussian_samples_have_the_moments_asked_for() -> None:
    n = 200_000
    mean, log_std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0])
    z = sample_diag_gaussian(mean.expand(n, 2), log_std.expand(n, 2), generator=seeded())
    std = log_std.exp()
    assert ((z.mean(0) - mean).abs() < 4 * std / n**0.5).all()
    assert ((z.std(0) / std - 1).abs() < 4 / (2 * n) ** 0.5).all()
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / n**0.5
    assert scipy.stats.kstest(((z - mean) / std)[:, 0], "norm").pvalue > 1e-3


def test_bernoulli_samples_have_the_means_asked_for() -> None:
    n = 100_000
    p = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    x = sample_bernoulli(torch.logit(p).expand(n, 5), generator=seeded())
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert ((x.mean(0) - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()


def test_a_sample_is_mean_plus_scaled_noise_and_carries_gradients() -> None:
    mean = torch.tensor([1.0, 2.0], requires_grad=True)
    log_std = torch.tensor([0.0, -1.0], requires_grad=True)
    noise = torch.tensor([[0.5, -2.0], [3.0, 0.0]])
    z = sample_diag_gaussian(mean, log_std, noise=noise)
    torch.testing.assert_close(z, mean + log_std.exp() * noise)
    z.sum().backward()
    assert torch.equal(mean.grad, torch.tensor([2.0, 2.0]))  # type: ignore[arg-type]
    torch.testing.assert_close(log_std.grad, (log_std.exp() * noise.sum(0)).detach())


def test_sampling_is_a_function_of_its_generator() -> None:
    mean, log_std = torch.zeros(4, 3), torch.zeros(4, 3)
    torch.manual_seed(1)
    first = sample_diag_gaussian(mean, log_std, generator=seeded(5))
    torch.manual_seed(2)
    assert torch.equal(first, sample_diag_gaussian(mean, log_std, generator=seeded(5)))
    assert not torch.equal(first, sample_diag_gaussian(mean, log_std, generator=seeded(6)))


def test_nothing_changes_its_arguments() -> None:
    arguments = [torch.randn(3, 4, generator=seeded(i)) for i in range(3)]
    kept = [a.clone() for a in arguments]
    factorized_gaussian_log_density(*arguments)
    bernoulli_log_density(arguments[0], arguments[1])
    sample_diag_gaussian(arguments[0], arguments[1], noise=arguments[2])
    sample_bernoulli(arguments[0], noise=arguments[1])
    gaussian_kl_to_standard(arguments[0], arguments[1])
    assert all(torch.equal(a, k) for a, k in zip(arguments, kept, strict=True))
