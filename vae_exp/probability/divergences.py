"""KL divergences in closed form, for the pairs of distributions that have one."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vae_exp.probability.densities import gaussian_kl_to_standard
from vae_exp.probability.distributions import Distribution
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian, StandardGaussian

ClosedForm = Callable[[Any, Any], Tensor]  # q over images [B], p -> KL(q ‖ p) [B] in nats
_CLOSED_FORMS: dict[tuple[type, type], ClosedForm] = {}


def kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q ‖ p) in closed form: [B] in nats; None if this pair has no closed form."""
    closed_form = _CLOSED_FORMS.get((type(q), type(p)))
    return None if closed_form is None else closed_form(q, p)


def kl_per_dimension(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q_j ‖ p_j): [B, Z] in nats, whose sum over Z is the KL(q ‖ p) of ``kl``.

    None if q or p does not factorise over dimensions, since no such sum is the whole.
    """
    if isinstance(q, DiagonalGaussian) and isinstance(p, StandardGaussian):
        return gaussian_kl_to_standard(q.mean, q.log_std)
    return None


def closed_form(q_type: type, p_type: type) -> Callable[[ClosedForm], ClosedForm]:
    """Register a function as KL(q ‖ p) for a pair of classes."""

    def register(function: ClosedForm) -> ClosedForm:
        _CLOSED_FORMS[q_type, p_type] = function
        return function

    return register


@closed_form(DiagonalGaussian, StandardGaussian)
def diagonal_to_standard(q: DiagonalGaussian, p: StandardGaussian) -> Tensor:
    """Σ_i ½ (mean_i² + σ_i² − 1) − log σ_i (Kingma & Welling 2014, app. B, arXiv:1312.6114)."""
    return gaussian_kl_to_standard(q.mean, q.log_std).sum(-1)


@closed_form(FullGaussian, StandardGaussian)
def full_to_standard(q: FullGaussian, p: StandardGaussian) -> Tensor:
    """½ (‖L‖² + ‖mean‖² − Z) − Σ_i log L_ii."""
    square = q.scale().square().sum((-2, -1)) + q.mean.square().sum(-1)
    return 0.5 * (square - q.mean.shape[-1]) - q.log_std.sum(-1)
