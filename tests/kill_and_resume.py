"""Kill a run again and again, resume it, and hold what it leaves against a run never stopped.

    python tests/kill_and_resume.py --kills 25 --seed 0

Dynamic binarisation, a one-cycle schedule, a checkpoint after every few steps. A kill comes at a
random time, or when a file appears that tells where the run is.
"""

import argparse
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import mnist_folder
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from warm import Forked

from vae_exp.config import composing
from vae_exp.parts import build
from vae_exp.training import running
from vae_exp.training.checkpointing import Checkpoints
from vae_exp.training.train import Train

SMALL = (
    "data=debug",
    "batch_size=10",
    "+data.block_images=20",
    "data.binarization=dynamic",
    "optimizer=adam_one_cycle",
    "model.encoder.hidden=[32]",
    "task.report=false",
    *(f"~task.analyses.{name}" for name in ("interpolation", "manifold", "top_half", "questions")),
)
LAST = "checkpoints/last.ckpt"
WEIGHTS = "model.safetensors"


def start(cwd: Path, *words: str) -> subprocess.Popen[str]:
    """A fresh ``python -m vae_exp`` in a folder, on MNIST if it is at hand, else on the digits."""
    mnist = mnist_folder()
    return subprocess.Popen(
        [sys.executable, "-m", "vae_exp", *words],
        cwd=cwd,
        env={**os.environ, "VAE_EXP_DATA": str(mnist or cwd / "none"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def new_run(*words: str) -> list[str]:
    """The words that start a small run; of two for one key the later one holds."""
    small = [*SMALL, f"data.source={'mnist' if mnist_folder() else 'digits'}", *words]
    return list({word.partition("=")[0]: word for word in small}.values())


@cache
def _composed(*words: str) -> DictConfig:
    return composing.composed(composing.parse(new_run(*words)))


def small_config(*words: str) -> DictConfig:
    """The config of a job of a second."""
    cfg = copy.deepcopy(
        _composed(
            "epochs=2", "batch_size=40", "+data.block_images=40", "~task.analyses.scatter", *words
        )
    )
    cfg.data.root = str(mnist_folder() or "none")
    return cfg


def train(folder: Path, *words: str) -> None:
    """Run a small job in this process, from the newest checkpoint in a folder."""
    folder.mkdir(exist_ok=True)
    plain = composing.plain_config(small_config(*words))
    build(plain["task"], "task", Train)(plain, folder)


def train_with_snapshots(root: Path, *words: str) -> None:
    """Train in ROOT/whole; ROOT/STEP-before and ROOT/STEP-after are what kills would leave.

    Before and after: of the checkpoint that is saved at the step.
    """
    whole = root / "whole"

    class Snapshots(Checkpoints):
        def _save(self, trainer: pl.Trainer, best: bool) -> None:
            self.logger.save()
            shutil.copytree(whole, root / f"{trainer.global_step}-before")
            super()._save(trainer, best)
            shutil.copytree(whole, root / f"{trainer.global_step}-after")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "Checkpoints", Snapshots)
        train(whole, *words)


def snapshot_steps(root: Path) -> list[int]:
    """The steps at which a checkpoint was saved."""
    return sorted(int(path.name.partition("-")[0]) for path in root.glob("*-after"))


def wait_until(
    process: subprocess.Popen[str] | Forked, due: Callable[[], bool], patience: float = 120
) -> bool:
    """Wait for ``due`` to be true; False if the process ended before."""
    end = time.monotonic() + patience
    while not due():
        if process.poll() is not None:
            return False
        if time.monotonic() > end:
            process.kill()
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.005)
    return True


def stop_when(
    process: subprocess.Popen[str] | Forked,
    due: Callable[[], bool],
    signum: signal.Signals = signal.SIGKILL,
) -> bool:
    """Send a signal as soon as ``due`` is true; False if the process ended before."""
    if not wait_until(process, due):
        return False
    process.send_signal(signum)
    return True


def only_run(cwd: Path) -> Path | None:
    """The folder of the one run in a folder, once it has a config."""
    found = [path.parent.parent for path in cwd.glob("outputs/*/*/.hydra/overrides.yaml")]
    return found[0] if found else None


def logged(folder: Path) -> dict[str, list[tuple[int, float | bytes]]]:
    """All that the event files hold, as (step, value) in the order of writing."""
    found: dict[str, list[tuple[int, float | bytes]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                number = value.simple_value if value.HasField("simple_value") else None
                content = value.SerializeToString() if number is None else number
                found.setdefault(value.tag, []).append((event.step, content))
    return found


def checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, without the clock and the names of event files."""
    contents: dict[str, Any] = torch.load(path, weights_only=True)
    del contents["vae_exp"]["seconds"], contents["vae_exp"]["events"]
    return contents


def same(one: Any, other: Any) -> bool:
    """Whether two nested containers hold the same, tensors to the last bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def differences(run: Path, reference: Path) -> list[str]:
    """What two finished runs do not have in common, in words; empty if they are the same."""
    found = []
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        if not (reference / name).exists() and not (run / name).exists():  # nothing is the best
            continue
        one, other = checkpoint(run / name), checkpoint(reference / name)
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "vae_exp"):
            if not same(one[part], other[part]):
                found.append(f"{name}: {part}")
    if (run / WEIGHTS).read_bytes() != (reference / WEIGHTS).read_bytes():
        found.append(WEIGHTS)
    if logged(run) != logged(reference):
        found.append("event files")
    one, other = (json.loads((path / "metrics.json").read_text()) for path in (run, reference))
    for clock_or_code in ("wall_seconds", "git"):
        del one["run"][clock_or_code], other["run"][clock_or_code]
    if one != other:
        found.append("metrics.json")
    for pattern in ("figures/*", "projector*/*", "projector*.*"):
        for path in sorted(reference.glob(pattern)):
            if (run / path.relative_to(reference)).read_bytes() != path.read_bytes():
                found.append(str(path.relative_to(reference)))
    leftovers = [path.name for path in run.rglob("*.tmp")]
    return found + leftovers


def touched(run: Path, *patterns: str) -> Callable[[], bool]:
    """Whether a file that fits one of some patterns has come or changed since now."""

    def state() -> set[tuple[Path, int]]:
        found = set()
        for path in (path for pattern in patterns for path in run.glob(pattern)):
            try:
                found.add((path, path.stat().st_mtime_ns))
            except FileNotFoundError:  # renamed in between
                continue
        return found

    before = state()
    return lambda: bool(state() - before)


# When a kill comes, but for a random time: what has come or changed in the run's folder by then.
MOMENTS = {
    "while a checkpoint is written": ("checkpoints/.*.tmp",),
    "between best.ckpt and last.ckpt": ("checkpoints/best.ckpt",),
    "when a checkpoint was saved": ("checkpoints/last.ckpt",),
    "after training": ("metrics.json",),
    "among the figures": ("figures/*", "figures/.*.tmp"),
}
RUNS = {
    "many short epochs": ("epochs=300", "task.checkpoint_seconds=0.02"),
    "mostly validation": ("epochs=60", "data.validation_size=5000"),
    "large checkpoints": (
        "epochs=120",
        "model.encoder.hidden=[500]",
        "task.checkpoint_seconds=0.05",
        "task.figures_every=20",
    ),
}


def kill_at(process: subprocess.Popen[str], run: Path, moment: str, draw: random.Random) -> bool:
    """Kill a process that resumes a run; False if it ended before."""
    if moment in MOMENTS:
        return stop_when(process, touched(run, *MOMENTS[moment]))
    assert process.stdout is not None
    while not process.stdout.readline().startswith("resuming"):
        if process.poll() is not None:
            return False
    end = time.monotonic() + draw.uniform(0, 2.5)
    return stop_when(process, lambda: time.monotonic() > end)


def chain(root: Path, words: list[str], kills: int, draw: random.Random) -> tuple[int, list[str]]:
    """Kill one run that many times; how often it was hit, and how it differs from its reference."""
    (root / "whole").mkdir()
    (root / "killed").mkdir()
    finish(start(root / "whole", *words))
    process = start(root / "killed", *words)
    stop_when(process, lambda: only_run(root / "killed") is not None)
    run, hits = only_run(root / "killed"), 1
    assert run is not None
    print("  killed before the first checkpoint", flush=True)
    early = ["at a random time", *list(MOMENTS)[:3]]
    for index in range(kills - 1):
        process.communicate()
        process = start(root / "killed", "resume=latest")
        last_two = {kills - 3: "after training", kills - 2: "among the figures"}
        moment = last_two.get(index) or early[0 if index % 2 else draw.randrange(len(early))]
        if not kill_at(process, run, moment, draw):
            print(f"  came to its end before it could be killed {moment}", flush=True)
            break
        hits += 1
        at = (
            torch.load(run / LAST, weights_only=True)["global_step"] if (run / LAST).exists() else 0
        )
        print(f"  killed {moment}; last.ckpt is of step {at}", flush=True)
    process.communicate()
    finish(start(root / "killed", f"resume={run}"))  # which does nothing if it is finished
    whole = only_run(root / "whole")
    assert whole is not None
    return hits, differences(run, whole)


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a process that must end well."""
    _, err = process.communicate()
    if process.returncode:
        raise RuntimeError(err)


def main() -> int:
    """Kill some runs; 1 if one of them does not end as if it had never been stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=27)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, total, bad, index = random.Random(args.seed), 0, 0, 0
    while total < args.kills:
        name, words = list(RUNS.items())[index % len(RUNS)]
        words = (*words, f"seed={draw.randrange(2**32)}")
        print(f"{name}: {' '.join(words)}", flush=True)
        with tempfile.TemporaryDirectory() as root:
            kills = max(4, -(-args.kills // len(RUNS)))
            hits, found = chain(Path(root), new_run(*words), kills, draw)
        print(f"  {hits} kills; differs in: {', '.join(found) or 'nothing'}", flush=True)
        total, bad, index = total + hits, bad + bool(found), index + 1
    print(f"{total} kills, {bad} of {index} runs differ from the run that was never stopped")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
