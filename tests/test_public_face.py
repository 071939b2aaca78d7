"""What a notebook gets from ``import vae_exp``: every public name, and quickly; and a run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kill_and_resume import small_config, train
from omegaconf import OmegaConf

import vae_exp
from vae_exp import folders
from vae_exp.errors import UserError
from vae_exp.figures import png
from vae_exp.knobs import GROUPS, KNOBS, choices
from vae_exp.runs import asking
from vae_exp.runs.loading import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on the bundled digits, loaded."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ("data.source=digits", "seed=3", "name=a first try")
    train(folder, *words)
    kept = OmegaConf.masked_copy(small_config(*words), [*KNOBS, *GROUPS, "schema"])
    OmegaConf.save(kept, folder / folders.CONFIG)
    return vae_exp.load(str(folder))


def in_a_process(code: str) -> str:
    """What Python code prints in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("name", vae_exp.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(vae_exp, name).__doc__


def test_the_homes_are_those_of_the_type_checker() -> None:
    assert sorted(vae_exp._HOME) == sorted(vae_exp.__all__)
    assert vae_exp.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vae_exp.nothing


def test_the_tab_key_is_told_the_public_names_and_nothing_of_the_inside() -> None:
    shown = dir(vae_exp)
    assert {*vae_exp.__all__, "__version__"} <= {*shown}
    assert not {"import_module", "Any", "TYPE_CHECKING", "ModuleType", "_HOME"} & {*shown}


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, vae_exp; "
        "print([m for m in ('torch', 'hydra', 'pytorch_lightning', 'matplotlib') "
        "if m in sys.modules])"
    )
    assert in_a_process(code) == "[]"


def test_importing_the_package_takes_less_than_150_ms() -> None:
    code = (
        "import time; begun = time.process_time(); import vae_exp; "
        "print(time.process_time() - begun)"
    )
    assert float(in_a_process(code)) < 0.15


def test_a_run_is_loaded_without_its_images_and_without_lightning(run: Run) -> None:
    code = (
        f"import sys, vae_exp; run = vae_exp.load({str(run.folder)!r}); print(repr(run)); "
        "print([m for m in ('hydra', 'pytorch_lightning', 'matplotlib') if m in sys.modules])"
    )
    assert in_a_process(code).endswith("\n[]")


def test_a_run_gives_the_images_that_it_was_made_with(run: Run) -> None:
    data = run.config["data"]
    for split in ("train", "validation", "test"):
        images, labels = run.images(split), run.labels(split)
        assert images.shape == (data[f"{split}_size"], 784)
        assert labels.shape == (data[f"{split}_size"],)
        assert images.unique().tolist() == [0.0, 1.0]
        assert torch.equal(images, run.splits.named(split).images)
    assert run.splits.test.sha256 == run.metrics["data"]["sha256"]
    assert run.splits is run.splits


def test_a_run_tells_its_name_its_images_and_its_elbo(run: Run) -> None:
    assert run.name == "a first try"
    told, elbo = repr(run), run.metrics["test"]["elbo"]
    for part in ("run", "a first try", "digits", "latent dimension 2", f"{elbo['mean']:.2f} ± "):
        assert part in told


def test_a_checkpoint_is_told_from_the_run_that_it_belongs_to(run: Run) -> None:
    best = vae_exp.load(str(run.folder / "checkpoints" / "best.ckpt"))
    assert best.folder == run.folder
    assert "best.ckpt" in repr(best)
    assert "best.ckpt" not in repr(run)
    caption = best.look("samples").figures["samples_checkpoint-best"].get_supxlabel()
    assert "checkpoint best" in caption


def test_a_run_without_numbers_or_with_damaged_ones_is_still_shown(
    run: Run, tmp_path: Path
) -> None:
    shutil.copytree(run.folder, tmp_path / "copy")
    copy = vae_exp.load(str(tmp_path / "copy"))
    (copy.folder / folders.METRICS).write_text("{")
    assert "is damaged" in repr(copy)
    os.remove(copy.folder / folders.METRICS)
    assert "latent dimension 2" in repr(copy)
    assert copy.name.endswith("copy")


def test_the_evidence_of_a_run_is_that_of_its_model_and_above_its_elbo(run: Run) -> None:
    x = run.images("test")
    found = run.evidence(x)
    assert found.method == "exact"
    assert found.converged.all()
    assert torch.equal(found.log_p_x, vae_exp.evidence(run.model, x).log_p_x)
    elbo = vae_exp.elbo_terms(run.model, x, samples=16).bound
    assert found.log_p_x.mean() > elbo.mean()
    assert f"{len(x)} images, exact: mean {found.log_p_x.mean():.2f} ± " in str(found)
    flat = run.evidence(x[:3].reshape(3, 28, 28)).log_p_x
    assert torch.allclose(flat, found.log_p_x[:3], atol=1e-3)


def test_the_posterior_of_a_run_is_the_encoders(run: Run) -> None:
    x = run.images("test")[:5]
    q = run.posterior(x)
    assert q.mean.shape == (5, 2)
    assert not q.mean.requires_grad
    with torch.no_grad():
        assert torch.equal(q.mean, run.model.posterior(x).mean)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda run: run.images("tset"), "split must be one of train, validation, test, got"),
        (lambda run: run.labels(None), "split must be one of train, validation, test, got None"),
        (lambda run: run.evidence(run.images()[0]), r"x must be a batch \[B, 784\], got \[784\]"),
        (lambda run: run.evidence(run.images()[:2] / 2), "0 and 1 alone"),
        (lambda run: run.posterior(run.images()[:, :700]), r"x must be a batch \[B, 784\]"),
        (lambda run: run.look("sampels"), "a look must be one of complete, evaluate.*'sampels'"),
        (lambda run: run.look("train"), "a look must be one of complete, evaluate.*'train'"),
        (lambda run: run.look("samples", colums=3), "task.colums.*takes columns"),
        (lambda run: run.look("samples", columns=0), "columns must be"),
        (lambda run: run.look("complete", index=10_000), "index must be from 0 to"),
    ],
)
def test_what_a_run_cannot_answer_is_refused_in_one_line(ask, told: str, run: Run) -> None:
    with pytest.raises(UserError, match=told) as caught:
        ask(run)
    assert "\n" not in str(caught.value)


def test_a_look_in_python_is_the_look_of_the_command(run: Run) -> None:
    picture = run.look("samples").figures["samples"]
    assert png(picture) == (run.folder / "figures" / "samples.png").read_bytes()
    assert list(run.look("samples", columns=3, seed=5).figures) == ["samples_columns3_seed5"]
    assert run.metrics["analyses"].keys() == {"samples"}  # nothing is saved


def test_a_model_that_is_no_run_is_looked_at_in_the_same_way(run: Run) -> None:
    found = vae_exp.look("samples", run.model, run.splits, seed=3)
    theirs = vae_exp.look("samples", run.model, run.splits, seed=4)
    pictures = [look.figures["samples"]._repr_png_() for look in (found, theirs)]
    assert pictures[0] != pictures[1]
    with pytest.raises(UserError, match="manifold says nothing about this model"):
        vae_exp.look("manifold", vae_exp.VAE(3), run.splits)


def test_every_task_but_those_that_train_or_compare_is_a_look() -> None:
    others = {"train", "fit", "ceiling", "compare", "report", "summarise"}
    assert {*asking.names()} == {*choices("task")} - others
    for name in asking.names():
        assert asking.analysis_named(name, {}).name == name
