"""What a process is started in decides nothing: variables, encodings, a folder that is gone."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill_and_resume import WEIGHTS, logged, new_run, only_run, train
from rich.console import Console

from vae_exp import folders
from vae_exp.surroundings import imported, settle, sparing_searches

PRINTS = (
    "from vae_exp.surroundings import settle; settle(); print('ELBO \\u22121.0 \\xb1 0.5\\nend')"
)
TINY = ("epochs=1", "task.analyses={}")
PLAIN = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
HOSTILE = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "nowhere",
    "MASTER_PORT": "none",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2",
    "PL_TRAINER_FAST_DEV_RUN": "True",
    "PL_TRAINER_GRADIENT_CLIP_VAL": "0.1",
    "PL_GLOBAL_SEED": "none",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONIOENCODING": "ascii",
    "COLUMNS": "0",
}


def run(*command: str, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    """A process that is started with further variables."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        check=False,
    )


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "variables",
    [
        {"LOCAL_RANK": "1"},
        {"RANK": "3", "WORLD_SIZE": "4"},
        {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train"},
        {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_NTASKS_PER_NODE": "4"},
        {"SLURM_PROCID": "2", "SLURM_LOCALID": "2", "JSM_NAMESPACE_RANK": "2"},
        {"MASTER_ADDR": "nowhere", "MASTER_PORT": "none", "TORCHELASTIC_RUN_ID": "7"},
    ],
    ids=lambda variables: "-".join(variables),
)
def test_no_variable_makes_a_run_one_of_several_processes(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    train(tmp_path, "epochs=1")
    assert (tmp_path / WEIGHTS).exists()
    assert len(logged(tmp_path)["val/elbo"]) == 1


@pytest.mark.slow
def test_a_run_in_a_hostile_environment_is_a_run_like_any_other(tmp_path: Path) -> None:
    done = run("-m", "vae_exp", *new_run(*TINY, "data.source=digits"), cwd=tmp_path, **HOSTILE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"| ELBO" in done.stdout  # a table, of letters that there are
    assert b"? standard error" in done.stdout
    folder = only_run(tmp_path)
    assert folder is not None
    assert {WEIGHTS, "metrics.json"} <= {path.name for path in folder.iterdir()}
    assert (folder / folders.LOCK).exists()
    assert len(logged(folder)["val/elbo"]) == 1


COUNTED = """
import gc, os, runpy, sys
import torch
among_imports = []
def note(phase, info):
    if phase == "start" and info["generation"] == 2 and "pytorch_lightning" in sys.modules:
        among_imports.append(gc.get_freeze_count() == 0)
def first_step(*_, **__):
    print(sum(among_imports), gc.isenabled(), gc.get_freeze_count() > 100_000, flush=True)
    os._exit(0)
gc.callbacks.append(note)
torch.Tensor.backward = first_step
sys.argv = ["vae_exp", *sys.argv[1:]]
runpy.run_module("vae_exp", run_name="__main__")
"""


@pytest.mark.slow
def test_nobody_searches_for_garbage_among_what_is_imported(tmp_path: Path) -> None:
    done = run("-c", COUNTED, *new_run(*TINY, "data.source=digits"), cwd=tmp_path)
    assert done.stdout.split() == [b"0", b"True", b"True"], done.stderr


def test_garbage_is_searched_for_once_all_is_imported_and_after_a_command() -> None:
    try:
        with sparing_searches():
            assert not gc.isenabled()
            imported()
            assert gc.isenabled()
            frozen = gc.get_freeze_count()
            imported()
            assert gc.get_freeze_count() <= frozen
        with pytest.raises(ZeroDivisionError), sparing_searches():
            raise ZeroDivisionError
        assert gc.isenabled()
    finally:
        gc.unfreeze()


RC = "text.usetex: True\naxes.facecolor: black\nfont.size: 30\n"


@pytest.mark.slow
def test_a_matplotlibrc_changes_no_figure(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(RC, encoding="utf-8")
    words = new_run(TINY[0], "data.source=digits", "~task.analyses.scatter")
    done = run("-m", "vae_exp", "-m", *words, "lr=1e-3,1e-2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [folder] = tmp_path.glob("multirun/*/*")
    pictures = [folder / "0" / "figures" / "samples.png", folder / "sweep.png"]
    drawn = [path.read_bytes() for path in pictures]
    (tmp_path / "matplotlibrc").unlink()
    for words in (["task=samples", f"run={folder / '0'}"], ["task=summarise", f"sweep={folder}"]):
        assert run("-m", "vae_exp", *words, cwd=tmp_path).returncode == 0
    assert [path.read_bytes() for path in pictures] == drawn


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, PLAIN], ids=["ascii", "C"])
def test_output_has_replacements_for_letters_that_there_are_not(
    variables: dict[str, str], tmp_path: Path
) -> None:
    done = run("-c", PRINTS, cwd=tmp_path, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ELBO ?1.0 ? 0.5\nend\n", b"")


def test_output_that_can_be_written_is_as_it_was(tmp_path: Path) -> None:
    done = run("-c", PRINTS, cwd=tmp_path, PYTHONIOENCODING="utf-8")
    assert done.stdout.decode() == "ELBO −1.0 ± 0.5\nend\n"
    done = run("-c", PRINTS, cwd=tmp_path, PYTHONIOENCODING="latin-1")
    assert done.stdout == b"ELBO ?1.0 \xb1 0.5\nend\n"


def test_a_working_folder_that_is_gone_is_told_in_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$0" -m vae_exp epochs=1', sys.executable],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "error: the working folder cannot be used: No such file or directory; "
        "change to another folder\n"
    )


@pytest.mark.parametrize(("given", "width"), [("0", 80), ("20", 80), ("132", 132), ("x", 80)])
def test_a_table_is_as_wide_as_can_be_read(
    given: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", given)
    monkeypatch.setenv("MPLBACKEND", "agg")
    settle()
    assert Console(force_terminal=False, file=open(os.devnull, "w")).width == width  # noqa: SIM115
