"""A search goes on from what its jobs found, whatever became of the process or of its study."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from kill_and_resume import LAST, stop_when
from test_sweep_runs import TINY, exit_code, only_sweep, refusal, rows
from warm import start

from vae_exp.sweeping import sweeps

pytestmark = pytest.mark.slow
pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="vae-exp[optuna] is missing")

FIXED = [word for word in TINY if not word.startswith(("batch_size", "model."))]
SPACE = ("model.encoder.hidden=choice('[4]','[8]')", "lr=tag(log,interval(1e-3,1e-2))")


def trials(sweep: Path) -> list[Any]:
    """The trials of a search's study, by number."""
    optuna = pytest.importorskip("optuna")
    study = optuna.load_study(study_name="vae_exp", storage=f"sqlite:///{sweep / sweeps.STUDY}")
    return list(study.trials)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a search of which a SIGKILL came in the second job."""
    folder = tmp_path_factory.mktemp("killed")
    words = ("+sweep=optuna", "epochs=30", *FIXED, *SPACE, "hydra.sweeper.n_trials=3")
    process = start(folder, *words)
    assert stop_when(process, lambda: bool(list(folder.glob(f"multirun/*/*/1/{LAST}"))))
    process.communicate()
    assert [trial.state.name for trial in trials(only_sweep(folder))] == ["COMPLETE", "RUNNING"]
    return folder


@pytest.fixture
def here(killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    shutil.copytree(killed / "multirun", tmp_path / "multirun")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAE_EXP_DATA", str(tmp_path / "none"))
    return tmp_path


def test_a_job_that_was_cut_off_goes_on_and_its_trial_learns_what_it_found(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    optuna = pytest.importorskip("optuna")
    sweep = only_sweep(here)
    study = optuna.load_study(study_name="vae_exp", storage=f"sqlite:///{sweep / sweeps.STUDY}")
    study.ask().suggest_float("lr", 1e-3, 1e-2, log=True)  # drawn, and no job was made of it
    assert exit_code("-m", "resume=latest", "hydra.sweeper.n_trials=1") == 0
    table = rows(sweep)
    assert [row["status"] for row in table] == ["finished"] * 3
    found = [float(row["val/elbo"]) for row in table]
    assert [(trial.state.name, trial.value) for trial in trials(sweep)] == [
        ("COMPLETE", found[0]),
        ("COMPLETE", found[1]),
        ("FAIL", None),
        ("COMPLETE", found[2]),
    ]
    last = capfd.readouterr().out.splitlines()[-1]
    best = table[found.index(max(found))]
    assert last.startswith(f"best val/elbo {max(found):.2f} ± ")
    assert f" lr={best['lr']} " in last
    assert "search" not in last


@pytest.mark.parametrize("contents", [b"", None])
def test_a_study_that_lost_its_trials_is_no_new_beginning(
    here: Path, contents: bytes | None
) -> None:
    sweep = only_sweep(here)
    if contents is None:
        (sweep / sweeps.STUDY).unlink()
    else:
        (sweep / sweeps.STUDY).write_bytes(contents)
    before = sorted(sweep.iterdir())
    line = refusal("-m", "resume=latest", "hydra.sweeper.n_trials=1")
    assert "study.db has no trial of the finished jobs 0 of " in line
    assert {path for path in sweep.iterdir() if path.is_dir()} <= set(before)


def test_a_damaged_study_is_named(here: Path) -> None:
    (only_sweep(here) / sweeps.STUDY).write_bytes(b"no database " * 1000)
    line = refusal("-m", "resume=latest")
    assert "study.db cannot be read: DatabaseError: file is not a database" in line
