"""Sweeps as a person starts them: a failure costs only itself, and what is missing can be made."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import yaml
from conftest import refusal
from kill_and_resume import LAST, WEIGHTS, checkpoint, same, stop_when, touched
from kill_and_resume import start as start_afresh
from test_end_to_end import ink
from warm import start

from vae_exp import folders
from vae_exp.cli import main as cli
from vae_exp.shell import command
from vae_exp.sweeping import sweeps

TINY = (
    "task=fit",
    "data=debug",
    "data.source=digits",
    "data.train_size=40",
    "batch_size=10",
    "model.encoder.hidden=[8]",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to start from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAE_EXP_DATA", str(tmp_path / "none"))
    return tmp_path


def exit_code(*words: str) -> int:
    """Run a command in this process."""
    with pytest.raises(SystemExit) as stop:
        cli._main(list(words))
    return int(stop.value.code or 0)


def only_sweep(cwd: Path) -> Path:
    """The one sweep below a folder."""
    [plan] = cwd.glob("multirun/*/*/jobs.yaml")
    return plan.parent


def rows(sweep: Path) -> list[dict[str, str]]:
    """The rows of a sweep's table of jobs."""
    with (sweep / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_failing_job_costs_only_itself_and_alone_is_run_again(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("-m", *TINY, "epochs=1", "lr=1e-3,1e18,1e-2", "seed=0,1") == 1
    out, err = capfd.readouterr()
    sweep = only_sweep(folder)
    table = rows(sweep)
    assert [row["status"] for row in table] == 2 * ["finished"] + 2 * ["failed"] + 2 * ["finished"]
    assert [row["lr"] for row in table] == ["0.001"] * 2 + ["1e+18"] * 2 + ["0.01"] * 2
    assert all("training diverged" in row["error"] for row in table[2:4])
    for row in table[:2] + table[4:]:
        found = json.loads((sweep / row["job"] / "metrics.json").read_text())
        assert float(row["test/elbo"]) == found["test"]["elbo"]["mean"]
        assert float(row["test/elbo_stderr"]) == found["test"]["elbo"]["stderr"]
        assert float(row["val/elbo"]) == found["validation"]["elbo"]["mean"]
    assert [line for line in err.splitlines() if line.startswith("job 2 failed: training diverged")]
    assert "Traceback" not in out + err
    assert "2: " in out
    assert "training diverged" in out
    page = (sweep / "sweep.md").read_text()
    assert "4 of 6 jobs finished" in page
    assert f"-m resume={sweep.relative_to(folder)}`" in page
    assert page.count(" ‡ |") == 5  # two means a setting, and a difference, of two seeds each
    assert 0.01 < ink(sweep / "sweep.png") < 0.5

    finished = [sweep / number / WEIGHTS for number in "0145"]
    before = [path.stat().st_mtime_ns for path in finished]
    assert exit_code("-m", "resume=latest") == 1
    assert [path.stat().st_mtime_ns for path in finished] == before
    assert [row["status"] for row in rows(sweep)] == [row["status"] for row in table]
    assert only_sweep(folder) == sweep

    again = rows(sweep)
    (sweep / "sweep.csv").unlink()
    cli._main(["task=summarise", "sweep=latest"])
    assert rows(sweep) == again
    assert [row["test/elbo"] for row in again] == [row["test/elbo"] for row in table]


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_resume_ends_as_if_it_had_never_been(tmp_path: Path) -> None:
    words = [*TINY, "epochs=40"]
    process = start(tmp_path, "-m", *words, "seed=0,1,2")
    reached = lambda: bool(list(tmp_path.glob(f"multirun/*/*/1/{LAST}")))  # noqa: E731
    assert stop_when(process, reached, signal.SIGINT)
    _, err = process.communicate()
    sweep = only_sweep(tmp_path)
    assert process.returncode == 130
    not_started, stopped = err.splitlines()
    assert not_started == f"not started: {' '.join([*words, 'seed=2'])}"
    assert stopped.startswith("stopped by SIGINT; to go on: ")
    assert stopped.endswith(f" -m vae_exp -m resume={sweep.relative_to(tmp_path)}")
    assert [row["status"] for row in rows(sweep)] == ["finished", "cut off", "not started"]
    config = (sweep / "1" / folders.CONFIG).read_bytes()
    step = checkpoint(sweep / "1" / LAST)["global_step"]
    first = touched(sweep, "0/**/*")

    process = start(tmp_path, "-m", f"resume={sweep}")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert f"going on after step {step}" in out
    assert not first()
    assert (sweep / "1" / folders.CONFIG).read_bytes() == config
    assert [row["status"] for row in rows(sweep)] == ["finished"] * 3
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["0", "1", "2"]

    process = start(tmp_path, *words, "seed=1")
    process.communicate()
    [whole] = tmp_path.glob("outputs/*/*")
    assert same(checkpoint(whole / LAST), checkpoint(sweep / "1" / LAST))
    assert (whole / WEIGHTS).read_bytes() == (sweep / "1" / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_signal_in_the_midst_of_imports_is_told_as_any_other(tmp_path: Path) -> None:
    process = start_afresh(tmp_path, "-m", *TINY, "seed=0,1")
    started = lambda: bool(list(tmp_path.glob(f"multirun/*/*/0/{folders.STARTED}")))  # noqa: E731
    assert stop_when(process, started, signal.SIGINT)
    _, err = process.communicate()
    sweep = only_sweep(tmp_path)
    assert process.returncode == 130
    assert len(err.splitlines()) == 2, err
    assert [row["status"] for row in rows(sweep)] == ["cut off", "not started"]
    assert "0 of 2 jobs finished" in (sweep / "sweep.md").read_text()


@pytest.mark.slow
def test_a_sweep_knows_its_jobs_before_the_first_starts(folder: Path) -> None:
    assert (
        exit_code("-m", *TINY, "epochs=1", "seed=0", "hydra/launcher=basic", "latent_dim=1,2") == 0
    )
    plan = sweeps.read_plan(only_sweep(folder))
    assert plan.jobs == [[*TINY, "epochs=1", "seed=0", f"latent_dim={z}"] for z in (1, 2)]
    assert plan.hydra == ["hydra/launcher=basic"]
    assert exit_code("-m", "resume=latest") == 0  # nothing is left to do, which is no failure
    assert exit_code("-m", f"resume={only_sweep(folder)}") == 0


@pytest.mark.slow
def test_what_cannot_be_resumed_or_summarised_is_refused_in_a_line(folder: Path) -> None:
    assert "found no sweep" in refusal("-m", "resume=latest")
    assert "found no sweep" in refusal("task=summarise", "sweep=latest")
    assert "does not exist" in refusal("-m", "resume=nowhere")
    assert "sweep must be" in refusal("task=summarise", "sweep=nowhere")
    assert "needs a sweep" in refusal("task=summarise")
    assert "lr cannot be given with resume" in refusal("-m", "resume=latest", "lr=3")
    assert "hydra.sweep.subdir" in refusal("-m", "seed=0,1", "hydra.sweep.subdir=x")
    assert "sweep must be one of" in refusal("+sweep=nope").replace("search", "sweep")
    assert not list(folder.iterdir())
    (folder / "taken").mkdir()
    sweeps.write_plan(folder / "taken", sweeps.Plan([["seed=0"]]))
    assert "holds a sweep already" in refusal("-m", "seed=0,1", "hydra.sweep.dir=taken")
    with sweeps.hold(folder / "taken"):
        assert "another process" in refusal("-m", "resume=taken")
    assert sorted(os.listdir(folder)) == ["taken"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "word",
    [
        "hydra.job_logging.handlers.console={(): os.getcwd}",
        "+hydra.callbacks.x._target_=os.mkdir",
        "model.decoder={_target_:os.mkdir}",
        "data._target_=os.mkdir",
        "nope=1",
    ],
)
def test_somebody_elses_sweep_runs_nothing_of_its_own(folder: Path, word: str) -> None:
    theirs = folder / "theirs"
    theirs.mkdir()
    sweeps.write_plan(theirs, sweeps.Plan([[*TINY, "seed=0"], [*TINY, word]]))
    before = sorted(os.listdir(theirs))
    assert refusal("-m", f"resume={theirs}")
    assert sorted(os.listdir(theirs)) == before


@pytest.mark.slow
def test_a_search_maximises_val_elbo_says_the_command_and_goes_on(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="vae-exp[optuna] is missing")
    import optuna

    fixed = [word for word in TINY if not word.startswith(("batch_size", "model."))]
    sizes = ["model.encoder.hidden=choice('[4]','[8]')", "lr=tag(log,interval(1e-3,1e-2))"]
    assert exit_code("+sweep=optuna", "epochs=1", *fixed, *sizes, "hydra.sweeper.n_trials=2") == 0
    sweep = only_sweep(folder)
    capfd.readouterr()
    assert exit_code("-m", "resume=latest", "hydra.sweeper.n_trials=1") == 0
    out, _ = capfd.readouterr()
    study = optuna.load_study(study_name="vae_exp", storage=f"sqlite:///{sweep / sweeps.STUDY}")
    table = rows(sweep)
    assert [row["job"] for row in table] == list("012")
    assert [trial.value for trial in study.trials] == [float(row["val/elbo"]) for row in table]
    assert study.best_value == max(float(row["val/elbo"]) for row in table)
    assert len({trial.params["lr"] for trial in study.trials}) == 3
    line = out.splitlines()[-1]
    assert line.startswith(f"best val/elbo {study.best_value:.2f} ± ")
    assert f", by: {command()} " in line
    assert f"lr={study.best_params['lr']}" in line
    assert f"batch_size={study.best_params['batch_size']}" in line
    assert "data.source=digits" in line
    assert "search" not in line
    assert yaml.safe_load((sweep / "jobs.yaml").read_text())["jobs"] is None


@pytest.mark.slow
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vae_exp.sweeping import launching

    monkeypatch.setattr(launching, "_is_installed", lambda package: False)
    for name, extra in (("joblib", "joblib"), ("submitit_slurm", "submitit"), ("ray", "ray")):
        line = refusal("-m", f"hydra/launcher={name}", "seed=0,1")
        assert f"hydra/launcher={name} needs" in line
        assert f"pip install 'vae-exp[{extra}]'" in line
    assert "pip install 'vae-exp[optuna]'" in refusal("+sweep=optuna")
    assert not list(folder.iterdir())
