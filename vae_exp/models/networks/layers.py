"""What networks are made of: activations, and layers that are random in a training step alone."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vae_exp.errors import UserError
from vae_exp.probability.distributions import Noise
from vae_exp.probability.streams import generator

Activation = Literal["tanh", "relu", "gelu", "softplus"]


class _FastTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        y = torch.mul(a, 2).sigmoid_().mul_(2).sub_(1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        # g (1 − y²)
        return torch.ops.aten.tanh_backward(gradients[0], y)  # type: ignore[no-any-return]


class Tanh(nn.Module):
    """tanh(a) = 2 σ(2a) − 1: on a processor torch's σ is three times as fast as its tanh."""

    def forward(self, a: Tensor) -> Tensor:
        """a [..] -> [..], right to 2e-7 in single precision."""
        return _FastTanh.apply(a) if a.device.type == "cpu" else torch.tanh(a)  # type: ignore


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
}


class StepNoise:
    """The random numbers of one training step but for those of z: a function of (seed, step) alone.

    If several processes share a batch, each draws the numbers of all ``batch`` images and takes
    those of its own ``rows``: the processes see together what one process would see alone.
    """

    def __init__(self, seed: int, step: int, batch: int | None = None, rows: slice = slice(None)):
        self._stream = (seed, "networks", step)
        self._batch = batch
        self._rows = rows
        self._generator: torch.Generator | None = None

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers from [0, 1) for a tensor whose last but one axis is the batch: [.., B, N].

        For a tensor with other axes they are drawn as it is, in every process alike.
        """
        shape = list(like.shape)
        shared = self._batch is not None and len(shape) > 1 and shape[-2] == self._own
        if shared:
            shape[-2] = self._batch or 0
        draws = torch.rand(
            shape, generator=self._from(like.device), device=like.device, dtype=torch.float32
        )
        return draws[..., self._rows, :] if shared else draws

    def draw(self, noise: Noise, count: int, device: torch.device) -> Tensor:
        """What samples are made from, one for each of the ``count`` images of a batch: [B, N]."""
        shared = self._batch is not None and count == self._own
        images = (self._batch or 0) if shared else count
        draws = noise.draw(images, generator=self._from(device), device=device)
        return draws[self._rows] if shared else draws

    @property
    def _own(self) -> int:
        """The images of the batch that are this process's."""
        return len(range(self._batch or 0)[self._rows])

    def _from(self, device: torch.device) -> torch.Generator:
        """The one stream of the step, on the device that asks first."""
        if self._generator is None:
            self._generator = generator(*self._stream, device=device)
        return self._generator


class RandomLayer(nn.Module, ABC):
    """A layer that changes its input at random while ``noise`` is set, and else passes it on.

    `VAE.training_noise` sets it, so a network is a function but for its training steps.
    """

    noise: StepNoise | None = None

    def __init__(self, key: str, rate: float):
        super().__init__()
        if not 0 <= rate < 1:
            raise UserError(f"{key} must be from 0 to below 1, got {rate}")
        self.rate = rate

    def forward(self, a: Tensor) -> Tensor:
        """a [.., B, N] -> [.., B, N]."""
        if self.noise is None or not self.rate:
            return a
        return self.changed(a, self.noise.uniform(a) < self.rate)

    @abstractmethod
    def changed(self, a: Tensor, chosen: Tensor) -> Tensor:
        """The input with the ``chosen`` numbers changed; a and chosen [.., B, N]."""


class Dropout(RandomLayer):
    """Sets a share ``rate`` of all numbers to 0 and divides the others by 1 − rate.

    Srivastava et al. 2014, jmlr.org/papers/v15/srivastava14a.html.
    """

    def __init__(self, rate: float):
        super().__init__("dropout", rate)

    def changed(self, a: Tensor, chosen: Tensor) -> Tensor:
        """0 if chosen, else a / (1 − rate)."""
        return a * ((~chosen).to(a.dtype) / (1 - self.rate))


class InputNoise(RandomLayer):
    """Replaces a share ``rate`` of all pixels x by 1 − x: black and white change places.

    Of a binary image each pixel is flipped with probability ``rate``. Of a grey one, whose values
    lie between 0 and 1, a pixel that is chosen becomes its negative.
    """

    def __init__(self, rate: float):
        super().__init__("input_noise", rate)

    def changed(self, a: Tensor, chosen: Tensor) -> Tensor:
        """1 − x if chosen, else x."""
        return torch.where(chosen, 1 - a, a)


def units(activation: Activation, dropout: float = 0.0) -> nn.Sequential:
    """What follows a linear layer: the activation and dropout. It has no weights.

    Raises UserError for another activation or rate.
    """
    if activation not in ACTIVATIONS:
        raise UserError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    return nn.Sequential(ACTIVATIONS[activation](), Dropout(dropout))
