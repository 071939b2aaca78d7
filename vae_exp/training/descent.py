"""One step of descent: the gradients, their limit, the optimiser's step and the schedule's."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.profilers import PassThroughProfiler
from torch import Tensor

from vae_exp.training.fitting import Clip

# Of a callback that wants to know what happens within a step.
WITHIN = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")


class Descent:
    """Steps through Lightning, which tells its callbacks, strategy and profiler of each of them."""

    def __init__(self, module: pl.LightningModule, clip: Clip | None = None):
        self._module = module
        self._clip = clip
        self._optimizer: Any = module.optimizers()
        self._schedule: Any = module.lr_schedulers()

    def step(self, loss: Tensor) -> None:
        """Lower a loss once."""
        self._optimizer.zero_grad()
        self._module.manual_backward(loss)
        if self._clip is not None:
            self._clip(self._optimizer)
        self._optimizer.step()
        if self._schedule is not None:
            self._schedule.step()


class QuickDescent(Descent):
    """The same steps, if there is nobody to tell: 0.3 ms less each (docs/performance.md)."""

    def __init__(self, module: pl.LightningModule, clip: Clip | None = None):
        super().__init__(module, clip)
        self._optimizer = module.optimizers(use_pl_optimizer=False)
        self._counted = module.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress

    def step(self, loss: Tensor) -> None:
        """Lower a loss once; Lightning takes its count of steps from ``optim_step_progress``."""
        self._counted.increment_ready()
        self._optimizer.zero_grad()
        loss.backward()
        if self._clip is not None:
            self._clip(self._optimizer)
        self._optimizer.step()
        self._counted.increment_completed()
        if self._schedule is not None:
            self._schedule.step()


def descent_of(module: pl.LightningModule, clip: Clip | None) -> Descent:
    """What makes the steps of a module whose Trainer is about to train."""
    trainer = module.trainer
    told = any(
        getattr(type(callback), hook, None) is not getattr(pl.Callback, hook)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        for hook in WITHIN
    )
    profiled = not isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
    quick = trainer.world_size == 1 and trainer.scaler is None and not told and not profiled
    return (QuickDescent if quick else Descent)(module, clip)
