"""What each kind of part of a model must give; a part is one class in one module.

Prior, likelihood and posterior family are modules whose call returns a distribution. Networks make
the numbers that likelihood and family read; they learn their sizes when a model takes them in.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from vae_exp.probability.distributions import Distribution, Noise, Posterior

Shape = tuple[int, ...]  # of an image: (height, width) or (height, width, channels)
SHAPE: Shape = (28, 28)  # if none is given
NEGLIGIBLE_MASS = 1e-8  # of a prior outside its reach
FARTHEST = 64.0  # that a prior's reach is sought


class Network(nn.Module, ABC):
    """What an encoder and a decoder have in common."""

    @property
    def sizes(self) -> dict[str, int]:
        """What takes its memory, by the keywords of the constructor; a refusal names one."""
        return {}


class EncoderNetwork(Network):
    """An image to the parameters of q(z | x)."""

    @abstractmethod
    def connect(self, shape: Shape, outputs: int) -> None:
        """Make the layers for images of ``shape`` and this many outputs; called once."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Flat images x [.., D] -> [.., outputs]."""


class DecoderNetwork(Network):
    """A latent z to the parameters of p(x | z)."""

    @abstractmethod
    def connect(self, latent_dim: int, shape: Shape, outputs: int) -> None:
        """Make the layers for z of ``latent_dim`` and this many outputs a pixel; called once."""

    @abstractmethod
    def forward(self, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """z [.., Z] -> [.., outputs · D], output by output; of the ``pixels`` [d] asked for only.

        With two outputs a pixel the first D numbers are the first output of every pixel.
        """


class Prior(nn.Module, ABC):
    """p(z). Its call returns the distribution, whose samples have ``latent_dim`` coordinates."""

    latent_dim: int

    @abstractmethod
    def forward(self) -> Distribution:
        """p(z) at the present parameters."""

    def connect(self, posterior: Callable[[Tensor], Posterior], shape: Shape) -> None:
        """Take in a model's q(z | x), x [B, D], and the shape of its images; called once.

        A prior that keeps ``posterior`` has none of its weights: they are the model's.
        """

    def reach(self) -> float:
        """Half the side of a box about the origin outside which the mass is below 1e-8.

        The least multiple of ½ for which ``log_tail`` says so, 64 at most; 6 if it says nothing.
        """
        if self.log_tail(FARTHEST) is None:
            return 6.0
        return 0.5 * bisect_left(range(int(2 * FARTHEST)), True, key=self._is_all_within, lo=1)

    def _is_all_within(self, halves: int) -> bool:
        tail = self.log_tail(0.5 * halves)
        return tail is not None and tail < math.log(NEGLIGIBLE_MASS)

    @torch.no_grad()
    def log_tail(self, half_side: float) -> float | None:
        """An upper bound on the log mass outside a box about the origin, in nats; None if unknown.

        It is the distribution's. Exact evidence searches until this bound is negligible. If it is
        unknown, the search ends if a ring about the box looks empty, and a mode far out may be
        missed.
        """
        p_z: Distribution = self()
        tail = p_z.log_tail(half_side)
        return None if tail is None else float(tail)


class Likelihood(nn.Module, ABC):
    """p(x | z) as a function of what the decoder says of each pixel."""

    outputs = 1  # of the decoder for each pixel
    discrete = False  # whether p(x | z) is a mass, so that log p(x | z) is never above 0
    takes: Literal["binary", "grey", "any"] = "any"  # which images it has a mass or density of

    @abstractmethod
    def forward(self, parameters: Tensor) -> Distribution:
        """The decoder's numbers [.., outputs · D] -> p(x | z) over images [.., D]."""

    @property
    def scores(self) -> str:
        """What log p(x) is the log of: two runs are compared only if it is the same."""
        return "mass" if self.discrete else "density"

    @property
    def remark(self) -> str:
        """What a table or a caption says of log p(x) if it is not the log of a mass of images."""
        return "" if self.scores == "mass" else f"log p(x) is that of a {self.scores}"

    def check_values(self, x: Tensor) -> None:
        """Raise UserError if images hold values of which this likelihood says nothing."""

    def ceiling(self, parameters: Tensor) -> Tensor:
        """The most that log p(x | z) can be for any image, if ``discrete``: [G, ..] -> [G]."""
        return parameters.new_zeros(len(parameters))

    def table(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p of every image under every z: parameters [G, ..], x [B, D] -> [B, G] in nats."""
        return torch.stack([self(parameters).log_prob(image) for image in x])

    def each(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p of image b under each z of its own: parameters [B, S, ..], x [B, D] -> [B, S]."""
        p_x: Distribution = self(parameters)
        return p_x.log_prob(x[:, None])


class PosteriorFamily(nn.Module, ABC):
    """q(z | x) as a function of what the encoder says of an image."""

    latent_dim: int
    outputs: int  # of the encoder for an image

    @property
    def noise(self) -> Noise:
        """What one sample of z is made from; one Gaussian number a dimension if not said."""
        return Noise("gaussian", self.latent_dim)

    @abstractmethod
    def forward(self, parameters: Tensor) -> Posterior:
        """The encoder's numbers [.., outputs] -> q(z | x)."""


def pixels_of(shape: Shape) -> int:
    """The number of values D in an image of a shape."""
    return math.prod(shape)
