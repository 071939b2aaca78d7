"""Where does the encoder put each class? Its means in the latent plane."""

from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.base import Findings
from vae_exp.analysis.choosing import encoder_means
from vae_exp.analysis.plane import Plane, window
from vae_exp.data import Splits
from vae_exp.models.vae import VAE
from vae_exp.probability.gaussians import StandardGaussian
from vae_exp.probability.streams import generator

MASSES = (0.393, 0.865, 0.989)  # what circles of 1, 2, 3 σ hold of a Gaussian in the plane
HELD = "39, 86, 99 % of the prior's mass"


@dataclass(frozen=True)
class PrincipalPlane:
    """Latent means seen along two orthonormal directions; `explained` is each one's share."""

    points: Tensor  # [N, 2]
    directions: Tensor  # [2, Z]
    explained: Tensor  # [2]


def principal_plane(z: Tensor) -> PrincipalPlane:
    """The two orthonormal directions along which z [N, Z], Z ≥ 2, varies most.

    Points are z itself in those directions, not z − mean: the origin stays, so the standard
    Gaussian is standard in the plane too. Signs are fixed by the largest component.
    """
    centred = (z - z.mean(0)).double()
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(z))  # ascending
    directions = vectors.flip(1).T[:2]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * torch.where(largest < 0, -1.0, 1.0)
    explained = variances.flip(0)[:2] / variances.sum().clamp_min(1e-30)
    return PrincipalPlane(z.double() @ directions.T, directions, explained)


@torch.no_grad()
def draw_prior(ax: Axes, model: VAE) -> Tensor:
    """Contours of a prior over the plane that hold as much of it as 1, 2, 3 σ of a Gaussian.

    Returns two corners of the box that holds them: [2, 2].
    """
    plane = Plane(torch.zeros(2, device=model.device), torch.eye(2, device=model.device))
    shown = window(plane, {"prior": model.log_prior}, model.prior_family.reach())
    log_density = shown.log_densities["prior"].cpu()
    style: dict[str, Any] = {"color": "0.25", "linestyle": "--", "label": "prior"}
    levels = figures.isocontours(ax, shown.xs, shown.ys, log_density, MASSES, **style)
    within = log_density >= levels.min()
    xs, ys = shown.xs[within.any(0)], shown.ys[within.any(1)]
    return torch.stack([torch.stack([xs[0], ys[0]]), torch.stack([xs[-1], ys[-1]])])


class Scatter:
    """The encoder's mean of every training image, coloured by class, over the prior's circles.

    For more than two latent dimensions their first two principal components, for one a strip.
    """

    name = "scatter"

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """None: every latent space is drawn in a plane or in a strip."""
        return None

    @torch.no_grad()
    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """One figure; `seed` only spreads the strip of a single latent dimension."""
        z, labels = encoder_means(model, splits.train.images), splits.train.labels
        fig = figures.figure(7.0, 5.0 if model.latent_dim == 1 else 6.4)
        ax = fig.add_subplot()
        title = "Means of q(z | x) of the training images"
        name = splits.source.class_name
        numbers: dict[str, list[float]] = {}
        standard = isinstance(model.prior, StandardGaussian)
        marked = standard or model.latent_dim == 2
        if model.latent_dim == 1:
            jitter = torch.rand(len(z), generator=generator(seed, self.name)) - 0.5
            figures.latent_strip(ax, z[:, 0], labels, jitter, name, circles=standard)
        elif model.latent_dim == 2:
            cover = z if standard else torch.cat([z, draw_prior(ax, model)])
            figures.latent_axes(ax, cover=cover, circles=standard)
            figures.latent_scatter(ax, z, labels, name)
        else:
            plane = principal_plane(z)
            figures.latent_axes(ax, cover=plane.points, circles=standard)
            figures.latent_scatter(ax, plane.points, labels, name)
            first, second = (f"{100 * share:.0f} %" for share in plane.explained.tolist())
            ax.set_xlabel(f"first principal component ({first} of the variance)")
            ax.set_ylabel(f"second principal component ({second} of the variance)")
            title += f": first two principal components of {model.latent_dim} dimensions"
            numbers["explained_variance"] = plane.explained.tolist()
        fig.suptitle(title, fontsize=10)
        figures.caption(
            fig,
            splits.caption,
            f"{len(splits.train):,} images ({splits.train.origin})",
            f"latent dimension {model.latent_dim}",
            "dashed: " + ("1, 2, 3 σ of the prior" if standard else HELD) if marked else "",
            "" if labels is not None else "the images have no labels",
        )
        return Findings(figures={self.name: fig}, numbers=numbers)
