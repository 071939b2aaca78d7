"""What the words of a sweep mean: its jobs are known, few enough, told apart and read back."""

import contextlib
import csv
import os
import shutil
import signal
from pathlib import Path

import pytest
from test_sweep_runs import TINY, exit_code, only_sweep, refusal, rows

from vae_exp import folders
from vae_exp.cli import main as cli
from vae_exp.config import composing
from vae_exp.sweeping import differences, sweeps
from vae_exp.sweeping.named_numbers import numbers_of
from vae_exp.training import results
from vae_exp.training.interrupts import Interrupted, Interrupts

LEARNING_RATE = "VAE_EXP_TEST_LR"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep whose values are quoted, or come from a variable."""
    folder = tmp_path_factory.mktemp("swept")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_EXP_DATA", str(folder / "none"))
        patch.setenv(LEARNING_RATE, "0.02")
        words = ("seed='5',6", f"lr=${{oc.env:{LEARNING_RATE}}},0.01", "epochs=1")
        assert exit_code("-m", *TINY, *words) == 0
    return folder


@pytest.fixture
def here(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in, so that no test sees what another has drawn."""
    folder = tmp_path / "here"
    shutil.copytree(swept, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VAE_EXP_DATA", str(folder / "none"))
    return folder


@pytest.mark.slow
def test_quoted_values_and_variables_are_summarised_as_what_they_are(here: Path) -> None:
    sweep = only_sweep(here)
    (sweep / "sweep.md").unlink()
    cli._main(["task=summarise", "sweep=latest"])
    assert [(row["seed"], row["lr"]) for row in rows(sweep)] == [
        ("5", "0.02"),
        ("5", "0.01"),
        ("6", "0.02"),
        ("6", "0.01"),
    ]
    page = (sweep / "sweep.md").read_text()
    assert "`0.02`" in page
    assert "`0.01`" in page
    assert page.count("| 2 |") == 2
    assert "$" not in (sweep / "jobs.yaml").read_text()  # the variable may have changed tomorrow


@pytest.mark.slow
def test_a_sweep_of_looks_leaves_no_sweep_and_one_that_fails_costs_only_itself(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = only_sweep(here)
    shutil.copytree(sweep / "0", here / "half")
    (here / "half" / folders.WEIGHTS).unlink()
    before = set(here.glob("multirun/**/*"))
    runs = ",".join(str(path) for path in ("half", sweep / "1", sweep / "2"))
    assert exit_code("-m", "task=samples", f"run={runs}") == 1
    assert only_sweep(here) == sweep
    assert set(here.glob("multirun/*/*")) <= before
    assert [(sweep / number / "figures").is_dir() for number in "012"] == [False, True, True]
    out, err = capfd.readouterr()
    assert [line for line in out.splitlines() if line.endswith(":")] == [
        f"task=samples run={run}:" for run in runs.split(",")
    ]
    assert err.startswith("error: half has no model.safetensors")
    assert exit_code("-m", "task=samples", f"run={sweep / '1'}") == 0


@pytest.mark.slow
def test_a_question_is_put_to_each_finished_job_of_a_sweep(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = only_sweep(here)
    parts = ("task.parts=[elbo,exact]", "task.images=5")
    cli._main(["task=evaluate", "sweep=latest", *parts])
    assert f"latest is {sweep.relative_to(here)}\n" in capfd.readouterr().out
    for job in sweeps.jobs(sweep):
        [look] = [name for name in job.metrics["analyses"] if name.startswith("evaluate_")]
        assert {f"{look}/exact", f"{look}/estimates/ELBO"} <= set(numbers_of(job))
    line = "run and sweep cannot be given together"
    assert line in refusal("task=evaluate", "sweep=latest", f"run={sweep / '0'}")
    shutil.copytree(sweep, here / "copy")
    (here / "copy" / "1" / folders.WEIGHTS).unlink()
    cli._main(["task=samples", "sweep=copy"])
    assert "not finished, so not looked at: 1\n" in capfd.readouterr().out
    drawn = [(here / "copy" / number / "figures").is_dir() for number in "0123"]
    assert drawn == [True, False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("-m", "hydra/launcher=joblib", "task=samples"), "is for jobs that train"),
        (("-m", "hydra.sweep.dir=there", "task=samples"), "is for jobs that train"),
        (("-m", "hydra/sweeper=optuna", "task=samples"), "trains nothing to search with"),
    ],
)
def test_a_sweep_of_looks_takes_no_launcher_folder_or_search(
    here: Path, words: tuple[str, ...], line: str
) -> None:
    if "hydra/sweeper=optuna" in words:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    assert line in refusal(*words, f"run={only_sweep(here) / '0'}")
    assert not (here / "there").exists()


@pytest.mark.slow
def test_latest_is_a_single_run_if_there_is_one_and_is_named(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = only_sweep(here)
    cli._main(["task=samples", "run=latest"])
    assert f"latest is {sweep.relative_to(here) / '3'}\n" in capfd.readouterr().out
    single = Path("outputs", "day", "time")
    shutil.copytree(sweep / "0", single)
    os.utime(single / folders.WEIGHTS, (0, 0))  # however old it is
    cli._main(["task=samples", "run=latest"])
    assert f"latest is {single}\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("seed=0,1", "seed=2"), "seed is given twice, as seed=0,1 and as seed=2"),
        (("lr=0.1", "seed=0,1", "lr=0.1,0.2"), "lr is given twice, as lr=0.1 and as lr=0.1,0.2"),
        (("data=debug,full", "data=debug"), "data is given twice"),
        (("+sweep=optuna", "epochs=1", "epochs=2"), "epochs is given twice"),
        (("seed=range(0,20000)",), "the sweep has 20,000 jobs, more than 10,000"),
        (("seed=range(0,4000000000,1)", "lr=1,2"), "the sweep has 8,000,000,000 jobs"),
        (("seed=range(0,2,0)",), "has a step of 0"),
        (("seed=0,1,-1",), "seed must be"),
        (("seed=0,1,x",), "seed must be an integer"),
    ],
)
def test_words_that_would_be_ignored_or_never_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "+sweep=optuna" in words:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    assert line in refusal("-m", "task=fit", *words)
    assert not list(tmp_path.iterdir())


def test_a_file_and_the_command_line_do_not_both_sweep_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine" / "search" / "seeds.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\nhydra: {sweeper: {params: {seed: '0,1'}}}\n")
    words = ("-m", "task=fit", f"hydra.searchpath=[file://{tmp_path / 'mine'}]", "search=seeds")
    line = "seed is given twice, by seed=0,1 in hydra.sweeper.params and by seed=2"
    assert line in refusal(*words, "seed=2")
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.slow
def test_many_jobs_are_told_of_at_once_and_composed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from vae_exp.sweeping import launching

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launching, "_is_installed", lambda package: False)
    composed = []
    monkeypatch.setattr(
        composing,
        "composed",
        lambda job, compose=composing.composed: composed.append(1) or compose(job),
    )
    sweep = ("data=debug,full", "seed=range(0,100)", "hydra/launcher=joblib")
    assert "needs hydra_plugins" in refusal("-m", *sweep)
    assert capfd.readouterr().err.startswith("the sweep has 200 jobs")
    assert len(composed) <= 4


def test_a_job_that_has_saved_its_weights_is_finished_whatever_comes_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAE_EXP_DATA", str(tmp_path / "none"))

    def unprintable(*_: object) -> None:
        "±".encode("ascii")

    monkeypatch.setattr(results, "summary", unprintable)
    assert exit_code("-m", *TINY, "epochs=1", "seed=0") == 0
    sweep = only_sweep(tmp_path)
    assert [row["status"] for row in rows(sweep)] == ["finished"]
    assert not (sweep / "0" / sweeps.ERROR).exists()
    assert "job 0 is finished, and then failed: UnicodeEncodeError: " in capfd.readouterr().err


@pytest.mark.slow
def test_a_signal_in_the_summary_leaves_one_and_says_how_to_make_the_whole(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = only_sweep(here)
    shutil.rmtree(sweep / "3")
    for name in ("sweep.md", "sweep.csv"):
        (sweep / name).unlink()
    with monkeypatch.context() as patch, Interrupts():
        interrupt = lambda *_: signal.raise_signal(signal.SIGINT)  # noqa: E731
        patch.setattr(differences, "differences", interrupt)
        with pytest.raises(Interrupted) as stop:
            cli._main(["-m", f"resume={sweep.relative_to(here)}"])
    again = ["task=summarise", f"sweep={sweep.relative_to(here)}"]
    assert str(stop.value).endswith("-m vae_exp " + " ".join(again))
    assert "4 of 4 jobs finished" in (sweep / "sweep.md").read_text()
    with (sweep / "sweep.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4
    cli._main(again)
    assert "differences were not taken" not in (sweep / "sweep.md").read_text()
