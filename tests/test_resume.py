"""A run that was stopped and resumed is the run that was never stopped, to the last bit."""

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from kill_and_resume import (
    LAST,
    WEIGHTS,
    differences,
    logged,
    new_run,
    only_run,
    stop_when,
    train,
    train_with_snapshots,
    wait_until,
)
from kill_and_resume import start as start_afresh
from warm import start

from vae_exp import folders
from vae_exp.cli.main import _main
from vae_exp.config import composing
from vae_exp.errors import UserError
from vae_exp.knobs import KNOBS
from vae_exp.runs import loading, saving
from vae_exp.runs.metrics import read_metrics
from vae_exp.training import checkpointing


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in `whole`, and what kills about each of its checkpoints would leave of it."""
    root = tmp_path_factory.mktemp("snapshots")
    train_with_snapshots(root, "task.checkpoint_seconds=0")
    return root


@pytest.fixture
def stopped(snapshots: Path, tmp_path: Path) -> Path:
    """A run that was killed in its second epoch, with a config, ready to be resumed."""
    folder = tmp_path / "outputs" / "day" / "time"
    shutil.copytree(snapshots / "4-after", folder)
    return folder


@pytest.mark.slow
def test_a_run_resumed_from_any_checkpoint_ends_as_the_run_that_was_never_stopped(
    snapshots: Path, tmp_path: Path
) -> None:
    found = sorted(path.name for path in snapshots.glob("*-*"))
    assert found == sorted(f"{step}-{when}" for step in range(1, 7) for when in ("before", "after"))
    # Before a checkpoint in mid-epoch there is nothing but the one before it.
    for name in [*(f"{step}-after" for step in range(1, 7)), "1-before", "3-before"]:
        shutil.copytree(snapshots / name, tmp_path / name)
        # Without a checkpoint the run starts again, and tells its config again.
        train(tmp_path / name, f"task.checkpoint_seconds={0 if name == '1-before' else 1000}")
        assert differences(tmp_path / name, snapshots / "whole") == [], name


def test_what_was_logged_after_the_checkpoint_is_logged_once(
    snapshots: Path, tmp_path: Path
) -> None:
    killed = snapshots / "6-before"  # both bounds of epoch 2 are on the disk, its checkpoint is not
    assert len(logged(killed)["val/elbo"]) == 2
    assert torch.load(killed / LAST, weights_only=True)["global_step"] == 5
    shutil.copytree(killed, tmp_path / "run")
    train(tmp_path / "run")
    assert [step for step, _ in logged(tmp_path / "run")["val/elbo"]] == [2, 5]
    assert [step for step, _ in logged(tmp_path / "run")["train/elbo"]] == [2, 5]


def within_a_tensor(checkpoint: Path) -> int:
    """The place of a byte that counts: between the entries of a checkpoint lies padding."""
    with zipfile.ZipFile(checkpoint) as entries:
        largest = max(entries.infolist(), key=lambda entry: entry.file_size)
    assert largest.file_size > 1_000
    return largest.header_offset + largest.file_size // 2


@pytest.mark.parametrize("fault", ["cut", "flipped", "empty", "zeros"])
def test_a_torn_checkpoint_is_named_and_the_one_before_it_is_used(
    fault: str, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = stopped / LAST
    contents = bytearray(last.read_bytes())
    middle = len(contents) // 2
    if fault == "flipped":
        contents[within_a_tensor(last)] ^= 1
    last.unlink()  # a hard link of best.ckpt may be the same file
    last.write_bytes(
        {
            "cut": contents[:middle],
            "flipped": contents,
            "empty": b"",
            "zeros": contents[:middle] + bytes(len(contents) - middle),
        }[fault]
    )
    start = checkpointing.newest(stopped)
    assert start is not None
    assert start.path.name == "previous.ckpt"
    assert start.step == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{last} is damaged" in told
    assert not last.exists()
    assert (stopped / "checkpoints" / "last.ckpt.torn").exists()


def test_a_run_whose_checkpoints_are_all_torn_starts_again_and_ends_the_same(
    stopped: Path, snapshots: Path
) -> None:
    for path in (stopped / "checkpoints").iterdir():
        path.unlink()
        path.write_bytes(b"torn")
    train(stopped, "task.checkpoint_seconds=0")
    assert differences(stopped, snapshots / "whole") == []


def test_best_is_the_checkpoint_with_the_highest_val_elbo(tmp_path: Path) -> None:
    train(tmp_path, "epochs=6", "data.source=digits", "optimizer=adam", "lr=0.2")
    curve = [value for _, value in logged(tmp_path)["val/elbo"]]
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert max(curve) not in (curve[0], curve[-1])  # lr is too large for it to rise to the end
    assert best["vae_exp"]["best"] == max(curve)
    assert best["global_step"] == 3 * (1 + curve.index(max(curve)))


def test_a_checkpoint_is_saved_when_the_time_has_come_and_not_before(
    snapshots: Path, tmp_path: Path
) -> None:
    assert [path.name for path in snapshots.glob("*-after")].count("1-after") == 1
    train(tmp_path / "rarely", "task.checkpoint_seconds=1000")
    kept = torch.load(tmp_path / "rarely" / "checkpoints" / "previous.ckpt", weights_only=True)
    assert kept["global_step"] == 3  # the end of the first epoch
    assert composing.composed([]).task.checkpoint_seconds == 30


def test_a_run_on_other_images_is_not_resumed(stopped: Path, mnist: Path) -> None:
    with pytest.raises(UserError, match="trained on other images"):
        train(stopped, "data.source=digits")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("epochs=3", "epochs was 2 when "),
        ("seed=1", "seed was 0 when "),
        ("lr=0.5", f"optimizer.lr was {KNOBS['lr'].default} when "),
        ("optimizer=adam", "optimizer._target_ was vae_exp.training.optimizers.AdamOneCycle when "),
        ("objective=iwae", "objective._target_ was vae_exp.models.objectives.ELBO when "),
        ("model.encoder.hidden=[16]", "model.encoder.hidden was [32] when "),
        ("data.train_size=90", "data.train_size was 100 when "),
    ],
)
def test_a_config_edited_in_between_is_refused_naming_both_values(
    word: str, told: str, stopped: Path
) -> None:
    value = word.partition("=")[2]
    with pytest.raises(UserError) as refused:
        train(stopped, word)
    assert str(refused.value).startswith(told + str(stopped / LAST))
    if "was vae_exp" not in told:
        assert f" and is {value} in the run's config" in str(refused.value)
    assert not (stopped / WEIGHTS).exists()


def test_what_trains_nothing_may_be_edited_in_between(stopped: Path, snapshots: Path) -> None:
    train(stopped, "task.checkpoint_seconds=0.5", "task.figures_every=0", "~trainer.compile")
    assert (stopped / WEIGHTS).read_bytes() == (snapshots / "whole" / WEIGHTS).read_bytes()


def test_the_way_on_is_told_by_what_is_left(stopped: Path, tmp_path: Path) -> None:
    last = stopped / LAST
    goes_on = f"the last good checkpoint is {last}, from which resume={stopped} goes on"
    assert checkpointing.way_on(stopped) == goes_on
    for name in ("last.ckpt", "previous.ckpt"):
        (stopped / "checkpoints" / name).unlink()
    starts = f"it has no checkpoint yet: resume={stopped} starts again"
    assert checkpointing.way_on(stopped) == starts
    assert checkpointing.way_on(tmp_path / "gone").startswith("its folder is gone")


@pytest.mark.slow
def test_a_run_that_is_just_starting_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    process = start_afresh(tmp_path, *new_run("epochs=1"))
    try:
        assert wait_until(process, lambda: only_run(tmp_path) is not None)
        _main(["resume=latest"])  # seconds before the run comes to its first step
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert capsys.readouterr().out.startswith("nothing to resume: every run")
    run = only_run(tmp_path)
    assert run is not None
    assert latest_to_resume() == run.relative_to(tmp_path)


def test_each_of_four_that_resume_the_latest_takes_another_run(tmp_path: Path) -> None:
    code = (
        "import sys; from vae_exp.folders import hold_unfinished\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "with hold_unfinished('latest') as run: print(run, flush=True); sys.stdin.readline()"
    )
    runs = {str(make_started(tmp_path / "outputs" / "d" / str(age), age)) for age in range(1, 5)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]

    def told(process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def say(process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    assert [told(process) for process in processes] == ["ready"] * 5
    for process in processes:
        say(process)
    taken = [told(process) for process in processes]
    for process in processes:
        process.communicate("go\n")
    assert {str(tmp_path / run) for run in taken if run != "None"} == runs
    assert taken.count("None") == 1


def test_a_checkpoint_of_a_newer_schema_is_refused_and_stays(stopped: Path) -> None:
    contents = torch.load(stopped / LAST, weights_only=True)
    contents["vae_exp"]["schema"] = 2
    (stopped / LAST).unlink()
    torch.save(contents, stopped / LAST)
    with pytest.raises(UserError, match=r"last.ckpt has schema 2, this version reads 1"):
        train(stopped)
    assert (stopped / LAST).exists()


def test_a_new_run_does_not_overwrite_another(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    with pytest.raises(UserError, match="holds a run already"):
        _main([*new_run("epochs=1"), f"hydra.run.dir={stopped}"])
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before


def make_started(folder: Path, age: int, finished: bool = False) -> Path:
    """What tells a started run, and a finished one."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / folders.CONFIG).touch()
    (folder / folders.STARTED).touch()
    os.utime(folder / folders.STARTED, (age, age))
    if finished:
        (folder / WEIGHTS).touch()
    return folder


def latest_to_resume() -> Path | None:
    """The run that resume=latest takes."""
    with folders.hold_unfinished("latest") as folder:
        return folder


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Locks that a test holds to its end at most."""
    with ExitStack() as stack:
        yield stack


def test_latest_to_resume_is_the_newest_that_is_neither_finished_nor_under_way(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    held: ExitStack,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="start one first"), folders.hold_unfinished("latest"):
        pass
    old = make_started(Path("outputs/d/1"), 1)
    new = make_started(Path("multirun/d/t/0"), 2)
    make_started(Path("outputs/d/2"), 3, finished=True)
    running = make_started(Path("outputs/d/3"), 4)
    for expected in (running, new, old):
        assert latest_to_resume() == expected
        held.enter_context(folders.hold(expected))
    assert latest_to_resume() is None
    _main(["resume=latest"])
    assert "nothing to resume" in capsys.readouterr().out
    held.close()
    assert latest_to_resume() == running
    held.enter_context(folders.hold(running))
    Path("multirun/d/t/jobs.yaml").touch()
    with folders.locked(Path("multirun/d/t"), ".lock", "taken"):
        assert (
            latest_to_resume() == old
        )  # the sweep that is under way may be about to start its job


def test_latest_to_look_at_is_not_a_run_that_is_still_written(
    snapshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(snapshots / "whole", "outputs/day/1")
    shutil.copytree(snapshots / "6-after", "outputs/day/2")  # trained, with its figures to come
    shutil.copy(snapshots / "whole" / "metrics.json", "outputs/day/2")
    assert folders.find("latest") == Path("outputs/day/1")


def test_numbers_that_come_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    def add(name: str) -> None:
        for index in range(10):
            saving.add_findings(tmp_path, f"{name}{index}", {})

    threads = [threading.Thread(target=add, args=[name]) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_metrics(tmp_path)["analyses"]) == 40


def test_a_run_that_another_process_is_writing_is_not_resumed(stopped: Path) -> None:
    (stopped / folders.CONFIG).touch()
    with folders.hold(stopped), pytest.raises(UserError, match="written by another process"):
        _main([f"resume={stopped}"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["resume=nope"], "resume must be latest or a run's folder, got 'nope'"),
        (["resume=null"], "resume must be latest or a run's folder, got null"),
        (["resume=latest"], "resume=latest found no run"),
        (["resume=latest", "epochs=5"], "epochs cannot be given with resume"),
        (["resume=latest", "data=debug"], "data cannot be given with resume"),
        (["-m", "resume=a,b"], "one sweep at a time"),
    ],
)
def test_a_wrong_resume_is_refused_in_one_line(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        _main(words)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_killed_at_each_stage_ends_as_the_run_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = new_run("epochs=4", "task.checkpoint_seconds=0.01")
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    reference = start(tmp_path / "whole", *words)
    process = start(tmp_path / "killed", *words)
    assert stop_when(process, lambda: only_run(tmp_path / "killed") is not None)
    run = only_run(tmp_path / "killed")
    assert run is not None
    for mark in ("checkpoints/previous.ckpt", "metrics.json"):
        process.communicate()
        process = start(tmp_path / "killed", "resume=latest")
        assert stop_when(process, (run / mark).exists)
    process.communicate()
    assert not (run / WEIGHTS).exists()
    with pytest.raises(UserError, match="did not finish"):
        loading.load(str(run))
    monkeypatch.chdir(tmp_path / "killed")
    with pytest.raises(UserError, match="run=latest found no finished run"):
        loading.load("latest")
    process = start(tmp_path / "killed", f"resume={run}")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "resuming" in out
    assert reference.communicate()[1] == ""
    whole = only_run(tmp_path / "whole")
    assert whole is not None
    assert differences(run, whole) == []
    again = start(tmp_path / "killed", f"resume={run}")
    assert again.communicate() == (f"nothing to resume: {run} is finished\n", "")
    assert again.returncode == 0
