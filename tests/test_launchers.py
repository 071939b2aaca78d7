"""Jobs of a sweep in other processes, by Hydra's own launchers: the same answer."""

import csv
import json
import signal
from pathlib import Path

import pytest
from kill_and_resume import LAST, WEIGHTS, stop_when, wait_until
from test_sweep_runs import TINY, only_sweep, rows
from warm import start

from vae_exp import folders
from vae_exp.sweeping import launching

pytestmark = pytest.mark.slow


TOO_LARGE = "1e18"


def launched(cwd: Path, name: str, *rates: str) -> Path:
    """A sweep of jobs on a launcher, of which that of a rate TOO_LARGE fails; its folder."""
    package = launching.EXTRAS
    plugin = next(plugin for plugin, extra in package.items() if name.startswith(extra))
    pytest.importorskip(f"hydra_plugins.{plugin}", reason=f"vae-exp[{package[plugin]}] is missing")
    words = [f"hydra/launcher={name}", *TINY, "epochs=1", f"lr={','.join(rates)}"]
    process = start(cwd, "-m", *words)
    out, err = process.communicate()
    assert process.returncode == 1, err
    bad = rates.index(TOO_LARGE)
    told = f"job {bad} failed: training diverged"
    assert told in out + err or name.startswith(("ray", "submitit"))
    assert "Traceback" not in err
    sweep = only_sweep(cwd)
    ends = ["failed" if rate == TOO_LARGE else "finished" for rate in rates]
    assert [row["status"] for row in rows(sweep)] == ends
    assert "training diverged" in rows(sweep)[bad]["error"]
    finished = f"{len(rates) - 1} of {len(rates)} jobs finished"
    assert finished in (sweep / "sweep.md").read_text()
    assert (
        f"-m resume={sweep.relative_to(cwd)} hydra/launcher={name}"
        in (sweep / "sweep.md").read_text()
    )
    return sweep


def threads(sweep: Path) -> list[int]:
    """How many threads each finished job used."""
    found = sorted(sweep.glob("*/metrics.json"))
    return [json.loads(path.read_text())["run"]["threads"] for path in found]


def test_joblib_runs_processes_that_divide_the_cores(tmp_path: Path) -> None:
    sweep = launched(tmp_path, "joblib", "1e-3", TOO_LARGE, "1e-2")
    assert threads(sweep) == [1, 1]


def test_submitit_runs_a_job_for_each_and_finds_its_result(tmp_path: Path) -> None:
    sweep = launched(tmp_path, "submitit_local", TOO_LARGE, "1e-2")
    assert threads(sweep) == [1]
    assert len(list(sweep.glob(".submitit/*/*"))) >= 2


def test_ray_runs_them_on_this_machine(tmp_path: Path) -> None:
    assert threads(launched(tmp_path, "ray", "1e-3", TOO_LARGE, "1e-2")) == [1, 1]


def test_a_signal_to_the_parent_ends_parallel_jobs_which_can_go_on(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="vae-exp[joblib] is missing")
    words = ["-m", "hydra/launcher=joblib", *TINY, "seed=0,1,2"]
    process = start(tmp_path, *words, "epochs=300")

    def both_have_begun() -> bool:
        return len(list(tmp_path.glob(f"multirun/*/*/*/{LAST}"))) == 2

    assert stop_when(process, both_have_begun, signal.SIGTERM)
    _, err = process.communicate()
    sweep = only_sweep(tmp_path)
    assert process.returncode == 128 + signal.SIGTERM
    assert err.splitlines()[-1].endswith(f"-m resume={sweep.relative_to(tmp_path)} {words[1]}")
    assert not list(sweep.glob(f"*/{WEIGHTS}"))
    with (sweep / "sweep.csv").open() as file:
        statuses = [row["status"] for row in csv.DictReader(file)]
    assert statuses == ["cut off", "cut off", "not started"]


def test_workers_end_with_a_parent_that_was_killed_and_begin_no_job(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="vae-exp[joblib] is missing")
    words = ["-m", "hydra/launcher=joblib", *TINY, "seed=0,1,2,3", "epochs=60"]
    process = start(tmp_path, *words)

    def both_have_begun() -> bool:
        return len(list(tmp_path.glob(f"multirun/*/*/*/{LAST}"))) == 2

    assert stop_when(process, both_have_begun)
    sweep = only_sweep(tmp_path)
    process.communicate()  # until nobody holds its output: neither the process nor a worker
    assert not any(folders.is_held(sweep / number) for number in "0123")
    assert not list(sweep.glob(f"*/{WEIGHTS}"))
    assert not (sweep / "2" / folders.STARTED).exists()


def test_a_job_that_another_process_holds_is_left_to_it(tmp_path: Path) -> None:
    process = start(tmp_path, "-m", *TINY, "seed=0,1", "epochs=1")
    assert wait_until(process, lambda: bool(list(tmp_path.glob(f"multirun/*/*/0/{folders.LOCK}"))))
    sweep = only_sweep(tmp_path)
    folders.make(sweep / "1" / folders.LOCK.parent)
    with folders.hold(sweep / "1"):
        out, err = process.communicate()
    assert process.returncode == 1, err
    assert "job 1 is left to the process that runs it" in err.splitlines()
    assert [row["status"] for row in rows(sweep)] == ["finished", "under way"]
    assert [path.name for path in sweep.glob("1/**/*") if path.is_file()] == ["lock"]
    assert "Traceback" not in out + err
