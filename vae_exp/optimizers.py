"""Optimisers with their learning-rate schedules, built once the number of steps is known."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from vae_exp.errors import UserError


def check_lr(lr: float) -> None:
    """Refuse a step size that is not positive and finite."""
    if not 0 < lr < float("inf"):
        raise UserError(f"lr must be a positive number, got {lr}")


class Adam:
    """Adam at a constant step size (Kingma & Ba 2015, arXiv:1412.6980)."""

    def __init__(self, lr: float = 1e-3):
        check_lr(lr)
        self.lr = lr

    def build(
        self, parameters: Iterable[nn.Parameter], steps: int
    ) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """The optimiser, and no schedule."""
        return torch.optim.Adam(parameters, lr=self.lr, fused=True), None


class AdamOneCycle:
    """Adam whose step size rises to ``lr`` over the share ``warmup`` of the steps, then falls.

    Smith & Topin 2018, arXiv:1708.07120; both ways along a cosine.
    """

    def __init__(self, lr: float = 3e-3, warmup: float = 0.3):
        check_lr(lr)
        if not 0 < warmup < 1:
            raise UserError(f"optimizer.warmup must be between 0 and 1, got {warmup}")
        self.lr = lr
        self.warmup = warmup

    def build(
        self, parameters: Iterable[nn.Parameter], steps: int
    ) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
        """The optimiser and the schedule of a run of ``steps`` steps."""
        optimizer = torch.optim.Adam(parameters, lr=self.lr, fused=True)
        # OneCycleLR divides by the length of each phase, so a run of a step or two has none.
        if steps * self.warmup <= 1 or steps * (1 - self.warmup) <= 1:
            return optimizer, None
        return optimizer, OneCycleLR(
            optimizer, self.lr, total_steps=steps, pct_start=self.warmup, cycle_momentum=False
        )
