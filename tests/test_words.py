"""Every word of a command is read or refused, and what is suggested is accepted."""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import refusal
from omegaconf import DictConfig, OmegaConf
from test_comparison import a_model, data_config, make_run, nudged

from vae_exp import folders, knobs
from vae_exp.cli import main as cli
from vae_exp.config import composing
from vae_exp.data import ImageData
from vae_exp.errors import UserError
from vae_exp.parts import build
from vae_exp.runs import describing
from vae_exp.runs.metrics import write_metrics
from vae_exp.sweeping import sweeps

BOTH = ["runs=[latest,latest]"]
LOOKS = {"ceiling": BOTH, "compare": BOTH, "summarise": ["sweep=latest"]}
UNREAD = [
    ("seed=1 seed=2", "seed is given twice"),
    ("seed=1 seed=1", "seed is given twice"),
    ("++seed=1 seed=2", "seed is given twice"),
    ("data=debug data=full", "data is given twice"),
    ("data.root=x data.root=y", "data.root is given twice"),
    ("data.train_size=3 data={train_size:4}", "data.train_size=3"),
    ("task.analyses.samples.columns=3 ~task.analyses.samples", "task.analyses.samples.columns=3"),
    ("task.analyses.samples.columns=3 task.analyses={}", "task.analyses.samples.columns=3"),
    ("task={}", "task must be one of"),
    ("task={analyses:{}}", "as in task.analyses={}"),
    ("task.analyses={} digit=3", "digit is not read, because"),
    ("task.analyses={} task.figures_every=2", "task.figures_every is not read"),
    ("task=fit task.figures_every=2", "task.figures_every is not read"),
    ("epochs=3 task.epochs=4", "epochs is not read, because task.epochs=4"),
    ("lr=0.1 optimizer.lr=0.2", "lr is not read, because optimizer.lr=0.2"),
    (
        "latent_dim=3 model.latent_dim=4 prior.latent_dim=4 posterior.latent_dim=4",
        "latent_dim is not read, because model.latent_dim=4",
    ),
    ("task=top_half run=latest digit=3 task.digit=4", "digit is not read, because task.digit=4"),
    ("task=compare task.runs=[a,b] runs=[a,b]", "runs is not read, because task.runs="),
    ("task=compare task.runs=[latest,latest] run=latest", "run is not read by task=compare"),
    ("task=summarise sweep=latest run=latest", "run is not read by task=summarise"),
    ("task=report run=latest figures.format=svg", "figures.format is not read by"),
    ("task=report sweep=latest mask=left", "mask is not read by task=report"),
    ("data.source=digits data.protocol=standard", "data.protocol=standard"),
    ("data=mnist60k data.source=digits", "data.protocol=standard"),
    ("data.source=digits data.root=x", "data.root is not read"),
    ("mask=left", "mask is not read by task=train, but by task=complete"),
    ("hydra.sweep.dir=x", "hydra.sweep.dir cannot be given"),
    ("hydra/launcher=basic", "hydra/launcher cannot be given: a single run does not read it: add"),
    ("hydra.sweeper.max_batch_size=2", "hydra.sweeper.max_batch_size cannot be given"),
    ("hydra.job.num=3", "hydra.job.num cannot be given"),
    ("hydra.runtime.cwd=x", "hydra.runtime.cwd cannot be given"),
    ("++hydra={verbose:true}", "hydra is given key by key"),
    ("task=samples run=RUN hydra.run.dir=x", "hydra.run.dir cannot be given"),
    ("task=samples run=RUN hydra.verbose=true", "hydra.verbose cannot be given"),
    ("resume=latest hydra.run.dir=x", "hydra.run.dir cannot be given"),
    ("resume=latest resume=x", "resume is given twice"),
    ("-m seed=0,1 seed=2", "seed is given twice"),
]


def problem(*words: str) -> str | None:
    """Why a command would be refused before it starts; None if it would not."""
    try:
        accepted(*words)
    except UserError as error:
        return " ".join(str(error).split())
    return None


def accepted(*words: str) -> DictConfig:
    """A config that passes every check."""
    overrides = composing.parse(words)
    cfg = composing.composed(overrides)
    composing.check(cfg, overrides)
    return cfg


@pytest.mark.thinned(2)
@pytest.mark.sampled(4)
@pytest.mark.parametrize(("words", "named"), UNREAD)
def test_a_word_that_would_not_be_read_is_refused(folder: Path, words: str, named: str) -> None:
    make_run(folder / "RUN", a_model())
    assert named in refusal(*words.split())
    assert [path.name for path in folder.iterdir()] == ["RUN"]


def test_an_empty_part_is_empty() -> None:
    assert accepted("task.analyses={}").task.analyses == {}
    assert accepted("++task.analyses={}").task.analyses == {}
    one = "+task.analyses.mine={_target_:vae_exp.analysis.samples.Samples}"
    assert list(accepted("task.analyses={}", one).task.analyses) == ["mine"]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "words",
    [
        ("epochs=0",),
        ("seed=1", "seed=2"),
        ("columns=3",),
        ("run=latest",),
        ("data.train_size=0",),
        ("hydra.sweep.dir=x",),
        ("task=samples",),
        ("task=samples", "run=latest"),
        ("task=samples", "run=no/such/run"),
        ("task=summarise", "sweep=latest"),
    ],
)
def test_the_config_is_shown_only_of_a_command_that_would_run(
    folder: Path, words: tuple[str, ...]
) -> None:
    assert refusal("--cfg", "job", "--resolve", *words) == refusal(*words)
    assert refusal("--info", "config", *words) == refusal(*words)
    assert not list(folder.iterdir())


def test_a_config_of_a_run_that_goes_on_is_not_made_up(folder: Path) -> None:
    assert "run's folder" in refusal("--cfg", "job", "resume=latest")


HINTS = [
    ("columns=20", "task.analyses.samples.columns"),
    ("columns=20 task=samples run=latest", "task.columns"),
    ("model.hidden=[200]", "model.encoder.hidden"),
    ("hidden=200", "model.encoder.hidden=[200]"),
    ("model.latentdim=3", "latent_dim"),
    ("data.batchsize=3", "batch_size"),
    ("data.block_images=9", "+data.block_images"),
    ("output=x.json task=compare runs=[latest,latest]", "task.output"),
    ("~task.analyses.sampels", "~task.analyses.samples"),
    ("+model.encoder.hiden=[3]", "model.encoder.hidden"),
    ("task@task.analyses.trust=trust", "+task@task.analyses.trust=trust"),
    ("objective=iwea", "iwae"),
    ("task=sampels columns=3", "samples"),
]


@pytest.mark.thinned(2)
@pytest.mark.sampled(4)
@pytest.mark.parametrize(("words", "meant"), HINTS)
def test_what_was_meant_is_suggested(words: str, meant: str) -> None:
    assert f"did you mean {meant}?" in str(problem(*words.split()))


@pytest.mark.parametrize(
    ("words", "never"),
    [
        ("digits=[x,y]", "digit?"),
        ("warmup=0.1 optimizer=adam", "optimizer.warmup"),
        ("seeed=foo", "seed?"),
        ("data@model=debug", "id you mean"),
        ("+data=debug", "override"),
    ],
)
def test_what_would_be_refused_is_not_suggested(words: str, never: str) -> None:
    assert never not in str(problem(*words.split()))


def test_a_list_says_how_it_is_written() -> None:
    told = problem("model.encoder.hidden=200")
    assert told == "model.encoder.hidden must be a list, each an integer, got 200: write [200]"
    assert problem("model.encoder.hidden=[200]") is None


def base_of(task: str) -> list[str]:
    """A command of a task with what the task needs."""
    trained = composing.trains(composing.composed(composing.parse([f"task={task}"])))
    return [f"task={task}", *([] if trained else LOOKS.get(task, ["run=latest"]))]


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of plain containers, with what lies there."""
    for key, below in node.items() if isinstance(node, dict) else ():
        if not key.startswith("_"):
            yield f"{prefix}{key}", below
            yield from leaves(below, f"{prefix}{key}.")


def another(key: str, value: Any, draw: random.Random) -> Any:
    """A value of the same type as one that a key has, which the rest of a config does not hold."""
    if key in ("digit", "index"):
        return draw.randint(0, 9)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.randint(1000, 2000)
    if isinstance(value, float):
        return round(draw.uniform(0.1, 0.9), 6)
    if isinstance(value, list):
        return [draw.randint(1000, 2000)]
    return f"zz{draw.randint(1000, 2000)}"


def keys_of(task: str) -> list[tuple[str, Any]]:
    """All that can be given to any command, with the values that a command of this task has."""
    cfg = composing.composed(composing.parse(base_of(task)))
    plain = {name: composing.resolved(cfg, name) for name in [*knobs.KNOBS, *knobs.GROUPS]}
    referred = ("model.prior.", "model.likelihood.", "model.posterior.")  # given by their groups
    found = [(key, value) for key, value in leaves(plain) if not key.startswith(referred)]
    return [(key, value) for key, value in found if not isinstance(value, dict)]


def read_by(cfg: DictConfig) -> dict[str, Any]:
    """What the task of a config is given."""
    if composing.trains(cfg):
        return {"seed": cfg.seed, **{name: composing.resolved(cfg, name) for name in knobs.GROUPS}}
    task = composing.resolved(cfg, "task")
    figures = composing.resolved(cfg, "figures")
    root = cfg.data.root
    return {"seed": cfg.seed, "run": cfg.run, "root": root, "task": task, "figures": figures}


def check_read_or_refused(task: str, seed: int, share: float) -> None:
    """Give each key of a command another value: it arrives, or the line names the key."""
    draw = random.Random(f"{task} {seed}")
    found = keys_of(task)
    for key, value in draw.sample(found, max(1, round(share * len(found)))):
        given = another(key, value, draw)
        word = f"{key}={json.dumps(given) if isinstance(given, list | bool) else given}"
        words = [each for each in base_of(task) if not each.startswith(f"{key}=")]
        try:
            read = leaves(read_by(accepted(*words, word)))
            assert given in [item for _, item in read], (task, word)
        except UserError as error:
            told = " ".join(str(error).split())
            assert key in told, (task, word, told)
            assert "did you mean" not in told, (task, word, told)


@pytest.mark.thinned(4)
@pytest.mark.slow
@pytest.mark.parametrize("task", composing.choices("task"))
def test_a_value_is_found_in_what_the_task_reads_or_its_key_is_refused(task: str) -> None:
    check_read_or_refused(task, seed=0, share=0.07)


def mistyped(key: str, draw: random.Random) -> str:
    """A key as a person gets it wrong: letters swapped, lost or too many, a part left out."""
    *parents, leaf = key.split(".")
    at = draw.randrange(len(leaf))
    match draw.randrange(5):
        case 0:
            leaf = leaf[:at] + leaf[at + 1 :]
        case 1:
            leaf = leaf[:at] + draw.choice("aeinrst") + leaf[at:]
        case 2:
            leaf = leaf[: at - 1] + leaf[at : at + 1] + leaf[at - 1 : at] + leaf[at + 1 :]
        case 3:
            parents = parents[1:]
        case _:
            parents = parents[:1]
    return ".".join([*parents, leaf])


def check_hints(task: str, seed: int, count: int) -> int:
    """Apply what is suggested for mistyped keys: it is accepted; returns how many there were."""
    draw = random.Random(f"{task} {seed}")
    found, suggested = keys_of(task), 0
    for _ in range(count):
        key, value = draw.choice(found)
        typed = mistyped(key, draw)
        given = another(key, value, draw)
        shown = json.dumps(given) if isinstance(given, list | bool) else str(given)
        told = problem(*base_of(task), f"{typed}={shown}")
        if told is None:  # another key that exists
            continue
        assert typed.split(".")[-1] in told, (task, typed, told)
        if hint := re.search(r"did you mean ([^?]+)\?", told):
            suggested += 1
            instead = hint[1] if "=" in hint[1] else f"{hint[1]}={shown}"
            assert problem(*base_of(task), instead) is None, (task, typed, shown, told)
    return suggested


@pytest.mark.thinned(4)
@pytest.mark.slow
@pytest.mark.parametrize("task", composing.choices("task"))
def test_what_is_suggested_for_a_mistyped_key_is_accepted(task: str) -> None:
    check_hints(task, seed=0, count=3)


def mnist_run(folder: Path, model: Any, root: Path, used: Path) -> Path:
    """A finished run on MNIST that says its images lie in `root`; they were read from `used`."""
    make_run(folder, model)
    written = OmegaConf.load(folder / folders.CONFIG)
    written.data = {**data_config(), "source": "mnist", "root": str(root)}
    OmegaConf.save(written, folder / folders.CONFIG)
    images = {**data_config(), "source": "mnist", "root": str(used)}
    module = build(images, "data", ImageData)
    metrics = {
        "run": {"seed": 0, "wall_seconds": 1.0},
        "data": describing.describe_data(module.splits, module.splits.test),
        "validation": describing.test_numbers(model, module.splits.validation, 0),
        "test": describing.test_numbers(model, module.splits.test, 0),
    }
    metrics["validation"]["best_elbo"] = metrics["validation"]["elbo"]["mean"]
    write_metrics(folder, metrics)
    return folder


@pytest.mark.slow
def test_the_images_of_runs_that_moved_are_found_by_data_root(folder: Path, mnist: Path) -> None:
    sweep = folder / "multirun" / "day" / "time"
    sweep.mkdir(parents=True)
    sweeps.write_plan(sweep, sweeps.Plan([["lr=1"], ["lr=2"]]))
    for number, model in enumerate((a_model(), nudged(a_model()))):
        job = mnist_run(sweep / str(number), model, folder / "gone", mnist)
        (job / folders.STARTED).write_text(f"- lr={number + 1}\n")
    both = f"runs=[{sweep / '0'},{sweep / '1'}]"
    cli._main(["task=compare", both, f"data.root={mnist}", "task.output=found.json"])
    found = json.loads((folder / "found.json").read_text())
    cli._main(["task=summarise", "sweep=latest", f"data.root={mnist}"])
    assert "differences were not taken" not in (sweep / "sweep.md").read_text()
    difference = abs(found["runs"][1]["minus_first"]["elbo"]["mean"])
    assert f"{difference:.2f} ± " in (sweep / "sweep.md").read_text()
    cli._main(["task=summarise", "sweep=latest", f"data.root={mnist}", "seed=5"])
    other = (sweep / "sweep.md").read_text()
    cli._main(["task=compare", both, f"data.root={mnist}", "seed=5", "task.output=found.json"])
    found = json.loads((folder / "found.json").read_text())
    assert f"{abs(found['runs'][1]['minus_first']['elbo']['mean']):.2f} ± " in other


def test_a_folder_of_images_is_refused_for_a_run_on_bundled_ones(folder: Path) -> None:
    one = make_run(folder / "one", a_model())
    two = make_run(folder / "two", nudged(a_model()))
    assert "data.root is not read" in refusal("task=samples", f"run={one}", "data.root=x")
    assert "data.root is not read" in refusal("task=compare", f"runs=[{one},{two}]", "data.root=x")


def test_what_would_complete_nothing_is_not_installed() -> None:
    words = [sys.executable, "-m", "vae_exp", "-sc", "install=bash"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert 'eval "$(vae-exp -sc install=bash)"' in done.stderr


@pytest.mark.slow
def test_bash_completes_what_can_be_given(folder: Path) -> None:
    program = folder / "bin" / "vae-exp"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom vae_exp.cli.main import main\n\nmain()\n")
    program.chmod(0o755)
    script = """
        eval "$(vae-exp -sc install=bash)"
        for line in "$@"; do
            COMP_LINE=$line COMP_POINT=${#line} words=($line)
            COMP_CWORD=$((${#words[@]} - 1))
            $(complete -p vae-exp | sed 's/.*-F \\([^ ]*\\).*/\\1/')
            echo "${COMPREPLY[@]}"
        done
    """
    lines = {
        "vae-exp lat": ["latent_dim="],
        "vae-exp data=d": ["data=debug"],
        "vae-exp task=samples run=latest task.c": ["task.columns="],
        "vae-exp -m objective=": [f"objective={name}" for name in composing.choices("objective")],
    }
    done = subprocess.run(
        ["bash", "-c", script, "bash", *lines],
        env={
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(composing.PACKAGE.parent),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert [line.split() for line in done.stdout.splitlines()] == list(lines.values()), done.stderr
