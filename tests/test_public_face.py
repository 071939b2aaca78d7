"""What a notebook gets from ``import vae_exp``: every public name, and quickly."""

import subprocess
import sys

import pytest

import vae_exp


@pytest.mark.parametrize("name", vae_exp.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(vae_exp, name).__doc__


def test_the_homes_are_those_of_the_type_checker() -> None:
    assert sorted(vae_exp._HOME) == sorted(vae_exp.__all__)
    assert vae_exp.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vae_exp.nothing


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, vae_exp; "
        "print([m for m in ('torch', 'hydra', 'pytorch_lightning', 'matplotlib') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
