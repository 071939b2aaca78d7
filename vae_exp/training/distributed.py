"""One run on several devices: DDP in processes that share each batch and end together.

The process that a person started is the first; it starts the others, which read the run's own
config (``training/helper.py``). Lightning's own launcher would run the command again instead: then
``resume=latest`` no longer means the same run, and Hydra makes folders.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
import torch.distributed

from vae_exp import parts
from vae_exp.data.batches import EpochBatches
from vae_exp.errors import UserError
from vae_exp.training.hardware import Hardware

if TYPE_CHECKING:
    from pytorch_lightning.strategies import Strategy

    from vae_exp.data import ImageData
    from vae_exp.training.module import VAEModule

GRACE = 20.0  # seconds for this process to notice by itself that another has ended
PATIENCE = 5.0  # seconds for another to end if this one has failed
CRASHED = 1  # the exit code of an exception that nobody expected


class Lost(UserError):
    """A process that shared a run has ended before the run was trained."""


class Processes(Hardware):
    """Several devices of this machine, a process each."""

    several = True

    def __init__(
        self,
        accelerator: str = "auto",
        devices: int = 2,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__(accelerator, devices, options=options)
        if accelerator == "auto":
            self.accelerator = "gpu" if torch.cuda.is_available() else "cpu"
        if self.accelerator == "gpu" and torch.cuda.device_count() < devices:
            raise UserError(
                f"trainer.devices must be at most {torch.cuda.device_count()}, the GPUs of this "
                f"machine, got {devices}; trainer.accelerator=cpu takes any number"
            )

    def kind(self) -> "type[VAEModule]":
        """The class of one process's part in training a model."""
        from vae_exp.training.sharing import SharedModule

        return SharedModule

    def strategy(self) -> "Strategy":
        """DDP, in which each process counts the images that it saw in buffers of its own."""
        from pytorch_lightning.strategies import DDPStrategy

        return DDPStrategy(broadcast_buffers=False)

    def check(self, data: "ImageData") -> None:
        """Raise UserError if a batch cannot be cut for so many processes."""
        EpochBatches(data.splits.train.values, batch_size=data.batch_size, world_size=self.devices)

    @contextlib.contextmanager
    def together(self, folder: Path) -> Iterator[None]:
        """With the other processes at work; raises Lost if one of them ends too early."""
        with (
            _environment(self.devices),
            _helpers(folder, self.devices) as helpers,
            left_at_the_end(),
        ):
            try:
                yield
            except RuntimeError as error:  # also what a process is told if another has gone
                for helper in helpers:
                    helper.blame(error)
                raise


class Helper:
    """One of the other processes; it writes no files, so it may be killed at any time."""

    def __init__(self, folder: Path, rank: int, processes: int):
        self.name = f"process {rank + 1} of {processes}"
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vae_exp.training.helper", str(folder), *parts.trusted()],
            env={**os.environ, "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,  # never written to: its end tells that this process has ended
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
        )
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def blame(self, error: BaseException) -> None:
        """Raise Lost if this process was killed or refused to go on; tell where it crashed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(PATIENCE)
            if code == CRASHED:
                print(f"{self.name}:", self.told(), sep="\n", file=sys.stderr)
            elif code:
                raise Lost(self.failure()) from error

    def failure(self) -> str:
        """How it ended, in words."""
        code = self.process.returncode
        if code < 0:
            return f"{self.name} was ended by {signal.Signals(-code).name}"
        return ": ".join([f"{self.name} failed ({code})", *self.told().splitlines()[-1:]])

    def told(self) -> str:
        """What it wrote to stderr."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()

    def close(self) -> None:
        """Wait for it if it has come to its end, else kill it."""
        self._over.set()
        if self.process.stdin:
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def _watch(self) -> None:
        """End this process if another has failed and this one waits for it for ever."""
        if self.process.wait() and not self._over.wait(GRACE):
            os.write(2, f"error: {self.failure()}\n".encode())
            os._exit(1)


@contextlib.contextmanager
def left_at_the_end() -> Iterator[None]:
    """Leave the group of processes, which also tells the others if this one has failed."""
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _helpers(folder: Path, processes: int) -> Iterator[list[Helper]]:
    helpers: list[Helper] = []
    try:
        for rank in range(1, processes):
            helpers.append(Helper(folder, rank, processes))
        yield helpers
    finally:
        for helper in helpers:
            helper.close()


@contextlib.contextmanager
def _environment(processes: int) -> Iterator[None]:
    """The variables by which processes find each other; Lightning then starts none itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "NODE_RANK": "0",
        "LOCAL_RANK": "0",
    }
    theirs = ("RANK", "TORCHELASTIC_USE_AGENT_STORE")  # of whoever else started this process
    before = {name: os.environ.pop(name, None) for name in (*ours, *theirs)}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
