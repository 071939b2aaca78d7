"""Objectives: each is called by the name of the bound that it is, and sees the step of the run."""

import itertools
import shutil
from pathlib import Path

import pytest
import setuptools  # noqa: F401  torch.compile needs it loaded before another library's distutils
import torch
from kill_and_resume import logged, train
from odd_parts import BentFamily
from test_networks import PAIRS, Pair
from test_training import digits, fit, small_model
from torch import Tensor

from vae_exp import parts
from vae_exp.errors import UserError
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import (
    ELBO,
    IWAE,
    BetaELBO,
    Compiled,
    Dreams,
    DReG,
    FreeBits,
    Objective,
    Renyi,
    SemiAmortised,
    Step,
    begin,
)
from vae_exp.models.vae import VAE, Terms
from vae_exp.runs.metrics import read_metrics
from vae_exp.training.fitting import fit as plain_fit
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import Adam

X = digits().splits.train.images
NOISE = torch.randn(3, len(X), 2, generator=torch.Generator().manual_seed(0))
BOUNDS = [
    ELBO(),
    IWAE(2),
    IWAE(3),
    *(BetaELBO(beta) for beta in (0.0, 0.5, 1.0, 4.0, 4.0000001)),
    BetaELBO(4.0, warmup=10),
    BetaELBO(4.0, warmup=100),
    BetaELBO(4.0, warmup=10, warmup_in="epochs"),
    FreeBits(0.5),
    FreeBits(1.0),
    DReG(2),
    DReG(3),
    Renyi(0.5, 2),
    Renyi(0.5, 3),
    Renyi(0.25, 3),
    SemiAmortised(2, samples=1),
    SemiAmortised(5, samples=1),
    SemiAmortised(5, samples=2),
    SemiAmortised(5, lr=0.02),
    Dreams(0.3),
    Dreams(1.0),
]
TRAINED = [
    ELBO(2, "monte_carlo"),
    BetaELBO(2.0, warmup=1, warmup_in="epochs"),
    FreeBits(0.5),
    IWAE(3),
    DReG(3),
    Renyi(0.5, 3),
    SemiAmortised(2),
    SemiAmortised(2, through=False),
]


class Recorder(ELBO):
    """The ELBO; keeps the steps that it was asked for, apart by whether they were trained."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[Step] = []
        self.validated: list[Step] = []

    def begin(self, model: VAE, steps_per_epoch: int) -> None:
        self.begun = steps_per_epoch

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        (self.trained if torch.is_grad_enabled() else self.validated).append(step)
        return super().__call__(model, x, noise, step)


class Mislabelled(BetaELBO):
    """Half the KL under the name of the ELBO."""

    def __init__(self, name: str = "elbo") -> None:
        super().__init__(0.5)
        self.name = name


@pytest.mark.parametrize("name", sorted(file.stem for file in (parts.CONF / "objective").glob("*")))
def test_every_file_of_an_objective_makes_one_that_reaches_every_weight_it_trains(
    name: str,
) -> None:
    objective = parts.build(parts.choice("objective", name), "objective", Objective)
    model, x = small_model(), X[:5]
    begin(objective, model, 4)
    noise = model.noise.draw(objective.samples, len(x), generator=torch.Generator().manual_seed(0))
    terms, elbo = objective(model, x, noise, 0), model.elbo_terms(x, noise)
    assert terms.bound.shape == terms.log_likelihood.shape == terms.kl.shape == (5,)
    torch.testing.assert_close(terms.kl, elbo.kl)  # named val/elbo, whatever is trained
    (-terms.bound.mean()).backward()
    whole = getattr(objective, "trains_encoder", True)
    for key, weight in model.named_parameters():
        reached = weight.grad is not None and bool(weight.grad.abs().max() > 0)
        assert reached is (whole or not key.startswith("encoder.")), key


def test_two_bounds_never_share_a_name() -> None:
    for one, other in itertools.combinations(BOUNDS, 2):
        assert one.name != other.name
    assert all(isinstance(objective, Objective) for objective in BOUNDS)


def test_beta_weighs_the_kl_and_rises_along_a_line() -> None:
    model = small_model()
    elbo = ELBO()(model, X, NOISE, 0)
    for beta in (0.0, 1.0, 4.0):
        terms = BetaELBO(beta)(model, X, NOISE, 5)
        torch.testing.assert_close(terms.bound, elbo.log_likelihood - beta * elbo.kl)
    rising = BetaELBO(2.0, warmup=8)
    for step, weight in ((0, 0.0), (2, 0.5), (8, 2.0), (1000, 2.0)):
        expected = elbo.log_likelihood - weight * elbo.kl
        for given in (step, torch.tensor(float(step))):  # a tensor, if it is compiled
            torch.testing.assert_close(rising(model, X, NOISE, given).bound, expected)


def test_beta_rises_over_epochs_once_their_length_is_known() -> None:
    model, steps = small_model(), BetaELBO(2.0, warmup=8)
    epochs = BetaELBO(2.0, warmup=2, warmup_in="epochs")
    with pytest.raises(UserError, match="warmup_in=epochs needs the steps of an epoch"):
        epochs(model, X, NOISE, 0)
    begin(epochs, model, 4)
    for step in (0, 3, 8, 9):
        expected = steps(model, X, NOISE, step).bound
        torch.testing.assert_close(epochs(model, X, NOISE, step).bound, expected)


def test_a_dimension_below_its_free_nats_has_no_gradient_of_the_kl() -> None:
    model = small_model()
    with torch.no_grad():
        model.decoder.features[0].weight.zero_()  # z tells nothing: all gradient is the KL's
        model.encoder.parameters_of_q.weight.zero_()
        model.encoder.parameters_of_q.bias.copy_(torch.tensor([0.1, 2.0, 0.0, 0.0]))
    kl = torch.tensor([0.005, 2.0])  # ½ mean²
    for nats, moved in ((0.0, [True, True]), (0.5, [False, True]), (3.0, [False, False])):
        model.zero_grad()
        terms = FreeBits(nats)(model, X, NOISE, 0)
        expected = terms.log_likelihood - kl.clamp(min=nats).sum()
        torch.testing.assert_close(terms.bound, expected)
        torch.testing.assert_close(terms.kl, kl.sum().expand(len(X)))
        terms.bound.mean().backward()
        gradient = model.encoder.parameters_of_q.bias.grad
        assert gradient is not None
        assert (gradient[:2].abs() > 1e-6).tolist() == moved


def test_free_bits_of_a_kl_that_is_no_sum_are_refused_before_the_first_step() -> None:
    torch.manual_seed(0)
    model = VAE(2, Encoder((5,)), Decoder((5,)), posterior=BentFamily())
    with pytest.raises(UserError, match=r"needs a KL that is a sum .* BentGaussian"):
        plain_fit(model, X, objective=FreeBits(), epochs=1)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("objective", TRAINED, ids=lambda one: one.name)
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_every_objective_trains_every_network(pair: Pair, objective: Objective) -> None:
    def risen(lr: float) -> float:
        torch.manual_seed(0)
        encoder, decoder = pair()
        model = VAE(2, encoder, decoder)
        begin(objective, model, 4)
        noise = model.noise.draw(
            objective.samples, len(X), generator=torch.Generator().manual_seed(1)
        )
        before = objective(model, X, noise, 1000).bound.mean().item()
        plain_fit(model, X, objective=objective, optimizer=Adam(lr), epochs=2, batch_size=30)
        return objective(model, X, noise, 1000).bound.mean().item() - before

    assert risen(1e-2) > 25
    assert abs(risen(1e-12)) < 0.01


def test_an_objective_sees_each_step_of_the_run_once_and_validates_at_the_last(
    tmp_path: Path,
) -> None:
    data = digits(batch_size=30)  # four batches an epoch, in blocks of two
    under_lightning, plain = Recorder(), Recorder()
    fit(VAEModule(small_model(), under_lightning, Adam(1e-3), seed=0), data, tmp_path, epochs=2)
    plain_fit(small_model(), X, objective=plain, epochs=2, batch_size=30)
    assert under_lightning.trained == plain.trained == list(range(8))
    assert set(under_lightning.validated) == {7}
    assert under_lightning.begun == plain.begun == 4


@pytest.mark.parametrize(
    "objective",
    [BetaELBO(2.0, warmup=1, warmup_in="epochs"), DReG(3), SemiAmortised(2)],
    ids=lambda objective: objective.name,
)
def test_plain_training_ends_with_the_weights_of_the_trainer(
    objective: Objective, tmp_path: Path
) -> None:
    module = VAEModule(small_model(), objective, Adam(1e-2), seed=3)
    fit(module, digits(seed=3), tmp_path)
    model = small_model()
    plain_fit(model, X, objective=objective, optimizer=Adam(1e-2), epochs=2, batch_size=30, seed=3)
    for ours, theirs in zip(model.parameters(), module.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_bound_has_its_own_name_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "objective=beta_elbo", "epochs=1", "data.source=digits")
    bounds = logged(tmp_path)
    assert {"train/beta_elbo_4", "val/beta_elbo_4", "train/elbo", "val/elbo"} <= bounds.keys()
    [(_, elbo)], [(_, weighed)] = bounds["val/elbo"], bounds["val/beta_elbo_4"]
    [(_, kl)], [(_, log_likelihood)] = bounds["val/kl"], bounds["val/log_likelihood"]
    assert isinstance(kl, float)
    assert isinstance(log_likelihood, float)
    assert elbo == pytest.approx(log_likelihood - kl, rel=1e-5)
    assert weighed == pytest.approx(log_likelihood - 4 * kl, rel=1e-5)
    best = read_metrics(tmp_path)["validation"]["best"]
    assert (best["by"], best["value"]) == ("val/beta_elbo_4", pytest.approx(weighed, rel=1e-6))
    assert "BETA-ELBO-4 train" in capsys.readouterr().out
    checkpoint = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["vae_exp"]["best_by"] == "val/beta_elbo_4"


@pytest.mark.parametrize("name", ["elbo", "kl", "log_likelihood"])
def test_another_bound_by_the_name_of_the_elbo_is_refused(name: str, tmp_path: Path) -> None:
    module = VAEModule(small_model(), Mislabelled(name), Adam(1e-3), seed=0)
    with pytest.raises(UserError, match=f"the objective is called {name} but gives"):
        fit(module, digits(), tmp_path)


@pytest.mark.parametrize(("beta", "warmup"), [(-1.0, 0), (float("inf"), 0), (1.0, -1)])
def test_a_setting_that_makes_no_objective_is_refused(beta: float, warmup: int) -> None:
    with pytest.raises(UserError, match=r"^objective\.(beta|warmup) must be"):
        BetaELBO(beta, warmup)


def test_an_objective_that_takes_gradients_itself_is_not_compiled() -> None:
    with pytest.raises(UserError, match=r"compile=true cannot be had with semi_amortised_elbo_5"):
        Compiled(SemiAmortised())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_warmup_is_the_plain_one_and_compiled_once() -> None:
    model, objective = small_model(), BetaELBO(2.0, warmup=8)
    compiled = Compiled(objective)
    torch._dynamo.utils.counters.clear()
    for step in (0, 3, 4, 9):
        plain, fast = objective(model, X, NOISE, step), compiled(model, X, NOISE, step)
        torch.testing.assert_close(fast.bound, plain.bound, rtol=1e-5, atol=1e-3)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
