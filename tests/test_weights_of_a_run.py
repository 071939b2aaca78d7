"""Which weights a run begins with, trains, and ends with: init_from, freeze, average_weights."""

import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import refusal
from kill_and_resume import (
    LAST,
    WEIGHTS,
    differences,
    logged,
    snapshot_steps,
    train,
    train_with_snapshots,
)
from test_training import digits, fit, small_model
from torch import Tensor

from vae_exp.errors import UserError
from vae_exp.models.objectives import ELBO
from vae_exp.runs import loading
from vae_exp.runs.metrics import read_metrics
from vae_exp.training import running
from vae_exp.training.averaging import Average
from vae_exp.training.fitting import descent
from vae_exp.training.fitting import fit as plain_fit
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import Adam, AdamOneCycle

AVERAGED = ("epochs=3", "data.source=digits", "task.average_weights=0.9")


def weights(run: Path) -> dict[str, Tensor]:
    return dict(safetensors.torch.load_file(run / WEIGHTS))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with whose weights others begin."""
    folder = tmp_path_factory.mktemp("before")
    train(folder, "epochs=1", "data.source=digits")
    return folder


def test_a_run_begins_with_the_weights_of_another(before: Path, tmp_path: Path) -> None:
    words = ("epochs=1", "data.source=digits", "seed=7", "optimizer=adam", "lr=1e-12")
    train(tmp_path, *words, f"init_from={before}")
    for name, tensor in weights(before).items():
        torch.testing.assert_close(weights(tmp_path)[name], tensor, rtol=0, atol=1e-6)
    assert read_metrics(tmp_path)["run"]["init_from"] == str(before)


def test_a_run_may_begin_with_a_checkpoint(before: Path, tmp_path: Path) -> None:
    words = ("epochs=1", "data.source=digits", "optimizer=adam", "lr=1e-12")
    train(tmp_path, *words, f"init_from={before / LAST}")
    for name, tensor in weights(before).items():
        torch.testing.assert_close(weights(tmp_path)[name], tensor, rtol=0, atol=1e-6)


def test_what_latest_was_is_put_down(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(before, tmp_path / "outputs" / "d" / "1")
    train(tmp_path / "run", "epochs=1", "data.source=digits", "init_from=latest")
    config = loading.read_config(tmp_path / "run", ["task"])
    expected = str((tmp_path / "outputs" / "d" / "1").resolve())
    assert config["task"]["init_from"] == config["init_from"] == expected


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("model.encoder.hidden=[16]",),
            r"was made for another model: encoder\.\S+ is \[.* in the",
        ),
        (("latent_dim=3",), "was made for another model: "),
        (("init_from=nowhere",), "init_from: run must be latest, a run's folder or a checkpoint, "),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    words: tuple[str, ...], told: str, before: Path, tmp_path: Path
) -> None:
    given = words if words[0].startswith("init_from") else (f"init_from={before}", *words)
    with pytest.raises(UserError, match=told):
        train(tmp_path / "run", "epochs=1", "data.source=digits", *given)


def test_a_frozen_part_keeps_its_weights_and_the_optimiser_has_none_of_them(
    before: Path, tmp_path: Path
) -> None:
    train(tmp_path, "epochs=1", "data.source=digits", f"init_from={before}", "freeze=[decoder]")
    changed = {
        n for n, tensor in weights(before).items() if not torch.equal(tensor, weights(tmp_path)[n])
    }
    assert changed == {name for name in weights(before) if name.startswith("encoder.")}
    [state] = torch.load(tmp_path / LAST, weights_only=True)["optimizer_states"]
    trained = sum(len(group["params"]) for group in state["param_groups"])
    assert trained == len(changed)
    assert len(state["state"]) == trained


@pytest.mark.slow
@pytest.mark.parametrize("factory", [Adam(1e-2), AdamOneCycle(1e-2)])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_plain_training_leaves_a_frozen_part_too(part: str, factory: Adam | AdamOneCycle) -> None:
    model = small_model()
    running.freeze(model, (part,))
    kept = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimizer, _ = descent(factory, model, 10)
    held = sum(len(group["params"]) for group in optimizer.param_groups)
    assert held == sum(weight.requires_grad for weight in model.parameters())
    plain_fit(model, digits().splits.train.images, optimizer=factory, epochs=1, batch_size=30)
    for name, tensor in model.named_parameters():
        assert torch.equal(tensor, kept[name]) == name.startswith(part)


def test_a_run_goes_on_only_with_the_parts_that_were_frozen(tmp_path: Path) -> None:
    train(tmp_path, "epochs=1", "data.source=digits", "freeze=[decoder]")
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"^freeze was \['decoder'\] when .* and is \[\]"):
        train(tmp_path, "epochs=1", "data.source=digits")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("[prior]", "freeze holds prior, which has no weights"),
        ("[encoder,decoder]", "freeze leaves nothing to train, got encoder, decoder"),
        ("[decoder,decoder]", "freeze holds decoder, which has no weights that are trained"),
    ],
)
def test_what_cannot_be_frozen_is_refused(given: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        train(tmp_path, "epochs=1", "data.source=digits", f"freeze={given}")


def test_a_part_that_there_is_not_is_refused_before_anything(folder: Path) -> None:
    assert "encoder, decoder, prior" in refusal("data=debug", "freeze=[wibble]")
    for knob in ("init_from=latest", "freeze=[decoder]"):
        line = refusal("task=samples", "run=latest", knob)
        assert f"{knob.partition('=')[0]} is not read by task=samples" in line
    assert "average_weights must be" in refusal("data=debug", "task.average_weights=-1")
    assert not list(folder.iterdir())


def test_an_average_is_the_mean_that_it_says() -> None:
    model = small_model()
    average = Average(model, 0.5)
    [name, weight] = next(iter(model.named_parameters()))
    expected = weight.detach().clone()
    for step in range(40):
        with torch.no_grad():
            weight.add_(torch.randn(weight.shape))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()
        average.update(step)
    torch.testing.assert_close(average.averaged[name], expected)
    last = weight.detach().clone()
    with average.shown():
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight.detach(), last)


def test_averaging_changes_no_step_and_its_weights_are_the_runs(tmp_path: Path) -> None:
    averaged = VAEModule(small_model(), ELBO(), Adam(1e-2), seed=3, average_weights=0.9)
    plain = VAEModule(small_model(), ELBO(), Adam(1e-2), seed=3)
    with_average = fit(averaged, digits(seed=3), tmp_path / "averaged")
    without = fit(plain, digits(seed=3), tmp_path / "plain")
    metrics = with_average.callback_metrics
    assert metrics["train/elbo"] == without.callback_metrics["train/elbo"]
    assert averaged.average is not None
    for name, weight in plain.model.named_parameters():  # the weights of the last step
        torch.testing.assert_close(averaged.average.averaged[name], weight)
    x = digits().splits.validation.images
    noise = torch.cat([plain.noise(30, "validation", 0), plain.noise(20, "validation", 1)], 1)
    elbo = averaged.model.elbo_terms(x, noise).bound.mean().item()
    assert metrics["val/elbo"].item() == pytest.approx(elbo, rel=1e-5)
    assert elbo != pytest.approx(plain.model.elbo_terms(x, noise).bound.mean().item(), rel=1e-3)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with averaged weights in `whole`, and what kills about each checkpoint would leave."""
    root = tmp_path_factory.mktemp("averaged")
    train_with_snapshots(root, *AVERAGED, "task.checkpoint_seconds=0", "task.figures_every=1")
    return root


@pytest.mark.slow
def test_a_run_with_averaged_weights_resumed_anywhere_ends_the_same(
    snapshots: Path, tmp_path: Path
) -> None:
    steps = snapshot_steps(snapshots)
    for step in (steps[0], steps[3], steps[-1]):
        folder = tmp_path / str(step)
        shutil.copytree(snapshots / f"{step}-after", folder)
        train(folder, *AVERAGED, "task.checkpoint_seconds=1000", "task.figures_every=1")
        assert differences(folder, snapshots / "whole") == [], step


def test_the_weights_of_a_checkpoint_are_the_averaged_ones(snapshots: Path) -> None:
    whole = snapshots / "whole"
    contents = torch.load(whole / LAST, weights_only=True)
    saved = weights(whole)
    for name, tensor in saved.items():
        assert torch.equal(contents["state_dict"][f"model.{name}"], tensor)
    assert any(not torch.equal(contents["last_weights"][name], saved[name]) for name in saved)
    metrics = read_metrics(whole)["validation"]
    assert logged(whole)["val/elbo"][-1][1] == pytest.approx(metrics["elbo"]["mean"], abs=3)


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_last_weights_that_do_not_fit_are_refused(
    fault: str, snapshots: Path, tmp_path: Path
) -> None:
    shutil.copytree(snapshots / "4-after", tmp_path / "run")
    path = tmp_path / "run" / LAST
    contents = torch.load(path, weights_only=True)
    name = next(iter(contents["last_weights"]))
    if fault == "missing":
        del contents["last_weights"][name]
    else:
        contents["last_weights"][name] = torch.zeros(1)
    path.unlink()
    torch.save(contents, path)
    with pytest.raises(UserError, match=r"cannot go on from .*: the last weights of "):
        train(tmp_path / "run", *AVERAGED)


@pytest.mark.parametrize("decay", [0.05, 0.9])
def test_an_average_is_the_recursion_that_it_says(decay: float) -> None:
    model = small_model()
    average = Average(model, decay)
    expected = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for step in range(4):
        d = min(decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight += torch.randn_like(weight)
                expected[name] = d * expected[name] + (1 - d) * weight
        average.update(step)
    for name, weight in average.averaged.items():
        torch.testing.assert_close(weight, expected[name])
