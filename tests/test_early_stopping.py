"""Early stopping is exact: a run that was stopped and resumed ends where it would have ended."""

import shutil
from pathlib import Path

import pytest
from kill_and_resume import (
    WEIGHTS,
    differences,
    logged,
    snapshot_steps,
    train,
    train_with_snapshots,
)

from vae_exp.errors import UserError
from vae_exp.runs.metrics import read_metrics

# The validation ELBO first rises, and falls from some epoch on.
WORDS = ("epochs=12", "data.source=digits", "optimizer=adam", "lr=0.2")
STOPS = ("callbacks=early_stopping", "callbacks.early_stopping.patience=2")


def stopping_epoch(curve: list[float], patience: int) -> int:
    """The epoch, from 1 on, at whose end a run stops."""
    best, since = float("-inf"), 0
    for epoch, value in enumerate(curve, start=1):
        best, since = (value, 0) if value > best else (best, since + 1)
        if since == patience:
            return epoch
    return len(curve)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped early in `whole`, and what kills about each checkpoint would leave."""
    root = tmp_path_factory.mktemp("stopping")
    train_with_snapshots(root, *WORDS, *STOPS)
    return root


def test_a_run_stops_after_so_many_epochs_without_a_new_best(
    snapshots: Path, tmp_path: Path
) -> None:
    train(tmp_path, *WORDS)
    curve = [value for _, value in logged(tmp_path)["val/elbo"]]
    epoch = stopping_epoch(curve, patience=2)
    assert epoch < len(curve)
    stopped = logged(snapshots / "whole")["val/elbo"]
    assert [value for _, value in stopped] == curve[:epoch]


def test_where_it_stopped_is_told(snapshots: Path) -> None:
    whole = snapshots / "whole"
    run = read_metrics(whole)["run"]
    assert run["epochs"] == 12
    assert run["stopped"]["epoch"] == len(logged(whole)["val/elbo"])
    assert run["stopped"]["reason"].startswith("Monitored metric val/elbo did not improve in the")
    [(_, summary)] = logged(whole)["summary"]
    assert f"{run['stopped']['epoch']} of 12 epochs" in summary.decode(errors="replace")


def test_a_run_resumed_from_any_checkpoint_stops_where_it_would_have_stopped(
    snapshots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = snapshot_steps(snapshots)
    for step in (steps[0], steps[-2], steps[-1]):
        shutil.copytree(snapshots / f"{step}-after", tmp_path / str(step))
        train(tmp_path / str(step), *WORDS, *STOPS)
        assert differences(tmp_path / str(step), snapshots / "whole") == [], step
        epoch = len(logged(snapshots / "whole")["val/elbo"])
        assert f"stopped after epoch {epoch} of 12: Monitored" in capsys.readouterr().out


def test_a_run_goes_on_only_with_the_callbacks_it_had(snapshots: Path, tmp_path: Path) -> None:
    shutil.copytree(snapshots / f"{snapshot_steps(snapshots)[0]}-after", tmp_path / "run")
    with pytest.raises(UserError, match=r"^callbacks\.early_stopping\.patience was 2 when .* is 3"):
        train(tmp_path / "run", *WORDS, STOPS[0], "callbacks.early_stopping.patience=3")
    with pytest.raises(UserError, match=r"^callbacks\.early_stopping\.\w+ was .* and is None"):
        train(tmp_path / "run", *WORDS)
    assert not (tmp_path / "run" / WEIGHTS).exists()


def test_a_run_lasts_the_epochs_that_it_must(snapshots: Path, tmp_path: Path) -> None:
    train(tmp_path, *WORDS, *STOPS, "trainer.options.min_epochs=10")
    assert len(logged(tmp_path)["val/elbo"]) == 10


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("monitor=val/loss", r"callbacks\.early_stopping\.monitor must be one of val/elbo, "),
        ("monitor=val/iwae_50", r"got 'val/iwae_50'"),
        ("mode=min", r"callbacks\.early_stopping\.mode must be max for val/elbo, got 'min'"),
    ],
)
def test_what_never_stops_as_meant_is_refused(word: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        train(tmp_path, *WORDS, *STOPS, f"callbacks.early_stopping.{word}")
    assert not list(tmp_path.glob("events*"))
