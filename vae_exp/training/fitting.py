"""Train a VAE in plain PyTorch: section 2e of the assignment as a function."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vae_exp.inference import bounds
from vae_exp.models.networks.layers import StepNoise
from vae_exp.models.objectives import ELBO, begin
from vae_exp.models.objectives import Objective as Objective
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator
from vae_exp.training.optimizers import Adam, refuse_forgotten


@runtime_checkable
class OptimizerFactory(Protocol):
    """An optimiser and its schedule for a run of a known length."""

    def build(self, model: VAE, steps: int) -> tuple[Optimizer, LRScheduler | None]:
        """For this model and this many steps."""
        ...


@dataclass(frozen=True)
class Clip:
    """A limit of a step's gradients: of their norm over all weights, or of each value."""

    limit: float
    by: Literal["norm", "value"] = "norm"

    def __call__(self, optimizer: Optimizer) -> None:
        """Clip the gradients of an optimiser's weights."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if self.by == "norm":
            torch.nn.utils.clip_grad_norm_(weights, self.limit)
        else:
            torch.nn.utils.clip_grad_value_(weights, self.limit)


def descent(
    factory: OptimizerFactory, model: VAE, steps: int
) -> tuple[Optimizer, LRScheduler | None]:
    """The optimiser of a model's weights, but for frozen ones, and its schedule.

    Raises UserError if a weight that should be trained is forgotten.
    """
    optimizer, schedule = factory.build(model, steps)
    for group in optimizer.param_groups:
        group["params"] = [weight for weight in group["params"] if weight.requires_grad]
    refuse_forgotten(model, optimizer)
    return optimizer, schedule


def fit(
    model: VAE,
    x: Tensor,
    *,
    objective: Objective | None = None,
    optimizer: OptimizerFactory | None = None,
    epochs: int = 100,
    batch_size: int = 200,
    seed: int = 0,
    after_epoch: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Maximise a bound over the parameters of a model, on images x [N, D].

    Without more it is the ELBO by Adam at 1e-3. Returns the mean bound of every epoch in nats per
    image; ``after_epoch`` is told each as (epoch, bound). With the same seed and settings the
    weights are those of the last step of ``python -m vae_exp``, which averages them by default.
    """
    objective = objective or ELBO()
    batches = math.ceil(len(x) / batch_size)
    steps = epochs * batches
    begin(objective, model, batches)
    stepper, schedule = descent(optimizer or Adam(1e-3), model, steps)
    history, step = [], 0
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator(seed, "order", epoch))
        total = 0.0
        for batch in x[order].split(batch_size):
            noise = model.noise.draw(
                objective.samples, len(batch), generator=generator(seed, "train", step)
            )
            with model.training_noise(StepNoise(seed, step)):
                bound = objective(model, batch, noise, step).bound
            stepper.zero_grad()
            bounds.loss(bound).backward()
            stepper.step()
            if schedule is not None:
                schedule.step()
            total += bound.detach().sum().item()
            step += 1
        history.append(total / len(x))
        if after_epoch is not None:
            after_epoch(epoch + 1, history[-1])
    return history
