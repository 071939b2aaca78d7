"""Averaged weights: smoother than those of the last step, and often better."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from vae_exp.errors import Damaged
from vae_exp.models.vae import VAE


class Average:
    """The moving average a ← d a + (1 − d) w of a model's weights w after each step.

    d = min(``decay``, (1 + t) / (10 + t)) after step t, so that the first weights, which are
    random, are soon forgotten (Polyak & Juditsky 1992, doi:10.1137/0330046). The model has the
    weights of the last step while it trains, and the averaged ones while they are ``shown``.
    """

    def __init__(self, model: VAE, decay: float):
        self.decay = decay
        self._weights: dict[str, Tensor] = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        self._other = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def update(self, step: int) -> None:
        """Take in the weights after a step, the first of which is 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged, weights = list(self._other.values()), list(self._weights.values())
        with torch.no_grad():
            torch._foreach_lerp_(averaged, weights, 1 - decay)

    def swap(self) -> None:
        """Exchange the model's weights and the others."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                before = weight.clone()
                weight.copy_(self._other[name])
                self._other[name].copy_(before)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While entered, the model has the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @property
    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights by their names, while the model has the others."""
        return dict(self._other)

    @property
    def last(self) -> dict[str, Tensor]:
        """The weights of the last step by their names, while the model has them."""
        return {name: weight.detach() for name, weight in self._weights.items()}

    def go_on(self, last: Mapping[str, Tensor]) -> None:
        """Train on from the weights of the ``last`` step; the model has the averaged ones.

        Raises Damaged if they are no weights of this model.
        """
        for name, weight in self._weights.items():
            found = last.get(name)
            if not isinstance(found, Tensor) or found.shape != weight.shape:
                raise Damaged(f"the last weights of {name} are missing or have another shape")
            self._other[name] = found.to(weight.device, weight.dtype, copy=True)
        self.swap()
