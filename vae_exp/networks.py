"""Encoder and decoder networks: tensors to parameters of densities, no probability in here."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae_exp import memory
from vae_exp.errors import UserError

PIXELS = 784


def check_positive(name: str, value: int) -> None:
    """Refuse anything but a positive integer, naming the argument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{name} must be a positive integer, got {value!r}")


def check_sizes(latent_dim: int, hidden: Sequence[int], widths: Sequence[int]) -> None:
    """Refuse sizes that are no positive integers, or layers whose weights memory cannot hold."""
    check_positive("latent_dim", latent_dim)
    for width in hidden:
        check_positive("hidden", width)
    weights = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))
    sizes = {"latent_dim": latent_dim, "hidden": max(hidden, default=0)}
    memory.require(weights * torch.get_default_dtype().itemsize, sizes)


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


def tanh_mlp(inputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """Fully connected tanh layers of the given widths."""
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), Tanh()]
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """x -> mean and log_std of a Gaussian over z: tanh layers, then one linear layer for both."""

    def __init__(self, latent_dim: int, hidden: Sequence[int] = (500,), pixels: int = PIXELS):
        super().__init__()
        check_sizes(latent_dim, hidden, [pixels, *hidden, 2 * latent_dim])
        self.latent_dim = latent_dim
        self.features = tanh_mlp(pixels, hidden)
        self.parameters_of_q = nn.Linear([pixels, *hidden][-1], 2 * latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [.., D] -> mean [.., Z], log_std [.., Z]."""
        mean, log_std = self.parameters_of_q(self.features(x)).chunk(2, dim=-1)
        return mean, log_std


class Decoder(nn.Module):
    """z -> the logits of the pixels: tanh layers, then one linear layer."""

    def __init__(self, latent_dim: int, hidden: Sequence[int] = (500,), pixels: int = PIXELS):
        super().__init__()
        check_sizes(latent_dim, hidden, [latent_dim, *hidden, pixels])
        self.latent_dim = latent_dim
        self.hidden = tuple(hidden)
        self.features = tanh_mlp(latent_dim, hidden)
        self.logits = nn.Linear([latent_dim, *hidden][-1], pixels)

    def forward(self, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """z [.., Z] -> logits [.., D], or only those of the ``pixels`` [d] asked for: [.., d]."""
        weight: Tensor = self.logits.weight
        bias: Tensor = self.logits.bias
        if pixels is not None:
            weight, bias = weight[pixels], bias[pixels]
        return F.linear(self.features(z), weight, bias)
