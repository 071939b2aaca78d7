"""Every number has the name of the bound that it is, whichever bound is trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from kill_and_resume import logged, new_run, only_run, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vae_exp.cli.main import _main
from vae_exp.data import ImageData, ImageDataModule
from vae_exp.inference import bounds
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO, IWAE
from vae_exp.models.vae import VAE
from vae_exp.runs.metrics import read_metrics
from vae_exp.runs.weights import load_checkpoint
from vae_exp.sweeping import named_numbers, sweeps
from vae_exp.training.callbacks import QuietTensorBoard
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.hardware import Hardware
from vae_exp.training.interrupts import Interrupts
from vae_exp.training.module import Objective, VAEModule
from vae_exp.training.optimizers import Adam


def fitted(objective: Objective, folder: Path) -> tuple[VAEModule, dict[str, float], torch.Tensor]:
    """A module after an epoch, what it logged, and the images that it was validated on."""
    data = ImageData(
        source="digits", train_size=60, validation_size=50, test_size=10, batch_size=30
    )
    torch.manual_seed(0)
    model = VAE(2, Encoder((20,)), Decoder((20,)))
    module = VAEModule(model, objective, Adam(1e-2), seed=3)
    logger = QuietTensorBoard(folder)
    checkpoints = Checkpoints(folder, logger, Interrupts(), images={})
    trainer = Hardware().trainer(1, folder, logger, [checkpoints])
    trainer.fit(module, datamodule=ImageDataModule(data))
    shown = {name: value.item() for name, value in trainer.callback_metrics.items()}
    return module, shown, data.splits.validation.images


def test_val_elbo_is_the_elbo_while_another_bound_is_trained(tmp_path: Path) -> None:
    module, shown, x = fitted(IWAE(samples=10), tmp_path)
    noise = torch.cat([module.noise(30, "validation", 0), module.noise(20, "validation", 1)], 1)
    weights = module.model.log_weights(x, noise)
    elbo = module.model.elbo_terms(x, noise).bound
    assert shown["val/iwae_10"] == pytest.approx(bounds.iwae(weights).mean().item(), rel=1e-5)
    assert shown["val/elbo"] == pytest.approx(elbo.mean().item(), rel=1e-5)
    assert shown["val/elbo"] < shown["val/iwae_10"]
    assert {"train/iwae_10", "train/elbo", "val/kl", "val/log_likelihood"} <= shown.keys()


def test_an_elbo_with_a_sampled_kl_is_logged_as_it_was_trained(tmp_path: Path) -> None:
    module, shown, x = fitted(ELBO(samples=3, kl="monte_carlo"), tmp_path)
    noise = torch.cat([module.noise(30, "validation", 0), module.noise(20, "validation", 1)], 1)
    terms = module.model.elbo_terms(x, noise, "monte_carlo")
    assert shown["val/elbo"] == pytest.approx(terms.bound.mean().item(), rel=1e-5)
    assert shown["val/kl"] == pytest.approx(terms.kl.mean().item(), rel=1e-5)


@pytest.fixture(scope="module")
def iwae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run by the importance-weighted bound."""
    folder = tmp_path_factory.mktemp("iwae")
    train(folder, "objective=iwae", "objective.samples=10")
    return folder


def test_the_best_says_by_which_bound(iwae: Path) -> None:
    validation = json.loads((iwae / "metrics.json").read_text())["validation"]
    curve = [value for _, value in logged(iwae)["val/iwae_10"]]
    assert validation["best"]["by"] == "val/iwae_10"
    assert validation["best"]["value"] == pytest.approx(max(curve), rel=1e-6)
    assert validation["best"]["samples"] == 10
    assert "best_elbo" not in validation
    assert validation["elbo"]["estimator"] == "ELBO, KL in closed form"
    checkpoint = load_checkpoint(iwae / "checkpoints" / "best.ckpt")
    assert checkpoint["vae_exp"]["best_by"] == "val/iwae_10"
    assert checkpoint["vae_exp"]["best"] == pytest.approx(max(curve), rel=1e-6)
    events = EventAccumulator(str(iwae))
    events.Reload()
    [summary] = events.Tensors("summary")
    assert b"Best epoch by val/iwae_10: " in summary.tensor_proto.string_val[0]


def test_a_table_of_a_sweep_names_the_bound_of_the_best(iwae: Path) -> None:
    job = sweeps.Job(0, iwae, (), sweeps.FINISHED, read_metrics(iwae), "")
    numbers = named_numbers.numbers_of(job)
    metrics = read_metrics(iwae)["validation"]
    assert numbers["val/best_iwae_10"] == metrics["best"]["value"]
    assert numbers["val/elbo"] == metrics["elbo"]["mean"]
    assert "val/best_elbo" not in numbers


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("objective=iwae", "objective.samples=5"), ("IWAE-5 train", "; ELBO validation")),
        (("objective.kl=monte_carlo",), ("ELBO train", ", validation")),
    ],
)
def test_the_line_of_an_epoch_names_its_bounds(
    words: tuple[str, ...],
    shown: tuple[str, ...],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["vae_exp"])
    _main(new_run("epochs=1", "task.analyses={}", *words))
    out = capsys.readouterr().out
    [line] = [line for line in out.splitlines() if line.startswith("epoch 1/1")]
    assert all(part in line for part in shown)
    run = only_run(folder)
    assert run is not None
    best = read_metrics(run)["validation"]["best"]
    sampled = "by sampling" if "objective.kl=monte_carlo" in words else "importance-weighted"
    assert sampled in best["estimator"]


def test_an_older_checkpoint_goes_on_with_its_best(tmp_path: Path) -> None:
    train(tmp_path, "objective=iwae", "objective.samples=10")
    path = tmp_path / "checkpoints" / "last.ckpt"
    contents = torch.load(path, weights_only=True)
    del contents["vae_exp"]["best_by"]
    contents["vae_exp"]["best"] = -1.0  # which no epoch reaches
    torch.save(contents, path)
    (tmp_path / "model.safetensors").unlink()
    train(tmp_path, "objective=iwae", "objective.samples=10")
    assert read_metrics(tmp_path)["validation"]["best"] == {
        "by": "val/iwae_10",
        "value": -1.0,
        "estimator": "importance-weighted bound",
        "samples": 10,
    }


def test_a_best_by_another_bound_is_none(iwae: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(iwae, tmp_path / "run"))
    contents = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    contents["vae_exp"] |= {"best_by": "val/elbo", "best": -1.0}
    (run / "checkpoints" / "last.ckpt").unlink()  # a hard link of best.ckpt may be the same file
    torch.save(contents, run / "checkpoints" / "last.ckpt")
    (run / "model.safetensors").unlink()
    train(run, "objective=iwae", "objective.samples=10")
    best = read_metrics(run)["validation"]["best"]
    assert best["by"] == "val/iwae_10"
    assert best["value"] != -1.0
