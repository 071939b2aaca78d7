"""A person's own parts, from a folder that is not the repository, and those of libraries."""

import sys
from pathlib import Path

import pytest
import warm
from conftest import refusal
from omegaconf import OmegaConf
from torch import nn

import vae_exp
from vae_exp import folders, parts
from vae_exp.cli import main as cli
from vae_exp.config import composing, reading
from vae_exp.errors import UserError
from vae_exp.training.optimizers import refuse_forgotten

MINE = """
import torch
from vae_exp.models.contracts import Prior
from vae_exp.probability.gaussians import StandardGaussian
from vae_exp.ranges import Positive

class Mine(Prior):
    def __init__(self, latent_dim: Positive = 2, told: str = ""):
        super().__init__()
        self.latent_dim = latent_dim
        self.told = told

    def forward(self):
        return StandardGaussian(self.latent_dim)
"""
SMALL = ("task=fit", "data=debug", "data.source=digits", "epochs=1", "model.encoder.hidden=[8]")


@pytest.fixture
def own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module and a `conf` of its own; nothing is trusted yet."""
    (folder / "my_parts.py").write_text(MINE)
    yaml(folder / "conf/prior/mine.yaml", "_target_: my_parts.Mine\nlatent_dim: ${latent_dim}\n")
    monkeypatch.setattr(parts, "_trusted", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("my_parts", None)
    return folder


def yaml(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that starts."""
    monkeypatch.setattr(parts, "_trusted", set())


def trained(*words: str) -> Path:
    """The folder of the run that a command has made."""
    cli._main([*SMALL, *words])
    return folders.find("latest")


@pytest.mark.slow
def test_a_class_of_ones_own_trains_and_is_loaded_only_by_who_names_its_module(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("prior=mine", "plugins=[my_parts]")
    config = OmegaConf.load(run / folders.CONFIG)
    assert config.plugins == ["my_parts"]
    for words in (["task=samples", "run=latest"], [f"resume={run}"]):
        forget(monkeypatch)
        if words[0].startswith("resume"):
            (run / folders.WEIGHTS).unlink()
        line = refusal(*words)
        assert "made with classes of my_parts" in line
        assert "add plugins=[my_parts]" in line
    cli._main([f"resume={run}", "plugins=[my_parts]"])
    cli._main(["task=samples", "run=latest", "plugins=[my_parts]"])
    forget(monkeypatch)
    with pytest.raises(UserError, match=r"add plugins=\[my_parts\]"):
        vae_exp.load(str(run))
    model = vae_exp.load(str(run), plugins=["my_parts"]).model
    assert "Mine" in [type(module).__name__ for module in model.modules()]


def test_a_run_from_somebody_else_executes_nothing(own: Path) -> None:
    (own / "theirs.py").write_text("raise SystemExit('executed')")
    foreign = own / "foreign" / folders.CONFIG
    yaml(foreign, "plugins: [theirs]\nmodel: {_target_: theirs.Model}\n")
    (own / "foreign" / folders.WEIGHTS).touch()
    assert "add plugins=[theirs]" in refusal("task=samples", "run=foreign")
    foreign.write_text("model: {_target_: theirs.Model}\n")
    assert "must be a class that conf/model names" in refusal("task=samples", "run=foreign")


def test_without_its_module_a_class_of_ones_own_is_refused(own: Path) -> None:
    line = refusal("prior=mine")
    assert "prior._target_ must be a class that conf/prior names, got 'my_parts.Mine'" in line
    assert "plugins=[my_parts]" in line
    assert not (own / "outputs").exists()


def test_a_class_of_ones_own_is_held_against_its_constructor_and_its_place(own: Path) -> None:
    given = ("prior=mine", "plugins=[my_parts]")
    line = refusal(*given, "+prior.told=3")
    assert "prior.told must be text, got 3" in line
    assert "did you mean +prior.told?" in refusal(*given, "prior.tolt=a")
    assert "did you mean my_parts.Mine?" in refusal(*given, "prior._target_=my_parts.Mina")
    line = refusal("plugins=[my_parts]", "likelihood._target_=my_parts.Mine")
    assert "likelihood must be of kind Likelihood, got Mine" in line


def test_only_the_command_line_names_a_plugin(own: Path) -> None:
    yaml(own / "conf/experiment/theirs.yaml", "# @package _global_\nplugins: [my_parts]\n")
    assert "add plugins=[my_parts]" in refusal("experiment=theirs")
    assert "my_parts" not in sys.modules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:", "SyntaxError"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_in_a_line(
    own: Path, text: str, said: str
) -> None:
    (own / "broken.py").write_text(text)
    line = refusal("plugins=[broken]")
    assert line.startswith("plugins: 'broken' cannot be imported")
    assert said in line


def test_a_conf_of_ones_own_adds_choices_to_every_group(own: Path) -> None:
    for group in composing.all_groups():
        yaml(own / f"conf/{group}/own.yaml", "{}")
        assert "own" in composing.choices(group)
    assert "mine" in refusal("prior=nope")
    yaml(own / "conf/figures/paper.yaml", "defaults: [default, _self_]\nformat: pdf\n")
    assert "did you mean paper?" in refusal("figures=papre")
    yaml(own / "conf/model/mlp.yaml", "{}")
    line = refusal("model=mlp")
    assert f"{own}/conf/model/mlp.yaml: give yours another name" in line


def test_a_searchpath_adds_choices_too(own: Path) -> None:
    yaml(own / "more/model/tiny.yaml", "defaults: [mlp, _self_]\nencoder: {hidden: [8]}\n")
    place = f"hydra.searchpath=[file://{own}/more]"
    words = composing.parse([place, "model=tiny"])
    assert composing.attempt(words).check().model.encoder.hidden == [8]
    assert "residual, tiny, got 'nope'" in refusal(place, "model=nope")
    assert "must be one of" in refusal("model=tiny")


def test_an_optimiser_of_torch_is_one_file(own: Path) -> None:
    yaml(own / "conf/optimizer/rms.yaml", "_target_: torch.optim.RMSprop\nlr: ${lr}\n")
    run = trained("optimizer=rms", "lr=1e-4")
    assert OmegaConf.load(run / folders.CONFIG).optimizer._target_ == "torch.optim.RMSprop"
    assert "optimizer.lr must be" in refusal("optimizer=rms", "optimizer.lr=x")
    assert "did you mean +optimizer.momentum?" in refusal("optimizer=rms", "optimizer.momentm=1")
    for target in ("torch.optim.Nope", "torch.nn.Linear", "torch.hub.load", "os.system"):
        assert "optimizer._target_ must be" in refusal(f"optimizer._target_={target}")


@pytest.mark.parametrize("name", ["sgd", "adamw_cosine"])
def test_a_schedule_of_torch_takes_the_length_of_the_run(own: Path, name: str) -> None:
    cfg = composing.composed(composing.parse([f"optimizer={name}", "lr=0.1"]))
    from vae_exp.training.fitting import OptimizerFactory

    model = nn.Linear(2, 2)
    factory = parts.build(composing.resolved(cfg, "optimizer"), "optimizer", OptimizerFactory)
    optimizer, schedule = factory.build(model, 10)
    refuse_forgotten(model, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.1
    for _ in range(10):
        optimizer.step()
        if schedule is not None:
            schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 if name == "sgd" else 0)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("schedule: {_target_: torch.optim.lr_scheduler.ReduceLROnPlateau}", "ReduceLROnPlateau"),
        ("optimizer: {_target_: torch.optim.LBFGS}", "LBFGS asks for the loss several times"),
        ("schedule: {_target_: torch.optim.lr_scheduler.LambdaLR}", "lr_lambda"),
        ("optimizer: {_target_: torch.optim.lr_scheduler.StepLR}", "must be of kind"),
        ("schedule: {_target_: torch.optim.SGD}", "must be of kind"),
    ],
)
def test_what_training_cannot_use_is_refused_in_a_line(own: Path, node: str, said: str) -> None:
    yaml(own / "conf/optimizer/own.yaml", f"defaults: [adamw_cosine, _self_]\n{node}\n")
    assert said in refusal(*SMALL, "optimizer=own")
    assert not (own / "outputs").exists()


def test_what_a_library_may_do_to_files_is_named_by_the_person_who_starts_the_run(
    own: Path,
) -> None:
    node = {"stop": {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "x"}}
    of_a_run = [str(error) for error in parts.problems(node, "callbacks")]
    if "pytorch_lightning.callbacks.EarlyStopping" not in parts.of("callbacks"):
        assert "plugins=[pytorch_lightning.callbacks]" in of_a_run[0]
    parts.trust_libraries()
    assert not list(parts.problems(node, "callbacks"))
    assert list(parts.problems(node, "task", reading.kind_of("task")))


@pytest.mark.thinned(2)
@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_the_jobs_of_a_sweep_have_their_plugins(own: Path, launcher: str) -> None:
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = [*SMALL, "prior=mine", "plugins=[my_parts]", "seed=0,1", f"hydra/launcher={launcher}"]
    code, told = ended(own, "-m", *words)
    assert code == 0, told
    sweep = next(own.glob("multirun/*/*"))
    assert len(list(sweep.glob(f"*/{folders.WEIGHTS}"))) == 2
    (sweep / "1" / folders.WEIGHTS).unlink()
    code, told = ended(own, "-m", f"resume={sweep}")
    assert code == 2
    assert "add plugins=[my_parts]" in told
    code, told = ended(own, "-m", f"resume={sweep}", "plugins=[my_parts]")
    assert code == 0, told
    assert len(list(sweep.glob(f"*/{folders.WEIGHTS}"))) == 2


def ended(folder: Path, *words: str) -> tuple[int | None, str]:
    """The exit code of a command in a process of its own, and what it said of errors."""
    process = warm.start(folder, *words)
    _, told = process.communicate()
    return process.returncode, told
