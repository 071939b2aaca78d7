"""One run in two processes is the run in one: real processes, on the processor."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import refusal
from kill_and_resume import (
    LAST,
    WEIGHTS,
    checkpoint,
    logged,
    new_run,
    only_run,
    same,
    stop_when,
    touched,
    train,
    wait_until,
)
from warm import Forked, start

from vae_exp import folders
from vae_exp.cli.main import _main
from vae_exp.data import EpochBatches
from vae_exp.errors import UserError
from vae_exp.training.distributed import Processes

# The last batch of each epoch has 11 images: one process sees 5 of them, the other 6.
EPOCHS = 8
OF_NETWORKS = "model.encoder.input_noise=0.1"  # whose noise the processes share too
WORDS = (f"epochs={EPOCHS}", "data.train_size=101", "batch_size=30", OF_NETWORKS)
SHARED = ("trainer=ddp", "trainer.accelerator=cpu", "~task.analyses.scatter")
SLOW = ("data.validation_size=1500", "task.checkpoint_seconds=0")


def finished(process: Forked, cwd: Path) -> Path:
    """The folder of a run, once its process has ended well."""
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert err == ""
    run = only_run(cwd)
    assert run is not None
    return run


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in two processes."""
    cwd = tmp_path_factory.mktemp("shared")
    return finished(start(cwd, *new_run(*WORDS, *SHARED)), cwd)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in one."""
    folder = tmp_path_factory.mktemp("alone")
    train(folder, *WORDS)
    return folder


def helpers_of(process: Forked) -> list[int]:
    """The processes that a process has started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in children.read_text().split()] if children.exists() else []


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(shared: Path, alone: Path) -> None:
    ours, theirs = (safetensors.torch.load_file(run / WEIGHTS) for run in (shared, alone))
    for name, weights in theirs.items():
        torch.testing.assert_close(ours[name], weights, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_bounds_of_two_processes_are_means_over_all_images(shared: Path, alone: Path) -> None:
    ours, theirs = logged(shared), logged(alone)
    for tag in ("train/elbo", "val/elbo", "val/kl", "whole_test/elbo"):
        assert [step for step, _ in ours[tag]] == [step for step, _ in theirs[tag]]
        assert [v for _, v in ours[tag]] == pytest.approx([v for _, v in theirs[tag]], rel=1e-5)
    ours, theirs = (json.loads((run / "metrics.json").read_text()) for run in (shared, alone))
    assert ours["validation"]["best_elbo"] == pytest.approx(theirs["validation"]["best_elbo"])
    assert ours["test"]["elbo"]["images"] == theirs["test"]["elbo"]["images"] == 100


@pytest.mark.slow
def test_only_the_first_process_writes(shared: Path, alone: Path) -> None:
    def names(run: Path) -> set[str]:
        found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith(("events", ".hydra"))}

    assert names(shared) == names(alone)
    assert len(list(shared.glob(folders.EVENTS))) == 1
    below = {path.name for path in shared.parents[2].iterdir()}
    assert below == {"outputs"}
    assert len(list(shared.parents[2].glob("outputs/*/*"))) == 1


@pytest.mark.parametrize("images", [101, 118])
def test_each_image_is_seen_by_one_process_an_epoch(images: int) -> None:
    numbered = torch.arange(images, dtype=torch.uint8)[:, None]
    parts = [
        EpochBatches(numbered, batch_size=40, shuffle=True, rank=rank, world_size=2)
        for rank in range(2)
    ]
    whole = EpochBatches(numbered, batch_size=40, shuffle=True)
    for blocks in zip(whole, *parts, strict=True):
        [batch], *shared = [list(block) for block in blocks]
        shares = [block.shares[0] for block in blocks[1:]]
        for share, [x] in zip(shares, shared, strict=True):
            assert torch.equal(batch[share.rows], x)
            assert share.batch == len(batch)
        assert torch.equal(torch.cat([x for [x] in shared]), batch)


@pytest.mark.slow
def test_what_ends_one_process_ends_both_and_the_run_goes_on(shared: Path, tmp_path: Path) -> None:
    process = start(tmp_path, *new_run(*WORDS, *SHARED, *SLOW))
    assert wait_until(process, lambda: bool(list(tmp_path.glob(f"*/*/*/{LAST}"))))
    run = only_run(tmp_path)
    assert run is not None
    [helper] = helpers_of(process)
    os.kill(helper, signal.SIGKILL)
    _, err = process.communicate()
    kept = f"the last good checkpoint is {run / LAST}, from which resume={run} goes on"
    assert err == f"error: process 2 of 2 was ended by SIGKILL; {kept}\n"
    assert process.returncode == 2

    process = start(tmp_path, "resume=latest")
    assert stop_when(process, touched(run, LAST), signal.SIGTERM)
    _, err = process.communicate()
    assert err.startswith("stopped by SIGTERM; to go on: ")
    assert err.endswith(f" -m vae_exp resume={run}\n")
    assert process.returncode == 143
    assert 0 < torch.load(run / LAST, weights_only=True)["global_step"] < 4 * EPOCHS

    assert finished(start(tmp_path, "resume=latest"), tmp_path) == run
    assert (run / WEIGHTS).read_bytes() == (shared / WEIGHTS).read_bytes()
    ours, theirs = (checkpoint(path / LAST) for path in (run, shared))
    assert same(ours["optimizer_states"], theirs["optimizer_states"])
    assert logged(run)["train/elbo"] == logged(shared)["train/elbo"]


@pytest.mark.slow
def test_a_process_does_not_outlive_the_one_that_started_it(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    helper = subprocess.Popen(
        [sys.executable, "-m", "vae_exp.training.helper", str(tmp_path)],
        stdin=reader,
        stderr=subprocess.PIPE,
    )
    os.close(reader)
    os.close(writer)  # as the system does for a process that is killed
    assert helper.communicate(timeout=60)[1] == b""  # nor did it fail in a way of its own
    assert helper.returncode == 1


@pytest.mark.parametrize("words", [["trainer=ddp", "seed=1,2"], ["trainer=cpu,ddp"]])
def test_a_shared_run_in_a_sweep_is_refused_in_one_line(words: list[str], folder: Path) -> None:
    line = refusal("-m", *new_run("epochs=1", *words))
    assert line.startswith("trainer=ddp shares one run among all devices")
    assert not list(folder.iterdir())


def test_what_cannot_be_shared_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="batch_size must be a multiple of the 2 processes"):
        _main(["data=debug", "data.source=digits", "batch_size=25", "trainer=ddp"])
    with pytest.raises(UserError, match=r"trainer.devices above 1 needs trainer=ddp, got 2"):
        _main(["data=debug", "trainer.devices=2"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"must be at most|needs a GPU that torch can use"):
        Processes("gpu", max(2, torch.cuda.device_count() + 1))
