"""Numbers that go bad stop the run, say when and why, and leave the last good checkpoint."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import refusal
from kill_and_resume import LAST, WEIGHTS, new_run, only_run, small_config, train
from torch import Tensor

from vae_exp.config.composing import plain_config
from vae_exp.data import ImageData, ImageDataModule
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, Step
from vae_exp.models.vae import VAE, Terms
from vae_exp.parts import build
from vae_exp.runs.weights import load_checkpoint, load_weights
from vae_exp.training.callbacks import QuietTensorBoard
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.hardware import Hardware
from vae_exp.training.interrupts import Interrupts
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import Adam
from vae_exp.training.watch import Diverged, Watch


def small_model(device: str = "cpu") -> VAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VAE(2, Encoder((20,)), Decoder((20,))).to(device)


def test_a_log_std_that_runs_away_stops_the_run_and_is_named_with_its_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["vae_exp"])
    words = new_run("epochs=50", "optimizer=adam", "lr=10", "task.checkpoint_seconds=0")
    err = refusal(*words)
    run = only_run(folder)
    assert run is not None
    assert err.startswith("training diverged: in step ")
    last = load_checkpoint(run / LAST)
    assert f"in step {last['global_step']} the loss is not finite, with outputs up to " in err
    assert "the learning rate was 10: start a new run with a lower lr" in err
    assert f"the last good checkpoint is {run / LAST}" in err
    assert all(weight.isfinite().all() for weight in last["state_dict"].values())
    largest = float(err.partition("last finite loss had outputs up to ")[2].split()[0])
    assert largest > 20  # a σ of e²⁰ nobody asked for: this is what ran away
    assert not (run / WEIGHTS).exists()


def steps(watch: Watch, model: VAE, scales: list[float], device: str = "cpu") -> None:
    """Steps of images that are larger and larger, seen by a watch."""
    for scale in scales:
        x = torch.full((3, 784), float(scale), device=device)
        watch.step(model.elbo_terms(x, torch.zeros(1, 3, 2, device=device)).bound)


def largest_output(model: VAE, scale: float) -> float:
    """Of the encoder, for images all of whose pixels are ``scale``."""
    return float(model.encoder(torch.full((1, 784), float(scale))).abs().max())


def test_the_first_bad_step_is_named_and_what_was_large_in_it() -> None:
    model = small_model()
    watch = Watch(model, step=100)
    steps(watch, model, [1, 2, 3])
    watch.check(lr=0.1)
    finite = largest_output(model, 3)
    model.encoder.parameters_of_q.weight.data[2:] = 1e3  # log_std, whose exponential overflows
    bad = largest_output(model, 1)
    steps(watch, model, [1, 2])
    with pytest.raises(Diverged, match="in step 103 the loss is not finite") as caught:
        watch.check(lr=0.1)
    assert f"not finite, with outputs up to {bad:.3g} of the encoder and" in str(caught.value)
    assert f"the last finite loss had outputs up to {finite:.3g} of the encoder" in str(
        caught.value
    )


def test_weights_that_are_not_finite_are_found_before_a_loss_is() -> None:
    model = small_model()
    watch = Watch(model, step=0)
    steps(watch, model, [1, 1])
    next(model.parameters()).data[0, 0] = torch.nan
    with pytest.raises(Diverged, match="in step 1 the weights come out not finite"):
        watch.check(lr=0.1)


def test_a_step_does_not_wait_for_the_device() -> None:
    model = small_model("meta")  # where no value can be read at all
    watch = Watch(model, step=0)
    steps(watch, model, [1, 1], "meta")
    with pytest.raises(RuntimeError, match="meta"):
        watch.check(lr=0.1)


def test_a_watch_leaves_the_model_as_it_was() -> None:
    model = small_model()
    Watch(model, step=0).close()
    assert not model.encoder._forward_hooks
    assert not model.decoder._forward_hooks


class BadInValidation(ELBO):
    """A bound that is finite in training alone."""

    def __call__(self, model: VAE, x: Tensor, noise: Tensor, step: Step = 0) -> Terms:
        terms = super().__call__(model, x, noise, step)
        return terms if model.training else dataclasses.replace(terms, bound=terms.bound / 0)


def test_a_validation_bound_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    module = VAEModule(small_model(), BadInValidation(), Adam(), seed=0)
    logger = QuietTensorBoard(tmp_path)
    checkpoints = Checkpoints(tmp_path, logger, Interrupts(), images={})
    data = ImageData(source="digits", train_size=20, validation_size=20, test_size=20)
    with pytest.raises(Diverged, match="val/elbo is -inf after epoch 1"):
        Hardware().trainer(2, tmp_path, logger, [checkpoints]).fit(
            module, datamodule=ImageDataModule(data)
        )
    assert not (tmp_path / LAST).exists()


def test_single_precision_agrees_with_double_on_every_image(tmp_path: Path) -> None:
    train(tmp_path, "epochs=10", "batch_size=10", "task.checkpoint_seconds=1000")
    config = plain_config(small_config())
    data: ImageData = build(config["data"], "data", ImageData)
    single = small_trained(tmp_path, config["model"])
    double = copy.deepcopy(single).double()
    x = data.splits.test.images
    noise = torch.randn(8, len(x), 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for kl in ("closed_form", "monte_carlo"):
            ours = single.elbo_terms(x, noise, kl)
            exact = double.elbo_terms(x.double(), noise.double(), kl)
            assert ours.bound.mean() > -260  # trained: not a case that is too easy
            torch.testing.assert_close(ours.bound.double(), exact.bound, rtol=0, atol=1e-3)
        weights = single.log_weights(x, noise)
        exact_weights = double.log_weights(x.double(), noise.double())
        torch.testing.assert_close(weights.double(), exact_weights, rtol=0, atol=1e-3)


def small_trained(folder: Path, config: object) -> VAE:
    """The model that a run has saved."""
    model: VAE = build(config, "model", VAE)
    load_weights(model, folder / WEIGHTS)
    return model.eval()
