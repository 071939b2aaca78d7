"""Training on log p(x) itself: its value, its gradient, and a decoder that nothing bends."""

import math
import shutil
from itertools import product
from pathlib import Path

import pytest
import scipy.stats
import small_models
import torch
from kill_and_resume import differences, logged, snapshot_steps, train, train_with_snapshots
from test_training import digits
from test_weights_of_a_run import weights
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.models.contracts import Prior
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, Marginal, Objective, begin
from vae_exp.models.priors import MixtureOfGaussians, RealNVPPrior, StandardNormal
from vae_exp.models.vae import VAE
from vae_exp.training.fitting import fit
from vae_exp.training.optimizers import Adam

IMAGES = 3


def small(latent_dim: int = 2, prior: Prior | None = None) -> VAE:
    return small_models.small(latent_dim, prior=prior).double()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return small_models.binary_images(IMAGES).double()


def shifted(shift: Tensor) -> Tensor:
    """Noise [1, B, Z] that shifts a lattice by u [Z]."""
    first = torch.special.ndtri(shift.double())
    return torch.cat([first[None], torch.zeros(IMAGES - 1, len(shift)).double()])[None]


def by_brute_force(model: VAE, x: Tensor) -> Tensor:
    """log Σ_g h^Z p(z_g) p(x | z_g) over a grid, with SciPy's densities."""
    axis, step = torch.linspace(-7, 7, 281, dtype=torch.float64), 0.05
    z = torch.cartesian_prod(*[axis] * model.latent_dim).reshape(-1, model.latent_dim)
    with torch.no_grad():
        logits = model.decoder(z)
    log_p_x = scipy.stats.bernoulli.logpmf(x[:, None], torch.sigmoid(logits)).sum(-1)
    log_p_z = scipy.stats.norm.logpdf(z).sum(-1)
    if not isinstance(model.prior_family, StandardNormal):
        log_p_z = model.log_prior(z).detach().numpy()
    table = torch.from_numpy(log_p_x + log_p_z) + model.latent_dim * math.log(step)
    return torch.logsumexp(table, 1)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_many_nodes_give_log_p_x(latent_dim: int, x: Tensor) -> None:
    model = small(latent_dim)
    terms = Marginal(nodes=200)(model, x, shifted(torch.full((latent_dim,), 0.5)))
    torch.testing.assert_close(terms.bound, by_brute_force(model, x), rtol=0, atol=2e-3)


def test_a_prior_that_bends_a_gaussian_bends_the_lattice(x: Tensor) -> None:
    model = small(prior=RealNVPPrior(2))
    with torch.no_grad():
        for weight in model.prior_family.parameters():
            weight += 0.3 * torch.randn(weight.shape, dtype=torch.float64)
    terms = Marginal(nodes=100)(model, x, shifted(torch.tensor([0.5, 0.5])))
    torch.testing.assert_close(terms.bound, by_brute_force(model, x), rtol=0, atol=5e-3)
    terms.bound.sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.prior_family.parameters())


def test_shifts_that_fill_a_cell_make_one_finer_lattice(x: Tensor) -> None:
    """So the mean of p(x) over uniform shifts is p(x), however few the nodes are."""
    model, coarse, cuts = small(), Marginal(nodes=2), 10
    shifts = [(torch.tensor(pair) + 0.5) / cuts for pair in product(range(cuts), repeat=2)]
    each = torch.stack([coarse(model, x, shifted(shift)).bound for shift in shifts])
    finer = Marginal(nodes=2 * cuts)(model, x, shifted(torch.tensor([0.5, 0.5]))).bound
    torch.testing.assert_close(torch.logsumexp(each, 0) - math.log(cuts**2), finer)
    assert (each.mean(0) < finer - 0.01).all()  # a lower bound on average


def test_the_noise_alone_shifts_the_lattice(x: Tensor) -> None:
    model, objective, stream = small(), Marginal(nodes=3), torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 1, IMAGES, 2, generator=stream, dtype=torch.float64)
    first = objective(model, x, one, 5).bound
    assert torch.equal(objective(model, x, one, 6).bound, first)
    assert not torch.isclose(objective(model, x, other, 5).bound, first).any()


@pytest.mark.parametrize("shift", [-9.0, 9.0])
def test_the_rarest_shift_leaves_finite_nodes(shift: float) -> None:
    nodes = Marginal(nodes=4).quantiles(torch.full((2,), shift))
    assert nodes.isfinite().all()
    assert len(nodes.unique(dim=0)) == 16


def test_the_gradient_is_that_of_finite_differences(x: Tensor) -> None:
    model, objective = small(), Marginal(nodes=6)
    noise = shifted(torch.tensor([0.2, 0.7]))
    weights = [*model.decoder.parameters()]
    gradients = torch.autograd.grad(objective(model, x, noise).bound.sum(), weights)
    directions = [torch.randn_like(weight) for weight in weights]
    along = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))

    def moved(by: float) -> Tensor:
        with torch.no_grad():
            for weight, direction in zip(weights, directions, strict=True):
                weight += by * direction
            value = objective(model, x, noise).bound.sum()
            for weight, direction in zip(weights, directions, strict=True):
                weight -= by * direction
        return value

    torch.testing.assert_close((moved(1e-5) - moved(-1e-5)) / 2e-5, along, rtol=1e-6, atol=1e-7)


def test_its_terms_are_the_encoders_elbo_which_gets_no_gradient(x: Tensor) -> None:
    model, noise = small(), torch.randn(1, IMAGES, 2, dtype=torch.float64)
    terms, own = Marginal()(model, x, noise), model.elbo_terms(x, noise)
    assert torch.equal(terms.log_likelihood - terms.kl, own.bound)
    assert not terms.kl.requires_grad
    terms.bound.sum().backward()
    assert all(weight.grad is None for weight in model.encoder.parameters())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (lambda: small(4), r"marginal_20 needs latent_dim <= 3, got 4: .* objective=iwae$"),
        (
            lambda: small(prior=MixtureOfGaussians(2)),
            "from 2 Gaussian numbers, and MixtureOfGaussians takes 3 gaussian ones: take prior=",
        ),
    ],
)
def test_a_model_without_a_lattice_is_refused(model, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        begin(Marginal(), model(), 10)
    assert "\n" not in str(caught.value)


def test_a_lattice_beyond_memory_is_refused() -> None:
    with pytest.raises(UserError, match=r"^objective\.nodes of 1,000,000 takes"):
        begin(Marginal(nodes=10**6), small(3), 10)


def test_its_decoder_is_better_than_that_of_the_elbo() -> None:
    images = digits().splits.train.images.view(-1, 28, 28)[:, ::2, ::2].flatten(1)
    z = torch.cartesian_prod(*[torch.linspace(-5, 5, 201)] * 2)

    def log_p_x(objective: Objective) -> Tensor:
        torch.manual_seed(0)
        model = VAE(2, Encoder((30,)), Decoder((30,)), shape=(14, 14))
        fit(model, images, objective=objective, optimizer=Adam(1e-2), epochs=100)
        with torch.no_grad():
            return torch.logsumexp(model.joint_log_density_table(images, z), 1)

    gain = log_p_x(Marginal()) - log_p_x(ELBO())
    assert gain.mean() > 4 * gain.std() / math.sqrt(len(gain))
    assert gain.mean() > 1


RUN = (
    "data.source=digits",
    "objective=marginal",
    "objective.nodes=6",
    "task.average_weights=0.9",
    "trainer.options.gradient_clip_val=50",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trains a decoder alone in `whole`, and what kills would leave of it."""
    root = tmp_path_factory.mktemp("marginal")
    train_with_snapshots(root, *RUN, "task.checkpoint_seconds=0")
    return root


def test_a_run_resumed_anywhere_ends_the_same(runs: Path, tmp_path: Path) -> None:
    steps = snapshot_steps(runs)
    for step in (steps[1], steps[-1]):
        folder = tmp_path / str(step)
        shutil.copytree(runs / f"{step}-after", folder)
        train(folder, *RUN, "task.checkpoint_seconds=1000")
        assert differences(folder, runs / "whole") == [], step


def test_a_run_logs_its_bound_and_the_elbo_by_their_names(runs: Path) -> None:
    found = logged(runs / "whole")
    assert {"val/marginal_6", "val/elbo", "train/marginal_6"} <= found.keys()
    best = torch.load(runs / "whole" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["vae_exp"]["best"] == max(value for _, value in found["val/marginal_6"])


def test_a_run_moves_the_decoder_alone(runs: Path) -> None:
    whole = torch.load(runs / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    names = [name for name in weights(runs / "whole") if name.startswith("decoder.")]
    [optimizer] = whole["optimizer_states"]
    assert len(optimizer["state"]) == len(names)
    first = torch.load(min((runs / "1-after").rglob("last.ckpt")), weights_only=True)
    for name in weights(runs / "whole"):
        one, other = (each["state_dict"][f"model.{name}"] for each in (first, whole))
        assert torch.equal(one, other) is not name.startswith("decoder."), name


def test_an_encoder_is_trained_for_that_decoder(runs: Path, tmp_path: Path) -> None:
    before = weights(runs / "whole")
    train(tmp_path, "data.source=digits", f"init_from={runs / 'whole'}", "freeze=[decoder]")
    after = weights(tmp_path)
    for name, weight in before.items():
        assert torch.equal(after[name], weight) is name.startswith("decoder."), name
    elbos = [value for _, value in logged(tmp_path)["val/elbo"]]
    assert elbos[-1] > logged(runs / "whole")["val/elbo"][-1][1]
