"""The VAE's densities, its bound and its halves, held against brute force and closed forms."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.inference import bounds
from vae_exp.models.networks import Decoder, Encoder, Tanh
from vae_exp.models.objectives import ELBO, IWAE
from vae_exp.models.priors import StandardNormal
from vae_exp.models.vae import VAE, top_half, top_pixels


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vae(latent_dim: int = 2, pixels: int = 784, hidden: int = 30) -> VAE:
    torch.manual_seed(0)
    model = VAE(latent_dim, Encoder((hidden,)), Decoder((hidden,)), shape=(pixels,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
        model.encoder.parameters_of_q.bias[latent_dim:] -= 1.5  # q well within [−8, 8]
    return model.double()


def images(count: int = 6, pixels: int = 784) -> Tensor:
    return (torch.rand(count, pixels, generator=seeded(1)) < 0.3).double()


def noise(samples: int, count: int = 6, latent_dim: int = 2) -> Tensor:
    return torch.randn(samples, count, latent_dim, generator=seeded(2), dtype=torch.float64)


def exact_log_p_x(model: VAE, x: Tensor) -> Tensor:
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    table = model.joint_log_density_table(x, torch.cartesian_prod(axis, axis))
    return torch.logsumexp(table, 1) + 2 * math.log((axis[1] - axis[0]).item())


def test_the_default_model_is_the_assignments() -> None:
    model = VAE(2)
    assert sum(p.numel() for p in model.encoder.parameters()) == 784 * 500 + 500 + 500 * 4 + 4
    assert sum(p.numel() for p in model.decoder.parameters()) == 2 * 500 + 500 + 500 * 784 + 784
    q = model.posterior(torch.zeros(3, 784))
    assert q.mean.shape == q.log_std.shape == (3, 2)
    assert model.decoder(torch.zeros(5, 3, 2)).shape == (5, 3, 784)
    assert sum(isinstance(m, Tanh) for m in model.modules()) == 2


def test_likelihood_sums_to_one_over_all_images() -> None:
    model = vae(pixels=4)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
    z = torch.randn(7, 2, generator=seeded(), dtype=torch.float64)
    total = model.log_likelihood(every, z[:, None]).exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_joint_is_prior_times_likelihood_for_any_leading_axes() -> None:
    model, x = vae(), images()
    z = noise(3)
    joint = model.joint_log_density(x, z)
    assert joint.shape == (3, 6)
    torch.testing.assert_close(joint, model.log_prior(z) + model.log_likelihood(x, z))
    torch.testing.assert_close(joint[1, 4], model.joint_log_density(x[4], z[1, 4]))
    torch.testing.assert_close(
        model.joint_log_density_table(x, z[0]), model.joint_log_density(x[:, None], z[0])
    )


def test_top_and_bottom_make_the_whole() -> None:
    model, x = vae(), images()
    z = noise(1)[0]
    bottom = torch.arange(392, 784)
    top = model.log_likelihood_top_half(top_half(x), z)
    whole = top + model.log_likelihood(x[:, 392:], z, bottom)
    torch.testing.assert_close(whole, model.log_likelihood(x, z))
    torch.testing.assert_close(
        model.joint_log_density_top_half(top_half(x), z), model.log_prior(z) + top
    )


def test_top_half_is_the_first_fourteen_rows_flat_or_square() -> None:
    flat = torch.arange(2 * 784.0).reshape(2, 784)
    square = flat.reshape(2, 28, 28)
    assert torch.equal(top_half(square), square[:, :14])
    assert torch.equal(top_half(flat), top_half(square).flatten(1))
    assert torch.equal(flat[:, top_pixels()], top_half(flat))
    assert not torch.equal(top_half(square.mT), top_half(square))
    with pytest.raises(UserError, match=r"\[\.\., 784\]"):
        top_half(torch.zeros(3, 100))


def test_top_half_density_ignores_the_bottom() -> None:
    model, x = vae(), images()
    other = torch.cat([top_half(x), 1 - x[:, 392:]], 1)
    z = noise(1)[0]
    assert torch.equal(
        model.log_likelihood_top_half(top_half(x), z),
        model.log_likelihood_top_half(top_half(other), z),
    )


def test_elbo_is_a_scalar_and_loss_is_its_negative() -> None:
    model, x = vae(), images()
    epsilon = noise(1)[0]
    elbo = model.elbo(x, noise=epsilon)
    assert elbo.shape == ()
    assert torch.equal(model.loss(x, noise=epsilon), -elbo)
    assert torch.equal(model.elbo(x, generator=seeded(3)), model.elbo(x, generator=seeded(3)))


def test_elbo_is_below_exact_evidence() -> None:
    model, x = vae(pixels=12), images(pixels=12)
    draws = noise(4000)
    values = model.log_weights(x, draws)
    stderr = values.std(0) / math.sqrt(len(draws))
    assert (values.mean(0) < exact_log_p_x(model, x) + 4 * stderr).all()


def test_elbo_falls_short_by_the_kl_to_the_posterior() -> None:
    model, x = vae(pixels=12), images(pixels=12)
    axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    cell = (axis[1] - axis[0]).square()
    log_q = model.posterior(x).log_prob(z[:, None].expand(-1, len(x), -1)).T
    log_posterior = model.joint_log_density_table(x, z) - exact_log_p_x(model, x)[:, None]
    kl = (log_q.exp() * (log_q - log_posterior)).sum(1) * cell
    terms = model.elbo_terms(x, noise(20_000))
    stderr = model.log_weights(x, noise(2000)).std(0) / math.sqrt(20_000)
    assert ((exact_log_p_x(model, x) - kl - terms.bound).abs() < 5 * stderr).all()


def test_monte_carlo_kl_and_closed_form_agree_in_expectation() -> None:
    model, x = vae(pixels=12), images(pixels=12)
    closed = model.elbo_terms(x, noise(1), "closed_form")
    sampled = model.elbo_terms(x, noise(20_000), "monte_carlo")
    q, z = model.posterior(x), model.posterior(x).sample(noise(20_000))
    stderr = (q.log_prob(z) - model.log_prior(z)).std(0) / math.sqrt(20_000)
    assert ((closed.kl - sampled.kl).abs() < 4 * stderr).all()


def test_terms_make_the_bound() -> None:
    for kl in ("closed_form", "monte_carlo"):
        terms = ELBO(samples=3, kl=kl)(vae(), images(), noise(3))  # type: ignore[arg-type]
        torch.testing.assert_close(terms.bound, terms.log_likelihood - terms.kl)


def test_monte_carlo_elbo_is_the_mean_log_weight() -> None:
    model, x = vae(), images()
    terms = model.elbo_terms(x, noise(5), "monte_carlo")
    torch.testing.assert_close(terms.bound, bounds.elbo(model.log_weights(x, noise(5))))


def test_iwae_with_one_sample_is_the_elbo() -> None:
    model, x = vae(), images()
    log_w = model.log_weights(x, noise(1))
    torch.testing.assert_close(bounds.iwae(log_w), bounds.elbo(log_w))
    torch.testing.assert_close(
        IWAE(samples=1)(model, x, noise(1)).bound,
        model.elbo_terms(x, noise(1), "monte_carlo").bound,
    )


def test_iwae_is_the_log_of_the_mean_weight_over_samples_not_images() -> None:
    log_w = torch.randn(7, 3, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(bounds.iwae(log_w), log_w.exp().mean(0).log())
    huge = log_w - 1e5  # exp would underflow
    torch.testing.assert_close(bounds.iwae(huge), bounds.iwae(log_w) - 1e5)


def test_iwae_tightens_with_samples_and_stays_below_the_evidence() -> None:
    model, x = vae(pixels=12), images(pixels=12)
    log_w = model.log_weights(x, noise(40_000))
    exact = exact_log_p_x(model, x)
    means, errors = [], []
    for k in (1, 5, 50):
        estimates = torch.stack([bounds.iwae(part) for part in log_w.split(k) if len(part) == k])
        means.append(estimates.mean(0))
        errors.append(estimates.std(0) / math.sqrt(len(estimates)))
    assert (means[1] > means[0]).all()
    assert (means[2] > means[1] - 3 * errors[1]).all()
    assert (means[2] < exact + 4 * errors[2]).all()


def test_loss_is_minus_the_mean_bound() -> None:
    assert bounds.loss(torch.tensor([-1.0, -3.0])).item() == 2.0


def test_gradient_of_the_loss_agrees_with_finite_differences() -> None:
    model, x = vae(pixels=6, hidden=3), images(4, 6)
    parameters = dict(model.named_parameters())

    def loss(*values: Tensor) -> Tensor:
        swapped = dict(zip(parameters, values, strict=True))
        parameters_of_q = torch.func.functional_call(
            model.encoder,
            {k.removeprefix("encoder."): v for k, v in swapped.items() if "encoder" in k},
            x,
        )
        mean, log_std = parameters_of_q.chunk(2, -1)
        z = mean + log_std.exp() * noise(1, 4)[0]
        logits = torch.func.functional_call(
            model.decoder,
            {k.removeprefix("decoder."): v for k, v in swapped.items() if "decoder" in k},
            z,
        )
        return -(torch.distributions.Bernoulli(logits=logits).log_prob(x).sum(-1)
                 - torch.distributions.kl_divergence(
                     torch.distributions.Normal(mean, log_std.exp()),
                     torch.distributions.Normal(0.0, 1.0)).sum(-1)).mean()  # fmt: skip

    ours = torch.autograd.grad(model.loss(x, noise=noise(1, 4)), list(parameters.values()))
    theirs = torch.autograd.grad(loss(*parameters.values()), list(parameters.values()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert torch.autograd.gradcheck(loss, tuple(parameters.values()))


def test_the_fast_tanh_is_tanh_with_its_gradient() -> None:
    a = torch.cat([torch.linspace(-12, 12, 20_001), torch.tensor([-1e4, -0.0, 1e-6, 1e4])])
    assert (Tanh()(a).double() - torch.tanh(a.double())).abs().max() < 2e-7
    assert Tanh()(torch.tensor([torch.nan])).isnan()
    inputs = torch.linspace(-5, 5, 41, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Tanh(), (inputs,))
    assert torch.autograd.gradgradcheck(Tanh(), (inputs,))


def test_the_fast_path_gives_the_elbo_of_the_plain_formula() -> None:
    torch.manual_seed(0)
    model = VAE(2)
    with torch.no_grad():
        model.decoder.parameters_of_x.weight *= 20  # logits as large as those of a trained model
    x, noise = (torch.rand(200, 784) < 0.2).float(), torch.randn(4, 200, 2)
    w = {name: weight.double() for name, weight in model.state_dict().items()}
    h = torch.tanh(x.double() @ w["encoder.features.0.weight"].T + w["encoder.features.0.bias"])
    q = h @ w["encoder.parameters_of_q.weight"].T + w["encoder.parameters_of_q.bias"]
    mean, log_std = q[:, :2], q[:, 2:]
    z = mean + log_std.exp() * noise
    h = torch.tanh(z @ w["decoder.features.0.weight"].T + w["decoder.features.0.bias"])
    logits = h @ w["decoder.parameters_of_x.weight"].T + w["decoder.parameters_of_x.bias"]
    log_p_x_given_z = (x * logits - torch.log1p(logits.exp())).sum(-1).mean(0)
    kl = (0.5 * (mean**2 + (2 * log_std).exp() - 1) - log_std).sum(-1)
    torch.testing.assert_close(
        model.elbo_terms(x, noise).bound.double(), log_p_x_given_z - kl, rtol=0, atol=1e-3
    )


def test_a_very_narrow_posterior_can_be_said() -> None:
    model = vae()
    with torch.no_grad():
        model.encoder.parameters_of_q.bias[2:] = -12.0
        model.encoder.parameters_of_q.weight[2:] = 0.0
    q = model.posterior(images())
    assert (q.log_std == -12).all()
    assert torch.isfinite(model.elbo(images(), noise=noise(1)))


@pytest.mark.parametrize("latent_dim", [0, -1, 2.0, True])
def test_a_latent_dim_that_is_not_a_positive_integer_is_refused(latent_dim: object) -> None:
    with pytest.raises(UserError, match="latent_dim must be a positive integer"):
        VAE(latent_dim)  # type: ignore[arg-type]


def test_model_and_prior_must_agree() -> None:
    with pytest.raises(UserError, match="agree on latent_dim, got 2 and 3"):
        VAE(2, prior=StandardNormal(3))
