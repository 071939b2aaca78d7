"""The VAE: three distributions, the log densities that they make, and the bound that trains it."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vae_exp import memory
from vae_exp.errors import UserError, check_positive
from vae_exp.inference import bounds
from vae_exp.models.contracts import (
    SHAPE,
    DecoderNetwork,
    EncoderNetwork,
    Likelihood,
    PosteriorFamily,
    Prior,
    Shape,
    pixels_of,
)
from vae_exp.models.likelihoods import BernoulliLikelihood
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.networks.layers import RandomLayer, StepNoise
from vae_exp.models.posteriors import DiagonalGaussianFamily
from vae_exp.models.priors import StandardNormal
from vae_exp.probability.densities import factorized_gaussian_log_density
from vae_exp.probability.distributions import Distribution, Noise, Posterior
from vae_exp.probability.divergences import kl as closed_form_kl

DECODED = 1 << 26  # numbers that a decoder says at a time, if an estimate needs more
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
    """p(x, z) = p(z) p(x | z) with an approximate posterior q(z | x).

    Kingma & Welling 2014, arXiv:1312.6114. ``prior``, ``likelihood(z)`` and ``posterior(x)`` are
    distributions; without further parts they are those of the assignment: a standard normal,
    Bernoulli pixels and diagonal Gaussians. All densities take any leading axes: x [.., D] and
    z [.., Z] broadcast against each other; x is a flat image of ``shape``.
    """

    step_noise: StepNoise | None = None  # while a training step is made

    def __init__(
        self,
        latent_dim: int = 2,
        encoder: EncoderNetwork | None = None,
        decoder: DecoderNetwork | None = None,
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        posterior: PosteriorFamily | None = None,
        shape: Shape = SHAPE,
    ):
        super().__init__()
        check_positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        self.shape = tuple(shape)
        self.prior_family = prior or StandardNormal(latent_dim)
        self.likelihood_family = likelihood or BernoulliLikelihood()
        self.posterior_family = posterior or DiagonalGaussianFamily(latent_dim)
        for name, part in (("prior", self.prior_family), ("posterior", self.posterior_family)):
            if part.latent_dim != latent_dim:
                raise UserError(
                    f"model and {name} must agree on latent_dim, got {latent_dim} and "
                    f"{part.latent_dim}"
                )
        self.encoder = encoder or Encoder()
        self.decoder = decoder or Decoder()
        self._require_memory()
        self._connect(self.encoder, self.decoder)
        self.prior_family.connect(self.posterior, self.shape)

    @contextmanager
    def training_noise(self, noise: StepNoise) -> Iterator[None]:
        """While entered, dropout and the like draw from ``noise``; else they do nothing.

        A training step enters it. Whatever looks at a model does not, so it sees one function.
        """
        layers = [layer for layer in self.modules() if isinstance(layer, RandomLayer)]
        self.step_noise = noise
        for layer in layers:
            layer.noise = noise
        try:
            yield
        finally:
            self.step_noise = None
            for layer in layers:
                layer.noise = None

    def _connect(self, encoder: EncoderNetwork, decoder: DecoderNetwork) -> None:
        encoder.connect(self.shape, self.posterior_family.outputs)
        decoder.connect(self.latent_dim, self.shape, self.likelihood_family.outputs)

    def _require_memory(self) -> None:
        """Raise UserError if memory cannot hold the weights, which are made without values here."""
        networks = copy.deepcopy(self.encoder), copy.deepcopy(self.decoder)
        with torch.device("meta"):
            self._connect(*networks)
        sizes = {"latent_dim": self.latent_dim}
        for name, size in (item for network in networks for item in network.sizes.items()):
            sizes[name] = max(size, sizes.get(name, 0))
        memory.require(sum(memory.of_weights(network) for network in networks), sizes)

    @property
    def pixels(self) -> int:
        """The number of values of an image, D."""
        return pixels_of(self.shape)

    def pictures(self, x: Tensor) -> Tensor:
        """Flat images [.., D] in the shape that a figure draws: [.., H, W] or [.., H, W, 3]."""
        return x.reshape(*x.shape[:-1], *self.shape)

    @property
    def noise(self) -> Noise:
        """What one sample of q(z | x) is made from."""
        return self.posterior_family.noise

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return next(self.parameters()).dtype

    @property
    def prior(self) -> Distribution:
        """p(z)."""
        distribution: Distribution = self.prior_family()
        return distribution

    def likelihood(self, z: Tensor, pixels: Tensor | None = None) -> Distribution:
        """p(x | z) of whole images, or of the ``pixels`` [d] alone. z [.., Z]."""
        distribution: Distribution = self.likelihood_family(self.decoder(z, pixels))
        return distribution

    def posterior(self, x: Tensor) -> Posterior:
        """The encoder's q(z | x). x [B, D]."""
        distribution: Posterior = self.posterior_family(self.encoder(x))
        return distribution

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z). [.., Z] -> [..]."""
        return self.prior.log_prob(z)

    def log_likelihood(self, x: Tensor, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """log p(x | z) of whole images, or of the ``pixels`` [d] that x [.., d] shows. -> [..]."""
        return self.likelihood(z, pixels).log_prob(x)

    def joint_log_density(self, x: Tensor, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """log p(x, z) = log p(z) + log p(x | z). -> [..]."""
        return self.log_prior(z) + self.log_likelihood(x, z, pixels)

    def joint_log_density_table(self, x: Tensor, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """log p(x, z) of every image at every z: x [B, D], z [G, Z] -> [B, G]."""
        table = self.likelihood_family.table
        parts = [table(self.decoder(part, pixels), x) for part in z.split(self._at_a_time)]
        return self.log_prior(z) + torch.cat(parts, 1)

    def joint_ceiling(self, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """The most that log p(x, z) can be, whatever x of discrete pixels: [G, Z] -> [G]."""
        ceiling = self.likelihood_family.ceiling
        parts = [ceiling(self.decoder(part, pixels)) for part in z.split(self._at_a_time)]
        return self.log_prior(z) + torch.cat(parts)

    @property
    def _at_a_time(self) -> int:
        """How many z may be decoded together."""
        return max(1, DECODED // (self.likelihood_family.outputs * self.pixels))

    def log_likelihood_of_each(
        self, x: Tensor, pixels: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        """log p(x_b | z_sb) as a function of z [S, B, Z] -> [S, B], as fast as it can be had.

        For many z of each of the images x [B, D], or of the ``pixels`` [d] that x [B, d] shows.
        """

        def of_some(x: Tensor, z: Tensor) -> Tensor:
            rows = z.transpose(0, 1).reshape(-1, z.shape[-1])
            parameters = self.decoder(rows, pixels).view(len(x), len(z), -1)  # [B, S, ..]
            return self.likelihood_family.each(parameters, x).T

        def log_likelihood(z: Tensor) -> Tensor:
            images = max(1, self._at_a_time // len(z))
            parts = zip(x.split(images), z.split(images, 1), strict=True)
            return torch.cat([of_some(*part) for part in parts], 1)

        return log_likelihood

    def log_joint_of_each(
        self, x: Tensor, pixels: Tensor | None = None
    ) -> Callable[[Tensor], Tensor]:
        """log p(x_b, z_sb) as a function of z [S, B, Z] -> [S, B], as fast as it can be had."""
        log_likelihood = self.log_likelihood_of_each(x, pixels)
        return lambda z: self.log_prior(z) + log_likelihood(z)

    def log_likelihood_top_half(self, x_top: Tensor, z: Tensor) -> Tensor:
        """log p(top half of x | z) from the top's parameters alone. x_top [.., D / 2]."""
        return self.log_likelihood(x_top, z, self.top_pixels())

    def joint_log_density_top_half(self, x_top: Tensor, z: Tensor) -> Tensor:
        """log p(top half of x, z), for one z or an array of them. x_top [.., D / 2] -> [..]."""
        return self.joint_log_density(x_top, z, self.top_pixels())

    def top_pixels(self) -> Tensor:
        """The indices of the upper half of the rows: [D / 2]."""
        return top_pixels(self.shape, self.device)

    def log_q(self, mean: Tensor, log_std: Tensor, z: Tensor) -> Tensor:
        """log q(z) for the encoder's output. [.., Z] -> [..]."""
        return factorized_gaussian_log_density(mean, log_std, z)

    def checked(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images [B, D], or of the model's shape [B, H, W], as [B, D] in the model's own type.

        Looks at shapes and types alone, which costs a training step nothing. Raises UserError if
        x is no such batch, or if ``noise`` is not [S, B, N].
        """
        if not isinstance(x, Tensor) or x.is_complex():
            raise UserError(f"x must be a tensor of 0 and 1, got {getattr(x, 'dtype', type(x))}")
        shaped = len(self.shape) > 1 and tuple(x.shape[1:]) == self.shape
        flat = x.flatten(1) if shaped else x
        if flat.dim() != 2 or not len(flat) or flat.shape[1] != self.pixels:
            raise UserError(f"x must be a batch [B, {self.pixels}], {_got(x, self.shape)}")
        batch, size = len(flat), self.noise.size
        if noise is not None and (noise.dim() != 3 or noise.shape[1:] != (batch, size)):
            raise UserError(f"noise must be [S, {batch}, {size}], got {list(noise.shape)}")
        return flat.to(self.dtype)

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """log p(x, z_s) − log q(z_s | x) at z_s made from noise ε_s.

        x [B, D], noise [S, B, N] -> [S, B] in nats. Raises UserError for other shapes.
        """
        x = self.checked(x, noise)
        q = self.posterior(x)
        z = q.sample(noise)
        return self.joint_log_density(x, z) - q.log_prob(z)

    def elbo_terms(self, x: Tensor, noise: Tensor, kl: KL = "closed_form") -> Terms:
        """The ELBO of each image, estimated without bias from noise [S, B, N], and its two terms.

        ELBO = E_q log p(x | z) − KL(q(z | x) ‖ p(z)). The KL is in closed form if this pair of q
        and prior has one and ``kl`` asks for it, and else the mean of log q(z | x) − log p(z) over
        the same samples. Raises UserError for other shapes than these, or x [B, H, W].
        """
        x = self.checked(x, noise)
        return self.elbo_terms_of(self.posterior(x), x, noise, kl)

    def elbo_terms_of(
        self, q: Posterior, x: Tensor, noise: Tensor, kl: KL = "closed_form"
    ) -> Terms:
        """The same of any q over the images x [B, D], from noise [S, B, N]."""
        prior = self.prior
        z = q.sample(noise)
        log_p_x_given_z = self.log_likelihood(x, z).mean(0)
        kl_q_p = closed_form_kl(q, prior) if kl == "closed_form" else None
        if kl_q_p is None:
            kl_q_p = (q.log_prob(z) - prior.log_prob(z)).mean(0)
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

        x [B, D] or [B, H, W], of values that the likelihood takes. ``noise`` is ε, [B, N] or
        [S, B, N]; without it one ε an image comes from ``generator``. Raises UserError for
        anything else.
        """
        x = self.checked(x)
        self.likelihood_family.check_values(x)
        if noise is None:
            noise = self.noise.draw(1, len(x), generator=generator, device=x.device, dtype=x.dtype)
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


def _got(x: Tensor, shape: Shape) -> str:
    """What a batch of images is not, and what makes one of it."""
    got, count, pixels = list(x.shape), x.numel(), pixels_of(shape)
    if x.dim() == 2 and got[0] == pixels:
        return f"got {got}: give x.T, an image a row"
    if count == pixels:
        return f"got {got}: give x.reshape(1, {pixels}), a batch of one image"
    if count and count % pixels == 0 and got[-1] in (pixels, shape[-1]):
        return f"got {got}: give x.reshape(-1, {pixels})"
    return f"got {got}"


def top_pixels(shape: Shape = SHAPE, device: torch.device | str = "cpu") -> Tensor:
    """The indices of the upper half of the rows of a row-major image: [D / 2]."""
    return torch.arange(shape[0] // 2 * math.prod(shape[1:]), device=device)


def top_half(x: Tensor, shape: Shape = SHAPE) -> Tensor:
    """The upper half of the rows: flat [.., D] -> [.., D / 2], or [.., H, W] -> [.., H / 2, W]."""
    pixels, rows = pixels_of(shape), shape[0] // 2
    if x.shape[-1] == pixels:
        return x[..., : rows * pixels // shape[0]]
    if x.shape[-len(shape) :] == tuple(shape):
        return x.narrow(x.dim() - len(shape), 0, rows)
    wanted = ", ".join(map(str, shape))
    raise UserError(f"top_half takes images [.., {pixels}] or [.., {wanted}], got {list(x.shape)}")
