"""Dreams: the encoder learns from images that the model makes, and nothing else is changed."""

import pytest
import torch
from test_objectives import NOISE, X
from test_training import small_model
from torch import Tensor, nn

from vae_exp.errors import UserError
from vae_exp.models.networks.layers import StepNoise
from vae_exp.models.objectives import ELBO, Compiled, Dreams, Objective
from vae_exp.models.objectives.dreams import dream
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Noise
from vae_exp.training.fitting import fit
from vae_exp.training.optimizers import Adam


def gradients(objective: Objective, model: VAE) -> dict[str, Tensor]:
    """Of the mean bound of a training step, by weight."""
    with model.training_noise(StepNoise(seed=3, step=5)):
        bound = objective(model, X, NOISE[:1], 5).bound.mean()
    return gradients_of(bound, model)


def gradients_of(value: Tensor, module: nn.Module) -> dict[str, Tensor]:
    names, weights = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(value, weights, materialize_grads=True)
    return dict(zip(names, found, strict=True))


def test_a_dream_adds_its_log_q_to_the_encoders_gradient_and_nothing_to_the_others() -> None:
    model = small_model()
    plain, dreaming = gradients(ELBO(), model), gradients(Dreams(0.7), model)
    with torch.no_grad():
        z, x = dream(model, len(X), StepNoise(seed=3, step=5))
    of_dreams = gradients_of(model.posterior(x).log_prob(z).mean(), model)
    assert of_dreams["encoder.parameters_of_q.weight"].abs().max() > 0
    for name, gradient in dreaming.items():
        torch.testing.assert_close(gradient, plain[name] + 0.7 * of_dreams[name])
    assert all(not g.any() for name, g in of_dreams.items() if not name.startswith("encoder."))


def test_the_value_is_the_elbo_in_training_and_after_it() -> None:
    model = small_model()
    elbo = ELBO()(model, X, NOISE, 0).bound
    torch.testing.assert_close(Dreams()(model, X, NOISE, 0).bound, elbo)
    with model.training_noise(StepNoise(0, 0)):
        torch.testing.assert_close(Dreams()(model, X, NOISE, 0).bound, elbo)
    assert model.step_noise is None


def test_dreams_are_of_the_model() -> None:
    model = small_model()
    z, x = dream(model, 4000, StepNoise(0, 0))
    assert z.mean(0).abs().max() < 0.1
    assert (z.std(0) - 1).abs().max() < 0.1
    mean = torch.sigmoid(model.decoder(z))
    residual = (x - mean).mean(0) / (mean * (1 - mean)).mean(0).sqrt() * len(z) ** 0.5
    assert residual.abs().max() < 5  # standard errors, of 784 pixels
    again, _ = dream(model, 4000, StepNoise(0, 0))
    other, _ = dream(model, 4000, StepNoise(0, 1))
    assert torch.equal(z, again)
    assert not torch.equal(z, other)


@pytest.mark.parametrize("kind", ["gaussian", "uniform"])
def test_processes_that_share_a_batch_dream_together_what_one_would(kind: str) -> None:
    noise, device = Noise(kind, 3), torch.device("cpu")  # type: ignore[arg-type]
    whole = StepNoise(0, 5).draw(noise, 7, device)
    parts = [
        StepNoise(0, 5, 7, rows).draw(noise, count, device)
        for rows, count in ((slice(0, 7, 2), 4), (slice(1, 7, 2), 3))
    ]
    assert torch.equal(torch.cat(parts), torch.cat([whole[0::2], whole[1::2]]))


def test_an_encoder_learns_the_posteriors_of_a_frozen_decoder_from_dreams() -> None:
    def learnt(objective: Objective) -> float:
        """Mean log q(z | x) of other dreams after a fit, in nats."""
        model = small_model()
        for weight in model.decoder.parameters():
            weight.requires_grad_(False)
        with torch.no_grad():
            z, x = dream(model, 500, StepNoise(9, 9))
        fit(model, X, objective=objective, optimizer=Adam(lr=1e-3), epochs=20, batch_size=20)
        return model.posterior(x).log_prob(z).mean().item()

    assert learnt(Dreams(1.0)) > learnt(ELBO()) + 0.1


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(UserError, match=r"objective.weight must be a positive number, got"):
        Dreams(weight)


def test_dreams_are_not_compiled() -> None:
    with pytest.raises(UserError, match=r"compile=true cannot be had with elbo_dreams_0.3"):
        Compiled(Dreams())
