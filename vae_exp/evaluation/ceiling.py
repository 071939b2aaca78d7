"""How far a VAE's ELBO lies below what a decoder of its kind can reach, and what that is made of.

log p*(x) − ELBO = [log p*(x) − log p(x)] + [log p(x) − ELBO(best q of the family)] + amortisation

p* is a model that was trained on the exact marginal likelihood, p the VAE's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from vae_exp.evaluation.evidence import evidence
from vae_exp.evaluation.gap import inference_gap
from vae_exp.inference.progress import Progress
from vae_exp.models.vae import VAE

PARTS = ("decoder", "family", "amortisation")
LEVELS = ("ceiling", "log_p_x", "best_q", "elbo")  # from above; a part lies between two of them


@dataclass(frozen=True)
class Decomposition:
    """The LEVELS of some images, [B] each, in nats, float64.

    ``error`` is the largest error of a log p(x), and ``missed`` counts those not converged.
    """

    ceiling: Tensor  # log p*(x)
    log_p_x: Tensor
    best_q: Tensor  # ELBO of the best q of the encoder's family
    elbo: Tensor  # of the encoder's q
    error: float
    missed: int

    def levels(self) -> dict[str, Tensor]:
        """From above to below, in the order of LEVELS."""
        return {name: getattr(self, name) for name in LEVELS}

    def parts(self) -> dict[str, Tensor]:
        """What lies between two levels, in the order of PARTS: they sum to ceiling − elbo."""
        levels = list(self.levels().values())
        return {
            name: above - below
            for name, above, below in zip(PARTS, levels[:-1], levels[1:], strict=True)
        }


def ceiling(
    exactly_trained: VAE,
    model: VAE,
    x: Tensor,
    *,
    seed: int = 0,
    stage: Callable[[str], Progress] | None = None,
) -> Decomposition:
    """The levels of images x [B, D]; ``stage`` makes what is told how far each computation is."""

    def told(name: str) -> Progress | None:
        return None if stage is None else stage(name)

    above = evidence(exactly_trained, x, seed=seed, progress=told("log p(x), exactly trained"))
    below = evidence(model, x, seed=seed, progress=told("log p(x), the VAE's decoder"))
    gap = inference_gap(model, x, seed=seed, progress=told("best q"))
    return Decomposition(
        above.log_p_x.double(),
        below.log_p_x.double(),
        gap.own.elbo.double(),
        gap.elbo_encoder.double(),
        max(above.error.max().item(), below.error.max().item()),
        int((~above.converged).sum() + (~below.converged).sum()),
    )
