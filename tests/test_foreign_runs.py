"""A run that somebody else sends executes nothing, whatever lies in its folder.

Each attack is planted into a copy of a small run and met by every way in. What an attack would do
is to make a folder: `mark`.
"""

import json
import os
import pickle
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import instantiate
from kill_and_resume import LAST, WEIGHTS
from omegaconf import OmegaConf

from vae_exp import folders
from vae_exp.cli.main import _main, main
from vae_exp.config import composing
from vae_exp.errors import UserError
from vae_exp.knobs import GROUPS, KNOBS
from vae_exp.runs import loading, plain
from vae_exp.runs.looking import splits_of

pytestmark = pytest.mark.thinned(2)

QUICK = ("data=debug", "data.source=digits", "model.encoder.hidden=[8]", "task=fit")
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run of an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["vae_exp"])
        patch.chdir(tmp_path_factory.mktemp("made"))
        _main([*QUICK, "epochs=1", "hydra.run.dir=run"])
        yield Path("run").resolve()


@pytest.fixture
def theirs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, from somebody else."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, tmp_path / "theirs"))


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """What an attack would make; it is never there."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that has to be refused; returns its one line."""

    def run(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["vae_exp", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        err = capsys.readouterr().err
        assert stop.value.code == 2, err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err

    return run


class Bomb:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def calls(folder: Path, mark: Path) -> dict[str, str]:
    """Text that executes something if it is resolved and then instantiated."""
    pickled, saved = folder / "x.bin", folder / "x.pt"
    pickled.write_bytes(pickle.dumps(Bomb(mark)))
    torch.save(Bomb(mark), saved)
    return {
        "joblib": f"{{_target_:joblib.load,filename:'{pickled}'}}",
        "torch": f"{{_target_:torch.load,f:'{saved}',weights_only:false}}",
        "copyfile": f"{{_target_:shutil.copyfile,src:'{pickled}',dst:'{mark}'}}",
        "sympy": f'{{_target_:sympy.sympify,a:\'__import__("os").mkdir("{mark}")\'}}',
    }


CALLS = ("joblib", "torch", "copyfile", "sympy")
ENVIRONMENT = ("${oc.env:HOME}", "${oc.decode:'1'}", "${oc.create:{a:1}}", "${now:%Y}", "a${seed}")


@pytest.mark.parametrize("call", CALLS)
def test_the_attacks_are_real(call: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    text = f"${{oc.create:{calls(tmp_path, mark)[call]}}}"
    instantiate(OmegaConf.create({"_target_": "builtins.dict", "root": text}))
    assert mark.exists()


def change(folder: Path, key: str, value: Any) -> None:
    """Change one key of a run's config, in plain YAML."""
    path = folder / folders.CONFIG
    contents = node = yaml.safe_load(path.read_text())
    *above, last = key.split(".")
    for name in above:
        node = node[name]
    node[last] = value
    path.write_text(yaml.safe_dump(json.loads(json.dumps(contents))))  # without anchors


def unfinished(folder: Path) -> Path:
    (folder / WEIGHTS).unlink()
    return folder


# Whole planted runs, one for each file that a text can come from.


def planted_config(run: Path, text: str) -> Path:
    """A run whose config holds a call in place of a folder's name."""
    change(run, "data.root", text)
    return run


def planted_metrics(run: Path, text: str) -> Path:
    """A run of which only metrics.json was touched."""
    metrics = json.loads((run / folders.METRICS).read_text())
    metrics["data"]["name"] = text
    (run / folders.METRICS).write_text(json.dumps(metrics))
    return run


def planted_checkpoint(run: Path, text: str) -> Path:
    """A run, not finished, whose checkpoint names its images by a call."""
    contents = torch.load(run / LAST, weights_only=True)
    contents["vae_exp"]["images"]["name"] = text
    (run / LAST).unlink()
    torch.save(contents, run / LAST)
    change(run, "data.source", "auto")
    return run


def planted_sweep(folder: Path, *words: str, fixed: bool = False, **others: object) -> Path:
    """A sweep, or a search, not finished, whose file holds a job with these words."""
    folder.mkdir(exist_ok=True)
    jobs = {"jobs": None, "fixed": [*QUICK, "search=optuna", *words]}
    plan = jobs if fixed else {"jobs": [[*QUICK, "epochs=1", *words]], "fixed": []}
    (folder / "jobs.yaml").write_text(yaml.safe_dump({"schema": 1, "hydra": [], **plan, **others}))
    return folder


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("call", "escape"), [*((call, "") for call in CALLS), ("joblib", "\\"), ("torch", "\\\\\\")]
)
def test_a_call_in_a_config_is_refused_by_every_way_in(
    call: str, escape: str, theirs: Path, mark: Path, refused: Refused
) -> None:
    text = f"{escape}${{oc.create:{calls(theirs, mark)[call]}}}"
    run = planted_config(theirs, text)
    told = f"{run / folders.CONFIG}: data.root must be a value or ${{KEY}}, that of another key"
    assert told in refused("task=samples", f"run={run}")
    assert told in refused("task=samples", f"run={run / LAST}")
    assert told in refused("task=compare", f"runs=[{run},{run}]")
    with pytest.raises(UserError, match=r"data\.root must be a value"):  # a notebook
        loading.load(str(run))
    assert told in refused(f"resume={unfinished(run)}")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(("seed", text) for text in ENVIRONMENT),
        ("data.seed", ENVIRONMENT[0]),
        ("model.encoder.hidden", ENVIRONMENT[1]),
        ("task.analyses.x", ENVIRONMENT[2]),
    ],
)
def test_no_resolver_runs_on_a_config(key: str, text: str, theirs: Path, refused: Refused) -> None:
    change(theirs, key, text)
    assert f"{key} must be a value" in refused("task=samples", f"run={theirs}")
    assert f"{key} must be a value" in refused(f"resume={unfinished(theirs)}")


NO_NAME = r"name must be one of mnist, digits|should have at most 100 characters"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_in_metrics_alone_is_refused(
    call: str, theirs: Path, mark: Path, refused: Refused
) -> None:
    for escape in ("", "\\"):
        text = f"{escape}${{oc.create:{calls(theirs, mark)[call]}}}"
        run = planted_metrics(theirs, text)
        for words in (("task=samples", f"run={run}"), ("task=compare", f"runs=[{run},{run}]")):
            line = refused(*words)
            assert str(run / folders.METRICS) in line
            assert re.search(NO_NAME, line)
        with pytest.raises(UserError, match=NO_NAME):
            splits_of(loading.load(str(run)))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_in_a_checkpoint_is_refused(
    call: str, theirs: Path, mark: Path, refused: Refused
) -> None:
    for escape in ("", "\\"):
        text = f"{escape}${{oc.create:{calls(theirs, mark)[call]}}}"
        run = planted_checkpoint(theirs, text)
        (run / WEIGHTS).unlink(missing_ok=True)
        line = refused(f"resume={run}")
        assert str(run / LAST) in line
        assert re.search(NO_NAME, line)


CALLBACK = "{callbacks:{x:{_target_:joblib.load,filename:x.bin}}}"


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "word",
    [
        f"hydra={CALLBACK}",
        f"+hydra={CALLBACK}",
        f"++hydra={CALLBACK}",
        "~hydra",
        "++hydra.callbacks.x={_target_:joblib.load,filename:x.bin}",
        "+hydra.callbacks={x:{_target_:joblib.load,filename:x.bin}}",
        "hydra.searchpath=[file://x]",
        "hydra/launcher=joblib",
        "hydra/callbacks@x=y",
        "+task@hydra.callbacks.x=samples",
        "data@hydra=debug",
        "task=../../../../../../../../tmp/x",
        "experiment=[../x]",
        "+experiment=../x",
        "data.root=${oc.env:HOME}",
        r"data.root=\${oc.create:{_target_:joblib.load,filename:x.bin}}",
        r"data.root=$\{oc.env:HOME\}",
        r"data.root='\${oc.create:{_target_:joblib.load,filename:x.bin}}'",
        "lr=${oc.decode:'1'}",
        "+hooks={x:1}",
        "+callbacks={x:1}",
        "+callbacks.x={_target_:joblib.load,filename:x.bin}",
        "+logger.x={_target_:pytorch_lightning.loggers.CSVLogger,save_dir:/elsewhere}",
        "+logger.x={_target_:pytorch_lightning.loggers.CSVLogger,save_dir:.,version:../../x}",
    ],
)
@pytest.mark.parametrize("fixed", [False, True])
def test_a_job_of_a_file_sets_only_what_a_job_may(
    word: str, fixed: bool, theirs: Path, mark: Path, refused: Refused
) -> None:
    calls(theirs, mark)
    sweep = planted_sweep(
        theirs / "sweep", word.replace("x.bin", str(theirs / "x.bin")), fixed=fixed
    )
    line = refused("-m", f"resume={sweep}")
    reasons = (str(sweep / "jobs.yaml"), "must be ", "which has a value", " is refused: ")
    assert any(reason in line for reason in reasons)
    assert not (sweep / "0").exists()


@pytest.mark.parametrize("word", ["++hydra=", "hydra.callbacks="])
def test_a_sweep_over_values_hides_no_word_for_hydra(
    word: str, theirs: Path, mark: Path, refused: Refused
) -> None:
    sweep = planted_sweep(theirs / "sweep", f"{word}choice({CALLBACK},{CALLBACK})", fixed=True)
    assert "which no job may set" in refused("-m", f"resume={sweep}")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "word",
    [
        "model={_target_:joblib.load}",
        "data._target_=shutil.copyfile",
        "+task.analyses.x={_target_:vae_exp.training.distributed.Helper,folder:x,rank:1,processes:2}",
    ],
)
def test_a_job_of_a_file_builds_only_parts(word: str, theirs: Path, refused: Refused) -> None:
    line = refused("-m", f"resume={planted_sweep(theirs / 'sweep', word)}")
    assert "must be a class that conf/" in line


def test_a_job_of_a_file_names_no_file_to_write(theirs: Path, refused: Refused) -> None:
    words = (f"runs=[{theirs},{theirs}]", f"task.output={theirs / 'out.json'}")
    sweep = planted_sweep(theirs / "sweep", jobs=[["task=compare", *words]])
    assert "a job that writes" in refused("-m", f"resume={sweep}")
    assert not (theirs / "out.json").exists()


@pytest.mark.slow
def test_a_study_of_somebody_else_sets_only_what_a_job_may(
    theirs: Path, mark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna = pytest.importorskip("optuna")
    calls(theirs, mark)
    sweep = planted_sweep(theirs / "sweep", "epochs=1", fixed=True)
    key, call = "++hydra.callbacks.x", f"{{_target_:joblib.load,filename:{theirs / 'x.bin'}}}"
    space = {key: optuna.distributions.CategoricalDistribution([call])}
    study = optuna.create_study(
        study_name="vae_exp", storage=f"sqlite:///{sweep}/study.db", direction="maximize"
    )
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.RUNNING, params={key: call}, distributions=space
        )
    )
    with sqlite3.connect(sweep / "study.db") as base:
        base.execute("UPDATE trials SET state = 'WAITING'")
    with pytest.raises(SystemExit) as stop:
        _main(["-m", f"resume={sweep}", "hydra.sweeper.n_trials=1"])
    assert stop.value.code == 1
    assert f"the study in {sweep} holds" in capsys.readouterr().err
    assert not (sweep / "0").exists()


def test_no_command_to_copy_repeats_a_strangers_words(
    theirs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"++hydra={CALLBACK}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=3"]
    sweep = planted_sweep(theirs / "sweep", hydra=[*words, "hydra.launcher._target_=joblib.load"])
    _main(["task=summarise", f"sweep={sweep}"])
    [told] = [x for x in (sweep / "sweep.md").read_text().splitlines() if x.startswith("To go on")]
    assert told.endswith("hydra/launcher=joblib hydra.launcher.n_jobs=3`")
    assert "callbacks" not in capsys.readouterr().out


STRANGE = {
    "vae_exp.training.distributed.Helper": {"folder": "x", "rank": 1, "processes": 2},
    "vae_exp.sweeping.launching.SweepInterrupted": {"signum": 1, "folder": "x"},
    "joblib.load": {"filename": "x.bin"},
}
MISPLACED = {
    "vae_exp.training.train.Train": {"epochs": 1, "analyses": {}},
    "vae_exp.runs.comparison.Compare": {"runs": ["a", "b"]},
    "vae_exp.sweeping.summary.Summarise": {"sweep": "x"},
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("target", [*STRANGE, *MISPLACED])
def test_only_an_analysis_is_taken_for_one(
    target: str, theirs: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    node = {"_target_": target, **STRANGE.get(target, {}), **MISPLACED.get(target, {})}
    change(unfinished(theirs), "task.analyses", {"x": node})
    place = "task.analyses.x"
    told = {
        True: f"{place}._target_ must be a class that conf/task names, got '{target}'",
        False: f"{place} must be of kind Analysis, got {target.rpartition('.')[2]}",
    }[target in STRANGE]
    assert told in refused(f"resume={theirs}")
    words = ",".join(f"{key}:{json.dumps(value)}" for key, value in node.items()).replace('"', "")
    assert told in refused(*QUICK, f"+task.analyses.x={{{words}}}")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("model", "vae_exp.models.networks.Encoder"),
        ("model", "vae_exp.data.ImageData"),
        ("model.encoder", "vae_exp.models.vae.VAE"),
        ("objective", "vae_exp.training.optimizers.Adam"),
        ("trainer", "vae_exp.training.train.Train"),
        ("data", "vae_exp.training.hardware.Hardware"),
    ],
)
def test_a_part_stands_only_in_its_own_place(
    key: str, target: str, theirs: Path, refused: Refused
) -> None:
    node: dict[str, Any] = {"_target_": target}
    layer = {"hidden": [8]}
    if target.endswith("Encoder"):
        node |= layer
    if target.endswith("VAE"):
        node["latent_dim"] = 2
        node |= {
            name.lower(): {"_target_": f"vae_exp.models.networks.{name}", **layer}
            for name in ("Encoder", "Decoder")
        }
    change(unfinished(theirs), key, node)
    shutil.rmtree(theirs / "checkpoints")  # whose settings would be told to have changed
    line = refused(f"resume={theirs}")
    assert f"{key} must be of kind" in line or f"{key}._target_ must be a class that conf/" in line


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("_args_", "model"),
        ("_args_", "task.analyses"),
        ("_partial_", "model"),
        ("_partial_", "data"),
        ("_recursive_", "data"),
        ("_convert_", "task.analyses"),
    ],
)
def test_hydras_own_keys_of_a_node_are_unknown(
    name: str, place: str, theirs: Path, refused: Refused
) -> None:
    value: Any = [1] if name == "_args_" else True
    assert f"{place}.{name}" in refused(f"+{place}.{name}={str(value).lower()}")
    change(unfinished(theirs), f"{place}.{name}", value)
    assert f"{place}.{name}" in refused(f"resume={theirs}")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(f'*{old}' for _ in range(9))}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.thinned(3)
@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "a: &a\n  b: *a\n",
        "a: &a [*a]\n",
        "[" * 5000,
        "{a: " * 5000,
        "- a\n",
        "",
        "null\n",
        "a: 1\na: 2\n",
        "a: !!python/object/apply:os.mkdir [x]\n",
        "a: !!binary aGk=\n",
        "a: !!int 1:1:1\n",
        "? [a]\n: 1\n",
        "a: b: c\n",
        "a: \x07\n",
        "a: '" + "x" * 300_000 + "'\n",
    ],
    ids=lambda text: repr(text[:20]),
)
@pytest.mark.parametrize("name", [folders.CONFIG, Path("jobs.yaml")], ids=str)
def test_yaml_that_is_not_plain_is_refused(
    name: Path, text: str, theirs: Path, refused: Refused
) -> None:
    (theirs / name).write_text(text)
    if name == folders.CONFIG:
        assert f"{theirs / name} is damaged: " in refused("task=samples", f"run={theirs}")
        assert f"{theirs / name} is damaged: " in refused(f"resume={unfinished(theirs)}")
    else:
        assert f"{theirs / name} is damaged: " in refused("-m", f"resume={theirs}")


def test_what_is_no_file_is_not_waited_for(theirs: Path) -> None:
    os.mkfifo(theirs / "pipe")
    with pytest.raises(UserError, match="is a pipe, not a file"):
        plain.read(theirs / "pipe", dict)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hydra.yaml", "overrides.yaml"])
def test_hydras_other_files_are_read_as_plainly(
    name: str, theirs: Path, mark: Path, refused: Refused
) -> None:
    path = theirs / ".hydra" / name
    call = f"${{oc.create:{calls(theirs, mark)['joblib']}}}"
    path.write_text(yaml.safe_dump([call] if name == "overrides.yaml" else {"hydra": call}))
    _main(["task=compare", f"runs=[{theirs},{theirs}]"])
    shutil.rmtree(unfinished(theirs) / folders.CHECKPOINTS)
    _main([f"resume={theirs}"])
    path.write_text("a: &a [*a]\n")
    assert "is damaged" in (
        refused("task=compare", f"runs=[{theirs},{theirs}]")
        if name == "overrides.yaml"
        else refused_from_its_start(theirs, refused)
    )


def refused_from_its_start(run: Path, refused: Refused) -> str:
    """How a run without a checkpoint is refused."""
    shutil.rmtree(unfinished(run) / folders.CHECKPOINTS)
    return refused(f"resume={run}")


def test_references_are_looked_up_and_nothing_else() -> None:
    found = plain.resolved(
        {
            "seed": 3,
            "hidden": [500, 20],
            "a": {"b": "${a.c}", "c": "${seed}", "list": ["${hidden}", "${a.text}"], "text": "x"},
            "root": "${oc.env:VAE_EXP_DATA,data}",
        }
    )
    assert found["a"] == {"b": 3, "c": 3, "list": [[500, 20], "x"], "text": "x"}
    assert found["root"] is None


@pytest.mark.parametrize(
    "contents",
    [
        {"a": "${a}"},
        {"a": "${b}", "b": "${a}"},
        {"a": "${missing}"},
        {"a": "${b.c}", "b": 1},
        {"a": "${b}", "b": {"c": [1]}},
        {"a": "${b}", "b": {"c": {"d": 1}}},
        {"a": "${b}", "b": ["${oc.env:HOME}"]},
        {"a": "${b}", "b": [[1]]},
        {"a": "${b}", "b": list(range(1000))},
        {"a": "${b}${b}", "b": 1},
        {"a": " ${b}", "b": 1},
        {"a": "${.b}", "b": 1},
        {"a": "${oc.env:VAE_EXP_DATA}"},
        {"a": "${oc.env:VAE_EXP_DATA,data}x"},
    ],
    ids=str,
)
def test_a_reference_that_is_more_than_a_look_up_is_refused(contents: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="a must be a value or"):
        plain.resolved(contents)


def as_older_code_left_it(run: Path, root: str = "${oc.env:VAE_EXP_DATA,data}") -> Path:
    """A run whose config still refers to its knobs and to the environment, as Hydra saved it."""
    cfg = composing.composed(composing.parse([*QUICK, "epochs=1"]))
    cfg.data.root = root
    text = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, [*KNOBS, *GROUPS, "schema"]))
    for reference in (root, "${latent_dim}", "${model.encoder.hidden}", "${lr}", "${seed}"):
        assert reference in text
    (run / folders.CONFIG).write_text(text)
    return run


def test_a_run_of_older_code_is_loaded_looked_at_and_resumed(
    made: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAE_EXP_DATA", "/some/where/else")
    run = as_older_code_left_it(theirs)
    loaded = loading.load(str(run))
    assert loaded.config == loading.load(str(made)).config
    _main(["task=samples", f"run={run}"])
    assert (run / "figures" / "samples.png").exists()
    _main([f"resume={unfinished(run)}"])
    shutil.rmtree(unfinished(run) / folders.CHECKPOINTS)
    _main([f"resume={run}"])
    assert (run / WEIGHTS).read_bytes() == (made / WEIGHTS).read_bytes()


def test_a_run_keeps_values_and_no_references(theirs: Path) -> None:
    text = (theirs / folders.CONFIG).read_text()
    assert "${" not in text
    assert "root: null" in text


@pytest.mark.slow
def test_what_was_read_from_the_environment_is_kept_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["vae_exp"])
    monkeypatch.setenv("S", "5")
    _main([*QUICK, "epochs=1", "seed=${oc.env:S}", "hydra.run.dir=run"])
    monkeypatch.delenv("S")
    assert loading.load("run").config["seed"] == 5
    _main(["task=samples", "run=run"])


@pytest.mark.slow
def test_a_folder_of_data_may_have_any_name(
    mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["vae_exp"])
    strange = tmp_path / "${seed}"
    strange.symlink_to(mnist)
    monkeypatch.setenv("VAE_EXP_DATA", str(strange))
    words = [word for word in QUICK if not word.startswith("data.source")]
    _main([*words, "data.source=mnist", "epochs=1", "hydra.run.dir=run"])
    monkeypatch.setenv("VAE_EXP_DATA", str(mnist))  # the run does not remember where it found them
    _main(["task=samples", "run=run"])
    monkeypatch.setenv("VAE_EXP_DATA", "/nowhere")
    _main(["task=samples", "run=run", f"data.root={mnist}"])
    (tmp_path / "run" / WEIGHTS).unlink()
    monkeypatch.setenv("VAE_EXP_DATA", str(strange))
    _main(["resume=run"])
    assert (tmp_path / "run" / WEIGHTS).exists()


@pytest.mark.parametrize("word", [r"data.root=\${seed}", r"data.root='\${oc.env:HOME}'"])
def test_text_that_a_config_could_not_keep_is_refused_before_training(
    word: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = [each for each in QUICK if not each.startswith("data.source=")]
    assert "data.root must not hold ${" in refused(*quick, word)
    assert not list(tmp_path.iterdir())
