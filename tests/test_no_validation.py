"""With no images that validate all of them train, and nothing claims to be the best."""

import shutil
from pathlib import Path

import pytest
from kill_and_resume import differences, logged, snapshot_steps, train, train_with_snapshots

from vae_exp.folders import CHECKPOINTS
from vae_exp.runs.loading import load
from vae_exp.runs.metrics import read_metrics

pytestmark = pytest.mark.slow

WORDS = ("data.source=digits", "data.validation_size=0")


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unjudged")
    train_with_snapshots(root, *WORDS)
    return root


def test_the_last_weights_are_the_runs_and_it_is_said_so(
    snapshots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, *WORDS)
    told = capsys.readouterr().out
    assert "no images validate: the weights are those of the last epoch" in told
    assert "validation" not in told
    for run in (tmp_path, snapshots / "whole"):
        assert not (run / CHECKPOINTS / "best.ckpt").exists()
        assert "validation" not in read_metrics(run)
        found = logged(run)
        assert len(found["train/elbo"]) == 2
        assert not any(name.startswith("val/") for name in found)
        assert b"none is the best" in found["summary"][0][1]
    assert load(str(snapshots / "whole" / CHECKPOINTS / "last.ckpt")).model.latent_dim == 2


def test_a_run_resumed_from_any_checkpoint_ends_where_it_would_have_ended(
    snapshots: Path, tmp_path: Path
) -> None:
    for step in (snapshot_steps(snapshots)[0], snapshot_steps(snapshots)[-1]):
        shutil.copytree(snapshots / f"{step}-after", tmp_path / str(step))
        train(tmp_path / str(step), *WORDS)
        assert differences(tmp_path / str(step), snapshots / "whole") == [], step
