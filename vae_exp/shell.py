"""Commands that the program prints, as a person can type them into the shell in front of them."""

import importlib.util
import os
import shlex
import shutil
import sys
from pathlib import Path

from vae_exp.folders import shown


def command(*words: str) -> str:
    """This program with these words, started in the way that it was started this time."""
    script = Path(sys.argv[0])
    if script.stem == "vae-exp":
        return _typed(script.absolute(), *words)
    return python("-m", "vae_exp", *words)


def python(*words: str) -> str:
    """The interpreter that runs, with these words."""
    return _typed(Path(sys.executable), *words)


def install(requirement: str) -> str:
    """What adds a package to this environment; one that uv made has no pip."""
    if importlib.util.find_spec("pip") is None:
        return shlex.join(["uv", "pip", "install", requirement])
    return python("-m", "pip", "install", requirement)


def program(name: str, *words: str) -> str:
    """A program of this environment, with these words."""
    return _typed(Path(sys.executable).with_name(name), *words)


def _typed(path: Path, *words: str) -> str:
    """A program by its name if the person's shell finds it, else by its path.

    `uv run` puts the environment on the path of this process alone, and sets UV.
    """
    found = None if "UV" in os.environ else shutil.which(path.name)
    on_the_path = found is not None and Path(found).absolute() == path
    return shlex.join([path.name if on_the_path or not path.exists() else shown(path), *words])
