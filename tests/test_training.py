"""Training: what the LightningModule logs and does is what the model says by itself."""

import shutil
from itertools import chain
from pathlib import Path

import pytest
import pytorch_lightning as pl
import setuptools  # noqa: F401  torch.compile needs it loaded before another library's distutils
import torch
from torch import Tensor

from vae_exp.data import ImageData, ImageDataModule
from vae_exp.errors import UserError
from vae_exp.evaluation.estimates import elbo_terms, estimate
from vae_exp.inference import bounds
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, IWAE, Compiled
from vae_exp.models.vae import VAE
from vae_exp.training.callbacks import QuietTensorBoard
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.fitting import fit as plain_fit
from vae_exp.training.hardware import Hardware
from vae_exp.training.interrupts import Interrupts
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import Adam, AdamOneCycle, refuse_forgotten


def small_model(seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return VAE(2, Encoder((20,)), Decoder((20,)))


def digits(batch_size: int = 30, seed: int = 0) -> ImageData:
    return ImageData(
        source="digits",
        train_size=100,
        validation_size=50,
        test_size=50,
        batch_size=batch_size,
        block_images=60,
        seed=seed,
    )


def fit(module: VAEModule, data: ImageData, folder: Path, epochs: int = 2) -> pl.Trainer:
    logger = QuietTensorBoard(folder)
    checkpoints = Checkpoints(folder, logger, Interrupts(), images={})
    trainer = Hardware().trainer(epochs, folder, logger, [checkpoints])
    trainer.fit(module, datamodule=ImageDataModule(data))
    return trainer


def test_training_under_lightning_ends_with_the_weights_of_the_plain_loop(tmp_path: Path) -> None:
    data = digits(seed=3)
    module = VAEModule(small_model(), ELBO(), Adam(1e-2), seed=3)
    fit(module, data, tmp_path)

    model = small_model()
    plain_fit(
        model,
        data.splits.train.images,
        optimizer=Adam(1e-2),
        epochs=2,
        batch_size=data.batch_size,
        seed=3,
    )
    for ours, theirs in zip(model.parameters(), module.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_val_elbo_is_the_mean_over_all_validation_images_of_an_epoch(tmp_path: Path) -> None:
    data = digits(batch_size=30)  # 50 = 30 + 20: a mean of batch means would differ
    module = VAEModule(small_model(), ELBO(), Adam(1e-2), seed=3)
    trainer = fit(module, data, tmp_path, epochs=2)
    x = data.splits.validation.images
    noise = torch.cat([module.noise(30, "validation", 0), module.noise(20, "validation", 1)], 1)
    terms = module.model.elbo_terms(x, noise)
    logged = trainer.callback_metrics
    assert logged["val/elbo"].item() == pytest.approx(terms.bound.mean().item(), rel=1e-5)
    assert logged["val/kl"].item() == pytest.approx(terms.kl.mean().item(), rel=1e-5)
    assert logged["val/elbo"].item() == pytest.approx(
        (logged["val/log_likelihood"] - logged["val/kl"]).item(), rel=1e-5
    )


def test_train_elbo_counts_every_image_of_its_epoch_once(tmp_path: Path) -> None:
    data = digits(batch_size=30)
    module = VAEModule(small_model(), ELBO(), Adam(1e-12), seed=3)  # the weights stay
    trainer = fit(module, data, tmp_path, epochs=2)
    second = data.train_batches()
    second.set_epoch(1)
    terms = [
        module.model.elbo_terms(x, module.noise(len(x), "train", step)).bound
        for step, x in enumerate(chain.from_iterable(second), start=second.batches)
    ]
    assert sum(map(len, terms)) == 100
    assert trainer.callback_metrics["train/elbo"].item() == pytest.approx(
        torch.cat(terms).mean().item(), rel=1e-4
    )


def test_training_raises_the_bound(tmp_path: Path) -> None:
    data = digits()
    model = small_model()

    def elbo() -> Tensor:
        return elbo_terms(model, data.splits.train.images, samples=8).bound.mean()

    before = elbo()
    fit(VAEModule(model, ELBO(), AdamOneCycle(1e-2), seed=0), data, tmp_path, epochs=5)
    assert elbo() > before + 100


@pytest.mark.parametrize("objective", [ELBO(samples=2, kl="monte_carlo"), IWAE(samples=3)])
def test_every_objective_trains(objective: ELBO | IWAE, tmp_path: Path) -> None:
    model, data = small_model(), digits()
    x = data.splits.train.images
    noise = torch.randn(objective.samples, len(x), 2, generator=torch.Generator().manual_seed(1))
    before = objective(model, x, noise).bound.mean().item()
    fit(VAEModule(model, objective, Adam(1e-2), seed=0), data, tmp_path)
    assert objective(model, x, noise).bound.mean().item() > before + 50


class OnlyTheNetworks(Adam):
    """What an optimiser did before priors had parameters."""

    def build(self, model: VAE, steps: int) -> tuple[torch.optim.Optimizer, None]:
        """The encoder's and the decoder's parameters, and no other."""
        networks = [*model.encoder.parameters(), *model.decoder.parameters()]
        return torch.optim.Adam(networks, lr=self.lr), None


def test_a_parameter_that_an_optimiser_leaves_out_is_refused_by_name(tmp_path: Path) -> None:
    model = small_model()
    model.prior_family.shift = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(UserError, match=r"has prior_family\.shift 0 times"):
        plain_fit(model, torch.zeros(4, 784), optimizer=OnlyTheNetworks(), epochs=1)
    with pytest.raises(UserError, match=r"has prior_family\.shift 0 times"):
        fit(VAEModule(model, ELBO(), OnlyTheNetworks(), seed=0), digits(), tmp_path)
    twice = torch.optim.Adam(list(model.parameters()))
    twice.add_param_group({"params": []})
    twice.param_groups[1]["params"].append(model.decoder.parameters_of_x.bias)
    with pytest.raises(UserError, match=r"has decoder\.parameters_of_x\.bias 2 times"):
        refuse_forgotten(model, twice)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_objective_is_the_plain_one() -> None:
    x, objective = digits().splits.train.images, ELBO()
    compiled = Compiled(objective)
    for size in (30, 10):
        models = small_model(), small_model()
        noise = torch.randn(objective.samples, size, 2)
        plain, fast = (
            run(model, x[:size], noise)
            for run, model in zip((objective, compiled), models, strict=True)
        )
        torch.testing.assert_close(fast.bound, plain.bound, rtol=1e-5, atol=1e-3)
        for terms in (plain, fast):
            bounds.loss(terms.bound).backward()
        for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_noise_is_a_function_of_seed_and_step() -> None:
    module = VAEModule(small_model(), ELBO(), Adam(), seed=0)
    again = VAEModule(small_model(1), ELBO(), Adam(), seed=0)
    other = VAEModule(small_model(), ELBO(), Adam(), seed=1)
    assert torch.equal(module.noise(5, "train", 7), again.noise(5, "train", 7))
    assert not torch.equal(module.noise(5, "train", 7), module.noise(5, "train", 8))
    assert not torch.equal(module.noise(5, "train", 7), module.noise(5, "validation", 7))
    assert not torch.equal(module.noise(5, "train", 7), other.noise(5, "train", 7))


def test_one_cycle_rises_to_lr_and_falls() -> None:
    optimizer, schedule = AdamOneCycle(0.1, warmup=0.25).build(small_model(), steps=100)
    assert schedule is not None
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(0.1)
    assert 20 <= rates.index(max(rates)) <= 30
    assert rates[-1] < 1e-3


def test_the_mean_square_of_a_gradient_keeps_the_share_beta2() -> None:
    model = small_model()
    optimizer, _ = AdamOneCycle(0.1, beta2=0.9).build(model, steps=100)
    for gradient in (2.0, 1.0):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    expected = 0.9 * 0.1 * 2.0**2 + 0.1 * 1.0**2
    for parameter in model.parameters():
        mean_square = optimizer.state[parameter]["exp_avg_sq"]
        torch.testing.assert_close(mean_square, torch.full_like(parameter, expected))
    with pytest.raises(UserError, match="beta2 must be between 0 and 1, got 1"):
        AdamOneCycle(beta2=1.0)


def test_only_the_encoder_decays() -> None:
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimizer, _ = AdamOneCycle(0.1, encoder_weight_decay=2.0).build(model, steps=100)
    rate = optimizer.param_groups[0]["lr"]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, tensor in model.named_parameters():
        kept = 1 - 2.0 * rate if name.startswith("encoder") else 1.0
        torch.testing.assert_close(tensor, kept * before[name])


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_size_that_is_not_positive_is_refused(lr: float) -> None:
    for optimizer in (Adam, AdamOneCycle):
        with pytest.raises(UserError, match="lr must be"):
            optimizer(lr)


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    model, x = small_model(), digits().splits.test.images
    whole = elbo_terms(model, x, samples=3, seed=1)
    parts = elbo_terms(model, x, samples=3, seed=1, batch_size=7)
    torch.testing.assert_close(whole.bound, parts.bound)


def test_standard_error_is_that_of_the_mean() -> None:
    draws = torch.randn(400, 1000, generator=torch.Generator().manual_seed(0)) * 3 + 1
    estimates = [estimate(values, "a mean") for values in draws]
    spread = torch.tensor([e.mean for e in estimates]).std().item()
    assert estimates[0].stderr == pytest.approx(3 / 1000**0.5, rel=0.1)
    assert spread == pytest.approx(estimates[0].stderr, rel=0.15)
