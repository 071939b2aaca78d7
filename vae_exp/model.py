"""The VAE: four log densities over images x and latents z, and the bound that trains it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vae_exp import bounds
from vae_exp.densities import (
    bernoulli_log_density,
    bernoulli_log_density_table,
    factorized_gaussian_log_density,
    standard_gaussian_log_density,
)
from vae_exp.errors import UserError
from vae_exp.networks import Decoder, Encoder
from vae_exp.posteriors import DiagonalGaussian

TOP_PIXELS = 392
KL = Literal["closed_form", "monte_carlo"]


@dataclass(frozen=True)
class Terms:
    """A bound and what it is made of, per image: [B] each, in nats."""

    bound: Tensor
    log_likelihood: Tensor
    kl: Tensor

    def detach(self) -> "Terms":
        """Without the graph that leads to them."""
        return Terms(self.bound.detach(), self.log_likelihood.detach(), self.kl.detach())

    @classmethod
    def joined(cls, parts: Sequence["Terms"]) -> "Terms":
        """Those of several batches as one."""
        return cls(
            torch.cat([part.bound for part in parts]),
            torch.cat([part.log_likelihood for part in parts]),
            torch.cat([part.kl for part in parts]),
        )


class VAE(nn.Module):
    """p(x, z) = N(z; 0, I) Π_i Bernoulli(x_i; decoder(z)_i) with q(z | x) = N(encoder(x)).

    Kingma & Welling 2014, arXiv:1312.6114. All densities take any leading axes: x [.., D] and
    z [.., Z] broadcast against each other.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder):
        super().__init__()
        if encoder.latent_dim != decoder.latent_dim:
            raise UserError(
                f"encoder and decoder must agree on latent_dim, got {encoder.latent_dim} and "
                f"{decoder.latent_dim}"
            )
        self.encoder = encoder
        self.decoder = decoder

    @property
    def latent_dim(self) -> int:
        """The number of latent dimensions, Z."""
        return self.decoder.latent_dim

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) = log N(z; 0, I). [.., Z] -> [..]."""
        return standard_gaussian_log_density(z)

    def log_likelihood(self, x: Tensor, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """log p(x | z) of whole images, or of the ``pixels`` [d] that x [.., d] shows. -> [..]."""
        return bernoulli_log_density(self.decoder(z, pixels), x)

    def joint_log_density(self, x: Tensor, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """log p(x, z) = log p(z) + log p(x | z). -> [..]."""
        return self.log_prior(z) + self.log_likelihood(x, z, pixels)

    def joint_log_density_table(self, x: Tensor, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """log p(x, z) of every image at every z: x [B, D], z [G, Z] -> [B, G]."""
        return self.log_prior(z) + bernoulli_log_density_table(self.decoder(z, pixels), x)

    def log_likelihood_top_half(self, x_top: Tensor, z: Tensor) -> Tensor:
        """log p(top half of x | z) from the top's Bernoulli parameters alone. x_top [.., 392]."""
        return self.log_likelihood(x_top, z, top_pixels(self.device))

    def joint_log_density_top_half(self, x_top: Tensor, z: Tensor) -> Tensor:
        """log p(top half of x, z), for one z or an array of them. x_top [.., 392] -> [..]."""
        return self.joint_log_density(x_top, z, top_pixels(self.device))

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """The encoder's q(z | x). x [B, D]."""
        return DiagonalGaussian(*self.encoder(x))

    def log_q(self, mean: Tensor, log_std: Tensor, z: Tensor) -> Tensor:
        """log q(z) for the encoder's output. [.., Z] -> [..]."""
        return factorized_gaussian_log_density(mean, log_std, z)

    def checked(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images [B, D], or squares of D pixels [B, 28, 28], as [B, D] in the model's own type.

        Looks at shapes and types alone, which costs a training step nothing. Raises UserError if
        x is no such batch, or if ``noise`` is not [S, B, Z].
        """
        weight = self.decoder.logits.weight
        pixels = len(weight)
        if not isinstance(x, Tensor) or x.is_complex():
            raise UserError(f"x must be a tensor of 0 and 1, got {getattr(x, 'dtype', type(x))}")
        square = x.dim() == 3 and x.shape[1] == x.shape[2]
        flat = x.flatten(1) if square else x
        if flat.dim() != 2 or not len(flat) or flat.shape[1] != pixels:
            raise UserError(f"x must be a batch [B, {pixels}], {_got(x, pixels)}")
        batch, dims = len(flat), self.latent_dim
        if noise is not None and (noise.dim() != 3 or noise.shape[1:] != (batch, dims)):
            raise UserError(f"noise must be [S, {batch}, {dims}], got {list(noise.shape)}")
        return flat.to(weight.dtype)

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """log p(x, z_s) − log q(z_s | x) at z_s = mean + σ ε_s.

        x [B, D], noise [S, B, Z] -> [S, B] in nats. Raises UserError for other shapes.
        """
        x = self.checked(x, noise)
        q = self.posterior(x)
        z = q.sample(noise)
        return self.joint_log_density(x, z) - q.log_density(z)

    def elbo_terms(self, x: Tensor, noise: Tensor, kl: KL = "closed_form") -> Terms:
        """The ELBO of each image, estimated without bias from noise [S, B, Z], and its two terms.

        ELBO = E_q log p(x | z) − KL(q(z | x) ‖ p(z)), the KL in closed form or as the mean of
        log q(z | x) − log p(z) over the same samples. Raises UserError for other shapes than these,
        or x [B, 28, 28].
        """
        x = self.checked(x, noise)
        q = self.posterior(x)
        z = q.sample(noise)
        log_p_x_given_z = self.log_likelihood(x, z).mean(0)
        if kl == "closed_form":
            kl_q_p = q.kl_to_prior()
        else:
            kl_q_p = (q.log_density(z) - self.log_prior(z)).mean(0)
        return Terms(log_p_x_given_z - kl_q_p, log_p_x_given_z, kl_q_p)

    def elbo(
        self,
        x: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        kl: KL = "closed_form",
    ) -> Tensor:
        """Unbiased estimate of the mean ELBO of a batch, one sample of z an image. Scalar.

        x [B, D] or [B, 28, 28], of 0 and 1 in any type. ``noise`` is ε, [B, Z] or [S, B, Z];
        without it one ε an image comes from ``generator``. Raises UserError for anything else.
        """
        x = self.checked(x)
        if not ((x == 0) | (x == 1)).all():
            raise UserError(
                f"x must hold 0 and 1 alone, got values from {x.min():.3g} to {x.max():.3g}: "
                "grey images have no Bernoulli log mass, binarise them"
            )
        if noise is None:
            noise = torch.randn(
                1, len(x), self.latent_dim, generator=generator, device=x.device, dtype=x.dtype
            )
        elif noise.dim() == 2:
            noise = noise[None]
        return self.elbo_terms(x, noise, kl).bound.mean()

    def loss(
        self,
        x: Tensor,
        *,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        kl: KL = "closed_form",
    ) -> Tensor:
        """−ELBO, the scalar that training minimises; takes what ``elbo`` takes."""
        return bounds.loss(self.elbo(x, noise=noise, generator=generator, kl=kl))


def _got(x: Tensor, pixels: int) -> str:
    """What a batch of images is not, and what makes one of it."""
    shape, count = list(x.shape), x.numel()
    if x.dim() == 2 and shape[0] == pixels:
        return f"got {shape}: give x.T, an image a row"
    if count == pixels:
        return f"got {shape}: give x.reshape(1, {pixels}), a batch of one image"
    if count and count % pixels == 0 and shape[-1] in (pixels, math.isqrt(pixels)):
        return f"got {shape}: give x.reshape(-1, {pixels})"
    return f"got {shape}"


def top_pixels(device: torch.device | str = "cpu") -> Tensor:
    """The indices of the first 14 rows of a row-major 28 x 28 image: [392]."""
    return torch.arange(TOP_PIXELS, device=device)


def top_half(x: Tensor) -> Tensor:
    """The upper 14 rows: flat [.., 784] -> [.., 392], or [.., 28, 28] -> [.., 14, 28]."""
    if x.shape[-1] == 2 * TOP_PIXELS:
        return x[..., :TOP_PIXELS]
    if x.shape[-2:] == (28, 28):
        return x[..., :14, :]
    raise UserError(f"top_half takes images [.., 784] or [.., 28, 28], got {list(x.shape)}")
