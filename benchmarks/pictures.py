"""The pictures of docs/ that show a run: train it, look at it as the text says, and copy them."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from vae_exp.folders import FIGURES

SHOWN = {
    "samples.png": "samples.png",
    "scatter.png": "scatter.png",
    "interpolation.png": "interpolation.png",
    "top_half.png": "top_half_digit7.png",
    "gap.png": "evaluate*_gap.png",
    "posterior_atlas.png": "posterior_atlas*.png",
}  # in docs/ -> among the run's figures, the newest of those
LOOKS = {"top_half": ("digit=7",), "posterior_atlas": (), "evaluate": ()}
NONE: Mapping[str, Sequence[str]] = MappingProxyType({})


def make(
    run: Path,
    docs: Path,
    training: Sequence[str] = (),
    looks: Mapping[str, Sequence[str]] = NONE,
) -> None:
    """Train a run if there is none in its folder, look at it, and copy its pictures to docs.

    ``training`` and ``looks``, by task, hold more words for the commands. Raises
    CalledProcessError if one of them fails.
    """
    if not run.exists():
        vae_exp(f"hydra.run.dir={run}", *training)
    for task, words in LOOKS.items():
        vae_exp(f"task={task}", f"run={run}", *words, *looks.get(task, ()))
    for name, figure in SHOWN.items():
        newest = max((run / FIGURES).glob(figure), key=lambda path: path.stat().st_mtime_ns)
        with Image.open(newest) as picture:  # in 256 colours: a third of the size
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
                docs / name, optimize=True
            )


def vae_exp(*words: str) -> None:
    """Run a command as a person types it."""
    print("python -m vae_exp", *words, flush=True)
    subprocess.run([sys.executable, "-m", "vae_exp", *words], check=True)
