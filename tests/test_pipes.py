"""A reader that goes away ends no training, and nor does a full disk below the output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill_and_resume import WEIGHTS, new_run

TINY = ("epochs=3", "task.analyses={}")
PRINTS = """
import sys
from vae_exp.surroundings import settle
settle()
for line in range(50_000):
    print("line", line)
sys.exit(7)
"""


def read_one_line(folder: Path, *command: str, **variables: str) -> tuple[str, str, int]:
    """The first line of a process's output, all that it said on stderr, and its exit code."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    return line, told, process.wait()


def test_output_goes_nowhere_once_nobody_reads_it(tmp_path: Path) -> None:
    line, told, code = read_one_line(tmp_path, "-c", PRINTS)
    assert (line, code) == ("line 0\n", 7)
    assert told == "going on without output: Broken pipe\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", ">/dev/full", ">/dev/full 2>&1"])
def test_output_that_has_no_place_stops_nothing(closed: str, tmp_path: Path) -> None:
    if "full" in closed and not os.path.exists("/dev/full"):
        pytest.skip("no device that is always full")
    command = f'exec "$0" -c "$1" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, PRINTS], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 7
    full = closed == ">/dev/full"
    assert done.stderr == ("going on without output: No space left on device\n" if full else "")


@pytest.mark.slow
def test_a_run_goes_on_when_its_reader_has_gone(tmp_path: Path) -> None:
    line, told, code = read_one_line(tmp_path, "-m", "vae_exp", *new_run(*TINY))
    assert line.startswith("epoch 1/3")
    assert (told, code) == ("going on without output: Broken pipe\n", 0)
    assert len(list(tmp_path.glob(f"outputs/*/*/{WEIGHTS}"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_goes_on_when_its_reader_has_gone(launcher: str, tmp_path: Path) -> None:
    words = ["-m", "vae_exp", "-m", *new_run(*TINY), "seed=1,2", f"hydra/launcher={launcher}"]
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    # Names of letters that the terminal does not have must not fail a job either.
    _, told, code = read_one_line(tmp_path, *words, PYTHONIOENCODING="ascii")
    assert code == 0, told
    assert set(told.splitlines()) <= {"going on without output: Broken pipe"}
    assert len(list(tmp_path.glob(f"multirun/*/*/*/{WEIGHTS}"))) == 2
    assert not list(tmp_path.rglob("error.txt"))
    assert "2 of 2 jobs finished" in next(tmp_path.rglob("sweep.md")).read_text(encoding="utf-8")
