"""What every density here can do: score a value, make a sample from given noise, tell its mean."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """What one sample is made from: ``size`` independent standard Gaussian or uniform numbers."""

    kind: Literal["gaussian", "uniform"]
    size: int

    def draw(
        self,
        *leading: int,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Noise for ``leading`` samples: [*leading, size].

        The numbers are drawn on the generator's device, so a seed means the same everywhere.
        """
        draw = torch.randn if self.kind == "gaussian" else torch.rand
        place = device if generator is None else generator.device
        return draw(*leading, self.size, generator=generator, dtype=dtype, device=place).to(device)


class Distribution(ABC):
    """A batch of densities over vectors: leading axes are a batch, the last axis is one value."""

    symbol: ClassVar[str] = "p(z)"  # what a figure calls it

    if TYPE_CHECKING:  # at run time a dataclass could not have a field over this property

        @property
        def mean(self) -> Tensor:
            """The expectation: [.., N]."""

    @property
    @abstractmethod
    def noise(self) -> Noise:
        """What one sample is made from."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, or log mass, of a value: [.., N] -> [..] in nats."""

    @abstractmethod
    def sample(self, noise: Tensor) -> Tensor:
        """A sample as a function of noise: [.., noise.size] -> [.., N]."""

    def log_tail(self, half_side: float) -> Tensor | None:
        """An upper bound on the log mass outside the box |z_i| ≤ half_side: [..] in nats, float64.

        None if no bound is known.
        """
        return None


class Posterior(Distribution):
    """A q(z) over a batch of images that can be fitted: samples are differentiable in parameters.

    Its noise is Gaussian. Leading axes [..] are images [B], or any others such as [starts, B].
    """

    @abstractmethod
    def scale(self) -> Tensor:
        """A lower-triangular L with covariance L Lᵀ: [.., Z, Z]."""

    @abstractmethod
    def variational_parameters(self) -> list[Tensor]:
        """The tensors that a fit moves."""

    @abstractmethod
    def with_parameters(self, parameters: list[Tensor]) -> Self:
        """The same family at other parameters, in the order of ``variational_parameters``."""

    def entropy(self) -> Tensor | None:
        """−E_q log q in closed form: [..] in nats; None if this family has none."""
        return None

    def parts(self) -> "Sequence[Posterior]":
        """The q of equal weight that this q is a mixture of, each smooth in its noise: itself."""
        return [self]

    def near(self, gaussian: "Posterior") -> Self | None:
        """A q of this family near a diagonal Gaussian, to start a fit from; None if unknown."""
        return None

    def at(self, index: Any) -> Self:
        """The q of some images: ``index`` is applied to the leading axes."""
        return self.with_parameters([part[index] for part in self.variational_parameters()])

    @property
    def like(self) -> Tensor:
        """A tensor of the leading axes, the device and the precision of q: [.., any]."""
        return self.variational_parameters()[0]

    def draw_noise(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Noise for samples of every density: [S, .., N]."""
        like = self.like
        return self.noise.draw(
            samples, *like.shape[:-1], generator=generator, device=like.device, dtype=like.dtype
        )

    def draw(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """z ~ q: [S, .., Z]."""
        return self.sample(self.draw_noise(samples, generator))


class SampledMoments(Posterior):
    """A q whose mean and covariance have no closed form: they come from samples of it.

    The noise is the same for each density and comes in pairs ε, −ε.
    """

    MOMENTS = 2048  # samples
    ROWS = 1 << 18  # z at a time

    @property
    def mean(self) -> Tensor:
        """E_q z: [.., Z]."""
        total: Tensor = sum(z.sum(0) for z in self._samples())  # type: ignore[assignment]
        return total / self.MOMENTS

    def scale(self) -> Tensor:
        """A lower-triangular L with covariance L Lᵀ: [.., Z, Z]."""
        mean = self.mean
        total: Tensor = sum(  # type: ignore[assignment]
            torch.einsum("s...i,s...j->...ij", z - mean, z - mean) for z in self._samples()
        )
        scale: Tensor = torch.linalg.cholesky(total / self.MOMENTS)
        return scale

    def _samples(self) -> Iterator[Tensor]:
        like, size = self.like, self.noise.size
        draws = torch.Generator().manual_seed(0)
        half = self.noise.draw(
            self.MOMENTS // 2, generator=draws, device=like.device, dtype=like.dtype
        )
        lead = like.shape[:-1]
        noise = torch.cat([half, -half]).view(-1, *[1] * len(lead), size)
        for block in noise.split(max(1, self.ROWS // max(1, math.prod(lead)))):
            yield self.sample(block.expand(-1, *lead, size))


Q = TypeVar("Q", bound=Posterior)


def combined(combine: Callable[[list[Tensor]], Tensor], qs: Sequence[Q]) -> Q:
    """Several q of one family as one, such as by ``torch.cat`` or ``torch.stack``."""
    parts = zip(*(q.variational_parameters() for q in qs), strict=True)
    return qs[0].with_parameters([combine(list(part)) for part in parts])
