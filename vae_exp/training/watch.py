"""Notices, without waiting for the device, that a loss is not finite and what was large then."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vae_exp.errors import UserError
from vae_exp.models.vae import VAE

Range = tuple[Tensor, Tensor]  # the smallest and the largest


class Diverged(UserError):
    """Training came to numbers that are not finite."""


Seen = tuple[Tensor, Range, Range]  # the bounds [B] of a step, and where its outputs lie


class Watch:
    """Finds the first step whose loss is not finite, and how large the networks' outputs are in it.

    In a compiled step they are not seen. What a step came to stays where the model is; only
    ``check`` waits for the device.
    """

    def __init__(self, model: VAE, step: int):
        self._model = model
        self._step = step
        self._seen: list[Seen] = []
        self._last_finite: Seen | None = None
        nothing = torch.full((), math.nan, device=model.device)
        self._of_q = self._of_x = (nothing, nothing)
        self._hooks = [
            model.encoder.register_forward_hook(self._see_q),
            model.decoder.register_forward_hook(self._see_x),
        ]

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _see_q(self, encoder: nn.Module, inputs: Any, output: Tensor) -> None:
        if encoder.training and not torch.compiler.is_compiling():
            self._of_q = torch.aminmax(output.detach())

    def _see_x(self, decoder: nn.Module, inputs: Any, output: Tensor) -> None:
        if decoder.training and not torch.compiler.is_compiling():
            self._of_x = torch.aminmax(output.detach())

    def step(self, bound: Tensor) -> None:
        """Note a step by its bounds [B]."""
        self._seen.append((bound.detach(), self._of_q, self._of_x))

    def check(self, lr: float) -> None:
        """Raise Diverged if a loss or a weight is not finite; waits for the device."""
        if not self._seen:
            return
        finite = torch.stack([bound.sum() for bound, *_ in self._seen]).isfinite().tolist()
        bad = finite.index(False) if False in finite else len(finite) - 1
        before = self._seen[bad - 1] if bad else self._last_finite
        if not finite[bad]:
            what = "the loss is not finite"
        elif not torch.stack([p.isfinite().all() for p in self._model.parameters()]).all():
            what, before = "the weights come out not finite", self._seen[bad]
        else:
            self._step += len(finite)
            self._last_finite = self._seen[bad]
            self._seen = []
            return
        raise Diverged(
            f"training diverged: in step {self._step + bad} {what}, with "
            f"{_describe(self._seen[bad])}"
            + (f"; the last finite loss had {_describe(before)}" if before else "")
            + f"; the learning rate was {lr:.3g}: start a new run with a lower lr"
        )


def _describe(seen: Seen) -> str:
    _, of_q, of_x = seen
    largest = [max(abs(end.item()) for end in ends) for ends in (of_q, of_x)]
    return "outputs up to {:.3g} of the encoder and {:.3g} of the decoder".format(*largest)
