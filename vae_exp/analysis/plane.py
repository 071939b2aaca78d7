"""A density over a plane through latent space, on a window that holds all its mass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_exp.data import batch_x
from vae_exp.probability.distributions import Posterior

REACH = 8.0  # half the side of what is looked over, at least
FARTHEST = 32.0  # at most
COARSE, FINE = 201, 201
BLOCK = 8192
NEGLIGIBLE = -12.0  # nats below the maximum: less than 1e-5 of its density


@dataclass(frozen=True)
class Plane:
    """The points origin + a·u + b·v; ``spanning`` rows are the orthonormal u and v [2, Z]."""

    origin: Tensor
    spanning: Tensor

    def points(self, xs: Tensor, ys: Tensor) -> Tensor:
        """z at every (xs[j], ys[i]): [H, W, Z]."""
        b, a = torch.meshgrid(ys, xs, indexing="ij")
        return self.origin + torch.stack([a, b], -1).to(self.spanning) @ self.spanning


def widest_plane(q: Posterior) -> Plane:
    """The plane itself if Z = 2; else the one through q's mean along its two widest axes.

    q holds one density: mean [1, Z].
    """
    mean = q.mean[0]
    if len(mean) == 2:
        return Plane(torch.zeros_like(mean), torch.eye(2, dtype=mean.dtype, device=mean.device))
    directions, _, _ = torch.linalg.svd(q.scale()[0])
    return Plane(mean, directions[:, :2].T.contiguous())


@dataclass(frozen=True)
class Window:
    """Coordinates xs [W] and ys [H] and the log densities [H, W] named over them."""

    xs: Tensor
    ys: Tensor
    log_densities: dict[str, Tensor]


@torch.no_grad()
def window(
    plane: Plane,
    log_densities: Mapping[str, Callable[[Tensor], Tensor]],
    reach: float = REACH,
) -> Window:
    """Evaluate log densities, each z [G, Z] -> [G], over a window that crops none of them.

    A coarse look over [−8, 8]², or as far as ``reach`` if that is further, finds where any of them
    is within 12 nats of its maximum; a fine look there is grown until none of them reaches the
    edge.
    """
    reach = min(max(reach, REACH), FARTHEST)
    coarse = torch.linspace(-reach, reach, round(COARSE * reach / REACH))
    left, right, bottom, top = _box(_evaluate(plane, log_densities, coarse, coarse), coarse, coarse)
    while True:
        xs = torch.linspace(left, right, FINE)
        ys = torch.linspace(bottom, top, FINE)
        values = _evaluate(plane, log_densities, xs, ys)
        box = _box(values, xs, ys)
        touched = (
            box[0] <= left and left > -reach,
            box[1] >= right and right < reach,
            box[2] <= bottom and bottom > -reach,
            box[3] >= top and top < reach,
        )
        if not any(touched):
            return Window(xs, ys, values)
        width, height = right - left, top - bottom
        left, right = left - 0.2 * width * touched[0], right + 0.2 * width * touched[1]
        bottom, top = bottom - 0.2 * height * touched[2], top + 0.2 * height * touched[3]


def _evaluate(
    plane: Plane, log_densities: Mapping[str, Callable[[Tensor], Tensor]], xs: Tensor, ys: Tensor
) -> dict[str, Tensor]:
    z = plane.points(xs, ys)
    return {
        name: torch.cat([log_density(part) for part in batch_x(z.flatten(0, 1), BLOCK)]).reshape(
            len(ys), len(xs)
        )
        for name, log_density in log_densities.items()
    }


def _box(values: dict[str, Tensor], xs: Tensor, ys: Tensor) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of what is not negligible, one step beyond on each side."""
    held = torch.stack([v > v.max() + NEGLIGIBLE for v in values.values()]).any(0)
    columns, rows = held.any(0).nonzero().flatten(), held.any(1).nonzero().flatten()
    first, last = int(columns[0]) - 1, int(columns[-1]) + 1
    low, high = int(rows[0]) - 1, int(rows[-1]) + 1
    return (
        xs[max(first, 0)].item(),
        xs[min(last, len(xs) - 1)].item(),
        ys[max(low, 0)].item(),
        ys[min(high, len(ys) - 1)].item(),
    )
