"""A signal ends a step, not a file: what is done is kept, what is not is named."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from kill_and_resume import LAST, new_run, only_run, stop_when
from torch import Tensor
from warm import start

from vae_exp.data import ImageData, ImageDataModule
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO
from vae_exp.models.vae import VAE
from vae_exp.training.callbacks import QuietTensorBoard
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.hardware import Hardware
from vae_exp.training.interrupts import Interrupted, Interrupts
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import Adam

EPOCH = 10  # steps in an epoch of the small run
LONG = ("epochs=100000", "task.checkpoint_seconds=1000")


def checkpoints_of(cwd: Path) -> list[Path]:
    """The newest checkpoint of each run that has one."""
    return list(cwd.glob(f"*/*/*/{LAST}")) + list(cwd.glob(f"*/*/*/*/{LAST}"))


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_a_checkpoint_says_how_to_go_on_and_is_told_by_the_exit_code(
    signum: signal.Signals, code: int, tmp_path: Path
) -> None:
    process = start(tmp_path, *new_run(*LONG))
    assert stop_when(process, lambda: bool(checkpoints_of(tmp_path)), signum)
    _, err = process.communicate()
    run = only_run(tmp_path)
    assert process.returncode == code
    assert err.startswith(f"stopped by {signum.name}; to go on: ")
    assert err.endswith(f" -m vae_exp resume={run}\n")
    assert run is not None
    last = torch.load(run / LAST, weights_only=True)
    # The process logged and saved nothing after the step that it was in.
    assert last["global_step"] >= EPOCH
    assert last["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["processed"] > 0
    assert not list(run.rglob("*.tmp"))


@pytest.mark.slow
def test_in_a_sweep_a_signal_is_no_success_and_names_what_was_not_done(tmp_path: Path) -> None:
    process = start(tmp_path, "-m", *new_run(*LONG), "seed=3,4", "latent_dim=2,3")
    assert stop_when(process, lambda: bool(checkpoints_of(tmp_path)), signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 143
    lines = err.splitlines()
    assert len(lines) == 4
    for line, job in zip(lines, ((3, 3), (4, 2), (4, 3)), strict=False):
        assert line.startswith("not started: ")
        assert f"seed={job[0]} latent_dim={job[1]}" in line
    [saved] = checkpoints_of(tmp_path)
    assert lines[-1].startswith("stopped by SIGTERM; to go on: ")
    assert lines[-1].endswith(f" -m vae_exp -m resume={saved.parents[2].relative_to(tmp_path)}")
    assert saved.parents[1].name == "0"


class SignalBetweenHooks(VAEModule):
    """Is sent a SIGTERM where Lightning is the next to look: it would end with exit code 0."""

    def on_train_batch_end(self, outputs: Any, batch: Tensor, batch_idx: int) -> None:
        if self.global_step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("at", "saved"), [(2, 3), (3, 3), (4, 5), (5, 6)])
def test_a_signal_between_two_hooks_is_not_lightnings(at: int, saved: int, tmp_path: Path) -> None:
    model = VAE(2, Encoder((5,)), Decoder((5,)))
    module = SignalBetweenHooks(model, ELBO(), Adam(), seed=0)
    module.at = at  # of three steps an epoch
    logger = QuietTensorBoard(tmp_path)
    data = ImageData(
        source="digits",
        train_size=30,
        validation_size=20,
        test_size=20,
        batch_size=10,
        block_images=10,
    )
    interrupts = Interrupts()
    checkpoints = Checkpoints(tmp_path, logger, interrupts, images={})
    trainer = Hardware().trainer(5, tmp_path, logger, [checkpoints])
    with pytest.raises(Interrupted), interrupts:
        trainer.fit(module, datamodule=ImageDataModule(data))
    assert torch.load(tmp_path / LAST, weights_only=True)["global_step"] == saved


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """A process that may be killed by its own signals."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_second_sigint_stops_at_once() -> None:
    code = """
import os, signal
from vae_exp.training.interrupts import Interrupts
with Interrupts() as interrupts:
    interrupts.deferred = True
    os.kill(os.getpid(), signal.{0})
    print("the step goes on", flush=True)
    os.kill(os.getpid(), signal.{1})
    print("to its end", flush=True)
"""
    assert run_python(code.format("SIGINT", "SIGINT")).stdout == "the step goes on\n"
    assert run_python(code.format("SIGINT", "SIGINT")).returncode == 130
    assert run_python(code.format("SIGTERM", "SIGINT")).stdout == "the step goes on\n"
    # Schedulers send SIGTERM to the group and to its leader: twice is no more than once.
    assert run_python(code.format("SIGTERM", "SIGTERM")).stdout.endswith("to its end\n")


def test_a_signal_is_raised_at_once_or_where_it_is_asked_for() -> None:
    with Interrupts(), pytest.raises(Interrupted, match="stopped by SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)
    with Interrupts() as interrupts:
        interrupts.deferred = True
        interrupts.check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted, match="stopped by SIGINT") as caught:
            interrupts.check()
    assert caught.value.exit_code == 130


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_way_to_go_on_can_be_typed_into_a_shell() -> None:
    stop = Interrupted(signal.SIGINT, Path("/my runs/it's"))
    command = "printf '%s\\n' " + str(stop).partition("to go on: ")[2]
    shell = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines()[-1] == "resume=/my runs/it's"
