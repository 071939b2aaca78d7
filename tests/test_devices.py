"""What runs on a GPU never mixes its tensors with those of the processor, and says the same.

No test needs a GPU: `elsewhere` is a device that each machine has.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from elsewhere import DEVICE, There, elsewhere
from small_models import SHAPE, binary_images, small
from test_contracts import combinations, names, part
from torch import Tensor

from vae_exp.analysis.base import Findings, Origin, look_at
from vae_exp.data import Splits, load_splits
from vae_exp.data.splits import About
from vae_exp.evaluation import ais, completion, diagnostics
from vae_exp.evaluation.completion import Masked
from vae_exp.evaluation.estimates import elbo_terms
from vae_exp.evaluation.evidence import evidence
from vae_exp.evaluation.gap import inference_gap
from vae_exp.evaluation.importance import importance
from vae_exp.evaluation.refinement import elbo_after_steps
from vae_exp.inference import bounds
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.parts import CONF, build, choice
from vae_exp.probability.streams import generator
from vae_exp.runs import plain
from vae_exp.runs.asking import analysis_named

IMAGES = 3


def tensors(found: Any) -> list[Tensor]:
    """All numbers of an answer, on the processor."""
    if isinstance(found, Tensor):
        return [found.held if isinstance(found, There) else found]
    if isinstance(found, dict):
        found = list(found.values())
    if is_dataclass(found) and not isinstance(found, type):
        found = [getattr(found, field.name) for field in fields(found)]
    if isinstance(found, list | tuple):
        return [tensor for each in found for tensor in tensors(each)]
    return []


def completed(model: VAE, x: Tensor) -> Any:
    seen = (torch.arange(12) < 6).to(x.device)
    masked = Masked(model, x, seen)
    found = completion.infer(masked, restarts=2, steps=3, samples=2, generator=generator(0, "c"))
    scored = completion.scores(masked, found, samples=20)
    one = Masked(model, x[:1], seen)
    draws = generator(0, "points")
    z, weights = completion.posterior_points(one, found.full.at(slice(1)), draws)
    completion.resample(z, weights, 4, draws)
    return found, scored, completion.mean_completion(one, z, weights)


def seen_through(model: VAE, x: Tensor) -> Any:
    q = diagnostics.encode(model, x)
    kl = diagnostics.kl_to_prior(q, model.prior, seed=0)
    return kl, diagnostics.aggregate(q, model.prior, seed=0)


ESTIMATES: dict[str, Callable[[VAE, Tensor], Any]] = {
    "elbo": lambda model, x: elbo_terms(model, x, samples=3),
    "evidence": evidence,
    "importance": lambda model, x: importance(model, x, (1, 20)),
    "gap": lambda model, x: inference_gap(model, x, starts=2, steps=4, samples=4, rounds=1),
    "ais": lambda model, x: ais.evidence(model, x, temperatures=4, chains=4),
    "sandwich": lambda model, x: ais.sandwich(model, 2, temperatures=4, chains=4),
    "refinement": lambda model, x: elbo_after_steps(model, x, (0, 2), samples=2),
    "completion": completed,
    "diagnostics": seen_through,
}


QUICK = [(name, dims) for name in ESTIMATES for dims in (1, 4) if (name, dims) != ("evidence", 4)]
MORE = [
    pytest.param(name, dims, marks=[pytest.mark.exhaustive, pytest.mark.slow])
    for name in ESTIMATES
    for dims in (2, 3)
]


@pytest.mark.parametrize(("name", "dims"), [*QUICK, *MORE])
def test_an_estimate_is_the_same_on_every_device(name: str, dims: int) -> None:
    model, x = small(dims), binary_images(IMAGES)
    here = tensors(ESTIMATES[name](model, x))
    with elsewhere() as device:
        there = tensors(ESTIMATES[name](model.to(device), x.to(device)))
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("combination", combinations(), ids=names)
def test_every_part_is_the_same_on_every_device(combination: dict[str, str]) -> None:
    torch.manual_seed(0)
    built = {group: part(group, name) for group, name in combination.items()}
    model = VAE(2, Encoder((5,)), Decoder((5,)), shape=SHAPE, **built)
    x = binary_images(IMAGES)

    def numbers(model: VAE, x: Tensor) -> list[Tensor]:
        draws = generator(0, "parts")
        q, prior = model.posterior(x), model.prior
        z = q.draw(2, draws)
        p_x = model.likelihood(z[0])
        sampled = p_x.sample(p_x.noise.draw(IMAGES, generator=draws, device=x.device))
        drawn = prior.sample(prior.noise.draw(4, generator=draws, device=x.device))
        table = model.joint_log_density_table(x, drawn)
        each = model.log_joint_of_each(x)(z)
        return tensors([z, q.mean, q.scale(), p_x.mean, sampled, drawn, table, each])

    here = numbers(model, x)
    with elsewhere() as device:
        there = numbers(model.to(device), x.to(device))
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


OBJECTIVES = sorted(file.stem for file in (CONF / "objective").glob("*.yaml"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_its_gradients_on_every_device(name: str) -> None:
    node = plain.resolved({"objective": {"samples": 2}} | {"o": choice("objective", name)})["o"]
    objective: Any = build(node, "objective", object)
    noisy = {"encoder": Encoder((5,), input_noise=0.1), "decoder": Decoder((5,), dropout=0.1)}
    model = VAE(2, shape=SHAPE, **noisy)  # type: ignore[arg-type]
    noise = model.noise.draw(objective.samples, IMAGES, generator=generator(0, "noise"))
    x = binary_images(IMAGES)

    def gradients(model: VAE, x: Tensor, noise: Tensor) -> list[Tensor]:
        model.zero_grad()
        bounds.loss(objective(model, x, noise, 0).bound).backward()
        return tensors([p.grad for p in model.parameters() if p.grad is not None])

    here = gradients(model, x, noise)
    with elsewhere() as device:
        there = gradients(model.to(device), x.to(device), noise.to(device))
    assert len(here) == len(there) > 0
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits(source="digits", train_size=60, validation_size=10, test_size=20)


@pytest.mark.parametrize("name", ["samples", "scatter"])
def test_a_question_is_put_to_a_model_wherever_it_is(name: str, splits: Splits) -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((5,)), Decoder((5,)))
    analysis = analysis_named(name, {})
    with elsewhere() as device:
        model.to(device)
        look = look_at(analysis, model, splits, 0, Origin(0))
        assert model.device == device
    assert look.findings.figures or look.findings.tables


class AsksWhere:
    """A question whose answer is the device of the model that it is put to."""

    name = "where"

    def unsuited(self, model: VAE, splits: Splits | About) -> str | None:
        return None

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        return Findings(numbers={"device": model.device.type})


def test_an_analysis_finds_the_model_on_the_processor(splits: Splits) -> None:
    model = VAE(2, Encoder((5,)), Decoder((5,)))
    with elsewhere() as device:
        model.to(device)
        look = look_at(AsksWhere(), model, splits, 0, Origin(0))
        assert model.device == device
    assert look.findings.numbers == {"device": "cpu"}


def test_the_other_device_refuses_what_a_gpu_refuses() -> None:
    with elsewhere() as device:
        there = torch.zeros(2, device=device)
        assert there.device == DEVICE
        assert (there + 1).tolist() == [1, 1]
        assert (there + torch.tensor(1.0)).sum().item() == 2  # a number may come from anywhere
        assert there[torch.tensor([1])].cpu().numpy() == [0]
        for mistake in (
            lambda: there + torch.ones(2),
            lambda: torch.zeros(2)[torch.tensor([1], device=device)],
            lambda: torch.rand(2, device=device, generator=torch.Generator()),
            there.numpy,
        ):
            with pytest.raises(RuntimeError):
                mistake()
