"""Samples, scatter, interpolation and manifold show the model's own numbers, and only those."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import mnist_folder
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from odd_parts import TwoGaussiansPrior
from scipy.stats import norm
from test_figures import assert_no_text_is_cut_or_covered
from torch import Tensor

from vae_exp import figures
from vae_exp.analysis.base import Analysis
from vae_exp.analysis.choosing import encoder_means
from vae_exp.analysis.interpolation import Interpolation, interpolate
from vae_exp.analysis.manifold import Manifold, prior_quantiles
from vae_exp.analysis.samples import Samples
from vae_exp.analysis.scatter import Scatter, principal_plane
from vae_exp.data import Splits, load_splits
from vae_exp.errors import UserError
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.gaussians import StandardGaussian
from vae_exp.probability.streams import generator

ANALYSES = [Samples(), Scatter(), Interpolation(), Manifold()]


@pytest.fixture(scope="module")
def splits() -> Splits:
    folder = mnist_folder()
    source = "digits" if folder is None else "mnist"
    return load_splits(
        source=source, root=folder, train_size=300, validation_size=10, test_size=100
    )


def model_of(latent_dim: int) -> VAE:
    """A model whose means depend on z, and whose latents depend on x, as if trained."""
    with torch.random.fork_rng():
        torch.manual_seed(latent_dim)
        model = VAE(latent_dim, Encoder((16,)), Decoder((16,)))
    with torch.no_grad():
        model.decoder.parameters_of_x.weight *= 20
    return model


@pytest.fixture(scope="module")
def model() -> VAE:
    return model_of(2)


def drawn(analysis: Analysis, model: VAE, splits: Splits, seed: int = 0) -> Figure:
    (fig,) = analysis(model, splits, seed).figures.values()
    return fig


def images_in(fig: Figure) -> Tensor:
    """The images of a figure, [N, 784], row by row."""
    arrays = [np.asarray(image.get_array()) for image in fig.axes[0].images]
    return torch.tensor(np.stack(arrays)).reshape(len(arrays), -1).float()


def decoded(model: VAE, z: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.sigmoid(model.decoder(z))


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda analysis: analysis.name)
@pytest.mark.parametrize("latent_dim", [1, 2, 12])
def test_every_figure_says_what_it_shows_and_no_text_is_cut_or_covered(
    analysis: Analysis, latent_dim: int, splits: Splits
):
    model = model_of(latent_dim)
    if analysis.unsuited(model, splits) is not None:
        assert (analysis.name, latent_dim == 2) == ("manifold", False)
        return
    findings = analysis(model, splits, 0)
    assert list(findings.figures) == [analysis.name]
    fig = findings.figures[analysis.name]
    footnote = fig.get_supxlabel().replace("\n", " ")
    used = splits.test if analysis.name == "interpolation" else splits.train
    for text in (splits.caption, f"({used.origin})"):
        assert text in footnote
    assert f"latent dimension {latent_dim}" in footnote
    assert_no_text_is_cut_or_covered(fig)


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda analysis: analysis.name)
def test_the_same_seed_draws_the_same_figure_to_the_byte(
    analysis: Analysis, model: VAE, splits: Splits
):
    one, again = (figures.png(drawn(analysis, model, splits, 3)) for _ in range(2))
    assert one == again


@pytest.mark.parametrize("analysis", [Samples(), Interpolation()], ids=lambda one: one.name)
def test_another_seed_draws_another_figure(analysis: Analysis, model: VAE, splits: Splits):
    one, other = (images_in(drawn(analysis, model, splits, seed)) for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda analysis: analysis.name)
def test_looking_leaves_training_as_it_was(analysis: Analysis, model: VAE, splits: Splits):
    random, weights = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    figures_open = pyplot.get_fignums()
    model.train()
    analysis(model, splits, 0)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    assert model.training
    assert pyplot.get_fignums() == figures_open
    for before, after in zip(weights, model.parameters(), strict=True):
        assert torch.equal(before, after)
        assert after.grad is None


def test_samples_are_ten_columns_of_prior_draws_with_an_image_below_its_means(
    model: VAE, splits: Splits
):
    images = images_in(drawn(Samples(), model, splits, seed=7))
    assert images.shape == (20, 784)
    means, below = images[:10], images[10:]
    z = torch.randn(10, 2, generator=generator(7, "samples"))
    assert torch.allclose(means, decoded(model, z), atol=1e-6)
    assert len(z.unique(dim=0)) == 10
    assert set(below.unique().tolist()) == {0.0, 1.0}
    # Each binary image is likelier under the means above it than under any others.
    likelihood = below @ means.clamp(1e-6, 1 - 1e-6).log().T
    likelihood += (1 - below) @ (1 - means).clamp(1e-6, 1 - 1e-6).log().T
    assert likelihood.argmax(1).tolist() == list(range(10))
    deviation = (below - means).sum() / (means * (1 - means)).sum().sqrt()
    assert abs(deviation) < 4.5


def test_scatter_puts_every_training_image_at_its_encoder_mean_in_its_colour(
    model: VAE, splits: Splits
):
    ax = drawn(Scatter(), model, splits).axes[0]
    (dots,) = ax.collections
    with torch.no_grad():
        means = model.posterior(splits.train.images).mean
    assert torch.allclose(torch.tensor(dots.get_offsets().data).float(), means, atol=1e-5)
    colours = [figures.CLASS_COLORS[label] for label in splits.train.labels]
    assert [to_hex(face) for face in dots.get_facecolors()] == colours
    assert [patch.get_radius() for patch in ax.patches] == [1, 2, 3]
    assert ax.get_aspect() == 1
    assert len(ax.get_legend().get_texts()) == 10


def test_scatter_of_one_dimension_keeps_z_and_each_class_in_its_band(splits: Splits):
    model = model_of(1)
    (dots,) = drawn(Scatter(), model, splits).axes[0].collections
    along, across = torch.tensor(dots.get_offsets().data).T
    assert torch.allclose(along.float(), encoder_means(model, splits.train.images)[:, 0], atol=1e-5)
    assert torch.equal(across.round().long(), splits.train.labels)
    assert across.frac().unique().numel() > 100


def test_scatter_of_many_dimensions_says_which_plane_it_shows(splits: Splits):
    model = model_of(5)
    findings = Scatter()(model, splits, 0)
    fig = findings.figures["scatter"]
    (dots,) = fig.axes[0].collections
    with torch.no_grad():
        z = encoder_means(model, splits.train.images)
    plane = principal_plane(z)
    assert np.allclose(dots.get_offsets().data, plane.points)
    assert "first two principal components of 5 dimensions" in fig.get_suptitle()
    variances = np.sort(np.linalg.eigvalsh(np.cov(z.numpy().T)))[::-1]
    shares = findings.numbers["explained_variance"]
    assert np.allclose(shares, variances[:2] / variances.sum(), rtol=1e-3)
    assert f"({100 * shares[0]:.0f} % of the variance)" in fig.axes[0].get_xlabel()
    assert f"({100 * shares[1]:.0f} % of the variance)" in fig.axes[0].get_ylabel()


def test_the_principal_plane_finds_planted_directions_and_keeps_the_origin():
    planted = torch.linalg.qr(torch.randn(6, 6, generator=generator(0, "planted")))[0].double()
    scales = torch.tensor([5.0, 3, 1, 0.5, 0.3, 0.1], dtype=torch.float64)
    coordinates = scales * torch.randn(5000, 6, generator=generator(1, "planted")).double() + 2
    plane = principal_plane(coordinates @ planted.T)
    found = (plane.directions @ planted[:, :2]).abs()
    assert torch.allclose(found, torch.eye(2, dtype=torch.float64), atol=0.03)
    gram = plane.directions @ plane.directions.T
    assert torch.allclose(gram, torch.eye(2, dtype=torch.float64))
    origin = principal_plane(torch.cat([coordinates @ planted.T, torch.zeros(1, 6)])).points[-1]
    assert origin.tolist() == [0, 0]


def test_encoder_means_do_not_depend_on_the_blocks_they_are_computed_in(model: VAE, splits: Splits):
    many = splits.train.images.repeat(15, 1)  # 4,500 images, three blocks
    means = encoder_means(model, many).reshape(15, 300, 2)
    assert torch.allclose(means, encoder_means(model, splits.train.images).expand_as(means))


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 1), st.integers(1, 5))
def test_interpolation_is_linear_from_b_at_zero_to_a_at_one(
    a: float, b: float, alpha: float, dims: int
):
    za, zb = (torch.full((dims,), value, dtype=torch.float64) for value in (a, b))
    assert torch.equal(interpolate(za, zb, 1.0), za)
    assert torch.equal(interpolate(za, zb, 0.0), zb)
    halves = interpolate(za, zb, alpha) + interpolate(zb, za, alpha)
    assert torch.allclose(halves, za + zb)
    assert torch.allclose(interpolate(za, zb, alpha), zb + alpha * (za - zb))


def test_interpolation_shows_true_images_at_the_ends_and_equal_steps_between_their_means(
    model: VAE, splits: Splits
):
    findings = Interpolation()(model, splits, 0)
    shown = images_in(findings.figures["interpolation"]).reshape(3, 12, 784)
    for row, pair in zip(shown, findings.numbers["pairs"], strict=True):
        ends = splits.test.images[pair["images"]]
        assert torch.equal(row[[0, -1]], ends)
        assert splits.test.labels[pair["images"]].tolist() == pair["classes"]
        with torch.no_grad():
            za, zb = model.posterior(ends).mean
        assert torch.allclose(row[[1, -2]], decoded(model, torch.stack([za, zb])), atol=1e-5)
        z = torch.stack([za + (zb - za) * step / 9 for step in range(10)])
        assert torch.allclose(row[1:-1], decoded(model, z), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_join_different_classes_and_use_six_of_them(model: VAE, splits: Splits, seed: int):
    chosen = Interpolation()(model, splits, seed).numbers["pairs"]
    assert len(chosen) == 3
    assert len({label for pair in chosen for label in pair["classes"]}) == 6


@pytest.mark.parametrize("classes", [2, 3])
def test_more_pairs_than_classes_still_differ_within_each(model: VAE, splits: Splits, classes: int):
    labels = torch.arange(len(splits.test)) % classes
    fewer = replace(splits, test=replace(splits.test, labels=labels))
    for pair in Interpolation(pairs=9)(model, fewer, 0).numbers["pairs"]:
        assert pair["classes"][0] != pair["classes"][1]
        assert labels[pair["images"]].tolist() == pair["classes"]


def test_a_single_class_cannot_be_paired(model: VAE, splits: Splits):
    alike = replace(splits, test=replace(splits.test, labels=torch.full((100,), 4)))
    reason = Interpolation().unsuited(model, alike)
    assert reason == "it needs test images of two classes, got 100 of class 4"


def test_the_classes_or_the_images_of_an_interpolation_can_be_named(model: VAE, splits: Splits):
    rows = Interpolation(digits=[3, 8])(model, splits, 0).numbers["pairs"]
    assert [row["classes"] for row in rows] == [[3, 8]] * 3
    rows = Interpolation(digits=[3, 8, 1, 7], pairs=2)(model, splits, 0).numbers["pairs"]
    assert [row["classes"] for row in rows] == [[3, 8], [1, 7]]
    found = Interpolation(indices=[5, 250], split="train")(model, splits, 0)
    assert found.numbers["split"] == "train"
    assert [row["images"] for row in found.numbers["pairs"]] == [[5, 250]]
    ends = images_in(found.figures["interpolation"])[[0, -1]]
    assert torch.equal(ends, splits.train.images[[5, 250]])
    assert "training images 5 to 250" in found.figures["interpolation"].get_supxlabel()


def test_what_cannot_be_interpolated_is_refused(model: VAE, splits: Splits):
    def refusal(**settings: object) -> str:
        with pytest.raises(UserError) as refused:
            Interpolation(**settings)  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
        return str(refused.value)

    assert "digits must be two a row, such as digits=[3,8], got [3]" in refusal(digits=[3])
    assert "no digits beside them" in refusal(digits=[3, 8], indices=[1, 2])
    assert "no task.pairs beside them" in refusal(pairs=2, indices=[1, 2])
    beyond = Interpolation(indices=[0, 100]).unsuited(model, splits)
    assert beyond == "indices must be from 0 to 99, got 100"
    none = replace(splits, test=replace(splits.test, labels=torch.arange(100) % 2))
    absent = Interpolation(digits=[1, 8]).unsuited(model, none)
    assert absent == "digit 8 is not among the 100 test images"


def test_quantiles_share_the_prior_evenly():
    shares = (np.arange(20) + 0.5) / 20
    assert np.allclose(norm.cdf(prior_quantiles(StandardGaussian(2), 20)), shares)
    odd = TwoGaussiansPrior(2)
    found = prior_quantiles(odd(), 20)
    mixed = [
        weight * norm.cdf(found.detach(), sign * 0.8, np.exp(-0.2))
        for weight, sign in ((0.25, -1), (0.75, 1))
    ]
    assert np.allclose(sum(mixed), shares, atol=0.01)


def test_the_manifold_is_the_decoding_of_its_grid_with_z1_to_the_right_and_z2_up(
    model: VAE, splits: Splits
):
    (sheet,) = drawn(Manifold(), model, splits).axes[0].images
    tiles = sheet.get_array().reshape(20, 28, 20, 28).transpose(0, 2, 1, 3)[::-1]
    quantiles = norm.ppf((np.arange(20) + 0.5) / 20)
    for row, column in ((0, 0), (0, 19), (19, 0), (7, 12)):
        z = torch.tensor([quantiles[column], quantiles[row]]).float()
        assert np.allclose(tiles[row, column].ravel(), decoded(model, z), atol=1e-5)


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_a_manifold_of_another_dimension_is_declined_with_the_reason(
    latent_dim: int, splits: Splits
):
    assert Manifold().unsuited(model_of(2), splits) is None
    assert f"the model has {latent_dim}" in str(Manifold().unsuited(model_of(latent_dim), splits))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Samples(columns=0), "columns must be a positive integer, got 0"),
        (lambda: Samples(columns=True), "columns must be a positive integer, got True"),
        (lambda: Interpolation(pairs=-1), "pairs must be a positive integer, got -1"),
        (lambda: Interpolation(points=1), "points must be at least 2, the two ends, got 1"),
        (lambda: Manifold(size=0), "size must be a positive integer, got 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(build, message: str):
    with pytest.raises(UserError, match=message):
        build()


@pytest.mark.parametrize("size", [1, 3])
def test_small_requests_are_drawn_as_asked(model: VAE, splits: Splits, size: int):
    assert len(images_in(drawn(Samples(columns=size), model, splits))) == 2 * size
    interpolated = drawn(Interpolation(pairs=size, points=2), model, splits)
    assert len(images_in(interpolated)) == 4 * size
    (sheet,) = drawn(Manifold(size=size), model, splits).axes[0].images
    assert sheet.get_array().shape == (28 * size, 28 * size)


def test_the_pictures_of_a_plane_follow_the_model_s_own_prior(splits: Splits) -> None:
    model = VAE(2, Encoder((4,)), Decoder((4,)), prior=TwoGaussiansPrior(2))
    scatter = Scatter()(model, splits, 0).figures["scatter"]
    assert "39, 86, 99 % of the prior's mass" in " ".join(text.get_text() for text in scatter.texts)
    samples = Samples(columns=2)(model, splits, 0).figures["samples"]
    assert "z ~ p(z)" in samples.get_suptitle()
