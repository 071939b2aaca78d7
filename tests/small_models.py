"""Models of a few weights, whose decoders are steep enough for posteriors that are no Gaussians."""

from typing import Any

import torch
from torch import Tensor

from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE

SHAPE = (4, 3)


def small(latent_dim: int = 2, *, seed: int = 0, **parts: Any) -> VAE:
    """Five hidden units, images of 4 × 3 pixels."""
    torch.manual_seed(seed)
    model = VAE(latent_dim, Encoder((5,)), Decoder((5,)), shape=SHAPE, **parts)
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(3)
    return model


def binary_images(count: int) -> Tensor:
    """Images [count, 12] with four pixels in ten set."""
    return (torch.rand(count, 12, generator=torch.Generator().manual_seed(1)) < 0.4).float()
