"""Optimisers with their learning-rate schedules, built once the number of steps is known."""

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from vae_exp.errors import UserError, first_line
from vae_exp.models.vae import VAE
from vae_exp.ranges import Fraction, NonNegativeNumber, PositiveNumber

# As schedules of torch name their number of steps.
LENGTHS = ("T_max", "total_iters", "total_steps")


def check_lr(lr: float) -> None:
    """Refuse a step size that is not positive and finite."""
    if not 0 < lr < float("inf"):
        raise UserError(f"lr must be a positive number, got {lr}")


def of_encoder(name: str) -> bool:
    """Whether a parameter of a VAE belongs to its encoder, by its name."""
    return name.startswith("encoder.")


def refuse_forgotten(model: VAE, optimizer: torch.optim.Optimizer) -> None:
    """Raise UserError, naming it, if an optimiser has a parameter of a model not once."""
    times = Counter(id(p) for group in optimizer.param_groups for p in group["params"])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and times[id(parameter)] != 1:
            raise UserError(
                f"the optimiser must have every parameter of the model once, it has {name} "
                f"{times[id(parameter)]} times"
            )


class Adam:
    """Adam at a constant step size (Kingma & Ba 2015, arXiv:1412.6980)."""

    def __init__(self, lr: PositiveNumber = 1e-3):
        check_lr(lr)
        self.lr = lr

    def build(self, model: VAE, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """The optimiser, and no schedule."""
        return torch.optim.Adam(model.parameters(), lr=self.lr, fused=True), None


class AdamOneCycle:
    """AdamW whose step size rises to ``lr`` over the share ``warmup`` of the steps, then falls.

    Smith & Topin 2018, arXiv:1708.07120; both ways along a cosine. Only the encoder's weights
    decay (Loshchilov & Hutter 2019, arXiv:1711.05101): the decoder has no room to overfit through
    so few latent dimensions, while the encoder learns the training images by heart. ``beta2`` is
    the share that the mean square of a gradient keeps at each step.
    """

    def __init__(
        self,
        lr: PositiveNumber = 1e-2,
        warmup: Fraction = 0.3,
        encoder_weight_decay: NonNegativeNumber = 1.0,
        beta2: Fraction = 0.999,
    ):
        check_lr(lr)
        if not 0 < beta2 < 1:
            raise UserError(f"optimizer.beta2 must be between 0 and 1, got {beta2}")
        if not 0 < warmup < 1:
            raise UserError(f"optimizer.warmup must be between 0 and 1, got {warmup}")
        if not 0 <= encoder_weight_decay < float("inf"):
            raise UserError(
                "optimizer.encoder_weight_decay must be 0 or a positive number, got "
                f"{encoder_weight_decay}"
            )
        self.lr = lr
        self.warmup = warmup
        self.encoder_weight_decay = encoder_weight_decay
        self.beta2 = beta2

    def build(self, model: VAE, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """The optimiser and the schedule of a run of ``steps`` steps."""
        groups: list[dict[str, Any]] = [
            {"params": list(model.encoder.parameters()), "weight_decay": self.encoder_weight_decay},
            {"params": [p for name, p in model.named_parameters() if not of_encoder(name)]},
        ]
        optimizer = torch.optim.AdamW(
            groups, lr=self.lr, betas=(0.9, self.beta2), weight_decay=0.0, fused=True
        )
        # OneCycleLR divides by the length of each phase, so a run of a step or two has none.
        if steps * self.warmup <= 1 or steps * (1 - self.warmup) <= 1:
            return optimizer, None
        return optimizer, OneCycleLR(
            optimizer, self.lr, total_steps=steps, pct_start=self.warmup, cycle_momentum=False
        )


class Scheduled:
    """Any optimiser of ``torch.optim`` over all weights, and a schedule that each step moves on.

    optimizer, schedule: what makes them, from the weights and from the optimiser. A schedule is of
    ``torch.optim.lr_scheduler``; if its length is not given, it is that of the run in steps.
    Raises UserError if they cannot be had together, or not be moved on step by step.
    """

    def __init__(
        self,
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[..., LRScheduler] | None = None,
    ):
        self.optimizer = optimizer
        self.schedule = schedule
        tried, followed = self._made([torch.nn.Parameter(torch.zeros(1, 1))], 2)
        closure = inspect.signature(type(tried).step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise UserError(
                f"optimizer: {type(tried).__name__} asks for the loss several times a step, which "
                "training here does not: take another"
            )
        if isinstance(followed, ReduceLROnPlateau):
            raise UserError(
                "optimizer.schedule: ReduceLROnPlateau follows a number that is not known at each "
                "step: take a schedule of steps"
            )

    def build(self, model: VAE, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """Both, for a run of ``steps`` steps."""
        return self._made(list(model.parameters()), steps)

    def _made(
        self, weights: list[torch.nn.Parameter], steps: int
    ) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        try:
            optimizer = self.optimizer(weights)
            if self.schedule is None:
                return optimizer, None
            return optimizer, self.schedule(optimizer, **self._length(steps))
        except (TypeError, ValueError) as error:
            raise UserError(f"optimizer: {first_line(error)}") from error

    def _length(self, steps: int) -> dict[str, int]:
        assert self.schedule is not None
        parameters = inspect.signature(self.schedule).parameters
        given = getattr(self.schedule, "keywords", {})
        return {name: steps for name in LENGTHS if name in parameters and given.get(name) is None}
