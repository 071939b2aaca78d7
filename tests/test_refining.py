"""Steps of SVI on the encoder's q: what they add, and how they are differentiated."""

import pytest
import torch
from test_training import digits, small_model
from torch import Tensor

from vae_exp.analysis.refinement import Refinement
from vae_exp.evaluation.exact import evidence
from vae_exp.evaluation.refinement import elbo_after_steps
from vae_exp.inference import refining
from vae_exp.inference.refining import refined
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, SemiAmortised
from vae_exp.models.vae import VAE
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian
from vae_exp.training.fitting import fit
from vae_exp.training.optimizers import Adam


def tiny_model() -> tuple[VAE, Tensor]:
    torch.manual_seed(0)
    model = VAE(2, Encoder((5,)), Decoder((5,)), shape=(4, 3)).double()
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(3)
    x = torch.rand(3, 12, generator=torch.Generator().manual_seed(1)) < 0.4
    return model, x.double()


def noise_for(objective: SemiAmortised) -> Tensor:
    stream = torch.Generator().manual_seed(2)
    return torch.randn(objective.samples, 3, 2, generator=stream, dtype=torch.float64)


def slope(objective: SemiAmortised, weight: Tensor, model: VAE, x: Tensor) -> float:
    """The derivative of the bound by one weight, by finite differences."""
    noise, ends = noise_for(objective), []
    for shift in (1e-5, -1e-5):
        with torch.no_grad():
            weight.view(-1)[0] += shift
            ends.append(objective(model, x, noise).bound.sum().item())
            weight.view(-1)[0] -= shift
    return (ends[0] - ends[1]) / 2e-5


def test_the_gradient_through_the_steps_is_that_of_the_bound() -> None:
    model, x = tiny_model()
    whole, first_order = (SemiAmortised(4, lr=0.2, through=through) for through in (True, False))
    weights = [model.encoder.features[0].weight, model.decoder.parameters_of_x.weight]
    found = torch.autograd.grad(whole(model, x, noise_for(whole)).bound.sum(), weights)
    for weight, gradient in zip(weights, found, strict=True):
        torch.testing.assert_close(
            gradient.flatten()[0].item(), slope(whole, weight, model, x), rtol=1e-5, atol=1e-8
        )
    cut = torch.autograd.grad(first_order(model, x, noise_for(whole)).bound.sum(), weights)
    for one, other in zip(cut, found, strict=True):
        assert not torch.allclose(one, other, rtol=1e-3)


def test_without_the_gradient_through_them_the_steps_are_constants() -> None:
    model, x = tiny_model()
    objective = SemiAmortised(4, lr=0.2, through=False)
    first, *others = noise_for(objective).unflatten(0, (5, 1))
    q = model.posterior(x)
    moved = refined(lambda q, e: model.elbo_terms_of(q, x, e).bound, q, others, lr=0.2)
    steps = [
        (after - before).detach()
        for after, before in zip(
            moved.variational_parameters(), q.variational_parameters(), strict=True
        )
    ]
    shifted = DiagonalGaussian(q.mean + steps[0], q.log_std + steps[1])
    by_hand = model.elbo_terms_of(shifted, x, first).bound
    bound = objective(model, x, noise_for(objective)).bound
    torch.testing.assert_close(bound, by_hand)
    weights = [*model.parameters()]
    for one, other in zip(
        torch.autograd.grad(bound.sum(), weights),
        torch.autograd.grad(by_hand.sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_bound_in_inference_mode_is_the_bound_and_keeps_no_graph() -> None:
    model, x = tiny_model()
    objective = SemiAmortised(2)
    expected = objective(model, x, noise_for(objective))
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            found = objective(model, x.clone(), noise_for(objective).clone())
        assert torch.equal(found.bound, expected.bound.detach())
        assert not found.bound.requires_grad


def test_a_step_is_the_gradient_and_at_most_of_norm_steepest() -> None:
    def bound(q: FullGaussian, noise: Tensor) -> Tensor:
        return torch.tensor([1.0, 100.0]) * q.mean.sum(-1)  # gradients of norm √2 and 100 √2

    q = FullGaussian(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2, 2))
    moved = refined(bound, q, [torch.zeros(1, 2, 2)], lr=0.1)
    torch.testing.assert_close(moved.mean[0], torch.full((2,), 0.1))
    torch.testing.assert_close(moved.mean[1].norm().item(), 0.1 * refining.STEEPEST)
    assert torch.equal(moved.lower, q.lower)


def test_more_steps_come_nearer_to_the_evidence() -> None:
    model, x = small_model(), digits().splits.train.images
    fit(model, x, objective=ELBO(), optimizer=Adam(1e-2), epochs=15, batch_size=30)
    few = x[:20]
    found = elbo_after_steps(model, few, (5, 0, 1, 20), samples=32)
    assert list(found) == [5, 0, 1, 20]
    means = [found[steps].mean().item() for steps in (0, 1, 5, 20)]
    assert means == sorted(means)
    assert means[3] > means[0] + 0.3
    assert means[3] < evidence(model, few).log_p_x.mean().item() + 0.1
    again = elbo_after_steps(model, few, (0, 5), samples=32)
    torch.testing.assert_close(again[5], found[5])


def test_a_look_tells_what_the_steps_add_on_the_same_images() -> None:
    model, splits = small_model(), digits().splits
    look = Refinement(images=10, steps=(2,), samples=4)(model, splits, seed=3)
    found = elbo_after_steps(model, splits.test.images[:10], (0, 2), samples=4, seed=3)
    numbers = look.numbers["elbo_after_steps"]
    assert list(numbers) == ["0", "2"]
    assert numbers["2"]["mean"] == pytest.approx(found[2].mean().item())
    assert numbers["2"]["images"] == 10
    gain = numbers["2"]["above_encoder"]
    assert gain["mean"] == pytest.approx((found[2] - found[0]).mean().item(), abs=1e-4)
    assert gain["stderr"] < numbers["2"]["stderr"]
