"""Where the tests find MNIST: $VAE_EXP_DATA, else a neighbouring folder, else nowhere."""

import os
from pathlib import Path

import pytest

NEIGHBOUR = Path(__file__).resolve().parents[2] / "shared" / "mnist"


def mnist_folder() -> Path | None:
    """The folder that holds real MNIST, or None if there is none."""
    for folder in (os.environ.get("VAE_EXP_DATA"), NEIGHBOUR):
        if folder and any(Path(folder).glob("train-images-idx3-ubyte*")):
            return Path(folder)
    return None


@pytest.fixture(scope="session")
def mnist() -> Path:
    """Real MNIST; a test that asks for it is skipped if there is none."""
    folder = mnist_folder()
    if folder is None:
        pytest.skip("no MNIST at hand: set VAE_EXP_DATA")
    return folder
