"""callbacks=exact_evidence: the truth by epoch, which changes no weight and can choose the best."""

import shutil
from pathlib import Path

import pytest
import torch
from kill_and_resume import (
    WEIGHTS,
    differences,
    logged,
    snapshot_steps,
    train,
    train_with_snapshots,
)

from vae_exp.errors import UserError
from vae_exp.evaluation import exact
from vae_exp.evaluation.importance import iwae
from vae_exp.figures.epochs import evidence_by_epoch
from vae_exp.runs.loading import load
from vae_exp.runs.metrics import read_metrics

pytestmark = pytest.mark.slow

WORDS = ("epochs=5", "data.source=digits", "optimizer=adam", "lr=0.02")
WATCHED = (
    "callbacks=exact_evidence",
    "callbacks.exact_evidence.every=2",
    "callbacks.exact_evidence.images=20",
    "callbacks.exact_evidence.train_images=20",
    "callbacks.exact_evidence.iwae=10",
    "callbacks.exact_evidence.best_by=log_p_x",
)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A watched run in `whole`, and what kills about each checkpoint would leave."""
    root = tmp_path_factory.mktemp("watched")
    train_with_snapshots(root, *WORDS, *WATCHED)
    return root


def test_the_weights_are_those_of_a_run_that_nobody_watches(
    snapshots: Path, tmp_path: Path
) -> None:
    train(tmp_path, *WORDS)
    assert (tmp_path / WEIGHTS).read_bytes() == (snapshots / "whole" / WEIGHTS).read_bytes()


def test_the_last_numbers_are_those_of_the_model_that_was_saved(snapshots: Path) -> None:
    whole = snapshots / "whole"
    found = read_metrics(whole)["analyses"]["evidence_by_epoch"]["epochs"]
    assert [each["epoch"] for each in found] == [1, 2, 4, 5]
    run = load(str(whole))
    x = run.images("validation")[:20]
    log_p_x = exact.evidence(run.model, x).log_p_x
    last = found[-1]
    assert last["log_p_x"]["mean"] == pytest.approx(log_p_x.mean().item(), abs=1e-4)
    bound = iwae(run.model, x, 10, seed=0)
    assert last["iwae_10"]["mean"] == pytest.approx(bound.mean().item(), abs=1e-4)
    below = (log_p_x - bound).std().item() / 20**0.5
    assert last["gap_of_iwae_10"]["stderr"] == pytest.approx(below, rel=1e-3)
    assert all(each["gap"]["mean"] > 0 for each in found)
    of_training = exact.evidence(run.model, run.images("train")[:20]).log_p_x
    assert last["train"]["log_p_x"]["mean"] == pytest.approx(of_training.mean().item(), abs=1e-4)
    for split, each in (("val", last), ("train", last["train"])):
        gap = each["log_p_x"]["mean"] - each["elbo"]["mean"]
        assert logged(whole)[f"{split}/gap"][-1][1] == pytest.approx(gap, abs=1e-3)
    assert (whole / "figures" / "evidence_by_epoch.png").stat().st_size > 10_000


def test_the_best_weights_are_those_of_the_highest_log_p_x(snapshots: Path) -> None:
    whole = snapshots / "whole"
    best = read_metrics(whole)["validation"]["best"]
    curve = logged(whole)["val/log_p_x"]
    assert best["by"] == "val/log_p_x"
    assert best["value"] == pytest.approx(max(value for _, value in curve))
    [found] = [
        each
        for each in read_metrics(whole)["analyses"]["evidence_by_epoch"]["epochs"]
        if each["epoch"] == best["epoch"]
    ]
    assert best["value"] == pytest.approx(found["log_p_x"]["mean"])
    assert (best["stderr"], best["images"]) == (found["log_p_x"]["stderr"], 20)
    kept = torch.load(whole / "checkpoints" / "best.ckpt", weights_only=True)
    steps = [step for step, value in curve if value == max(value for _, value in curve)]
    assert kept["global_step"] == steps[0] + 1


def test_a_run_that_goes_on_keeps_what_was_found(snapshots: Path, tmp_path: Path) -> None:
    step = snapshot_steps(snapshots)[2]
    shutil.copytree(snapshots / f"{step}-after", tmp_path / "run")
    train(tmp_path / "run", *WORDS, *WATCHED)
    assert differences(tmp_path / "run", snapshots / "whole") == []


def test_a_run_ends_once_log_p_x_no_longer_rises(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["callbacks=exact_stopping", *WATCHED[1:], "callbacks.early_stopping.patience=2"]
    words += ["callbacks.early_stopping.min_delta=1000"]
    train(tmp_path / "run", *WORDS, *words)
    assert "stopped after epoch 3 of 5: Monitored metric val/log_p_x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("latent_dim=4",), "latent_dim 1 to 3, got 4"),
        (("data.validation_size=0",), "images that validate"),
        (
            (
                "callbacks=exact_stopping",
                "callbacks.exact_evidence.every=9",
                "callbacks.early_stopping.patience=8",
            ),
            "every=9: log p\\(x\\) is found too seldom for a callback that waits 8 epochs",
        ),
    ],
)
def test_nothing_to_be_exact_on_is_told(
    words: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason):
        train(tmp_path, *WORDS, *WATCHED[:3], *words)


def test_the_figure_names_the_best_epoch_of_each_curve() -> None:
    def number(mean: float) -> dict[str, float | int]:
        return {"mean": mean, "stderr": 0.1, "images": 20}

    found = [
        {
            "epoch": epoch,
            "log_p_x": number(float(epoch)),
            "iwae_10": number(-((epoch - 3.0) ** 2)),
            "elbo": number(-float(epoch)),
            "gap": number(1.0),
            "gap_of_iwae_10": number(1.0),
        }
        for epoch in range(1, 6)
    ]
    fig = evidence_by_epoch(found, 10, "MNIST")
    [top, _] = fig.axes
    named = [text.get_text() for text in top.get_legend().get_texts()]
    assert named == [
        "exact log p(x), best at epoch 5",
        "IWAE-10, best at epoch 3",
        "ELBO, best at epoch 1",
    ]
