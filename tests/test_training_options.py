"""What of Lightning's Trainer a person sets: it does what it says, or is refused in one line."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from kill_and_resume import logged, train
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Timer
from test_training import digits, small_model

from vae_exp.config import composing
from vae_exp.data import ImageDataModule
from vae_exp.errors import UserError
from vae_exp.models.objectives import ELBO
from vae_exp.runs.metrics import read_metrics
from vae_exp.training import options
from vae_exp.training.callbacks import QuietTensorBoard
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.fitting import Clip
from vae_exp.training.hardware import Hardware
from vae_exp.training.interrupts import Interrupts
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import Adam

NAMES = {*inspect.signature(pl.Trainer.__init__).parameters} - {"self"}


def fit(folder: Path, epochs: int = 1, **given: Any) -> tuple[pl.Trainer, VAEModule]:
    """A Trainer and its module after a small run with some options."""
    hardware = Hardware(options=given)
    logger = QuietTensorBoard(folder)
    checkpoints = Checkpoints(folder, logger, Interrupts(), images={})
    module = hardware.module(small_model(), ELBO(), Adam(1e-2), seed=3)
    trainer = hardware.trainer(epochs, folder, logger, [checkpoints])
    data = digits()
    if "limit_train_batches" in given:
        data.block_images = 1
    trainer.fit(module, datamodule=ImageDataModule(data))
    return trainer, module


@pytest.mark.slow
def test_what_a_config_names_is_imported_without_lightning() -> None:
    code = (
        "import sys\n"
        "from vae_exp.training.distributed import Processes\n"
        "from vae_exp.training.hardware import Hardware\n"
        "from vae_exp.training.loggers import TensorBoard\n"
        "from vae_exp.training.train import Train\n"
        "print('torch' in sys.modules, [name for name in "
        "('pytorch_lightning', 'lightning_fabric', 'tensorboard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


def test_every_argument_of_the_trainer_is_passed_or_refused() -> None:
    assert not {*options.EXPECTED} & {*options.REFUSED}
    assert {*options.EXPECTED} | {*options.REFUSED} == NAMES
    listed = OmegaConf.load(composing.CONF / "trainer" / "options" / "default.yaml")
    assert set(listed) == {*options.EXPECTED}
    assert options.Options.__annotations__.keys() == options.EXPECTED.keys()


@pytest.mark.parametrize("name", sorted(options.REFUSED))
def test_what_cannot_work_here_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError) as refused:
        Hardware(options={name: 1})
    line = str(refused.value)
    assert line.startswith(f"trainer.options.{name} cannot be given: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"precison": "bf16-mixed"}, r"did you mean trainer\.options\.precision\?"),
        ({"wibble": 1}, r"unknown key 'trainer\.options\.wibble'; it takes precision, "),
        ({"precision": "64-true"}, "must be one of 32-true, 16-mixed, bf16-mixed, got '64-true'"),
        ({"max_time": "an hour"}, "must be days:hours:minutes:seconds"),
        ({"gradient_clip_val": -1.0}, "must be a number > 0, got -1.0"),
        ({"gradient_clip_val": float("inf")}, "must be a number > 0, got inf"),
        ({"limit_train_batches": 1.5}, "an integer >= 1, or a share"),
        ({"limit_train_batches": 0}, "an integer >= 1, or a share"),
        ({"min_epochs": True}, "must be an integer >= 1, got True"),
        ({"profiler": "pytorch"}, "one of simple, advanced"),
        ({"gradient_clip_algorithm": "norm"}, "is not read without"),
        ({"gradient_clip_val": 1.0, "precision": "16-mixed"}, "give precision=bf16-mixed"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Hardware(options=given)


def test_variables_of_lightning_decide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = {"MAX_TIME": "00:00:00:01", "LIMIT_VAL_BATCHES": "0", "MAX_STEPS": "1"}
    hostile |= {"ACCUMULATE_GRAD_BATCHES": "3", "PRECISION": "bf16", "FAST_DEV_RUN": "1"}
    for name, value in hostile.items():
        monkeypatch.setenv(f"PL_TRAINER_{name}", value)
    trainer = Hardware().trainer(2, tmp_path, QuietTensorBoard(tmp_path), [])
    assert trainer.limit_val_batches == 1.0
    assert trainer.max_steps == -1
    assert trainer.accumulate_grad_batches == 1
    assert trainer.precision == "32-true"
    assert not trainer.fast_dev_run
    assert not any(isinstance(callback, Timer) for callback in trainer.callbacks)
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    assert Hardware().trainer(2, tmp_path, QuietTensorBoard(tmp_path), []).max_epochs == 2


def test_a_step_is_clipped_before_it_is_taken() -> None:
    weights = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([weights], lr=1.0)
    for clip, expected in ((Clip(1.0), [0.6, 0.8]), (Clip(2.0, "value"), [2.0, 2.0])):
        weights.grad = torch.tensor([3.0, 4.0])
        clip(optimizer)
        torch.testing.assert_close(weights.grad, torch.tensor(expected))


def test_clipping_works_under_manual_optimisation(tmp_path: Path) -> None:
    _, loose = fit(tmp_path / "loose", gradient_clip_val=1e9)
    _, plain = fit(tmp_path / "plain")
    for one, other in zip(loose.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    hardware = Hardware(options={"gradient_clip_val": 0.5})
    seen = []

    class Seen(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            grads = [p.grad for p in args[1].model.parameters()]
            seen.append(torch.nn.utils.get_total_norm(grads).item())

    logger = QuietTensorBoard(tmp_path / "seen")
    module = hardware.module(small_model(), ELBO(), Adam(1e-2), seed=3)
    trainer = hardware.trainer(1, tmp_path, logger, [Seen()])
    trainer.fit(module, datamodule=ImageDataModule(digits()))
    assert seen == pytest.approx([0.5] * len(seen), rel=1e-4)


def test_mixed_precision_trains_and_is_validated_in_full_precision(tmp_path: Path) -> None:
    trainer, module = fit(tmp_path, precision="bf16-mixed")
    assert all(weight.dtype == torch.float32 for weight in module.model.parameters())
    x = digits().splits.validation.images
    noise = torch.cat([module.noise(30, "validation", 0), module.noise(20, "validation", 1)], 1)
    elbo = module.model.elbo_terms(x, noise).bound.mean().item()
    assert trainer.callback_metrics["val/elbo"].item() == pytest.approx(elbo, rel=1e-6)
    _, plain = fit(tmp_path / "plain")
    weights = [torch.cat([p.flatten() for p in m.model.parameters()]) for m in (module, plain)]
    assert not torch.equal(*weights)
    torch.testing.assert_close(*weights, rtol=0, atol=0.1)


@pytest.mark.parametrize(("limit", "steps"), [(3, 3), (0.5, 2), (99, 4)])
def test_a_limit_of_batches_counts_minibatches(limit: float, steps: int, tmp_path: Path) -> None:
    trainer, module = fit(tmp_path, 2, limit_train_batches=limit)  # of 4, in blocks of 2
    assert trainer.global_step == module.total_steps == 2 * steps


def test_a_command_takes_options_and_resumes_only_with_the_same(tmp_path: Path) -> None:
    words = ("trainer.options.limit_train_batches=2", "trainer.options.gradient_clip_val=100.0")
    train(tmp_path, *words)
    assert [step for step, _ in logged(tmp_path)["val/elbo"]] == [1, 3]
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"^trainer\.options\.gradient_clip_val was 100\.0 when "):
        train(tmp_path, words[0])


def test_a_run_whose_time_is_over_ends_whole(tmp_path: Path) -> None:
    train(tmp_path, "epochs=1000000", "trainer.options.max_time=00:00:00:01")
    run = read_metrics(tmp_path)["run"]
    assert 1 <= run["stopped"]["epoch"] < 1000
    assert run["stopped"]["reason"] == "trainer.options.max_time was over"
    bounds = logged(tmp_path)
    assert len(bounds["val/elbo"]) == len(bounds["train/elbo"]) == run["stopped"]["epoch"]


def test_a_profile_lies_in_the_runs_folder(tmp_path: Path) -> None:
    train(tmp_path, "epochs=1", "trainer.options.profiler=simple")
    assert "run_training_epoch" in (tmp_path / "fit-profile.txt").read_text()
