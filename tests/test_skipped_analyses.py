"""An analysis that cannot be put to a model or its images costs itself, not the training."""

from pathlib import Path

import pytest
import torch
from kill_and_resume import WEIGHTS, small_config, train
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from vae_exp import parts
from vae_exp.analysis.base import Analysis, Findings
from vae_exp.cli.main import _main
from vae_exp.config import composing
from vae_exp.config.composing import plain_config
from vae_exp.data import ImageData, Splits
from vae_exp.errors import UserError
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.runs.metrics import read_metrics
from vae_exp.training.train import Train

QUICK = {
    "evaluate": ("task.long_iwae=20", "task.sandwich_images=2", "task.iwae=[1]"),
    "trust": ("task.simulated=50", "task.samples=30"),
    "complete": ("task.steps=2", "task.restarts=2", "task.score_samples=20"),
    "top_half": ("task.steps=2", "task.restarts=2"),
    "posterior_atlas": ("task.candidates=2",),
    "questions": ("task.images=2",),
    "evidence": ("task.images=3",),
}
TASKS = [
    name
    for name in composing.choices("task")
    if parts.choice("task", name)["_target_"].startswith("vae_exp.analysis.")
]
CASES = [
    (task, split, latent_dim)
    for task in TASKS
    for split in ("train_size", "test_size")
    for latent_dim in (1, 2, 3)
    if task != "evaluate" or (split, latent_dim) == ("test_size", 2)  # it takes long
]


def splits_with(**sizes: int) -> Splits:
    words = [f"data.{name}={size}" for name, size in sizes.items()]
    cfg = composing.composed(composing.parse(["data=debug", "data.source=digits", *words]))
    data = build(composing.resolved(cfg, "data"), "data", ImageData)
    return data.splits


@pytest.mark.thinned(3)
@pytest.mark.sampled(7)
@pytest.mark.parametrize(("task", "split", "latent_dim"), CASES)
def test_an_analysis_answers_or_says_why_not_of_a_single_image(
    task: str, split: str, latent_dim: int
) -> None:
    words = [f"task={task}", "run=latest", *QUICK.get(task, ())]
    cfg = composing.composed(composing.parse(words))
    analysis: Analysis = build(composing.resolved(cfg, "task"), "task", Analysis)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(latent_dim, Encoder((8,)), Decoder((8,))).eval()
    splits = splits_with(**{"train_size": 60, "test_size": 60, split: 1})
    reason = analysis.unsuited(model, splits)
    if reason is None:
        assert isinstance(analysis(model, splits, 0), Findings)
    else:
        assert "latent_dim" in reason or split == "test_size"
        assert "\n" not in reason


ANALYSES = (
    "+task.analyses.interpolation={_target_:vae_exp.analysis.interpolation.Interpolation}",
    "+task.analyses.trust={_target_:vae_exp.analysis.trust.Trust}",
    "+task.analyses.questions={_target_:vae_exp.analysis.questions.Questions,steps:1,lr:1e-9}",
)


@pytest.mark.slow
def test_what_cannot_be_answered_is_told_before_training_and_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "outputs" / "day" / "time"
    run.mkdir(parents=True)
    train(run, "data.test_size=1", *ANALYSES)
    assert (run / WEIGHTS).exists()
    out, err = capsys.readouterr()
    before, _, after = out.partition("epoch 1/2")
    interpolation, trust = before.splitlines()
    told = "interpolation is skipped: it needs test images of two classes, got 1 of class "
    assert interpolation.startswith(told)
    assert trust == "trust is skipped: it needs two test images, there is 1"
    assert "skipped" not in after
    assert err.startswith("questions is skipped: task=questions found no step of 1 in which")
    assert err.count("\n") == 1
    assert (run / "figures" / "samples.png").exists()
    skipped = read_metrics(run)["run"]["skipped"]
    assert list(skipped) == ["interpolation", "trust", "questions"]
    for name, reason in skipped.items():
        assert f"{name} is skipped: {reason}\n" in out + err

    monkeypatch.chdir(tmp_path)
    parts = ["prior", "likelihood", "posterior"]
    kept = ["data", "model", *parts, "batch_size", "seed", "latent_dim"]
    OmegaConf.save(
        OmegaConf.masked_copy(small_config("data.test_size=1"), kept), run / ".hydra/config.yaml"
    )
    with pytest.raises(UserError, match=r"says nothing about outputs/.*: it needs two test images"):
        _main(["task=trust", "run=latest"])


class Broken:
    """An analysis with a mistake in it."""

    name = "broken"

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        return None

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        raise ZeroDivisionError("of an image\nby an image")


def test_an_analysis_with_a_mistake_costs_neither_an_epoch_nor_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Train(2, {"broken": Broken()}, figures_every=1)(plain_config(small_config()), tmp_path)
    assert (tmp_path / WEIGHTS).exists()
    line = "broken is skipped: ZeroDivisionError: of an image\n"
    assert capsys.readouterr().err == 2 * line  # after the first epoch, and at the end
    metrics = read_metrics(tmp_path)
    assert metrics["run"]["skipped"] == {"broken": "ZeroDivisionError: of an image"}
    assert "analyses" not in metrics


class Undrawable(Broken):
    """An analysis whose figure cannot be drawn."""

    name = "undrawable"

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        fig = Figure()
        fig.suptitle(r"$\frac{1}$")
        return Findings(figures={self.name: fig})


def test_a_figure_that_cannot_be_drawn_costs_no_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Train(1, {"undrawable": Undrawable()})(plain_config(small_config()), tmp_path)
    assert (tmp_path / WEIGHTS).exists()
    assert "undrawable is skipped: ValueError" in capsys.readouterr().err
    assert list(read_metrics(tmp_path)["run"]["skipped"]) == ["undrawable"]
