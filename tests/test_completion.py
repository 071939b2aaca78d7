"""Completion scores hidden pixels as brute force does, and says how far each method is from it."""

import io
import math
from dataclasses import replace
from functools import cache
from typing import TypeVar

import pytest
import torch
from conftest import mnist_folder
from rich.console import Console
from test_figures import assert_no_text_is_cut_or_covered
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.base import Findings
from vae_exp.analysis.completion import Completion
from vae_exp.data import Splits, load_splits
from vae_exp.errors import UserError
from vae_exp.evaluation import completion
from vae_exp.evaluation.completion import (
    DIAGONAL,
    ENCODER,
    EXACT,
    FULL,
    IMPORTANCE,
    TWO_PROPOSALS,
    Masked,
    Score,
    infer,
    mean_completion,
    posterior_points,
    resample,
    scores,
)
from vae_exp.evaluation.masks import visible_pixels
from vae_exp.inference import bounds
from vae_exp.inference.lattice import integrate
from vae_exp.inference.tiles import Table
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.distributions import Posterior
from vae_exp.probability.gaussians import DiagonalGaussian, FullGaussian
from vae_exp.probability.streams import generator

Q = TypeVar("Q", bound=Posterior)
ALL_IMAGES = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)  # of 4 pixels: [16, 4]
SEEN = torch.tensor([True, False, False, True])


@cache
def toy(latent_dim: int) -> Masked:
    """Every image of 4 pixels, two of them visible, under a model whose posteriors are curved."""
    with torch.random.fork_rng():
        torch.manual_seed(latent_dim)
        model = VAE(latent_dim, Encoder((8,)), Decoder((8,)), shape=(4,))
    with torch.no_grad():
        model.decoder.parameters_of_x.weight *= 4
        model.decoder.features[0].weight *= 2
    return Masked(model, ALL_IMAGES, SEEN)


@torch.no_grad()
def log_p_whole(masked: Masked) -> Tensor:
    """log p(x) of the 16 images by a plain sum over a grid of z: [16]."""
    dims = masked.model.latent_dim
    axis = torch.linspace(-6, 6, {2: 241, 3: 61, 4: 25}[dims])
    z = torch.cartesian_prod(*[axis] * dims)
    step = (axis[1] - axis[0]).item()
    log_joint = masked.model.joint_log_density_table(ALL_IMAGES, z).double()
    return log_joint.logsumexp(1) + dims * math.log(step)


def brute_force(masked: Masked) -> Tensor:
    """log p(hidden | visible) as p(x) over its sum over all hidden parts: [16]."""
    log_p = log_p_whole(masked)
    same = (ALL_IMAGES[:, None, SEEN] == ALL_IMAGES[None, :, SEEN]).all(-1)
    return log_p - log_p.expand(16, 16).masked_fill(~same, -math.inf).logsumexp(1)


@cache
def fitted(masked: Masked, seed: int = 0) -> completion.Inference:
    return infer(masked, restarts=3, steps=60, samples=8, generator=generator(seed))


@pytest.fixture(scope="module")
def splits() -> Splits:
    folder = mnist_folder()
    source = "digits" if folder is None else "mnist"
    return load_splits(
        source=source, root=folder, train_size=1000, validation_size=10, test_size=60
    )


@pytest.fixture(scope="module")
def model(splits: Splits) -> VAE:
    """A small VAE, trained for some seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(2, Encoder((100,)), Decoder((100,)))
    optimizer, draws = torch.optim.Adam(model.parameters(), lr=5e-3), generator(0)
    for _ in range(25):
        for x in splits.train.images.split(50):
            optimizer.zero_grad()
            bounds.loss(model.elbo(x, generator=draws)).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(
    scope="module",
    params=[pytest.param(mask, marks=pytest.mark.slow) for mask in ("top", "random:0.5")],
)
def half_seen(request: pytest.FixtureRequest, model: VAE, splits: Splits) -> Masked:
    return Masked(model, splits.test.images[:30], visible_pixels(request.param))


@pytest.fixture(scope="module")
def inferred(half_seen: Masked) -> completion.Inference:
    return infer(half_seen, restarts=5, steps=150, samples=4, generator=generator(0))


@pytest.fixture(scope="module")
def scored(half_seen: Masked, inferred: completion.Inference) -> dict[str, Score]:
    return scores(half_seen, inferred, samples=1000)


def test_the_exact_score_is_that_of_brute_force():
    masked = toy(2)
    score = scores(masked, fitted(masked), samples=10)[EXACT]
    assert (score.log_p_hidden - brute_force(masked)).abs().max() < 1e-3
    assert score.error.max() < 2e-3


@pytest.mark.parametrize(("latent_dim", "reference"), [(2, EXACT), (3, EXACT), (4, TWO_PROPOSALS)])
def test_importance_agrees_with_brute_force_within_its_error(latent_dim: int, reference: str):
    masked = toy(latent_dim)
    found = scores(masked, fitted(masked), samples=4000)
    assert next(iter(found)) == reference
    assert (EXACT in found) == (latent_dim <= 3)
    for method in {IMPORTANCE, reference} - {EXACT}:
        far = (found[method].log_p_hidden - brute_force(masked)).abs()
        assert (found[method].pareto_k < 0.7).all()
        assert found[method].error.max() < 0.1
        assert (far < 4 * found[method].error).all(), method


@pytest.mark.slow
def test_the_score_of_a_q_is_its_integral_of_the_hidden_likelihood():
    masked = toy(2)
    inferred = fitted(masked)
    found = scores(masked, inferred, samples=4000)
    hidden = (~SEEN).nonzero().flatten()
    for name, q in inferred.by_name().items():

        def log_integrand(rows: Tensor, z: Tensor, q: Posterior = q) -> Tensor:
            z = z[:, None].expand(-1, 16, -1)
            likelihood = masked.model.log_likelihood(ALL_IMAGES[:, hidden], z, hidden)
            return (q.log_prob(z) + likelihood).T[rows]

        with torch.no_grad():
            integral = integrate(Table(log_integrand, 16, 2)).log_p_x
        far = (found[name].log_p_hidden - integral).abs()
        assert (far < 4 * found[name].error + 1e-3).all(), name


@pytest.mark.slow
def test_a_standard_error_is_the_spread_over_draws():
    masked, copies = toy(2), 40
    inferred = fitted(masked)
    # The noise of an image depends on its place, so that copies of it are draws of their own.
    many = replace(
        inferred,
        full=tiled(inferred.full, copies),
        diagonal=tiled(inferred.diagonal, copies),
        encoder=tiled(inferred.encoder, copies),
    )
    found = scores(replace(masked, x=ALL_IMAGES.repeat(copies, 1)), many, samples=300)
    for method in (IMPORTANCE, FULL, DIAGONAL, ENCODER):
        spread = found[method].log_p_hidden.view(copies, 16).std(0)
        errors = found[method].error.view(copies, 16)
        usable = errors.isfinite()
        told = errors.masked_fill(~usable, 0).sum(0) / usable.sum(0)
        # That of importance adds the errors of two sums as if they were independent.
        low = 0.6 if method != IMPORTANCE else 0.3
        right = (spread > low * told) & (spread < 1.6 * told)
        often = usable.double().mean(0) > 0.9  # else most copies are bounds
        assert often.any(), method
        assert right[often].all(), method


def tiled(q: Q, copies: int) -> Q:
    tiled = [p.repeat(copies, *[1] * (p.dim() - 1)) for p in q.variational_parameters()]
    return q.with_parameters(tiled)


def test_visible_and_hidden_given_visible_make_the_whole():
    masked = toy(2)
    hidden = scores(masked, fitted(masked), samples=10)[EXACT].log_p_hidden
    visible = completion.evidence(masked.model, masked.visible, masked.pixels).log_p_x
    assert (visible + hidden - log_p_whole(masked)).abs().max() < 1e-3


def fake_q(masked: Masked) -> FullGaussian:
    """If latent_dim <= 2 the points come from a grid, whatever q is."""
    zero = torch.zeros(1, masked.model.latent_dim)
    return FullGaussian.from_diagonal(DiagonalGaussian(zero, zero))


def test_importance_and_exact_agree_where_importance_trusts_itself(scored: dict[str, Score]):
    estimated, exact = scored[IMPORTANCE], scored[EXACT]
    trusted = estimated.pareto_k < 0.7
    assert trusted.sum() >= 10
    far = (estimated.log_p_hidden - exact.log_p_hidden).abs() / (estimated.error + exact.error)
    assert far[trusted].median() < 1.2
    # The few beyond are those with a mode that the one q does not cover.
    assert (far[trusted] < 3).double().mean() > 0.8


def test_full_covariance_is_at_least_as_close_to_the_posterior(scored: dict[str, Score]):
    diagonal, full = scored[DIAGONAL].kl, scored[FULL].kl
    assert (full > -1e-3).all()
    assert (full <= diagonal + 1e-4).all()
    assert full.mean() < 0.7 * diagonal.mean()


def test_feeding_hidden_pixels_as_zeros_is_worse_than_inference(scored: dict[str, Score]):
    assert scored[ENCODER].kl.mean() > 5 * scored[DIAGONAL].kl.mean()


@pytest.mark.usefixtures("mnist")  # the digits' small model loses 0.9 nats, within its error
def test_feeding_hidden_pixels_as_zeros_predicts_them_worse(scored: dict[str, Score]):
    lost = scored[DIAGONAL].log_p_hidden - scored[ENCODER].log_p_hidden
    assert lost.mean() > 2 * lost.std() / math.sqrt(len(lost))


def test_restarts_agree_and_the_best_of_them_is_taken(
    half_seen: Masked, inferred: completion.Inference, scored: dict[str, Score]
):
    best = inferred.restarts.amax(0)
    assert ((inferred.restarts > best - 0.1).sum(0) >= 2).double().mean() > 0.8
    kl = completion.evidence(half_seen.model, half_seen.visible, half_seen.pixels).log_p_x - best
    assert torch.allclose(kl, scored[DIAGONAL].kl, atol=2e-3)
    assert inferred.trace.shape == (150, 30)
    assert (inferred.trace[-50:].mean(0) - best).abs().median() < 0.2


def test_inference_leaves_the_model_as_it_was(model: VAE, splits: Splits):
    model.decoder.parameters_of_x.bias.requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.zero_grad()
    fitted(Masked(model, splits.test.images[:2], visible_pixels("left")))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.requires_grad == (name != "decoder.parameters_of_x.bias")
        assert parameter.grad is None
    model.decoder.parameters_of_x.bias.requires_grad_(True)


def test_no_hidden_pixel_reaches_the_inference(half_seen: Masked):
    masked = replace(half_seen, x=half_seen.x[:3])
    other = replace(masked, x=torch.where(masked.seen, masked.x, 1 - masked.x))
    one, two = fitted(masked), fitted(other)
    for q, same in zip(one.by_name().values(), two.by_name().values(), strict=True):
        pairs = zip(q.variational_parameters(), same.variational_parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_completions_keep_what_is_visible_and_average_to_the_mean(half_seen: Masked):
    one = replace(half_seen, x=half_seen.x[:1])
    z, weights = posterior_points(one, fake_q(one), generator(0))
    assert weights.sum() == pytest.approx(1)
    drawn = resample(z, weights, 4000, generator(1))
    images = one.complete(drawn[:, None])[:, 0]
    assert (images[:, one.seen] == one.x[0, one.seen]).all()
    mean = mean_completion(one, z, weights)
    assert torch.allclose(mean[one.seen], one.x[0, one.seen], atol=1e-5)
    assert (images.mean(0) - mean).abs().max() < 0.05
    assert (drawn.mean(0) - (weights[:, None] * z).sum(0)).abs().max() < 0.05


SHORT = {"steps": 60, "restarts": 4, "samples": 8, "score_samples": 400}


def printed(found: Findings) -> str:
    """The one table, as a terminal of 80 columns shows it."""
    console = Console(width=80, file=io.StringIO())
    (table,) = found.tables
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def top(model: VAE, splits: Splits) -> Findings:
    return Completion(mask="top", index=3, **SHORT)(model, splits, 0)


@pytest.mark.slow
def test_top_half_is_one_case_of_completion_and_a_seed_gives_its_numbers_again(
    model: VAE, splits: Splits
):
    top = Completion(mask="top", index=3, **SHORT)(model, splits, 0)  # drawn by no test before
    found = Completion(name="top_half", mask="top", index=3, **SHORT)(model, splits, 0)
    assert list(found.figures) == ["top_half", "top_half_svi"]
    assert list(top.figures) == ["complete", "complete_svi"]
    one, other = (list(map(figures.png, found.figures.values())) for found in (found, top))
    assert one == other
    assert found.numbers == top.numbers
    assert found.numbers["visible_pixels"] == 392
    other = Completion(mask="top", index=3, **SHORT)(model, splits, 1)
    assert other.numbers["scores"][EXACT] == top.numbers["scores"][EXACT]
    assert other.numbers["scores"][FULL] != top.numbers["scores"][FULL]


def test_the_figure_is_whole_and_the_table_fits_80_columns(top: Findings):
    for fig in top.figures.values():
        assert_no_text_is_cut_or_covered(fig)
    table = printed(top)
    assert "…" not in table
    for method in ("exact", "importance", "full q", "diagonal q", "encoder, hidden = 0"):
        assert method in table
    told = f"{top.numbers['scores'][EXACT]['log_p_hidden']:.2f}".replace("-", "−")
    assert told in table


@pytest.mark.slow
@pytest.mark.parametrize("latent_dim", [1, 3, 4])
def test_any_latent_dimension_and_mask_will_do(latent_dim: int, splits: Splits):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(latent_dim, Encoder((16,)), Decoder((16,)))
    analysis = Completion(mask="random:0.3", digit=7, **SHORT)
    assert analysis.unsuited(model, splits) is None
    found = analysis(model, splits, 0)
    for fig in found.figures.values():
        assert_no_text_is_cut_or_covered(fig)
    table = printed(found)
    assert ("exact" in table.split("importance")[0]) == (latent_dim <= 3)
    assert ("stands in" in " ".join(table.split())) == (latent_dim == 4)


@pytest.mark.slow
def test_many_images_give_means_over_the_first_of_them(model: VAE, splits: Splits):
    analysis = Completion(mask="centre", index=0, split="test", images=22, **SHORT)
    found = analysis(model, splits, 0)
    numbers = found.numbers["first_images"]
    x, seen = splits.test.images[:22], visible_pixels("centre")
    whole = completion.evidence(model, x).log_p_x
    visible = completion.evidence(model, x[:, seen], seen.nonzero().flatten()).log_p_x
    exact = numbers[EXACT]["log_p_hidden"]
    assert exact["images"] == 22
    assert exact["mean"] == pytest.approx((whole - visible).mean().item(), abs=2e-3)
    assert exact["stderr"] == pytest.approx((whole - visible).std().item() / 22**0.5, abs=1e-2)
    assert numbers[ENCODER]["kl"]["mean"] > numbers[FULL]["kl"]["mean"]
    assert found.numbers["scores"][EXACT]["log_p_hidden"] == pytest.approx(
        (whole - visible)[0].item(), abs=2e-3
    )


def test_what_cannot_be_completed_is_refused_in_one_line(model: VAE, splits: Splits):
    def refusal(**settings: object) -> str:
        with pytest.raises(UserError) as refused:
            raise UserError(Completion(**settings).unsuited(model, splits))  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
        return str(refused.value)

    assert "mask" in refusal(mask="middle")
    assert "from 0 to 59" in refusal(index=60, split="test")
    assert "at most 60" in refusal(images=61)
    assert "task.images" in refusal(images=0)
    assert "digit=1 index=1" in refusal(digit=1, index=1)
    assert "task.restarts" in refusal(restarts=0)
