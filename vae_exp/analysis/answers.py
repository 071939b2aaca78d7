"""What the parts of `task=evaluate` came to, and which of them is taken for the truth."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vae_exp.analysis.bounds_shown import Truth
from vae_exp.evaluation.certificate import Bracket
from vae_exp.evaluation.estimates import estimate
from vae_exp.evaluation.gap import Gap
from vae_exp.inference.ais import Annealed
from vae_exp.inference.lattice import Integral
from vae_exp.inference.modes import AtModes

MOSTLY = 0.95  # of the images must be trusted if importance sampling is to be called the truth


@dataclass
class Answers:
    """What the parts came to; None is a part that was not asked for."""

    elbo: Tensor | None = None
    exact: Integral | None = None
    bracket: Bracket | None = None
    ladder: dict[int, Tensor] | None = None
    long: Tensor | None = None
    annealed: Annealed | None = None
    modes: AtModes | None = None
    simulated: tuple[Annealed, Annealed] | None = None  # lower and upper
    above: Annealed | None = None  # an upper bound of real images
    gap: Gap | None = None

    @property
    def truth(self) -> Truth | None:
        """The best of what was asked for."""
        if self.exact is not None:
            return Truth(self.exact.log_p_x, "exact")
        trusted = self.modes is not None and self.modes.trusted.double().mean() >= MOSTLY
        if self.modes is not None and (trusted or self.annealed is None):
            return Truth(self.modes.log_p_x, "modes")
        return None if self.annealed is None else Truth(self.annealed.log_p_x, "AIS")


def sandwich_in_words(numbers: dict[str, Any], found: Answers) -> str:
    """What AIS from both sides says; its numbers are put into ``numbers``."""
    assert found.simulated is not None
    lower, upper = (side.log_p_x for side in found.simulated)
    width = estimate(upper - lower, "paired")
    numbers["ais_sandwich"] = {
        "lower": estimate(lower, "AIS forward, simulated images").as_dict(),
        "upper": estimate(upper, "AIS reverse, simulated images").as_dict(),
        "width": width.as_dict(),
    }
    told = (
        f"AIS from both sides on {len(lower)} images simulated from the model: "
        f"{width.mean:.3f} ± {width.stderr:.3f} nats apart"
    )
    if found.above is None or found.modes is None:
        return told
    above = found.above.log_p_x
    trusted = found.modes.trusted[: len(above)]
    if not trusted.any():
        return f"{told}; no bound from above of test images, as no draws of z are trusted"
    more = estimate((above - found.modes.log_p_x[: len(above)])[trusted], "reverse AIS − modes")
    numbers["above_modes"] = more.as_dict()
    return (
        f"{told}; on {more.images} test images a bound from above lies {more.mean:.3f} ± "
        f"{more.stderr:.3f} above modes"
    )
