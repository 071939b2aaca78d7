"""Importance-weighted bounds, their streaming sums, and what the weights say of themselves."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import genpareto
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.importance import importance, iwae, iwae_ladder
from vae_exp.inference import bounds
from vae_exp.inference import importance as weighing
from vae_exp.inference.importance import (
    Importance,
    Weights,
    pareto_k,
    pareto_shape,
    weigh,
)
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian
from vae_exp.probability.streams import generator


def small_vae(latent_dim: int = 2, pixels: int = 20) -> VAE:
    """A VAE whose posterior differs from its prior and from its encoder's q."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(latent_dim, Encoder([8]), Decoder([8]), shape=(pixels,))
        with torch.no_grad():
            model.decoder.parameters_of_x.weight.mul_(3)
            model.encoder.parameters_of_q.bias[latent_dim:] -= 0.5
    return model


def binary(images: int, pixels: int = 20) -> Tensor:
    noise = torch.rand(images, pixels, generator=torch.Generator().manual_seed(1))
    return (noise < 0.5).float()


def all_noise(images: int, samples: int, latent_dim: int, seed: int) -> Tensor:
    """The documented streams, drawn at once: [samples, images, Z]."""
    length = math.ceil(samples / weighing.DRAW) * weighing.DRAW
    streams = [generator(seed, "importance", image) for image in range(images)]
    return torch.stack(
        [torch.randn(length, latent_dim, generator=stream)[:samples] for stream in streams], 1
    )


def count_decodes(model: VAE) -> list[int]:
    """A list that grows by the number of z at every call of the decoder."""
    calls: list[int] = []
    model.decoder.register_forward_hook(
        lambda _module, inputs, _output: calls.append(inputs[0].numel() // model.latent_dim)
    )
    return calls


@pytest.mark.parametrize("samples", [1, 7, 300, 1000])
def test_iwae_decodes_each_image_exactly_as_often_as_asked(samples: int) -> None:
    model = small_vae()
    calls = count_decodes(model)
    iwae(model, binary(9), samples)
    assert sum(calls) == 9 * samples


def test_a_ladder_costs_no_more_decodes_than_its_longest_rung() -> None:
    model = small_vae()
    calls = count_decodes(model)
    iwae_ladder(model, binary(9), (10, 400, 1))
    assert sum(calls) == 9 * 400


def test_the_bound_is_that_of_the_weights_of_the_encoders_samples() -> None:
    model, x = small_vae(), binary(6)
    noise = all_noise(6, 700, 2, seed=5)
    with torch.no_grad():
        direct = bounds.iwae(model.log_weights(x, noise).double())
    torch.testing.assert_close(iwae(model, x, 700, seed=5), direct, rtol=0, atol=2e-5)


def test_a_ladder_is_what_each_of_its_rungs_is_alone() -> None:
    model, x = small_vae(), binary(11)
    rungs = (1, 10, 255, 256, 257, 600)
    ladder = iwae_ladder(model, x, rungs, seed=3)
    assert tuple(ladder) == rungs
    for k in rungs:
        torch.testing.assert_close(ladder[k], iwae(model, x, k, seed=3), rtol=0, atol=1e-5)


def test_an_images_bound_does_not_depend_on_which_images_follow_or_on_the_blocks() -> None:
    model, x = small_vae(), binary(23)
    whole = importance(model, x, (10, 300))
    first = iwae(model, x[:5], 300)
    torch.testing.assert_close(whole.bounds[300][:5], first, rtol=0, atol=1e-5)
    other = importance(model, x, (10, 300), rows=16)
    for a, b in zip(
        (*whole.bounds.values(), whole.effective_samples, whole.pareto_k),
        (*other.bounds.values(), other.effective_samples, other.pareto_k),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_images_and_seeds_have_noise_of_their_own() -> None:
    model, x = small_vae(), binary(1).expand(3, -1)
    values = torch.cat([iwae(model, x, 1), iwae(model, x, 1, seed=1)])
    assert len(values.unique()) == 6
    assert torch.equal(iwae(model, x, 1), iwae(model, x, 1))


def test_bounds_rise_with_samples_towards_the_exact_evidence_and_stay_below_it() -> None:
    model, x = small_vae(), binary(120)
    exact = evidence(model, x).log_p_x
    ladder = iwae_ladder(model, x, (1, 10, 100, 1000))
    gaps = torch.stack([exact - bound for bound in ladder.values()])  # [4, N]
    error = gaps.std(1) / math.sqrt(gaps.shape[1])
    assert (gaps.mean(1) > -3 * error).all()
    rises = -gaps.diff(dim=0)
    assert (rises.mean(1) > 2 * rises.std(1) / math.sqrt(gaps.shape[1])).all()
    assert gaps[-1].mean() < 0.1 * gaps[0].mean()


def test_the_mean_weight_is_the_evidence_whatever_the_proposal() -> None:
    model, x = small_vae(), binary(8)
    exact = evidence(model, x).log_p_x
    prior = DiagonalGaussian(torch.zeros(8, 2), torch.zeros(8, 2))
    found = weigh(model.log_joint_of_each(x), prior, (20_000,))
    error = (1 / found.effective_samples - 1 / 20_000).sqrt()
    assert ((found.bounds[20_000] - exact).abs() < 4 * error).all()


def test_the_fused_joint_is_the_joint_even_at_logits_where_exp_overflows() -> None:
    model, x = small_vae(), binary(4)
    z = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0))
    pixels = torch.arange(7)
    with torch.no_grad():
        for scale in (1.0, 1e4):
            model.decoder.parameters_of_x.weight.mul_(scale)
            torch.testing.assert_close(
                model.log_joint_of_each(x)(z), model.joint_log_density(x, z), rtol=1e-6, atol=1e-4
            )
            torch.testing.assert_close(
                model.log_joint_of_each(x[:, :7], pixels)(z),
                model.joint_log_density(x[:, :7], z, pixels),
                rtol=1e-6,
                atol=1e-4,
            )


def test_a_perfect_proposal_has_equal_weights_and_all_samples_are_effective() -> None:
    """Linear-Gaussian: x = A z + ε; the posterior is Gaussian and every weight is p(x)."""
    joint, posterior, log_p_x = linear_gaussian(images=7)
    found = weigh(joint, posterior, (1, 500))
    for bound in found.bounds.values():
        torch.testing.assert_close(bound, log_p_x, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.effective_samples, torch.full((7,), 500.0).double())
    wider = DiagonalGaussian(posterior.mean, torch.zeros_like(posterior.mean))
    spread = weigh(joint, wider, (500,))
    assert (spread.effective_samples < 400).all()
    assert (spread.effective_samples > 1).all()


def test_one_weight_far_above_all_others_is_one_effective_sample() -> None:
    weights = Weights(1, 4)
    weights.add(torch.tensor([[-1000.0], [-2000.0], [-900.0], [-5000.0]]))
    torch.testing.assert_close(weights.effective_samples(), torch.ones(1).double())
    torch.testing.assert_close(weights.log_mean(), torch.tensor([-900 - math.log(4)]).double())


def test_streaming_sums_are_the_direct_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    log_w = 30 * torch.randn(1000, 6, generator=generator) - 5000
    stream = Weights(6, 10)
    for block in log_w.split([1, 0, 499, 37, 463]):
        stream.add(block)
    log_w = log_w.double()
    direct = log_w.logsumexp(0) - math.log(1000)
    ess = torch.exp(2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0))
    torch.testing.assert_close(stream.log_mean(), direct, rtol=0, atol=1e-10)
    torch.testing.assert_close(stream.effective_samples(), ess)
    assert torch.equal(stream.largest, log_w.sort(0, descending=True).values[:10])


@pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 1.0, 2.0])
def test_the_shape_of_a_generalised_pareto_law_is_recovered(shape: float) -> None:
    x = genpareto.rvs(shape, scale=3.0, size=(400, 60), random_state=np.random.default_rng(0))
    found = pareto_shape(torch.from_numpy(np.sort(x, 0)))
    spread = (1 + abs(shape)) / math.sqrt(400)  # asymptotic standard deviation of one estimate
    assert abs(found.mean().item() - shape) < 0.3 * spread
    assert found.std().item() < 1.5 * spread


@pytest.mark.parametrize("tail", [0.2, 0.5, 1.0, 1.5])
def test_pareto_k_is_the_tail_index_of_the_weights(tail: float) -> None:
    """Weights u^(−k) with u uniform have a Pareto tail of index k from the start."""
    u = torch.rand(5000, 40, generator=torch.Generator().manual_seed(0)).double()
    keep = weighing.tail_length(5000) + 1
    largest = (-tail * u.log() - 2000).topk(keep, 0).values
    drawn_to_half = (tail * (keep - 1) + 5) / (keep + 9)
    error = 4 * (1 + tail) / math.sqrt(40 * (keep - 1))
    assert abs(pareto_k(largest).mean().item() - drawn_to_half) < error


def test_the_tail_of_few_weights_is_drawn_to_a_half() -> None:
    u = torch.rand(25, 400, generator=torch.Generator().manual_seed(0)).double()
    largest = (-2.0 * u.log()).topk(weighing.tail_length(25) + 1, 0).values
    assert len(largest) == 6
    found = pareto_k(largest)
    alone = pareto_shape((largest.exp()[:-1] - largest.exp()[-1]).flip(0))
    torch.testing.assert_close(found, 0.5 + (alone - 0.5) / 3)
    assert 0.6 < found.mean() < 1.2


def test_pareto_k_of_degenerate_weights_says_what_they_are() -> None:
    assert pareto_k(torch.zeros(30, 1).double()).item() == -math.inf
    alone = torch.full((30, 1), -5000.0).double()
    alone[0] = 0
    assert pareto_k(alone).item() == math.inf
    assert math.isnan(pareto_k(torch.zeros(5, 1).double()).item())


def test_a_proposal_with_thinner_tails_than_the_posterior_is_found_out() -> None:
    joint, posterior, _ = linear_gaussian(images=20)
    half = FullGaussian(posterior.mean, posterior.log_std - math.log(2), posterior.lower)
    twice = FullGaussian(posterior.mean, posterior.log_std + math.log(2), posterior.lower)
    narrow, wide = weigh(joint, half, (2000,)), weigh(joint, twice, (2000,))
    assert (narrow.pareto_k > 0.5).all()
    assert (wide.pareto_k < 0.5).all()


def test_progress_rises_to_one() -> None:
    told: list[float] = []
    iwae(small_vae(), binary(70), 32, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 1


@pytest.mark.parametrize("samples", [0, -3, True, 2.5])
def test_a_number_of_samples_that_is_none_is_refused(samples: int) -> None:
    with pytest.raises(UserError, match="samples must be a positive integer"):
        iwae(small_vae(), binary(2), samples)


def linear_gaussian(images: int) -> tuple[weighing.LogJoint, FullGaussian, Tensor]:
    """z ~ N(0, I) [2], x | z ~ N(A z, 0.5² I) [3]: log joint, posterior and log p(x), float64."""
    generator = torch.Generator().manual_seed(4)
    a = torch.randn(3, 2, generator=generator).double()
    x = torch.randn(images, 3, generator=generator).double()
    precision = torch.eye(2).double() + a.T @ a / 0.25
    covariance = torch.linalg.inv(precision)
    mean = x @ a @ covariance / 0.25
    posterior = FullGaussian.from_moments(mean, covariance.expand(images, 2, 2))
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(3).double(), 0.25 * torch.eye(3).double() + a @ a.T
    )
    prior = torch.distributions.Normal(torch.zeros(2).double(), 1.0)

    def joint(z: Tensor) -> Tensor:
        likelihood = torch.distributions.Normal(z @ a.T, 0.5).log_prob(x).sum(-1)
        return prior.log_prob(z).sum(-1) + likelihood

    return joint, posterior, marginal.log_prob(x)


def test_the_result_holds_what_it_says_of_every_image() -> None:
    found = importance(small_vae(), binary(5), (1, 50))
    assert isinstance(found, Importance)
    for values in (*found.bounds.values(), found.effective_samples, found.pareto_k):
        assert values.shape == (5,)
        assert values.dtype == torch.float64
    assert ((found.effective_samples >= 1) & (found.effective_samples <= 50)).all()
