"""Notices, without waiting for the device, that a loss is not finite and what was large then."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vae_exp.errors import UserError
from vae_exp.model import VAE


class Diverged(UserError):
    """Training came to numbers that are not finite."""


class Watch:
    """Finds the first step whose loss is not finite, and the largest |log_std| and |logit| in it.

    A few scalars are kept where the model is, those of the step before too; only ``check`` waits
    for the device.
    """

    def __init__(self, model: VAE, step: int):
        self._model = model
        self._start = step
        self._steps = 0
        self._finite_steps = torch.zeros((), dtype=torch.int64, device=model.device)
        self._finite = torch.ones((), dtype=torch.bool, device=model.device)
        self._largest = self._largest_before = torch.full((2,), math.nan, device=model.device)
        self._log_std = self._logit = torch.zeros((), device=model.device)
        self._hooks = [
            model.encoder.register_forward_hook(self._see_q),
            model.decoder.register_forward_hook(self._see_logits),
        ]

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _see_q(self, encoder: nn.Module, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        if encoder.training:
            self._log_std = output[1].detach().abs().amax()

    def _see_logits(self, decoder: nn.Module, inputs: Any, output: Tensor) -> None:
        if decoder.training:
            self._logit = output.detach().abs().amax()

    def step(self, total: Tensor) -> None:
        """Note a step by a running sum of losses, which a bad one spoils for good."""
        finite, now = total.isfinite(), torch.stack([self._log_std, self._logit])
        self._largest = torch.where(self._finite, now, self._largest)
        self._largest_before = torch.where(finite, now, self._largest_before)
        self._finite_steps += finite
        self._finite = finite
        self._steps += 1

    def check(self, lr: float) -> None:
        """Raise Diverged where a loss or a weight is not finite; waits for the device."""
        finite_steps = int(self._finite_steps)
        if finite_steps < self._steps:
            step, what = self._start + finite_steps, "the loss is not finite"
        elif not torch.stack([p.isfinite().all() for p in self._model.parameters()]).all():
            step, what = self._start + self._steps - 1, "the weights come out not finite"
        else:
            return
        raise Diverged(
            f"training diverged: in step {step} {what}, with {_describe(self._largest)}; "
            f"the last finite loss had {_describe(self._largest_before)}; "
            f"lower lr, which was {lr:.3g}"
        )


def _describe(largest: Tensor) -> str:
    log_std, logit = largest.tolist()
    return f"max |log_std| {log_std:.3g} and max |logit| {logit:.3g}"
