"""Train a VAE in plain PyTorch: section 2e of the assignment as a function."""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from vae_exp.inference import bounds
from vae_exp.models.objectives import ELBO
from vae_exp.models.vae import VAE, Terms
from vae_exp.probability.streams import generator
from vae_exp.training.optimizers import Adam, refuse_forgotten


@runtime_checkable
class Objective(Protocol):
    """A bound on log p(x), per image, with its true name: ``elbo``, ``iwae_50``."""

    name: str
    estimator: str  # what it is, in words
    samples: int

    def __call__(self, model: VAE, x: Tensor, noise: Tensor) -> Terms:
        """x [B, D], noise [S, B, N] -> terms [B]."""
        ...


@runtime_checkable
class OptimizerFactory(Protocol):
    """An optimiser and its schedule for a run of a known length."""

    def build(self, model: VAE, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """For this model and this many steps."""
        ...


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
    weights are those of ``python -m vae_exp``.
    """
    objective = objective or ELBO()
    steps = epochs * math.ceil(len(x) / batch_size)
    descent, schedule = (optimizer or Adam(1e-3)).build(model, steps)
    refuse_forgotten(model, descent)
    history, step = [], 0
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator(seed, "order", epoch))
        total = 0.0
        for batch in x[order].split(batch_size):
            noise = model.noise.draw(
                objective.samples, len(batch), generator=generator(seed, "train", step)
            )
            bound = objective(model, batch, noise).bound
            descent.zero_grad()
            bounds.loss(bound).backward()
            descent.step()
            if schedule is not None:
                schedule.step()
            total += bound.detach().sum().item()
            step += 1
        history.append(total / len(x))
        if after_epoch is not None:
            after_epoch(epoch + 1, history[-1])
    return history
