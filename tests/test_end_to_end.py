"""The commands as a person types them: real processes, and what they leave behind."""

import json
import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from conftest import mnist_folder
from kill_and_resume import start as start_afresh
from warm import Forked, start

from vae_exp.runs import loading

pytestmark = pytest.mark.slow

SOURCE = f"data.source={'mnist' if mnist_folder() else 'digits'}"
TASKS = ("samples", "scatter", "interpolation", "manifold", "top_half", "questions")
PICTURES = (*TASKS[:-1], "top_half_svi")


def output(process: subprocess.Popen[str] | Forked) -> str:
    """What a process printed that ended well."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def train(cwd: Path, *words: str) -> Path:
    """Train in a folder and return the run's folder."""
    output(start(cwd, "data=debug", SOURCE, *words))
    return runs_below(cwd)[-1]


def runs_below(cwd: Path) -> list[Path]:
    """The folders of finished runs, oldest first."""
    return sorted(path.parent for path in cwd.glob("outputs/*/*/model.safetensors"))


def ink(picture: Path) -> float:
    """The share of a picture's pixels that are not white."""
    return float((matplotlib.image.imread(picture)[..., :3].min(-1) < 0.95).mean())


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A short default run of a smaller network, from a process of its own, and what it printed."""
    cwd = tmp_path_factory.mktemp("run")
    small = ("data=debug", SOURCE, "model.encoder.hidden=[100]")
    printed = output(start_afresh(cwd, *small, "epochs=2", "seed=0"))
    [folder] = runs_below(cwd)
    return folder, printed


@pytest.fixture(scope="module")
def run(started: tuple[Path, str]) -> Path:
    """Its folder."""
    return started[0]


@pytest.fixture(scope="module")
def working_folder(run: Path) -> Path:
    """Where the short run was started."""
    return run.parents[2]


def test_a_run_leaves_what_its_contract_promises(run: Path) -> None:
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {".hydra/config.yaml", ".hydra/overrides.yaml"} <= names
    assert {"checkpoints/last.ckpt", "checkpoints/best.ckpt", "model.safetensors"} <= names
    assert {f"figures/{name}.png" for name in PICTURES} <= names
    assert {"metrics.json", "report.html"} <= names
    assert len([name for name in names if name.startswith("events.out.tfevents")]) == 1


def test_the_end_tells_the_five_answers_and_every_picture_in_eighty_columns(
    started: tuple[Path, str], working_folder: Path
) -> None:
    run, printed = started
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    table = [line.split() for line in lines if line.strip()]
    answers = {words[0]: words for words in table if words[0] in set("abcde")}
    assert {letter: "true" in words for letter, words in answers.items()} == dict(
        zip("abcde", (True, False, False, False, True), strict=True)
    )
    assert lines[-1] == str((run / "report.html").relative_to(working_folder))
    told = {line for line in lines if line.endswith(".png")}
    assert told == {
        str((run / f"figures/{name}.png").relative_to(working_folder)) for name in PICTURES
    }


def test_metrics_say_what_they_are_about(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["schema"] == 1
    assert metrics["run"]["seed"] == 0
    assert metrics["run"]["epochs"] == 2
    assert metrics["data"]["images"] == 100
    assert metrics["data"]["name"] == ("mnist" if mnist_folder() else "digits")
    assert metrics["model"]["latent_dim"] == 2
    test = metrics["test"]
    assert test["elbo"]["samples"] == 1
    assert test["elbo"]["stderr"] > 0
    assert test["elbo"]["mean"] == pytest.approx(
        test["log_likelihood"]["mean"] - test["kl"]["mean"], abs=1e-3
    )


def test_the_reported_elbo_is_that_of_the_saved_weights(run: Path) -> None:
    from vae_exp.data import ImageData
    from vae_exp.parts import build

    loaded = loading.load(str(run))
    loaded.config["data"]["root"] = str(mnist_folder() or "data")
    data = build(loaded.config["data"], "data", ImageData)
    from vae_exp.evaluation.estimates import elbo_terms

    terms = elbo_terms(loaded.model, data.splits.test.images, samples=1, seed=0)
    reported = json.loads((run / "metrics.json").read_text())["test"]["elbo"]["mean"]
    assert terms.bound.mean().item() == pytest.approx(reported, abs=1e-3)


def test_last_checkpoint_and_safetensors_hold_the_same_weights(run: Path) -> None:
    ours = loading.load(str(run)).model.state_dict()
    theirs = loading.load(str(run / "checkpoints" / "last.ckpt")).model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_curves_are_in_tensorboard(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run))
    events.Reload()
    assert {"train/elbo", "val/elbo", "val/kl", "val/log_likelihood", "whole_test/elbo"} <= set(
        events.Tags()["scalars"]
    )
    assert len(events.Scalars("val/elbo")) == 2
    assert {f"figures/{name}" for name in PICTURES} <= set(events.Tags()["images"])
    last = events.Scalars("val/elbo")[-1].value
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["validation"]["best_elbo"] >= last - 1e-3


@pytest.mark.parametrize("task", TASKS)
def test_each_task_answers_on_a_finished_run(task: str, run: Path, working_folder: Path) -> None:
    figure = run / "figures" / f"{task}_seed5.png"
    printed = output(start(working_folder, f"task={task}", "run=latest", "seed=5"))
    if task in PICTURES:
        assert str(figure.relative_to(working_folder)) in printed
        assert 0.01 < ink(figure) < 0.9
    analyses = json.loads((run / "metrics.json").read_text())["analyses"]
    assert (analyses[task]["seed"], analyses[f"{task}_seed5"]["seed"]) == (0, 5)
    assert runs_below(working_folder) == [run]


def test_questions_are_answered_true_false_false_false_true(
    run: Path, working_folder: Path
) -> None:
    answers = json.loads((run / "metrics.json").read_text())["analyses"]["questions"]
    assert [answers[letter]["answer"] for letter in "abcde"] == [True, False, False, False, True]
    assert answers["c"]["elbo_rise"] > 0
    assert answers["c"]["kl_rise"] > 0


def test_a_look_at_a_digit_leaves_the_first_look_as_it_was(run: Path, working_folder: Path) -> None:
    def kept() -> tuple[object, bytes]:
        metrics = json.loads((run / "metrics.json").read_text())
        return metrics["analyses"]["top_half"], (run / "figures/top_half.png").read_bytes()

    before = kept()
    output(start(working_folder, "task=top_half", f"run={run}", "digit=7"))
    look = json.loads((run / "metrics.json").read_text())["analyses"]["top_half_digit7"]
    assert (look["digit"], look["split"], look["settings"]) == (7, "train", {"digit": 7})
    assert look["figures"] == ["figures/top_half_digit7.png", "figures/top_half_digit7_svi.png"]
    assert all(ink(run / path) > 0.01 for path in look["figures"])
    assert kept() == before


def test_the_same_seed_gives_the_same_weights_bit_for_bit(
    run: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = ("epochs=2", "seed=0", "model.encoder.hidden=[100]", "task.analyses={}")
    again = train(tmp_path_factory.mktemp("again"), *words)
    assert (again / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


@pytest.mark.exhaustive
@pytest.mark.parametrize("latent_dim", [1, 5])
def test_other_latent_dimensions_work(latent_dim: int, tmp_path: Path) -> None:
    quick = ("model.encoder.hidden=[20]", "task.analyses.top_half.steps=20")
    words = ("epochs=1", f"latent_dim={latent_dim}", "~task.analyses.questions", *quick)
    run = train(tmp_path, *words)
    figures = {path.stem.replace("_steps20", "") for path in (run / "figures").glob("*.png")}
    assert figures == set(PICTURES) - {"manifold"}
    assert all(ink(path) > 0.01 for path in (run / "figures").glob("*.png"))


def test_without_mnist_the_digits_stand_in_and_say_so(tmp_path: Path) -> None:
    words = ("data=debug", "data.source=digits", "epochs=1", "task.analyses={}")
    assert "not MNIST" in output(start(tmp_path, *words))
    [run] = runs_below(tmp_path)
    assert json.loads((run / "metrics.json").read_text())["data"]["name"] == "digits"


def test_two_jobs_of_a_sweep_write_two_runs(tmp_path: Path) -> None:
    words = ("data=debug", SOURCE, "epochs=1", "latent_dim=2,3", "task.analyses={}")
    output(start(tmp_path, "-m", *words))
    found = sorted(tmp_path.glob("multirun/*/*/*/metrics.json"))
    dims = [json.loads(path.read_text())["model"]["latent_dim"] for path in found]
    assert dims == [2, 3]
    elbos = [json.loads(path.read_text())["test"]["elbo"]["mean"] for path in found]
    assert np.isfinite(elbos).all()


SMALL = ("images=60", "gap_images=20", "ais_images=10", "long_iwae=200", "sandwich_images=5")


def test_evaluation_ranks_the_bounds_below_the_exact_evidence(
    run: Path, working_folder: Path
) -> None:
    small = [f"task.{word}" for word in SMALL]
    output(start(working_folder, "task=evaluate", f"run={run}", "task.iwae=[1,100]", *small))
    analyses = json.loads((run / "metrics.json").read_text())["analyses"]
    [found] = [look for name, look in analyses.items() if name.startswith("evaluate_")]
    below = {name: number["below_truth"] for name, number in found["estimates"].items()}
    assert below["ELBO"]["mean"] > below["IWAE-100"]["mean"] > -3 * below["IWAE-100"]["stderr"]
    assert abs(below["AIS"]["mean"]) < 0.1 + 3 * below["AIS"]["stderr"]
    assert found["exact"]["images_beyond_tolerance"] == 0
    assert found["estimates"]["IWAE-100"]["samples"] == 100
    asked = {name: number["images"] for name, number in found["estimates"].items()}
    assert asked == {"ELBO": 60, "IWAE-1": 60, "IWAE-100": 60, "IWAE-200": 20, "AIS": 10}
    assert all(part["mean"] > -1e-3 for part in found["gap"].values())
    assert all(ink(run / path) > 0.01 for path in found["figures"])
