"""The five true-or-false questions of the assignment, each with evidence from the model."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from vae_exp.analysis.base import Findings
from vae_exp.data import Splits
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation.estimates import estimate
from vae_exp.evaluation.exact import evidence, has_grid, vae_table
from vae_exp.inference import bounds
from vae_exp.inference.quadrature import elbo_with_error, posterior_grid
from vae_exp.models.vae import VAE, top_half
from vae_exp.probability.bernoulli import Bernoulli
from vae_exp.probability.densities import factorized_gaussian_log_density
from vae_exp.probability.streams import generator

OTHERS = 5  # images at most whose pixels are the others
CELLS = 48  # an axis of a grid at least: 200 give the same to 2e-7 nats
NEGLIGIBLE = 1e-12  # of the largest weight of a grid
SAME = 1e-6  # nats: in double precision independent pixels agree to about 1e-11


@dataclass(frozen=True)
class Answer:
    """A question and the claim in it, whether it is true, and the numbers that show it."""

    question: str
    claim: str
    true: bool
    evidence: str
    brief: str
    numbers: dict[str, Any]


class Questions:
    """Section 4c: what factorises, what the ELBO promises, what a density may be.

    ``images`` test images carry the evidence for (a) to (c); ``steps`` bounds the search for a
    training step in which ELBO and KL rise together.
    """

    name = "questions"

    def __init__(self, *, images: int = 5, steps: int = 200, lr: float = 1e-3) -> None:
        check_positive("task.images", images)
        check_positive("task.steps", steps)
        if not lr > 0:
            raise UserError(f"task.lr must be positive, got {lr}")
        self.images = images
        self.steps = steps
        self.lr = lr

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """The evidence rests on exact posteriors, by a grid over z, and on binary pixels."""
        if has_grid(model):
            p_x = model.likelihood(torch.zeros(1, model.latent_dim).to(next(model.parameters())))
            if isinstance(p_x, Bernoulli):
                return None
            return "its questions are about the odds of binary pixels, and p(x | z) is of others"
        return f"the exact posterior needs latent_dim 1 or 2, the model has {model.latent_dim}"

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """A table with five rows, and the numbers behind it."""
        x = splits.test.images[: self.images]
        answers = {
            "a": bottom_given_z(model, x, seed),
            "b": bottom_given_top(model, x),
            "c": elbo_and_kl(model, x, self.steps, self.lr, seed),
            "d": negative_density(),
            "e": density_above_one(),
        }
        heading = "true or false? task=questions says more"
        brief = Table(title=heading, box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("", "claim", "answer", "evidence [nats]"):
            brief.add_column(heading)
        for letter, answer in answers.items():
            brief.add_row(letter, answer.claim, str(answer.true).lower(), answer.brief)
        title = f"True or false? {splits.caption}, {len(x)} test images"
        table = Table(title=title, show_lines=True)
        table.add_column("")
        table.add_column("question", ratio=5)
        table.add_column("answer")
        table.add_column("evidence", ratio=6)
        for letter, answer in answers.items():
            table.add_row(letter, answer.question, str(answer.true), answer.evidence)
        numbers = {
            letter: {
                "question": answer.question,
                "answer": answer.true,
                "evidence": answer.evidence,
                **answer.numbers,
            }
            for letter, answer in answers.items()
        }
        return Findings(numbers=numbers, tables=[table], brief=brief)


@torch.no_grad()
def bottom_given_z(model: VAE, x: Tensor, seed: int) -> Answer:
    """Whether the odds of any bottom pixel depend on other pixels once z is known, one z an image.

    The odds p(x_i = 1 | z, others) / p(x_i = 0 | z, others) come from the whole log p(x | z) alone,
    for images, their negatives and random pixels as the others. They do not depend on the others
    exactly if the pixel is independent of them given z.
    """
    draws = generator(seed, "questions", "a")
    z = model.posterior(x).sample(model.noise.draw(1, len(x), generator=draws))[0]
    precise = copy.deepcopy(model).double()
    some = x[:OTHERS]
    coins = torch.rand(some.shape, generator=draws).round()
    contexts = torch.cat([some, 1 - some, coins]).double()  # [C, D]
    odds = torch.stack([log_odds(precise, contexts, one.double()) for one in z])  # [B, d, C]
    spread = (odds.amax(2) - odds.amin(2)).max().item()
    bottom = odds.shape[1]
    true = spread < SAME
    return Answer(
        "Does p(bottom half of x | z) factorise over the bottom's pixels?",
        "p(bottom | z) factorises",
        true,
        f"given z, the log odds of each of the bottom's {bottom} pixels change by at most "
        f"{spread:.0e} nats when all other pixels change ({len(contexts)} settings of them, "
        f"{len(x)} z)",
        f"others move a pixel's odds by {spread:.0e}",
        {
            "largest_change_of_log_odds": spread,
            "settings_of_other_pixels": len(contexts),
            "pixels": bottom,
        },
    )


def log_odds(model: VAE, contexts: Tensor, z: Tensor) -> Tensor:
    """log p(x_i = 1, others | z) − log p(x_i = 0, others | z) of the bottom's pixels: [d, C]."""
    pixels = torch.arange(len(model.top_pixels()), model.pixels)
    on = contexts.repeat(len(pixels), 1, 1)  # [d, C, D]
    off = on.clone()
    rows = torch.arange(len(pixels))
    on[rows, :, pixels], off[rows, :, pixels] = 1, 0
    return model.log_likelihood(on, z) - model.log_likelihood(off, z)


@torch.no_grad()
def bottom_given_top(model: VAE, x: Tensor) -> Answer:
    """Compare the exact log p(bottom | top) with the product of its exact marginals.

    log p(bottom | top) = log p(x) − log p(top); p(x_i = 1 | top) = ∫ p(z | top) σ(logit_i(z)) dz.
    """
    top = model.top_pixels()
    bottom = torch.arange(len(top), model.pixels)
    whole, seen = evidence(model, x), evidence(model, top_half(x, model.shape), top)
    joint = whole.log_p_x - seen.log_p_x
    error = (whole.error + seen.error).max().item()
    table = vae_table(model, top_half(x, model.shape), top)
    marginals = []
    for row in range(len(x)):
        grid = posterior_grid(table, seen, row, points=CELLS)
        held = grid.weights > NEGLIGIBLE * grid.weights.max()  # most of a grid holds nothing
        means = model.likelihood(grid.points[held].to(x), bottom).mean.double()
        marginals.append(grid.weights[held] @ means)  # [d]
    p = torch.stack(marginals)
    x_bottom = x[:, bottom].double()
    product = (x_bottom * p.log() + (1 - x_bottom) * torch.log1p(-p)).sum(1)
    gap = joint - product
    lost = estimate(gap, "mean over images")
    true = bool((gap.abs() < 1e-2).all())
    return Answer(
        "Does p(bottom half of x | top half of x) factorise over the bottom's pixels?",
        "p(bottom | top) factorises",
        true,
        f"exact log p(bottom | top) is {joint.mean():.2f} ± {error:.0e} nats on average over these "
        f"{len(x)} images, the product of its {len(bottom)} marginals gives {product.mean():.2f}, "
        f"{lost} less (standard error over images): the pixels share z",
        f"exact {joint.mean():.2f}, by marginals {product.mean():.2f}",
        {
            "log_p_bottom_given_top": joint.mean().item(),
            "product_of_marginals": product.mean().item(),
            "mean_difference": lost.mean,
            "mean_difference_stderr": lost.stderr,
            "images": len(x),
            "quadrature_error": error,
        },
    )


def elbo_and_kl(model: VAE, x: Tensor, steps: int, lr: float, seed: int) -> Answer:
    """Train a copy on, and look for a step in which ELBO and KL(q ‖ p(z | x)) both rise.

    log p(x) = ELBO + KL, so it takes a step in which the decoder gains more than the bound.
    """
    student = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.Adam(student.parameters(), lr=lr)
    draws = generator(seed, "questions", "c")
    before = exact_elbo_and_kl(student, x)
    for step in range(1, steps + 1):
        noise = model.noise.draw(1, len(x), generator=draws)
        optimizer.zero_grad()
        bounds.loss(student.elbo_terms(x, noise).bound).backward()
        optimizer.step()
        after = exact_elbo_and_kl(student, x)
        elbo_rise, kl_rise = after[0] - before[0], after[1] - before[1]
        if min(elbo_rise, kl_rise) > 2 * (before[2] + after[2]):
            return Answer(
                "If the ELBO rises while θ and φ are trained together, has KL(q(z|x) ‖ p(z|x)) "
                "necessarily become smaller?",
                "ELBO up makes KL go down",
                False,
                f"in step {step} of further training the ELBO rose by {elbo_rise:.3f} and the "
                f"KL by {kl_rise:.3f} nats (both exact to {before[2] + after[2]:.0e})",
                f"step {step} raised ELBO {elbo_rise:.3f}, KL {kl_rise:.3f}",
                {"step": step, "elbo_rise": elbo_rise, "kl_rise": kl_rise, "kl": after[1]},
            )
        before = after
    raise UserError(
        f"task=questions found no step of {steps} in which ELBO and KL both rose: raise task.steps"
    )


@torch.no_grad()
def exact_elbo_and_kl(model: VAE, x: Tensor) -> tuple[float, float, float]:
    """Mean ELBO of the encoder's q, mean KL(q ‖ p(z | x)), and how far either mean may be off."""
    exact = evidence(model, x)
    elbo = elbo_with_error(
        lambda z: model.joint_log_density(x, z),
        model.posterior(x),
        tolerance=1e-2,
        of_images=lambda rows: lambda z: model.joint_log_density(x[rows], z),
    )
    kl, error = exact.log_p_x - elbo.value, exact.error + elbo.error
    return elbo.value.mean().item(), kl.mean().item(), error.mean().item()


def negative_density() -> Answer:
    """The smallest value of N(x; 0, σ²) over wide grids of x and σ, by its logarithm."""
    log_densities = gaussian_log_densities()
    negative = bool((log_densities.exp() < 0).any())
    smallest = log_densities.min().item()
    exponent = smallest / math.log(10)
    return Answer(
        "Can a Gaussian density N(x | μ, σ²) be below 0?",
        "N(x | μ, σ²) can be below 0",
        negative,
        f"it is exp of a real number: of {len(log_densities):,} values, with |x − μ| ≤ 5 and σ "
        f"from 0.05 to 5, the smallest is exp({smallest:.0f}) = 10^{exponent:.0f}, above 0 "
        "although no double is so small".replace("-", "−"),
        f"smallest of {len(log_densities):,}: exp({smallest:.0f}) > 0".replace("-", "−"),
        {"smallest_log_density": smallest},
    )


def density_above_one() -> Answer:
    """The density at the mean of a narrow Gaussian."""
    zero = torch.zeros(1, dtype=torch.float64)
    density = factorized_gaussian_log_density(zero, zero + torch.tensor(0.1).log(), zero).exp()
    return Answer(
        "Can a Gaussian density N(x | μ, σ²) be above 1?",
        "N(x | μ, σ²) can be above 1",
        bool(density > 1),
        f"at its mean with σ = 0.1 it is 1 / (0.1 √2π) = {density.item():.3f}",
        f"{density.item():.3f} at its mean if σ = 0.1",
        {"density": density.item()},
    )


def gaussian_log_densities() -> Tensor:
    """log N(x; 0, σ²) at 100 x in [−5, 5] and 100 σ in [0.05, 5]: [10000]."""
    x = torch.linspace(-5, 5, 100, dtype=torch.float64)
    log_std = torch.linspace(0.05, 5, 100, dtype=torch.float64).log()
    z, s = torch.meshgrid(x, log_std, indexing="ij")
    zero = torch.zeros(1, dtype=torch.float64)
    return factorized_gaussian_log_density(zero, s.reshape(-1, 1), z.reshape(-1, 1))
