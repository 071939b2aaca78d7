"""The command line, seen from outside: one line for every mistake, and nothing left behind."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import refusal

from vae_exp import folders, knobs
from vae_exp.cli import options
from vae_exp.config import composing, splitting
from vae_exp.errors import UserError

TASK = next(
    name
    for name in composing.choices("task")
    if name not in ("train", "ceiling", "compare", "report", "summarise")
)
LOOK = (f"task={TASK}", "run=latest")


def start(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m vae_exp` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vae_exp", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(composing.PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# What is typed, and what the line must name.
WRONG: list[tuple[tuple[str, ...], str]] = [
    (("epochs=0",), "epochs must be an integer >= 1, got 0"),
    (("epochs=-5",), "epochs must be"),
    (("epochs=",), "epochs must be"),
    (("epochs=1.5",), "epochs must be"),
    (("epochs=true",), "epochs must be"),
    (("epochs=null",), "epochs must be"),
    (("epochs=[1]",), "epochs must be"),
    (("epochs={a:1}",), "epochs must be"),
    (("epochs=(",), "epochs must be"),
    (("seed=foo",), "seed must be an integer from 0 to 4294967295, got 'foo'"),
    (("seed=-1",), "seed must be"),
    (("seed=4294967296",), "seed must be"),
    (("seed.foo=1",), "seed"),
    (("lr=0",), "lr must be a number > 0, got 0"),
    (("lr=nan",), "lr must be"),
    (("lr=inf",), "lr must be"),
    (("lr=fast",), "lr must be"),
    (("lr=${nope}",), "lr"),
    (("lr=${lr}",), "lr"),
    (("lr=???",), "lr"),
    (("lr=1" + "0" * 400,), "lr"),
    (("epochs=1" + "0" * 400,), "epochs must be an integer >= 1"),
    (("data.source=???",), "data.source"),
    (("+hydra.sweeper.params.seed=1",), "hydra.sweeper.params"),
    (("lr=${oc.env:VAE_EXP_NO_SUCH_VARIABLE}",), "lr"),
    (("batch_size=0",), "batch_size must be"),
    (("latent_dim=0",), "latent_dim must be"),
    (("latent_dim=two",), "latent_dim must be"),
    (("nope=1",), "nope"),
    (("+nope=1",), "nope"),
    (("++nope=1",), "nope"),
    (("+nope.deeper=1",), "nope"),
    (("~nope",), "nope"),
    (("~seed",), "seed"),
    (("~data",), "data"),
    (("+seed=1",), "seed"),
    (("seed",), "'seed' is not key=value"),
    (("=",), "'=' is not key=value"),
    (("=1",), "'=1' is not key=value"),
    (("",), "'' is not key=value"),
    (("ключ=1",), "ключ"),
    (("epochs\n=1",), "epochs"),
    (("epochs=\ud83d",), "epochs"),
    (("data=nope",), "data must be one of arrays, binarized_mnist, debug"),
    (("data=null",), "data must be one of"),
    (("data=",), "data must be one of"),
    (("data=5",), "data must be one of"),
    (("data=[debug,full]",), "data must be one of"),
    (("data=../config",), "data must be one of"),
    (("task=nope",), "task must be one of"),
    (("hydra.nope=1",), "hydra.nope"),
    (("+hydra.nope=1",), "hydra.nope"),
    (("hydra=null",), "hydra"),
    (("hydra.run.dir=null",), "hydra.run.dir"),
    (("hydra.run.dir=${nope}",), "hydra.run.dir"),
    (("hydra.run.dir=" + "9" * 400,), "9999"),
    (("hydra.run.dir=/dev/null/x",), "/dev/null/x"),
    (("hydra.output_subdir=null",), "hydra.output_subdir must be .hydra"),
    (("hydra.output_subdir=x",), "hydra.output_subdir must be .hydra"),
    (("-m", "seed=1,2", "hydra.output_subdir=null"), "hydra.output_subdir must be .hydra"),
    (("resume=latest", "hydra.output_subdir=null"), "hydra.output_subdir must be .hydra"),
    (("model=3",), "model must be one of"),
    (("-m", "seed=interval(0,3)"), "INTERVAL_SWEEP"),
    (("-m", "seed=glob(*)"), "no job"),
    (("--config-name", "x"), "--config-name"),
    (("hydra/launcher=nope",), "hydra/launcher"),
    (("seed=1,2",), "add -m to sweep"),
    (("-m", "seed=1,foo"), "seed must be"),
    (("-m", "latent_dim=1,0"), "latent_dim must be"),
    (("seed=1", "-m", "lr=1e-3,-1"), "lr must be"),
    (("-m", "data=debug,nope"), "data must be one of"),
    (("-m", "nope=1,2"), "nope"),
    (("--nope",), "--nope"),
    (("--cfg", "nope"), "--cfg"),
    (("--cfg", "job", "seeed=3"), "did you mean seed?"),
    (("--cfg", "job", "--multirun"), "cannot be given together"),
    (("--resolve",), "--resolve"),
    (("--config-dir", "x"), "--config-dir"),
    (("run=latest",), "run is not read by task=train"),
    ((f"task={TASK}",), "run=latest"),
    ((f"task={TASK}", "run="), "run=latest"),
    ((f"task={TASK}", "run=" + "9" * 400), "9999"),
    ((f"task={TASK}", "run=no/such/run"), "no/such/run"),
    ((f"task={TASK}", "run=/no such/run"), "/no such/run"),
    ((f"task={TASK}", "run=/kein/Übungslauf (1)"), "Übungslauf (1)"),
    ((*LOOK, "latent_dim=5"), "latent_dim is not read"),
    ((*LOOK, "data=debug"), "data is not read"),
    ((*LOOK, "digit=-1"), "digit must be an integer >= 0, or null, got -1"),
]


# The same below a part, whose class has to be imported.
WRONG_IN_PARTS: list[tuple[tuple[str, ...], str]] = [
    (("task.analyses.samples=null",), "task.analyses.samples must be"),
    (("~model.encoder.latent_dim",), "model.encoder.latent_dim"),
    (("model={nope:1}",), "model.nope"),
    (("model.nope=1",), "model.nope"),
    (("+model.nope=1",), "model.nope"),
    (("model.latent_dim=two",), "model.latent_dim"),
    (("data.train_size=abc",), "data.train_size"),
    (("data.train_size=0",), "data.train_size"),
    (("data.source=nope",), "data.source"),
    (("trainer.nope=1",), "trainer.nope"),
    (("+trainer.nope=1",), "trainer.nope"),
    (("data@model=debug",), "data@model"),
    (("model.encoder=3",), "model.encoder"),
    (("model.encoder.hidden=a",), "model.encoder.hidden must be"),
    (("model.encoder={_target_:os.getcwd}",), "model.encoder"),
    (("model._target_=vae_exp.models.vae.Nope",), "model._target_"),
    ((*LOOK, "task.nope=1"), "task.nope"),
]


@pytest.mark.thinned(3)
@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("words", "named"),
    [*WRONG, *(pytest.param(*each, marks=pytest.mark.imports_torch) for each in WRONG_IN_PARTS)],
    ids=lambda value: repr(value),
)
def test_a_mistake_is_named_in_one_line_and_leaves_nothing(
    folder: Path, words: tuple[str, ...], named: str
) -> None:
    assert named in refusal(*words)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("words", [["hydra.run.dir={}"], ["-m", "seed=1,2", "hydra.sweep.dir={}"]])
def test_a_folder_that_holds_other_files_takes_no_run(folder: Path, words: list[str]) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "train-images").touch()
    (folder / "data" / "train-labels").touch()
    told = "must be a new or an empty folder, got data, which holds train-images and 1 more"
    assert told in refusal(*(word.format("data") for word in words)).replace(f"{folder}/", "")
    assert sorted(os.listdir(folder / "data")) == ["train-images", "train-labels"]


@pytest.mark.slow
@pytest.mark.imports_torch
def test_a_refused_run_leaves_its_empty_folder_empty(folder: Path) -> None:
    (folder / "mine").mkdir()
    wrong = ("data=debug", "data.source=digits", "prior.latent_dim=5")
    done = start(folder, *wrong, "hydra.run.dir=mine")
    assert done.returncode == 2, done.stderr
    assert not list((folder / "mine").iterdir())


def wrong_overrides(seed: int, count: int) -> Iterator[tuple[str, list[str]]]:
    """Generated mistakes: a key that the line must name, and what is typed."""
    draw = random.Random(seed)
    base = composing.composed([])
    nested = [f"{group}.{key}" for group in knobs.GROUPS for key in base[group] if key[0] != "_"]
    numbers = [name for name in knobs.KNOBS if name not in ("run", "name")]
    junk = [
        "foo",
        "",
        "[1]",
        "{a:1}",
        "1e999",
        "-1e3",
        "true",
        "é ü",
        "'",
        '"',
        "(",
        "[",
        "1;2",
        "0x",
    ]
    letters = "abcdefghijklmnopqrstuvwxyz_üß漢"
    for _ in range(count):
        kind = draw.randrange(7)
        word = "".join(draw.choices(letters, k=draw.randint(1, 9)))
        if kind == 0:
            key = draw.choice(["", "+", "++", "~"]) + f"zz{word}"
            yield f"zz{word}", [f"{key}={draw.choice(junk)}"]
        elif kind == 1:
            key = draw.choice(numbers)
            yield key, [f"{key}={draw.choice(junk)}"]
        elif kind == 2:
            key = draw.choice(["seed", "epochs", "batch_size", "latent_dim"])
            yield key, [f"{key}={draw.choice([-1, -(10**30), 0.5, 10**30 + 0.5])}"]
        elif kind == 3:
            group = draw.choice(composing.all_groups())
            yield group, [f"{group}={draw.choice(['', 'zz' + word, 'null', '[]', '3', '../x'])}"]
        elif kind == 4:
            key = f"{draw.choice(nested)}zz{word}"
            yield key, [f"{draw.choice(['', '+', '++'])}{key}={draw.choice(junk)}"]
        elif kind == 5:
            path = "/".join(["zz " + word, *draw.choices(["..", "a b", "ü", "x'y"], k=2)])
            yield "run", [f"task={TASK}", f"run={path}"]
        else:
            key = draw.choice(["latent_dim", "epochs", "batch_size", "lr"])
            yield key, [*LOOK, f"{key}={draw.choice([1, 2, 64])}"]


@pytest.mark.slow
@pytest.mark.imports_torch
def test_generated_mistakes_are_each_named_in_one_line_and_leave_nothing(folder: Path) -> None:
    for key, words in wrong_overrides(seed=0, count=50):
        assert key in refusal(*words), words
    assert not list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.imports_torch
def test_a_refused_process_says_one_line_exits_with_two_and_leaves_nothing(folder: Path) -> None:
    samples = [["epochs=0"], ["-m", "seed=0,foo"], *(w for _, w in wrong_overrides(1, 4))]
    for words in samples:
        done = start(folder, *words)
        assert done.returncode == 2, words
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert not list(folder.iterdir())


@pytest.mark.imports_torch
def test_a_mistake_that_only_the_run_can_find_is_one_line_too_and_leaves_nothing(
    folder: Path,
) -> None:
    done = start(folder, "data=debug", "data.source=digits", "model.decoder.latent_dim=5")
    assert done.returncode == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if "latent_dim" in line]
    assert "Traceback" not in done.stderr
    assert not list(folder.iterdir())


REFUSED = """
import sys
from vae_exp.cli.main import main
try:
    main()
except SystemExit as stop:
    heavy = {"torch", "pytorch_lightning", "numpy", "matplotlib"} & set(sys.modules)
    print(*sorted(heavy))
    sys.exit(stop.code)
"""


@pytest.mark.thinned(3)
@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["nope=1"], set()),
        (["seeed=3"], set()),
        (["epochs=0", "lr=x", "data=nope"], set()),
        ([*LOOK, "lr=1"], set()),
        *(
            pytest.param(words, heavy, marks=pytest.mark.imports_torch)
            for words, heavy in [
                (["model.nope=1"], {"torch", "numpy"}),
                (["model.encoder.hidden=a"], {"torch", "numpy"}),
                (["optimizer.lr=x", "objective.samples=0"], {"torch", "numpy"}),
                (
                    ["data.train_size=abc", "+trainer.nope=1", "task.figures_every=x"],
                    {"torch", "numpy", "matplotlib"},
                ),
            ]
        ),
    ],
)
def test_a_wrong_word_is_refused_before_anything_heavy_is_imported(
    folder: Path, words: list[str], heavy: set[str]
) -> None:
    """A knob is known without torch, a part's key without Lightning."""
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, *words], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert set(done.stdout.split()) <= heavy


@pytest.mark.slow
@pytest.mark.imports_torch
def test_all_mistakes_of_a_command_are_told_a_line_each_in_the_order_of_its_words(
    folder: Path,
) -> None:
    done = start(folder, "epochs=0", "model.nope=1", "data=nope", "lr=x", "model.encoder.hidden=3")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    for line, said in zip(
        lines, ("epochs must", "unknown key 'model.nope'", "data must", "lr must"), strict=True
    ):
        assert line.startswith(f"error: {said}"), done.stderr
    done = start(folder, "task.analyses.samples.columns=x", "seed=-1", "model.encoder.hidden=3")
    lines = done.stderr.splitlines()
    wrong = ("task.analyses.samples.columns must", "seed must", "model.encoder.hidden must")
    for line, said in zip(lines, wrong, strict=True):
        assert line.startswith(f"error: {said}"), done.stderr
    assert not list(folder.iterdir())


def test_help_tells_every_knob_and_group_in_eighty_columns(folder: Path) -> None:
    done = start(folder, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert not list(folder.iterdir())
    assert done.stdout.isascii()
    ours = [line for line in done.stdout.splitlines() if sys.executable not in line]
    assert max(map(len, ours)) <= 80
    for name, declared in knobs.KNOBS.items():
        [line] = [line for line in done.stdout.splitlines() if line.strip().startswith(f"{name}=")]
        assert declared.metadata["help"] in line
        assert knobs.limits(name) in line
    for group in composing.all_groups():
        for choice in composing.choices(group):
            assert choice in done.stdout
    assert done.stdout.count("-m vae_exp") >= 3


def test_cfg_job_shows_the_config_and_makes_no_folder(folder: Path) -> None:
    done = start(folder, "--cfg", "job", "seed=0", "latent_dim=7")
    assert done.returncode == 0
    assert "seed: 0\n" in done.stdout
    assert "latent_dim: 7\n" in done.stdout
    assert "latent_dim: ${latent_dim}\n" in done.stdout
    assert not list(folder.iterdir())


def test_the_shell_completes_knobs_groups_and_choices(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for typed, offered in (("lat", "latent_dim="), ("data=d", "data=debug"), ("tas", "task")):
        monkeypatch.setenv("COMP_LINE", f"vae-exp {typed}")
        done = start(folder, "--shell-completion", "query=bash")
        assert offered in done.stdout, done.stderr


def test_twenty_processes_that_start_together_get_twenty_folders(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vae_exp.folders import claim\n"
        "print('ready', flush=True); sys.stdin.readline(); print(claim(Path('outputs/day/time')))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(20)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    claimed = [process.communicate("go\n")[0].strip() for process in processes]
    assert len(set(claimed)) == 20
    assert {str(path.relative_to(folder)) for path in (folder / "outputs/day").iterdir()} == set(
        claimed
    )


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    (folder / "outputs").write_text("a file")
    with pytest.raises(UserError, match="outputs"):
        folders.claim(Path("outputs/day/time"))
    with pytest.raises(UserError, match="outputs"):
        folders.claim(Path("outputs/time"))


def test_a_sweep_is_split_into_the_jobs_that_run(folder: Path) -> None:
    overrides = composing.parse(["latent_dim=1,2", "data=glob(*)", "seed=range(0,2)", "lr=1e-2"])
    cfg = composing.composed([overrides[-1]])
    jobs = [[override.input_line for override in job] for job in splitting.jobs(cfg, overrides)]
    assert len(jobs) == 2 * len(composing.choices("data")) * 2
    assert ["latent_dim=1", "data=debug", "seed=0", "lr=0.01"] in jobs
    assert not list(folder.iterdir())


def test_flags_may_stand_between_overrides(folder: Path) -> None:
    args = options.arguments(["seed=1", "-m", "latent_dim=1,2"])
    assert args.multirun
    assert args.overrides == ["seed=1", "latent_dim=1,2"]
