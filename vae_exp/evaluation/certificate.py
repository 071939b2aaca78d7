"""Two numbers that hold log p(x) between them for certain, by tiles over a line or a plane.

log p(x, z) is enclosed over each tile by a quadratic, whose integral is known between two bounds.
Tiles that leave most between them are cut, until the two numbers are close. What lies outside of
all tiles is at most the prior's tail, as p(x | z) ≤ 1 for pixels that are 0 or 1.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae_exp.errors import UserError
from vae_exp.evaluation.exact import has_grid
from vae_exp.inference.enclosures import Enclosure, Range, pairs, slope_and_bend_of_softplus
from vae_exp.inference.progress import Progress
from vae_exp.inference.tiles import grid
from vae_exp.models.likelihoods import BernoulliLikelihood
from vae_exp.models.networks import Decoder, Tanh
from vae_exp.models.networks.layers import Dropout
from vae_exp.models.vae import VAE
from vae_exp.probability.gaussians import StandardGaussian

BLOCK = 10  # images that share their tiles
CHUNK = 256  # tiles at a time
TILES = 60_000  # for a block at most
FIRST = 16  # tiles an axis to begin with
BEYOND = 30.0  # nats below log p(x) at which the prior's tail is negligible
FARTHEST = 200.0  # half the side of the largest square
FEW = 1000  # a tile is cut if it leaves open more than so small a part of the tolerance
ROUNDING = 1e-9  # nats, and as a share of the largest log density


@dataclass(frozen=True)
class Bracket:
    """log p(x) of every image is at least ``lower`` and at most ``upper``: [B] each, in nats."""

    lower: Tensor
    upper: Tensor

    @property
    def width(self) -> Tensor:
        """What is left open: [B] in nats."""
        return self.upper - self.lower


def without_certificate(model: VAE) -> str | None:
    """Why there is no certificate of this model's evidence, or None."""
    if not has_grid(model):
        return f"tiles cover one or two latent dimensions, the model has {model.latent_dim}"
    if not isinstance(model.prior, StandardGaussian):
        return f"the prior must be N(0, I), it is a {type(model.prior_family).__name__}"
    if type(model.likelihood_family) is not BernoulliLikelihood:
        return f"pixels must be Bernoulli, they are {type(model.likelihood_family).__name__}"
    if _layers(model) is None:
        return f"the decoder must be tanh layers, it is a {type(model.decoder).__name__}"
    return None


@torch.no_grad()
def certificate(
    model: VAE,
    x: Tensor,
    *,
    tolerance: float = 1e-2,
    tiles: int = TILES,
    progress: Progress | None = None,
) -> Bracket:
    """A bracket of log p(x) of images x [B, D], as wide as ``tolerance`` nats if ``tiles`` suffice.

    It holds for the decoder's weights in exact arithmetic; computed in float64, with ROUNDING on
    either side. Raises UserError if a model has none: ``without_certificate`` tells why.
    """
    reason = without_certificate(model)
    if reason is not None:
        raise UserError(f"there is no certificate: {reason}")
    precise = copy.deepcopy(model).double().eval()
    blocks = x.double().split(BLOCK)
    found = []
    for done, images in enumerate(blocks):
        found.append(_bracket(precise, images, tolerance, tiles))
        if progress is not None:
            progress((done + 1) / len(blocks))
    return Bracket(
        torch.cat([each.lower for each in found]), torch.cat([each.upper for each in found])
    )


def _layers(model: VAE) -> list[nn.Module] | None:
    """The decoder as linear layers and tanh, or None if it is something else."""
    if type(model.decoder) is not Decoder:
        return None
    leaves = [layer for layer in model.decoder.features.modules() if not any(layer.children())]
    layers = [layer for layer in leaves if type(layer) is not Dropout]  # of training alone
    known = all(type(layer) in (nn.Linear, Tanh) for layer in layers)
    return [*layers, model.decoder.parameters_of_x] if known else None


def _bracket(model: VAE, x: Tensor, tolerance: float, tiles: int) -> Bracket:
    dims = model.latent_dim
    reach = _reach(model, x)
    half = reach / FIRST
    centre = half * grid(2 * torch.arange(FIRST, dtype=x.dtype) + 1 - FIRST, dims).to(x)
    half_side = torch.full_like(centre[:, 0], half)
    found = _contributions(model, x, centre, half_side)
    corner = grid(torch.tensor([-0.5, 0.5], dtype=x.dtype), dims).to(x)
    tail, used, share = _log_tail(dims, reach), len(centre), tolerance / FEW
    while True:
        low, middle, high = found
        lower, upper = low.logsumexp(1), torch.logaddexp(high.logsumexp(1), low.new_tensor(tail))
        wide = upper - lower > tolerance
        room = (tiles - used) // len(corner)
        if not wide.any() or room <= 0:
            slack = ROUNDING * (1 + lower.abs())
            return Bracket(lower - slack, upper + slack)
        level = torch.maximum(middle.logsumexp(1), lower)[:, None]
        gap = torch.exp((high - level).clamp(max=600)) - torch.exp(low - level)
        score = gap[wide].amax(0)
        while not (score > share).any():
            share /= 4
        chosen = score.topk(min(room, int((score > share).sum()))).indices
        cut = torch.zeros_like(score, dtype=torch.bool).index_fill(0, chosen, True)
        half_of_cut = half_side[cut].repeat_interleave(len(corner)) / 2
        pieces = (centre[cut][:, None] + half_side[cut][:, None, None] * corner).flatten(0, 1)
        used += len(pieces)
        finer = _contributions(model, x, pieces, half_of_cut)
        found = tuple(
            torch.cat([old[:, ~cut], new], 1) for old, new in zip(found, finer, strict=True)
        )
        centre = torch.cat([centre[~cut], pieces])
        half_side = torch.cat([half_side[~cut], half_of_cut])


def _reach(model: VAE, x: Tensor) -> float:
    """Half the side of a square outside which the prior's mass is nothing beside p(x)."""
    dims = model.latent_dim
    centre = grid(torch.linspace(-3, 3, 4 * FIRST, dtype=x.dtype), dims).to(x)
    low, _, _ = _contributions(model, x, centre, torch.full_like(centre[:, 0], 1e-3))
    lowest, reach = low.amax(1).min().item() - BEYOND, 6.0
    while _log_tail(dims, reach) > lowest and reach < FARTHEST:
        reach *= 1.1
    return reach


def _log_tail(dims: int, reach: float) -> float:
    """log of 2 Z Φ(−reach), which is no less than the mass of N(0, I) outside a box."""
    one_side = torch.special.log_ndtr(torch.tensor(-reach, dtype=torch.float64))
    return math.log(2 * dims) + float(one_side)


def _contributions(model: VAE, x: Tensor, centre: Tensor, half_side: Tensor) -> tuple[Tensor, ...]:
    """The log of each tile's part of p(x): a lower bound, a guess, an upper bound, [B, T] each."""
    parts = [
        _chunk(model, x, *each)
        for each in zip(centre.split(CHUNK), half_side.split(CHUNK), strict=True)
    ]
    return tuple(torch.cat(each, 1) for each in zip(*parts, strict=True))


def _chunk(model: VAE, x: Tensor, centre: Tensor, half_side: Tensor) -> tuple[Tensor, ...]:
    dims = centre.shape[1]
    logits = Enclosure.of_boxes(centre, half_side)
    for layer in _layers(model) or []:
        if isinstance(layer, nn.Linear):
            logits = logits.linear(layer.weight, layer.bias)
        else:
            logits = logits.tanh()
    value, gradient, hessian = _log_joint(logits, x, centre)
    r = half_side
    u = gradient * r[:, None]  # [B, T, Z]
    integral = value + dims * torch.log(2 * r) + _log_sinhc(u).sum(-1)
    below, above = torch.zeros_like(value), torch.zeros_like(value)
    for place, (k, m) in enumerate(pairs(dims)):
        middle, radius = hessian.middle[..., place], hessian.radius[..., place]
        if k == m:
            above += 0.5 * (middle + radius).clamp(min=0) * r.square()
            below += 0.5 * (middle - radius).clamp(max=0) * r.square()
        else:
            above += (middle.abs() + radius) * r.square()
            below -= (middle.abs() + radius) * r.square()
    least, most = _crude(logits, x, centre)
    low, high = torch.maximum(integral + below, least), torch.minimum(integral + above, most)
    return low, torch.maximum(low, torch.minimum(integral, high)), high


def _crude(logits: Enclosure, x: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds on the log of each tile's part of p(x) from the range of every logit: [B, T] each."""
    low, high = logits.ends()
    r = logits.half_side
    least = x @ F.logsigmoid(low).T + (1 - x) @ F.logsigmoid(-high).T
    most = x @ F.logsigmoid(high).T + (1 - x) @ F.logsigmoid(-low).T
    place = centre.abs()
    volume = (torch.log(2 * r) - 0.5 * math.log(2 * math.pi)).expand_as(place)
    near = volume - 0.5 * (place - r).clamp(min=0).square()
    far = volume - 0.5 * (place + r).square()
    return least + far.sum(1), most + near.sum(1)


def _log_joint(logits: Enclosure, x: Tensor, centre: Tensor) -> tuple[Tensor, Tensor, Range]:
    """log p(x, z) over tiles: value [B, T], gradient [B, T, Z] and Hessian [B, T, K].

    Σ_i x_i l_i − softplus(l_i) + log N(z; 0, I). Its Hessian is Σ_i (x_i − σ_i) H_i − σ_i (1 − σ_i)
    g_i g_iᵀ − I, and |x_i − σ_i| = σ_i + x_i (1 − 2 σ_i), so images enter by products alone.
    """
    dims = centre.shape[1]
    slope, bend = slope_and_bend_of_softplus(*logits.ends())
    σ = torch.sigmoid(logits.value)
    δ = (slope.middle - σ).abs() + slope.radius
    value = x @ logits.value.T - F.softplus(logits.value).sum(1)
    value = value - 0.5 * centre.square().sum(1) - 0.5 * dims * math.log(2 * math.pi)
    gradient = torch.einsum("bd,tkd->btk", x, logits.gradient)
    gradient = gradient - torch.einsum("td,tkd->tk", σ, logits.gradient) - centre
    H, outer = logits.hessian, logits.outer()
    product = Range(bend.middle[:, None], bend.radius[:, None]) * outer
    middle = torch.einsum("bd,tkd->btk", x, H.middle)
    middle = middle - (σ[:, None] * H.middle + product.middle).sum(-1)
    radius = torch.einsum("bd,tkd->btk", x, (1 - 2 * σ)[:, None] * H.radius)
    radius = radius + (σ[:, None] * H.radius + δ[:, None] * H.most() + product.radius).sum(-1)
    prior = torch.tensor([float(k == m) for k, m in pairs(dims)], dtype=x.dtype, device=x.device)
    return value, gradient, Range(middle - prior, radius)


def _log_sinhc(u: Tensor) -> Tensor:
    """log (sinh u / u), which is the log of the mean of e^(u s) over s from −1 to 1."""
    u = u.abs()
    large = u + torch.log1p(-torch.exp(-2 * u.clamp(min=1e-3))) - torch.log(2 * u.clamp(min=1e-3))
    return torch.where(u < 1e-3, u.square() / 6 - u**4 / 180, large)
