"""log p(x), by the best method that a model allows: which one, and how well, is decided here."""

from dataclasses import dataclass

from torch import Tensor

from vae_exp.evaluation import ais, exact
from vae_exp.evaluation.estimates import estimate
from vae_exp.inference.progress import Progress
from vae_exp.models.vae import VAE

EXACT, ESTIMATED, AIS = "exact", "exact, error estimated", "AIS"
TRUSTED_ACCEPTANCE = 0.3  # of AIS transitions, below which chains hardly move


@dataclass(frozen=True)
class Evidence:
    """log p(x) of every image, its error in nats, and how both were found.

    For ``method`` EXACT the error is that of the integral. For ESTIMATED it is one over random
    shifts of the points. For "AIS" the value is a stochastic lower bound and the error one standard
    error of it over the chains.
    """

    log_p_x: Tensor  # [B] nats
    error: Tensor  # [B] nats
    converged: Tensor  # [B] whether the value can be used as log p(x)
    method: str

    def __str__(self) -> str:
        mean = estimate(self.log_p_x, self.method)
        found = f"log p(x) of {mean.images:,} images, {self.method}: mean {mean} nats, "
        found += f"errors of single images up to {self.error.max():.2g}"
        missing = int((~self.converged).sum())
        return found + (f", {missing:,} not converged" if missing else "")


def evidence(
    model: VAE,
    x: Tensor,
    *,
    tolerance: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evidence:
    """log p(x) of images x [B, D] or [B, H, W]: an integral if that can be done, else by AIS.

    Raises UserError for other shapes, or for values that the likelihood does not take.
    """
    x = model.checked(x)
    model.likelihood_family.check_values(x)
    if exact.is_exact(model):
        found = exact.evidence(model, x, tolerance=tolerance, progress=progress)
        method = ESTIMATED if found.estimated else EXACT
        return Evidence(found.log_p_x, found.error, found.converged, method)
    annealed = ais.evidence(model, x, seed=seed, progress=progress)
    converged = annealed.acceptance > TRUSTED_ACCEPTANCE
    return Evidence(annealed.log_p_x, annealed.error, converged, AIS)
