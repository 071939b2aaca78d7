"""Which images to show: typical ones of their class, of which the model makes what a person would.

The likeliest images are not these: they are the ones with the least ink.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from vae_exp.data import Split, Splits, batch_x
from vae_exp.models.vae import VAE

BLOCK = 2_000
ELSEWHERE = 10_000  # images at most whose z stand for all
POINTS = 2_000  # of these z at most that stand for the prior
NEIGHBOURS = 50
NAMES = {"train": "training", "validation": "validation", "test": "test"}


@torch.no_grad()
def encoder_means(model: VAE, images: Tensor) -> Tensor:
    """The mean of q(z | x) for every image: [N, D] -> [N, Z], block by block."""
    blocks = [
        model.posterior(block.to(model.device).float()).mean.cpu()
        for block in torch.split(images, BLOCK)
    ]
    return torch.cat(blocks)


def labels_of(split: Split) -> Tensor:
    """The labels [N]; without any the images are all of one class, 0."""
    return torch.zeros(len(split), dtype=torch.int64) if split.labels is None else split.labels


def typical(amount: Tensor, among: Tensor) -> Tensor:
    """Which of the images ``among`` [N] lie in the middle half of their amounts [N] of ink."""
    edges = amount[among].double().quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
    return among & (amount >= edges[0]) & (amount <= edges[1])


def elsewhere(splits: Splits, split: Split) -> Split:
    """The larger of the two other splits: what is learnt from it says nothing of these images."""
    others = [part for part in (splits.train, splits.test, splits.validation) if part is not split]
    return max(others, key=len)


def best_foretold(
    model: VAE, splits: Splits, split: Split, seen: Tensor, digit: int | None
) -> tuple[int, int]:
    """The typical image whose pixels that are not ``seen`` [D] are best foretold, and of how many.

    Typical is what lies in the middle half of its class's ink, and of these in the middle half of
    the hidden ink; without ``digit`` of every class, with more ink than half of all images.
    """
    ink, hidden = split.values.sum(1), split.values[:, ~seen].sum(1)
    labels = labels_of(split)
    eligible = torch.zeros(len(split), dtype=torch.bool)
    for label in labels.unique() if digit is None else [digit]:
        eligible |= typical(hidden, typical(ink, labels == label))
    if digit is None:
        eligible &= ink >= ink[eligible].median()
    candidates = eligible.nonzero()[:, 0]
    z = encoder_means(model, elsewhere(splits, split).some(slice(POINTS)))
    found = foretold(model, split.some(candidates), seen, z)
    return int(candidates[found.argmax()]), len(candidates)


@torch.no_grad()
def foretold(model: VAE, images: Tensor, seen: Tensor, z: Tensor) -> Tensor:
    """log p(hidden | seen) of images [N, D], as if p(z) were even over the points z [G, Z]: [N].

    With two latent dimensions it ranks images as the exact value does, to about a nat.
    """
    pixels = [part.nonzero()[:, 0] for part in (seen, torch.ones_like(seen))]
    z = z.to(model.device)
    log_seen, log_whole = (
        torch.cat(
            [
                (model.joint_log_density_table(x, z, part) - model.log_prior(z)).logsumexp(1).cpu()
                for x in batch_x(images[:, part].float().to(model.device), BLOCK)
            ]
        )
        for part in pixels
    )
    return log_whole - log_seen


@torch.no_grad()
def recognisable(
    model: VAE, splits: Splits, split: Split, classes: Iterable[int]
) -> dict[int, Tensor]:
    """Indices of typical images of each class whose latent means seem to decode to that class.

    Of those in the middle half of the class's ink: the quarter with the most images of the class
    among the neighbours of their mean, and of these the quarter that is likeliest given it.
    """
    others, ink = elsewhere(splits, split), split.values.sum(1)
    labels = labels_of(others)[:ELSEWHERE]
    around = encoder_means(model, others.some(slice(ELSEWHERE)))
    near = max(1, min(NEIGHBOURS, len(labels) // 20))
    found = {}
    for label in classes:
        candidates = typical(ink, labels_of(split) == label).nonzero()[:, 0]
        x = split.some(candidates)
        means = encoder_means(model, x)
        nearest = torch.cdist(means, around).topk(near, largest=False).indices
        own = (labels[nearest] == label).double().mean(1)
        fit = model.log_likelihood(x.to(model.device), means.to(model.device)).cpu()
        pure = own >= own.quantile(0.75)
        found[label] = candidates[pure & (fit >= fit[pure].double().quantile(0.75))]
    return found
