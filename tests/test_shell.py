"""Commands that the program prints work as they are printed, in the shell that they are read in."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vae_exp.config import composing

BIN = Path(sys.executable).parent
SCRIPT = BIN / "vae-exp"
BARE = "/usr/bin:/bin"


def run(line: str, folder: Path, path: str = BARE, **more: str) -> str:
    """What a line typed into a fresh shell in a folder prints."""
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={
            "PATH": path,
            "HOME": str(folder),
            "PYTHONPATH": str(composing.PACKAGE.parent),
            **more,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def printed(help_text: str) -> set[str]:
    """How `--help` starts the program in its examples."""
    ways = (" -m vae_exp", "vae-exp")
    lines = [line for line in help_text.splitlines() if any(way in line for way in ways)]
    assert len(lines) == 5
    return {line[: line.find(way) + len(way)] for line in lines for way in ways if way in line}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("typed", "path", "more", "expected"),
    [
        (f"{BIN}/python -m vae_exp", BARE, {}, f"{BIN}/python -m vae_exp"),
        (f"{BIN.name}/python -m vae_exp", BARE, {}, f"{BIN.name}/python -m vae_exp"),
        ("python -m vae_exp", f"{BIN}:{BARE}", {}, "python -m vae_exp"),
        ("python -m vae_exp", f"{BIN}:{BARE}", {"UV": "uv"}, f"{BIN}/python -m vae_exp"),
        (str(SCRIPT), BARE, {}, str(SCRIPT)),
        ("vae-exp", f"{BIN}:{BARE}", {}, "vae-exp"),
    ],
    ids=["by its path", "from its own folder", "activated", "uv run", "script", "script by name"],
)
def test_help_starts_the_program_as_it_was_started(
    typed: str, path: str, more: dict[str, str], expected: str, tmp_path: Path
) -> None:
    if "vae-exp" in typed and not SCRIPT.exists():
        pytest.skip("the package is not installed")
    folder = BIN.parent if typed.startswith(BIN.name) else tmp_path
    [way] = printed(run(f"{typed} --help", folder, path, **more))
    assert way.strip() == expected
    in_a_shell_of_its_own = run(f"{way} --help", folder, path if "/" not in way else BARE)
    assert printed(in_a_shell_of_its_own) == {way}


@pytest.mark.parametrize("path", [BARE, f"{BIN}{os.pathsep}{BARE}"], ids=["fresh", "activated"])
def test_what_is_printed_for_other_programs_can_be_typed(path: str, tmp_path: Path) -> None:
    code = (
        "from vae_exp.shell import program\n"
        "print(program('pytest', 'my tests (1)'))\n"
        "print(program('nowhere'))"
    )
    there = "pytest" if path != BARE else f"{BIN}/pytest"
    lines = run(shlex.join([sys.executable, "-c", code]), tmp_path, path)
    assert lines.splitlines() == [f"{there} 'my tests (1)'", "nowhere"]


def test_what_installs_an_extra_is_pip_or_else_uv(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    code = (
        "import sys; from vae_exp.shell import install\n"
        "print(install('vae-exp[joblib]')); sys.path.clear(); print(install('vae-exp[joblib]'))"
    )
    assert run(shlex.join([sys.executable, "-c", code]), tmp_path).splitlines() == [
        f"{sys.executable} -m pip install 'vae-exp[joblib]'",
        "uv pip install 'vae-exp[joblib]'",
    ]
